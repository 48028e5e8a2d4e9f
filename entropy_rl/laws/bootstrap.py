"""Intervals for the coefficients of a law, right for autocorrelated residuals.

Points of a training curve are not independent: an evaluation that came out high is followed by high ones.
With a residual autocorrelation of 0.8 an interval that ignores this is about 3 times too narrow. What is done
here, and why:

- Residual blocks, not pairs. H is a trend (front-loaded, it runs down once), not a stationary series: blocks
  of (H, R) pairs often miss the few points at high entropy that carry the whole slope. H stays as it is;
  residuals are resampled in circular blocks (Politis & Romano 1992) and the fit, being linear, is one matrix
  product for all draws.
- Block length. rho, the lag-1 autocorrelation of the residuals with its small-sample bias removed (Kendall
  1954; for p trending regressors E[r] ~ rho - (p + (p + 2) rho) / n) and one standard error sqrt((1 - rho^2)
  / n) added, since erring low is what makes intervals too narrow, goes into the rule for circular blocks of
  an AR(1) series, L = (3/2)^(1/3) (2 rho / (1 - rho^2))^(2/3) n^(1/3) (Politis & White 2004), at most n / 4.
- Inflation. Blocks alone are still too narrow (at n = 40 and rho = 0.8 a 90 % interval holds the truth 60 %
  of the time): fitting swallows part of the slow noise, and few blocks fit into a short curve. So the
  interval is calibrated, a second bootstrap (Loh 1987; Beran 1987): AR(1) noise with that rho is drawn on the
  same H, fitted, given the same block standard error, and the interval is stretched until it would have held
  the truth in `level` of those draws. The stretch tends to 1 as n grows, where blocks need no model of the
  noise.

Coverage of the 90 % interval in %, from `experiments.coverage`: H = 0.3 falling to 0.03 over n points, R = 1.8 - 1.2
exp(H) plus AR(1) noise, 1000 draws, 1000 curves (standard error 0.9 %):

      n   rho    a      b      ceiling    naive (independent residuals), a
     40   0.0   93.0   92.6   92.7       89
     40   0.5   91.6   91.0   90.4       65
     40   0.8   88.7   89.2   90.1       41
    400   0.0   89.6   89.6   89.7       88
    400   0.5   91.3   90.9   90.6       67
    400   0.8   90.7   91.6   91.4       44

The other curves, those with a shape included, have 88.5 to 91.1 % at n = 40 and rho = 0.8.

Where it falls short: 80 to 93 % at n = 8; about 73 % at n = 40 (87 % at n = 400) where noise with rho = 0.9
hides under twice as much white noise; about 80 % for a and b where noise is three times larger at high than at
low entropy, unless weights say so. H counts as known: noise in H flattens the slope, and no bootstrap of
residuals sees that. With noise of 0.01 nats in H and 0.01 in R, a came out 1.5 % low: 87 % coverage at n = 40,
but 37 % at n = 400.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
from numpy import fft
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import Curve
from entropy_rl.laws.fit import arrays, fit, jacobian

MIN_POINTS = 8  # below this the autocorrelation, and with it the interval, is guesswork
_RHO_MIN, _RHO_MAX = -0.5, 0.97
_CELLS = 2**21  # numbers held at once, so that long logs do not fill the memory
_CALIBRATION = 20_000_000  # numbers drawn for the calibration: it matters least, and costs most, on long curves


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Intervals `(low, high)` at `level` for a, b, the ceiling and the shape, in units of R (the shape in its own).

    `rho` is the autocorrelation used and `block` the block length in points. A curve without a ceiling has
    (-inf, inf) there. `band` holds low and high, [m] each, of the curve at the places asked for.
    """

    level: float
    a: tuple[float, float]
    b: tuple[float, float]
    ceiling: tuple[float, float]
    rho: float
    block: int
    shape: tuple[tuple[float, float], ...] = ()
    band: tuple[NDArray, NDArray] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Resampled:
    """Bootstrap of k quantities that are linear in the data.

    Attributes:
      center: [k] their estimates.
      moves: [draws, k] what noise did to them in each draw, stretched so that `interval` covers at `level`.
      rho: the autocorrelation used. block: the block length. level: nominal coverage.
    """

    center: NDArray
    moves: NDArray
    rho: float
    block: int
    level: float

    def interval(self) -> tuple[NDArray, NDArray]:
        """low, high [k]: the estimate less the quantiles of its moves."""
        tails = np.quantile(self.moves, [(1 - self.level) / 2, (1 + self.level) / 2], axis=0)
        return self.center - tails[1], self.center - tails[0]


