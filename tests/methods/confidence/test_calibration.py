"""Calibration by hand."""

import math

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.confidence.calibration import auroc, ece, reliability

# bins of two: (0, 0.5] has 0.2 wrong and 0.5 right, (0.5, 1] has 0.6 wrong, 0.8 right, 1.0 right
CONFIDENCE, RIGHT = [0.2, 0.5, 0.6, 0.8, 1.0], [0, 1, 0, 1, 1]


def test_reliability_and_ece_by_hand():
    """Bins (lo, hi]: 0.5 belongs to the lower one. 2/5 |0.5 - 0.35| + 3/5 |2/3 - 0.8| = 0.06 + 0.08 -> 14 %.
    Mutations: [lo, hi), means without the shares."""
    low, high = reliability(CONFIDENCE, RIGHT, bins=2)
    assert (low["low"], low["high"], low["count"], low["accuracy"]) == (0.0, 0.5, 2, 0.5)
    assert low["confidence"] == pytest.approx(0.35) and high["confidence"] == pytest.approx(0.8)
    assert high["count"] == 3 and high["accuracy"] == pytest.approx(2 / 3)
    assert ece(CONFIDENCE, RIGHT, bins=2) == pytest.approx(14.0)


def test_ends_and_empty_bins():
    """0 has a place too; ten bins by default, the empty ones NaN."""
    table = reliability([0.0, 0.1, 1.0], [0, 1, 1])
    assert [row["count"] for row in table] == [2, *[0] * 8, 1]
    assert math.isnan(table[4]["accuracy"]) and math.isnan(table[4]["confidence"])
    assert ece([1.0, 1.0], [1, 1]) == 0.0 and ece([0.9, 0.9], [0, 0]) == pytest.approx(90)


def test_auroc_by_hand():
    """Right 0.5, 0.8, 1.0; wrong 0.2, 0.6: of six couples five are in order. Ties are half. Mutation: ranks from 0."""
    assert auroc(CONFIDENCE, RIGHT) == pytest.approx(5 / 6)
    assert auroc([0.5, 0.5], [0, 1]) == 0.5 and auroc([0.1, 0.9], [1, 0]) == 0.0
    assert math.isnan(auroc([0.1, 0.9], [1, 1]))


def test_auroc_is_the_share_of_couples_in_order(rng):
    confidence, right = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.4
    yes, no = confidence[right], confidence[~right]
    want = np.mean([(a > b) + 0.5 * (a == b) for a in yes for b in no])
    assert auroc(confidence, right) == pytest.approx(want)


@pytest.mark.parametrize(
    ("confidence", "right", "message"),
    [([0.5], [1, 0], "1 confidences of 2 answers"), ([], [], "at least one"), ([1.5], [1], "outside 0 to 1")],
)
def test_bad_input(confidence, right, message):
    for function in (ece, auroc, reliability):
        with pytest.raises(InputError, match=message):
            function(confidence, right)
    with pytest.raises(InputError, match="bins=0"):
        reliability([0.5], [1], bins=0)
