"""Verifiers on strings that hypothesis makes: total, bounded in time, and never wrong about near misses."""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entropy_rl.answers import exact, values
from entropy_rl.answers.extract import FORMS, final_answer
from entropy_rl.answers.grade import Grader
from experiments.verifiers import answer_junk
from experiments.verifiers.answer_pairs import NEAR

GRADER = Grader()
SECONDS = 2.0  # of any one string on a slow machine; it takes milliseconds

digits = st.sampled_from("0123456789٠١٢٣٤٥٦٧٨٩０１２𝟎𝟏𝟐²³½一二三")
numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-", "+", "\u2212", "$"]),
    st.text(digits, min_size=1, max_size=12),
    st.sampled_from(["", ".", ".5", ",000", "/0", "/7", "%", " 1/2", "\0"]),
    st.sampled_from(["", "e5", "e999999999", "^{10^{10^{10}}}", "**9**9**9", "!", " \\times 10^{99999999}"]),
)
pieces = st.one_of(numbers, st.sampled_from(answer_junk.PIECES), st.text(max_size=5))
nested = st.recursive(
    st.lists(pieces, max_size=4).map("".join),
    lambda inner: st.one_of(
        st.builds("\\frac{{{}}}{{{}}}".format, inner, inner),
        st.builds("\\boxed{{{}}}".format, inner),
        st.builds("<answer>{}</answer>".format, inner),
        st.builds("({}, {})".format, inner, inner),
        st.builds("\\{{{}, {}\\}}".format, inner, inner),
        st.builds("{}\n#### {}".format, inner, inner),
        st.builds("<think>{}</think>{}".format, inner, inner),
    ),
    max_leaves=8,
)
deep = st.builds(
    lambda opening, times, core, closing: opening * times + core + closing * times,
    st.sampled_from(["(", "{", "[", "\\{", "\\boxed{", "\\frac{", "\\sqrt{", "<answer>", "-", "\\left("]),
    st.integers(1, 3000),
    pieces,
    st.sampled_from(["", ")", "}", "]", "\\}", "</answer>", "\\right)"]),
)
long = st.builds(lambda piece, size: piece * (size // max(1, len(piece))), pieces, st.integers(10**5, 10**6))
strings = st.one_of(nested, nested, nested, nested, deep, st.text(max_size=60), st.binary(max_size=40).map(repr))


def total(text):
    """All functions on one string."""
    start = time.process_time()
    for form in FORMS:
        assert isinstance(final_answer(text, form), str)
    if values.value(text) is not None and exact.equal(text, text) is not True:
        raise AssertionError("what has a value is equal to itself")
    for gold in ("5", text):
        assert GRADER.grade(gold, text) in (0.0, 1.0)
    assert isinstance(GRADER.final(text), str)
    assert time.process_time() - start < SECONDS


common = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=500, derandomize=True, **common)
@given(strings)
def test_strings(text):
    """Mutation: int() on unicode digits, recursion in a parser, eval of a power."""
    total(text)


@settings(max_examples=15, derandomize=True, **common)
@given(long)
def test_long_lines(text):
    total(text)


@settings(max_examples=300, derandomize=True, **common)
@given(st.sampled_from(NEAR), st.integers(0, 2**32))
def test_near_misses_stay_wrong_whatever_stands_around_them(pair, seed):
    """A near miss in a box, behind junk that has no mark of an answer."""
    gold, text = pair
    junk = answer_junk.draw(random.Random(seed))
    if any(mark in junk for mark in ("box", "answer", "####", "think", "Answer")) or len(junk) > 10_000:
        junk = ""
    assert GRADER.grade(gold, f"{junk}\n\\boxed{{{text}}}") == 0.0


@pytest.mark.slow
@settings(max_examples=100_000, **common)
@given(strings)
def test_a_hundred_thousand_strings(text):
    total(text)


@pytest.mark.slow
@settings(max_examples=300, **common)
@given(long)
def test_many_long_lines(text):
    total(text)
