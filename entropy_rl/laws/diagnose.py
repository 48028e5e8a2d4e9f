"""Signs that a curve is not one that the law speaks of: no law is forced on a run whose signs forbid it.

The law is about entropy that is spent and reward that is gained for it (Cui et al. 2025, arXiv:2505.22617, Sec. 2).
It says nothing of a run whose entropy rises or is held by a controller, or whose reward has a summit. The authors
say as much: under intervention the level of entropy did not order the scores (Sec. 4.5).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from entropy_rl.laws import bootstrap


@dataclasses.dataclass(frozen=True)
class Sign:
    """`name` of the sign, `text` for people, and whether it forbids a law (else it is to be kept in mind)."""

    name: str
    text: str
    forbids: bool


def signs(
    step: NDArray, H: NDArray, R: NDArray, rng: np.random.Generator, *, level: float = 0.95, draws: int = 1000
) -> list[Sign]:
    """What stands out in a run of [n] points in time order; tests with the block bootstrap's intervals at `level`.

    - "rising entropy": H ends above where it started, and goes up with the steps (rank correlation above 0.3). Forbids.
    - "held entropy": over the second half of the steps H moves by less than a tenth of what it fell in all and stays
      above a fifth of where it started, while R goes on rising; or it never fell by a tenth, and R rises over all of
      the run. Forbids: something else moves reward.
    - "summit": R rises over one stretch of H and falls over another (`_changes`). Forbids.
    - "falling reward", "flat reward": R is lower at the least entropy than at the most, or may be equal. Forbids.
    - "drift": R moves with time at equal entropy, by more than a tenth of its range. To be kept in mind.
    """
    H_first, H_last = ends(H)
    if H_last > H_first and _rank_correlation(step, H) > 0.3:
        text = f"entropy rises from {H_first:.3g} to {H_last:.3g} nats, and the law is about entropy that is spent"
        return [Sign("rising entropy", text, True)]

    def slope(x: NDArray, y: NDArray, *others: NDArray) -> tuple[float, float]:
        """Interval of the slope of y over x, times the range of x, beside the other columns."""
        X = np.stack([(x - x.mean()) / np.ptp(x), *others, np.ones_like(y)], 1)
        low, high = bootstrap.resample(X, y, np.eye(X.shape[1])[:1], rng, level=level, draws=draws).interval()
        return float(low[0]), float(high[0])

    late = step > (step[0] + step[-1]) / 2
    if late.sum() >= bootstrap.MIN_POINTS:
        start, end = ends(H[late])
        never = np.ptp([H_first, start, H_last]) < 0.1 * H_first
        still = abs(start - end) < 0.1 * (H_first - H_last) and end > 0.2 * H_first
        part = np.full(len(H), True) if never else late
        if (never or still) and slope(step[part], R[part])[0] > 0:
            rise = float(np.subtract(*ends(R[part])[::-1]))
            text = f"entropy is held at {end:.3g} nats while reward goes on rising, by {rise:.2g}"
            return [Sign("held entropy", text, True)]

    low, high = _changes(H, R, rng, level, draws)
    if (high[:-1] < 0).any() and (low[:-1] > 0).any():
        return [Sign("summit", "reward rises over one stretch of entropy and falls over another", True)]
    if low[-1] > 0:
        return [Sign("falling reward", "reward falls as entropy is spent", True)]
    if high[-1] >= 0:
        rise = f"{-high[-1]:.2g} to {-low[-1]:.2g} at {level:.0%}"
        return [Sign("flat reward", f"a rise of reward as entropy is spent is not established ({rise})", True)]

    low, high = slope(step, R, np.exp(H))
    if max(low, -high) > 0 and abs(low + high) / 2 > 0.1 * np.ptp(R):
        text = f"at equal entropy reward moves with time, by {(low + high) / 2:+.2g} over the run"
        return [Sign("drift", text, False)]
    return []


def ends(values: NDArray) -> tuple[float, float]:
    """Means of the first and of the last twentieth of the points, at least one of each."""
    k = max(1, len(values) // 20)
    return float(values[:k].mean()), float(values[-k:].mean())


def _changes(H: NDArray, R: NDArray, rng: np.random.Generator, level: float, draws: int) -> tuple[NDArray, NDArray]:
    """Intervals of the change of R over each of some stretches of H, from the least entropy up, and over all.

    R is fitted by a continuous line of pieces with as many points each (one piece for every MIN_POINTS, five at
    most), which needs no form of the law. The intervals of the pieces share the error (Bonferroni).
    """
    pieces = min(5, max(1, len(H) // bootstrap.MIN_POINTS))
    knots = np.unique(np.quantile(H, np.linspace(0, 1, pieces + 1)))
    widths = np.diff(knots)
    # how far H has come in each piece: the coefficients are the changes over the pieces
    X = np.c_[np.clip((H[:, None] - knots[:-1]) / widths, 0, 1), np.ones_like(H)]
    wanted = np.eye(X.shape[1])[:-1]
    shared = 1 - (1 - level) / len(wanted)
    pieces_low, pieces_high = bootstrap.resample(X, R, wanted, rng, level=shared, draws=draws).interval()
    whole = bootstrap.resample(X, R, wanted.sum(0, keepdims=True), rng, level=level, draws=draws)
    low, high = whole.interval()
    return np.r_[pieces_low, low], np.r_[pieces_high, high]


def _rank_correlation(x: NDArray, y: NDArray) -> float:
    """Spearman's: the correlation of ranks, equal values sharing the mean of theirs."""
    ranks = []
    for values in (x, y):
        _, of, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[of])
    return float(np.corrcoef(*ranks)[0, 1])
