"""Preference pairs from confidence, by hand."""

import math

import numpy as np
import pytest

from entropy_rl.methods.confidence.cot_decoding import Branch
from entropy_rl.methods.confidence.self_feedback import Pair, pairs, to_rows
from entropy_rl.sampling.engine import Completion


def test_all_ordered_pairs_whose_better_one_is_sure():
    """Of 0.9, 0.95, 0.5, 0.95 the pairs with 0.5 or a tie as the better one are none. Mutations: > threshold, >= in the
    comparison, neighbours in rank only."""
    found = pairs([0.9, 0.95, 0.5, 0.95], 0.9)
    assert [(p.better, p.worse) for p in found] == [(0, 2), (1, 0), (1, 2), (3, 0), (3, 2)]
    assert [p.margin for p in found] == pytest.approx([math.exp(x) for x in (0.4, 0.05, 0.45, 0.05, 0.45)])
    assert pairs([0.8, 0.1], 0.9) == [] and len(pairs([0.8, 0.1], 0.0)) == 1


def branch(*tokens):
    zeros = np.zeros(len(tokens), np.float32)
    return Branch(Completion(np.array(tokens, np.int32), zeros, zeros, False), "", "", zeros, zeros > 0, 0.0)


def test_rows():
    """Better and worse next to each other, masks on responses; a question without a pair has no row."""
    branches = [[branch(7, 1), branch(8, 9, 1)], [branch(5, 1)], [branch(6, 1), branch(4, 1)]]
    chosen = [[Pair(1, 0, 1.5)], [], [Pair(0, 1, 2.0)]]
    out = to_rows([[2, 3], [2], [3]], branches, chosen, length=6, pad_id=0)
    np.testing.assert_array_equal(
        out["tokens"], [[2, 3, 8, 9, 1, 0], [2, 3, 7, 1, 0, 0], [3, 6, 1, 0, 0, 0], [3, 4, 1, 0, 0, 0]]
    )
    assert [np.flatnonzero(m).tolist() for m in out["mask"]] == [[2, 3, 4], [2, 3], [1, 2], [1, 2]]
    np.testing.assert_array_equal(out["margin"], np.float32([1.5, 1.5, 2.0, 2.0]))
    assert to_rows([[2]], [[branch(5, 1)]], [[]], length=4, pad_id=0)["tokens"].shape == (0, 4)