def intervals(
    curve: Curve,
    x: ArrayLike,
    R: ArrayLike,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.9,
    draws: int = 1000,
    at: ArrayLike = (),
) -> Intervals:
    """Circular block bootstrap of the fit of `curve`; points in time order.

    The fit of a curve with shape parameters is linearised at its best place, so that each draw is one step of
    Gauss and Newton; where the curve is strongly bent in its shape, these intervals are rough.

    Args:
      curve: a row of `CURVES`.
      x: [n] entropy, nats per token, or steps, as `curve.x` says.
      R: [n] reward.
      rng: source of all randomness; equal generators give equal intervals.
      weights: [n] as in `fit`; sqrt(weight) * residual is what is resampled.
      level: nominal coverage of each interval on its own.
      draws: bootstrap draws, and as many for the calibration (fewer on long curves, which need it least).
      at: [m] places where the curve gets a band, pointwise.

    Raises:
      InputError: what `fit` refuses, fewer than MIN_POINTS points, a level outside (0, 1), fewer than 100
        draws.
    """
    x, R, w = arrays(x, R, weights)
    found = fit(curve, x, R, w)
    J = jacobian(curve, x, found)
    has_ceiling = math.isfinite(curve.end)
    wanted = [np.eye(J.shape[1])]  # a, b, shape
    wanted += [np.r_[-curve.end, 1.0, np.zeros(len(curve.shape))][None]] if has_ceiling else []
    at = np.asarray(at, float)
    wanted += [jacobian(curve, at, found)] if len(at) else []
    root = np.sqrt(w / w.mean())
    theta = np.array([found.a, found.b, *found.shape])
    linearised = R - found.predict(curve, x) + J @ theta
    drawn = resample(J * root[:, None], linearised * root, np.concatenate(wanted), rng, level=level, draws=draws)
    low, high = drawn.interval()
    if len(at):
        # what a shape bends, the line through its best place does not: the curve's own height counts
        lift = found.predict(curve, at) - jacobian(curve, at, found) @ theta
        low[-len(at) :] += lift
        high[-len(at) :] += lift
    return named(curve, low, high, level, drawn.rho, drawn.block)


def named(curve: Curve, low: NDArray, high: NDArray, level: float, rho: float = 0.0, block: int = 0) -> Intervals:
    """Intervals from their ends, [k] each: of a, b, the shape, the ceiling where there is one, and the band if any."""
    pairs, p, has_ceiling = list(zip(low.tolist(), high.tolist())), curve.parameters, math.isfinite(curve.end)
    q = p + has_ceiling
    return Intervals(
        level,
        a=pairs[0],
        b=pairs[1],
        ceiling=pairs[p] if has_ceiling else (-math.inf, math.inf),
        rho=rho,
        block=block,
        shape=tuple(pairs[2:p]),
        band=(low[q:], high[q:]) if len(low) > q else None,
    )


