"""Critiques at test time: one answer out of many attempts, and what it costs (AutoMathCritique, arXiv:2411.16579).

Attempts at a problem are numbered in the order in which they were sampled. Nothing here knows which are right.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import numpy as np


def vote(keys: Sequence[str]) -> int:
    """Majority vote: the first of the attempts whose key is the most frequent one.

    The key "" (no answer) counts only where no attempt has another. Of keys that are equally frequent the one that
    came first wins.
    """
    there = [key for key in keys if key] or list(keys)
    best = collections.Counter(there).most_common(1)[0][0]  # of equal counts the first met
    return list(keys).index(best)


def best_of(verdicts: Sequence[bool | None], keys: Sequence[str]) -> int:
    """Best of n by verdict: the vote among attempts that are judged right, or where there is none, among all.

    Args:
      verdicts: what a critique says of each attempt; None: it cannot be read, which counts as not right.
      keys: of the vote.
    """
    passed = [i for i, verdict in enumerate(verdicts) if verdict]
    return passed[vote([keys[i] for i in passed])] if passed else vote(keys)


def in_blocks(
    choose: Callable[[slice], int], right: np.ndarray, tokens: np.ndarray, places: range, size: int
) -> tuple[float, float]:
    """(accuracy, tokens) of a choice among `size` attempts, mean over the disjoint blocks of one problem's attempts.

    Args:
      choose: block -> which of its attempts is answered, from 0.
      right: bool[N], of all attempts.
      tokens: f[N], spent on each of them, all told.
      places: those of the problem's attempts.
      size: of a block; attempts that fill no block are left out.
    """
    blocks = [slice(i, i + size) for i in range(places.start, places.stop - size + 1, size)]
    return (
        float(np.mean([right[block][choose(block)] for block in blocks])),
        float(np.mean([tokens[block].sum() for block in blocks])),
    )


def less_at_equal_tokens(
    accuracy: np.ndarray, tokens: np.ndarray, base_accuracy: np.ndarray, base_tokens: np.ndarray
) -> float:
    """Accuracy less that of a baseline which spends as many tokens a problem.

    The baseline's means over problems are a curve, accuracy against tokens, and are interpolated linearly between its
    points; NaN where the method spends more or less than any of them.

    Args:
      accuracy, tokens: f[P], of the method.
      base_accuracy, base_tokens: f[M, P], of the baseline at M budgets of rising cost.
    """
    at, curve = base_tokens.mean(axis=1), base_accuracy.mean(axis=1)
    return float(accuracy.mean() - np.interp(tokens.mean(), at, curve, left=np.nan, right=np.nan))
