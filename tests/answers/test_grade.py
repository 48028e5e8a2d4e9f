"""Rewards of responses."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.answers import exact, values
from entropy_rl.answers.grade import Grader, canonical, reference
from entropy_rl.errors import InputError
from experiments.check_verifiers import FRAMES, STORY
from experiments.verifiers import answer_junk
from experiments.verifiers.answer_pairs import NEAR

RIGHT = [("72", "so \\boxed{72}"), ("72", "#### 72"), ("1/2", "The answer is $0.5$."), ("72", "72 pens? No, 72.")]
WRONG = [
    ("72", "so \\boxed{73}"),
    ("72", "72 \\boxed{73}"),
    ("72", ""),
    ("72", "none"),
    ("", ""),
    ("", "5"),
    ("x", "y"),
]


def test_rewards():
    """Mutation: `decided is not False`."""
    grader = Grader()
    assert [grader.grade(*pair) for pair in RIGHT + WRONG] == [1.0] * len(RIGHT) + [0.0] * len(WRONG)
    assert grader.grade_all(RIGHT + WRONG) == [1.0] * len(RIGHT) + [0.0] * len(WRONG)
    assert grader.counts["exact"] + grader.counts["undecided"] == 2 * len(RIGHT + WRONG)
    assert grader.counts["undecided"] == 6  # none, an empty gold, x against y; twice


@pytest.mark.parametrize("form", FRAMES)
def test_near_misses_where_answers_stand(form):
    """Mutation: final_answer's form is not handed on."""
    grader, other = Grader(form), FRAMES["hash" if form != "hash" else "boxed"]
    for gold, answer in NEAR:
        assert grader.grade(gold, STORY + FRAMES[form].format(answer)) == 0.0, (gold, answer)
        assert Grader().grade(gold, STORY + FRAMES[form].format(answer)) == 0.0, (gold, answer)
    assert grader.grade("5", FRAMES[form].format("5")) == 1.0 and grader.grade("5", other.format("5")) == 0.0


def test_gold_may_be_a_solution():
    """Mutation: the gold text as it is."""
    grader = Grader()
    assert grader.grade("2 * 36 = 72\n#### 72", "\\boxed{72}") == 1.0
    assert grader.grade("It is $\\boxed{\\frac{1}{2}}$.", "\\boxed{0.5}") == 1.0
    assert reference("1, 2") == "1, 2" and reference("a\n#### 1,000 ") == "1,000" and reference(None) == ""


def test_final_merges_ways_to_write():
    """Mutation: the text that was found."""
    final = Grader().final
    for texts in (
        ["1/2", "0.5", "\\frac12"],
        ["\\{1,2\\}", "2, 1"],
        ["(1, 2)", "\\left(1,2\\right)"],
        ["x = 5", "5 cm", "5.0"],
    ):
        assert len({final(f"\\boxed{{{text}}}") for text in texts}) == 1
    assert final("\\boxed{B}") == final("\\boxed{\\text{(b)}}") == "B"
    assert final("\\boxed{x + 1}") == final("\\boxed{x+1}") == "x+1" and final("no idea") == "" == canonical("")
    assert final("\\boxed{1}") != final("\\boxed{2}")


def test_the_canonical_form_is_its_own():
    """Mutation: latex.normal makes a line break `\\\\` a space."""
    rng = random.Random(0)
    for _ in range(5000):
        text = answer_junk.near(rng)
        assert canonical(canonical(text)) == canonical(text), text
        assert exact.equal(canonical(text), text) or not canonical(text) or values.value(text).unit, text


@settings(max_examples=1000, derandomize=True, deadline=None)
@given(st.integers(0, 2**32))
def test_total(seed):
    rng, grader = random.Random(seed), Grader()
    junk = rng.choice([answer_junk.characters, answer_junk.grammar, answer_junk.near, answer_junk.nested])
    gold, response = junk(rng), answer_junk.WRAPS[seed % len(answer_junk.WRAPS)].format(junk(rng))
    assert grader.grade(gold, response) in (0.0, 1.0) and isinstance(grader.final(response), str)


def test_what_is_no_text():
    grader = Grader()
    assert grader.grade(None, "5") == grader.grade("5", None) == grader.grade(5, 5) == 0.0 and grader.final(None) == ""


def test_cheap():
    """50,000 a second on an idle core, by its own time. Mutation: no fast path of integers."""
    pairs = [(str(i), f"{STORY}\\boxed{{{i}}}") for i in range(5000)]
    grader = Grader()
    start = time.process_time()
    assert sum(grader.grade(*pair) for pair in pairs) == 5000
    assert 5000 / (time.process_time() - start) > 10_000


def test_arguments():
    with pytest.raises(InputError, match="unknown answer form 'bxoed'"):
        Grader("bxoed")
    with pytest.raises(InputError, match="seconds=0"):
        Grader(symbolic=True, seconds=0)
    Grader().close()
