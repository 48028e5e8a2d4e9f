"""Whether confidence means what it says (reliability, calibration error), and whether it tells right from wrong.

Confidence in [0, 1] and whether an answer is right, answer by answer; numpy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from entropy_rl.errors import InputError


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> list[dict[str, Any]]:
    """The table behind a reliability diagram: a row for each of `bins` equal bins (low, high] of confidence.

    A confidence of 0 belongs to the first bin, which (0, 1/bins] would leave out.

    Returns:
      rows {"low", "high", "count", "confidence", "accuracy"}, the last two means over the bin, NaN where it is empty.

    Raises:
      InputError: lists of different lengths or without a value, a confidence outside [0, 1], fewer than 1 bins.
    """
    confidence, right = _checked(confidence, right)
    place = _places(confidence, bins)
    rows = []
    for b in range(bins):
        own = place == b
        mean = lambda x: float(x[own].mean()) if own.any() else float("nan")  # noqa: E731, B023
        row = {"low": b / bins, "high": (b + 1) / bins, "count": int(own.sum())}
        rows.append(row | {"confidence": mean(confidence), "accuracy": mean(right)})
    return rows


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error, 100 sum_b n_b / N |accuracy_b - confidence_b| over the bins of `reliability`.

    In percent, as in RLSF (arXiv:2507.21931, evaluation/calibration.py). Biased upwards in small samples: a bin of n
    answers is off by about sqrt(p (1 - p) / n) by chance.

    Raises:
      InputError: as `reliability`.
    """
    confidence, right = _checked(confidence, right)
    place = _places(confidence, bins)
    gap = np.bincount(place, right, bins) - np.bincount(place, confidence, bins)
    return float(100 * np.abs(gap).sum() / len(right))


def auroc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Chance that a right answer has the higher confidence of a right and a wrong one, ties counted as half.

    1/2 is what a confidence that knows nothing has; NaN where all are right or none is.

    Raises:
      InputError: as `reliability`.
    """
    confidence, right = _checked(confidence, right)
    yes = right >= 1
    n = int(yes.sum())
    if n in (0, len(right)):
        return float("nan")
    ordered = np.sort(confidence)
    rank = (np.searchsorted(ordered, confidence, "left") + np.searchsorted(ordered, confidence, "right") + 1) / 2
    return float((rank[yes].sum() - n * (n + 1) / 2) / (n * (len(right) - n)))


def _places(confidence: np.ndarray, bins: int) -> np.ndarray:
    if bins < 1:
        raise InputError(f"bins={bins}: give 1 or more")
    return np.searchsorted(np.arange(1, bins + 1) / bins, confidence, "left")  # on an edge: below it


def _checked(confidence: ArrayLike, right: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, float).ravel(), np.asarray(right, float).ravel()
    if not 0 < len(confidence) == len(right):
        raise InputError(f"{len(confidence)} confidences of {len(right)} answers: give one each, and at least one")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InputError("a confidence is outside 0 to 1: give means of gaps of probabilities")
    return confidence, right
