"""Critics: what every source says of attempts, what that gives away, and what is made of a model's replies."""

import numpy as np
import pytest

from entropy_rl.methods.critique import critics
from entropy_rl.methods.critique.language import Attempt
from entropy_rl.methods.critique.sentences import parse
from tests.methods.critique.test_refine import BAD, PROBLEM, completion


@pytest.mark.parametrize("source", sorted(critics.SOURCES))
def test_sources(source):
    tried = [Attempt(PROBLEM, t, t == PROBLEM.answer) for t in (*BAD, PROBLEM.answer)]
    said = critics.SOURCES[source](tried, np.random.default_rng(0), level="reason")
    truth = critics.SOURCES["oracle"](tried, np.random.default_rng(0), level="reason")
    assert len(said) == 4
    if source == "random":
        assert sorted(said) == sorted(truth) and all(a != b for a, b in zip(said, truth))
    elif source == "fresh":
        assert said == [None] * 4
    elif source == "none":
        assert said == [""] * 4
    else:
        assert [parse(s).right for s in said] == [(source == "inverted") != t.right for t in tried]
        assert any("step" in s for s in said) == (source in ("oracle", "arithmetic"))
        assert (PROBLEM.answer in said[0]) == (source == "indicative_answer")


def test_a_random_critique_is_of_another_attempt():
    """Of several critiques of an attempt too; alone it gets the verdict. Mutation: any shift of the list."""
    texts = ("3 + 5 = 9", "3 + 5 = 8 ; 8 + 8 = 1", "9 + 9 = 18")
    tried = [Attempt(PROBLEM, text, False) for text in texts for _ in range(3)]
    truth = critics.SOURCES["oracle"](tried, np.random.default_rng(0), level="reason")
    assert len(set(truth)) == 3
    for seed in range(8):
        said = critics.SOURCES["random"](tried, np.random.default_rng(seed), level="reason")
        assert sorted(said) == sorted(truth) and all(a != b for a, b in zip(said, truth))
        alone = critics.SOURCES["random"](tried[:3], np.random.default_rng(seed), level="answer")
        assert alone == ["wrong"] * 3


def test_what_critiques_give_away():
    assert critics.leak([None, "", "right", "wrong"]) == 0.5
    sentences = ["wrong step 1", "wrong because operand", "wrong hint 1 + 2 = 3", "wrong step 1 answer 1 + 2 = 3"]
    assert [critics.leak([s]) for s in sentences] == [2, 3, 4, 5]


def test_critiques_by_a_model():
    tried = [Attempt(PROBLEM, BAD[0], False)] * 4
    texts = ["wrong step 1 because operand hint 3 + 5 = 8", "right", "gibberish", ""]
    asked = []

    def answer(prompts):
        asked.extend(prompts)
        return texts, [completion(t) for t in ("wrong", "right", "wrong wrong", "")]

    said, row = critics.by_model(*critics.ask_critic(answer, tried), tried, "reason")
    assert said == ["wrong step 1 because operand", "wrong", "wrong", "wrong"]
    assert row["critique/malformed"] == 0.5 and row["critique/usable"] == 0.25 and row["critique/tokens"] == 8
    assert asked[0] == f"{PROBLEM.prompt} {BAD[0]} critique"
    critics.ask_critic(answer, tried, reference=True)
    assert asked[4] == f"{PROBLEM.prompt} {BAD[0]} answer {PROBLEM.answer} critique"
