"""Sentences of critiques: written, read back, and any other text."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_rl.methods.critique import sentences
from entropy_rl.methods.critique.sentences import LEVELS, REASONS, Critique, limit, parse, write
from entropy_rl.tasks.countdown import SPEECH, TALKER, TOKENIZER

FULL = Critique(False, 2, "unreachable", "3 + 5 = 8", "3 + 5 = 8 ; 8 * 3 = 24")


@pytest.mark.parametrize("level", LEVELS)
def test_levels(level):
    said = limit(FULL, level)
    assert said.level == level and parse(write(said)) == said
    leaks = [v for v in dataclasses.astuple(said)[1:] if v]
    assert len(leaks) == LEVELS.index(level)
    assert limit(Critique(True), level) == Critique(True)


@pytest.mark.parametrize("reason", REASONS)
def test_every_sentence_is_in_the_vocabulary(reason):
    text = write(dataclasses.replace(FULL, reason=reason))
    assert TALKER.decode(TALKER.encode(text)) == text
    assert TALKER.words[: TOKENIZER.vocab_size] == TOKENIZER.words


def test_parts_may_be_missing():
    assert parse("wrong hint 3 + 5 = 8") == Critique(False, hint="3 + 5 = 8")
    assert parse("wrong because operand") == Critique(False, reason="operand")


@pytest.mark.parametrize(
    "text",
    [
        *("", "right right", "wrong step", "wrong step 0", "wrong step two", "wrong step 1 2", "wrong because nothing"),
        *("wrong 2", "step 2", "wrong because operand step 2", "falsch", "wrong step ² because operand", "3 + 5 = 8"),
        *("wrong hint", "wrong step 2 step 2", "wrong answer 3 + 5 = 8 because operand hint", "Step 1: Correct"),
    ],
)
def test_malformed(text):
    assert parse(text) is None


@given(st.one_of(st.text(), st.lists(st.sampled_from(["1", "+", "<eos>", *SPEECH]), max_size=12).map(" ".join)))
def test_parsing_is_total(text):
    found = parse(text)
    assert found is None or parse(write(found)) == found


def test_prompts():
    assert sentences.ask_critique("3 5 -> 8 :", "3 * 5 = 15") == "3 5 -> 8 : 3 * 5 = 15 critique"
    assert sentences.ask_refinement("3 5 -> 8 :", "3 * 5 = 15", "wrong") == "3 5 -> 8 : 3 * 5 = 15 wrong again"
    assert sentences.ask_refinement("3 5 -> 8 :", "", "") == "3 5 -> 8 : again"
