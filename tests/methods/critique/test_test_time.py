"""Choices among attempts at test time, by hand."""

import numpy as np
import pytest

from entropy_rl.methods.critique.test_time import best_of, in_blocks, less_at_equal_tokens, vote


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        (["a", "b", "b"], 1),
        (["a", "b", "b", "a"], 0),  # equally frequent: the one that came first
        (["", "", "b"], 2),  # no answer counts where there is no other
        (["", ""], 0),
        (["c"], 0),
    ],
)
def test_vote(keys, chosen):
    assert vote(keys) == chosen


@pytest.mark.parametrize(
    ("verdicts", "chosen"),
    [
        ([True, True, False, False], 0),  # one a, one b
        ([False, True, False, False], 1),
        ([None, False, True, True], 2),
        ([False, None, False, None], 2),  # nothing passed: the vote among all
    ],
)
def test_best_of(verdicts, chosen):
    assert best_of(verdicts, ["a", "b", "c", "c"]) == chosen


def test_blocks_of_one_problem():
    """Two problems of five attempts; the blocks of two are (5, 6) and (7, 8), and 9 is left out."""
    right = np.array([0, 0, 0, 0, 0, 1, 0, 0, 1, 1], bool)
    tokens = np.arange(10.0)
    assert in_blocks(lambda block: 0, right, tokens, range(5, 10), 2) == (0.5, (5 + 6 + 7 + 8) / 2)
    assert in_blocks(lambda block: 1, right, tokens, range(5, 10), 2) == (0.5, 13.0)
    assert in_blocks(lambda block: int(np.argmax(right[block])), right, tokens, range(5, 10), 2) == (1.0, 13.0)
    assert in_blocks(lambda block: 0, right, tokens, range(5, 10), 1) == (3 / 5, 7.0)


def test_less_at_equal_tokens():
    """The baseline's means are .2 at 10 tokens and .4 at 30, so .3 at 20."""
    base, cost = np.array([[0.1, 0.3], [0.3, 0.5]]), np.array([[8.0, 12.0], [25.0, 35.0]])
    assert less_at_equal_tokens(np.array([0.5, 0.7]), np.array([15.0, 25.0]), base, cost) == pytest.approx(0.3)
    for tokens in (9.0, 31.0):
        assert np.isnan(less_at_equal_tokens(np.array([0.5]), np.array([tokens]), base, cost))