def resample(
    X: NDArray,
    y: NDArray,
    wanted: ArrayLike,
    rng: np.random.Generator,
    *,
    level: float = 0.9,
    draws: int = 1000,
) -> Resampled:
    """The same for any least-squares fit of y [n] on X [n, p], rows in time order.

    Args:
      wanted: [k, p]; the quantities that get an interval are `wanted @ coefficients`.

    Raises:
      InputError: fewer than MIN_POINTS rows, a level outside (0, 1), fewer than 100 draws.
    """
    n, p = X.shape
    if n < MIN_POINTS:
        raise InputError(f"{n} points: intervals need at least {MIN_POINTS}; evaluate more often or train longer")
    check(level, draws)
    scale = np.linalg.norm(X, axis=0)
    scale[scale == 0] = 1.0
    solve = np.linalg.pinv(X / scale) / scale[:, None]  # [p, n]; columns of any unit
    C = np.asarray(wanted, float) @ solve  # [k, n]: each wanted quantity is a fixed mixture of the y
    residual = _residual(X, solve, y[None])[0]
    rho = autocorrelation(residual, p)
    block = block_length(rho, n)
    blocks = np.lib.stride_tricks.sliding_window_view(np.concatenate([residual, residual[: block - 1]]), block)
    lags = _lag_weights(C, block)

    pivots, moves = [], []
    for rows in chunks(min(draws, max(200, _CALIBRATION // n)), n):
        noise = ar1(rng, rho, rows, n)
        error, se = np.abs(noise @ C.T), _block_se(_residual(X, solve, noise), lags)
        pivots.append(np.divide(error, se, out=np.zeros_like(error), where=se > 0))
    for rows in chunks(draws, n):
        starts = rng.integers(0, n, (rows, -(-n // block)))
        moves.append(blocks[starts].reshape(rows, -1)[:, :n] @ C.T)
    stretch = np.quantile(np.concatenate(pivots), level, axis=0) / NormalDist().inv_cdf((1 + level) / 2)
    return Resampled(C @ y, stretch * np.concatenate(moves), rho, block, level)


def check(level: float, draws: int) -> None:
    """InputError for a nominal coverage or a number of draws that make no interval."""
    if not 0 < level < 1:
        raise InputError(f"level {level:g}: give a share between 0 and 1, such as 0.9")
    if draws < 100:
        raise InputError(f"{draws} bootstrap draws: give at least 100 (1000 for figures that go into print)")


def percentiles(
    statistic: Callable[[NDArray], float], units: int, rng: np.random.Generator, *, level: float, draws: int
) -> list[float]:
    """[value, low, high] of a statistic, where whole units (problems, runs) are drawn with replacement.

    statistic: places i64[n] of units -> a number. Draws for which it is not finite are left out; NaN where all are.
    """
    drawn = [statistic(places) for places in rng.integers(units, size=(draws, units))]
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = np.nanquantile(drawn, tails) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return [float(statistic(np.arange(units))), float(low), float(high)]


def autocorrelation(residual: NDArray, p: int) -> float:
    """Autocorrelation of the residuals [n] of a fit with p coefficients, as rho of an AR(1) series, -0.5 to 0.97.

    (n r_1 + p) / (n - p - 2), the inverse of the bias in the module's text, plus one standard error. Slow
    noise under white noise has a low r_1 and a long memory: where some r_k stands out (above 2 / sqrt(n), k
    up to 10 and n / 8) and r_k^(1/k), which is rho in an AR(1) series, is larger, that is taken.
    """
    n, power = len(residual), residual @ residual
    if power == 0:
        return 0.0  # nothing to resample
    r = [residual[k:] @ residual[:-k] / power for k in range(1, max(1, min(10, n // 8)) + 1)]
    rho = min(max((n * r[0] + p) / (n - p - 2), _RHO_MIN), _RHO_MAX)
    rho += math.sqrt((1 - rho**2) / n)
    slow = [r_k ** (1 / k) for k, r_k in enumerate(r, 1) if k > 1 and r_k > 2 / math.sqrt(n)]
    return float(min(max([rho, *slow]), _RHO_MAX))


def block_length(rho: float, n: int) -> int:
    """Politis & White 2004 for AR(1) noise and circular blocks, between 1 and n / 4 points."""
    rule = 1.5 ** (1 / 3) * (2 * max(rho, 0.0) / (1 - rho**2)) ** (2 / 3) * n ** (1 / 3)
    return max(1, min(math.ceil(rule), n // 4))


def _residual(X: NDArray, solve: NDArray, y: NDArray) -> NDArray:
    """Residuals of rows y [m, n], centred: weights leave them a mean, which must not go into the draws."""
    residual = y - (y @ solve.T) @ X.T
    return residual - residual.mean(1, keepdims=True)


def ar1(rng: np.random.Generator, rho: float, rows: int, n: int) -> NDArray:
    """[rows, n] stationary AR(1) noise e_t = rho e_{t-1} + N(0, 1)."""
    e = rng.standard_normal((rows, n))
    e[:, 0] /= math.sqrt(1 - rho**2)
    lag = 1
    while lag < n and abs(rho) ** lag > 1e-12:  # 1 / (1 - rho L) = (1 + rho L) (1 + rho^2 L^2) (1 + rho^4 L^4) ...
        e[:, lag:] += rho**lag * e[:, :-lag]
        lag *= 2
    return e


def _lag_weights(C: NDArray, block: int) -> NDArray:
    """[block, k]: how often each lag counts in the variance of C @ (resampled residuals).

    Draws of different blocks are independent; inside a block two points at distance d covary like the
    circular autocovariance at lag d. So the variance is sum_d weight_d * autocovariance_d, and no draws are
    needed for it.
    """
    k, n = C.shape
    padded = np.zeros((k, -(-n // block) * block))
    padded[:, :n] = C
    blocks = padded.reshape(k, -1, block)
    lags = [(blocks[:, :, : block - d] * blocks[:, :, d:]).sum((1, 2)) * (2 if d else 1) for d in range(block)]
    return np.stack(lags)


def _block_se(residual: NDArray, lags: NDArray) -> NDArray:
    """[m, k] exact standard errors of the circular block bootstrap for rows of residuals [m, n]."""
    n = residual.shape[1]
    spectrum = np.abs(fft.rfft(residual, axis=1)) ** 2
    autocovariance = fft.irfft(spectrum, n, axis=1)[:, : len(lags)] / n
    return np.sqrt(np.maximum(autocovariance @ lags, 0.0))  # below 0 by rounding only


def chunks(total: int, n: int) -> Iterator[int]:
    """Sizes of the parts of `total` rows of n numbers, so that one is at most _CELLS numbers or a row."""
    rows = max(1, _CELLS // n)
    while total > 0:
        yield min(rows, total)
        total -= rows
