"""Several runs on one curve: the fit to all of them, intervals over runs, and whether they share a law at all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap, paired
from entropy_rl.laws.bootstrap import Intervals
from entropy_rl.laws.compare import Run
from entropy_rl.laws.curves import Curve
from entropy_rl.laws.fit import Fit, arrays, basis, fit


def pooled(curve: Curve, runs: Sequence[Run]) -> Fit:
    """One fit to the points of all runs."""
    return fit(curve, *(np.concatenate(column) for column in zip(*(arrays(*run) for run in runs))))


def intervals(
    curve: Curve,
    runs: Sequence[Run],
    rng: np.random.Generator,
    *,
    level: float = 0.9,
    draws: int = 1000,
    at: ArrayLike = (),
) -> Intervals:
    """Intervals for the law of a setting, of which the runs (seeds) are a sample: runs are resampled, not points.

    A bootstrap inside a run says how well that run's own coefficients are known; what another seed would do it
    cannot say. Here every run gives a pseudo-value S q - (S - 1) q_without_it of each quantity q (Tukey's jackknife:
    so the fit itself, however bent, is redone), and the pseudo-values are resampled as `paired` resamples seeds, with
    its widening for few of them. Autocorrelation within a run needs no model here, as runs are drawn whole. rho and
    block are 0 in the result, as they are not used. With 2 or 3 runs the intervals are as wide as Student's t is for
    that few, and a single run in ten that goes elsewhere will not be in them.

    Raises:
      InputError: what `fit` refuses, fewer than 2 runs, a level or number of draws out of range.
    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run(s): intervals over runs need at least 2")
    bootstrap.check(level, draws)
    at = np.asarray(at, float)

    def quantities(some: Sequence[Run]) -> NDArray:
        f = pooled(curve, some)
        ceiling = [f.ceiling] if np.isfinite(curve.end) else []
        return np.r_[f.a, f.b, f.shape, ceiling, f.predict(curve, at)]

    whole, size = quantities(runs), len(runs)
    without = np.stack([quantities([*runs[:r], *runs[r + 1 :]]) for r in range(size)])
    moves = paired.seed_moves(size * whole - (size - 1) * without, rng, draws)
    tails = np.quantile(moves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return bootstrap.named(curve, whole + tails[0], whole + tails[1], level)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Do runs share one curve?

    Attributes:
      p: probability of differences as large as these if all runs had the same a and b, and each differed from them
        by its own noise only.
      own_rmse: of each run's own fit, all points together, units of R. pooled_rmse: of the one fit to all.
      spread: standard deviation over runs of the curves' height at the mean of the entropies seen, units of R.
    """

    p: float
    own_rmse: float
    pooled_rmse: float
    spread: float


def agreement(curve: Curve, runs: Sequence[Run], rng: np.random.Generator, *, draws: int = 1000) -> Agreement:
    """Cochran's Q for the coefficients (a, b) of a curve without shape, their covariance from each run's bootstrap.

    Q = sum_r (c_r - m)' V_r^-1 (c_r - m), m = (sum V_r^-1)^-1 sum V_r^-1 c_r, has about a chi-square distribution of
    2 (S - 1) degrees of freedom if runs differ by noise alone (Cochran 1954). Seeds of one setting may well differ
    by more: a small p says that a fit to all is a mean over runs, not a law that each of them follows.

    Raises:
      InputError: as `bootstrap.intervals`, fewer than 2 runs, a curve with a shape.
    """
    if len(runs) < 2 or curve.shape:
        raise InputError(f"{len(runs)} run(s) of {curve.formula}: agreement needs 2 runs and a curve without shape")
    parts = [arrays(*run) for run in runs]
    coefficients, precisions, squares = [], [], 0.0
    for x, R, w in parts:
        root = np.sqrt(w / w.mean())
        X = np.stack([-basis(curve, x), np.ones_like(x)], 1) * root[:, None]
        drawn = bootstrap.resample(X, R * root, np.eye(2), rng, draws=draws)
        coefficients.append(drawn.center)
        precisions.append(np.linalg.pinv(np.cov(drawn.moves.T)))
        squares += len(x) * fit(curve, x, R, w).rmse ** 2
    mean = np.linalg.solve(sum(precisions), sum(P @ c for P, c in zip(precisions, coefficients)))
    Q = sum((c - mean) @ P @ (c - mean) for P, c in zip(precisions, coefficients))
    H = np.concatenate([x for x, _, _ in parts])
    heights = [curve.predict(H.mean(), *c) for c in coefficients]
    return Agreement(
        _chi2_above(2 * (len(runs) - 1), float(Q)),
        float(np.sqrt(squares / len(H))),
        pooled(curve, runs).rmse,
        float(np.std(heights, ddof=1)),
    )


def _chi2_above(freedom: int, Q: float) -> float:
    """P(chi2 > Q) = exp(-Q/2) sum_{i < freedom/2} (Q/2)^i / i!, for an even number of degrees of freedom."""
    if Q <= 0:
        return 1.0
    return math.fsum(math.exp(i * math.log(Q / 2) - Q / 2 - math.lgamma(i + 1)) for i in range(freedom // 2))
