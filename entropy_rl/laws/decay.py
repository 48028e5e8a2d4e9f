"""Entropy of a later step from its own record: a power law of the step, with an interval that knows its limits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap

_TAUS = np.geomspace(1e-3, 1e3, 241)  # in units of the record's length; 6 % apart
_TAU_SPREAD = math.log(10)  # the prior of tau: about the record's length, give or take a factor of 10
_OWN_CLAIM = 3  # rehearsals that a model's own interval counts for: the fewest whose Student t has a variance
_EXPLOSION = 2.0  # times the highest entropy seen: beyond that (see alarms.py) nobody would ask the law
_MOST_ROWS = 2000  # beyond so many points the size of the noise is known


def entropy_draws(
    step: ArrayLike,
    H: ArrayLike,
    at: float,
    rng: np.random.Generator,
    *,
    average: int = 1,
    level: float = 0.9,
    draws: int = 1000,
) -> NDArray:
    """[draws] entropies at step `at`, nats per token, as they may be recorded: H = h (1 + step / tau)^-beta.

    The model was chosen on 53 runs (the 50 of forecast.py's docstring, and 3 of GRPO with 200 steps), by the RMSE of
    the final entropy (0.04 to 0.25 nats, mean of the last 5 %) as forecast from the first 5, 10, 15, 20 and 33 % of
    the steps:

        last value                                 0.190  0.155  0.119  0.101  0.064
        exponential                                0.073  0.064  0.064  0.059  0.050
        exponential to a floor                     0.067  0.071  0.047  0.043  0.032
        stretched exponential, best exponent       0.088  0.063  0.061  0.046  0.032
        power law, best tau                        0.073  0.061  0.051  0.030  0.019
        power law to a floor, best tau, beta       0.051  0.054  0.044  0.032  0.021
        power law, tau averaged (this)             0.070  0.047  0.045  0.033  0.021

        coverage of its 90 % interval               100     92     92     85     87
        the same without part 3 below               100     89     77     70     75
        mean width, nats                           0.33   0.15   0.15   0.08   0.06

    A stretched exponential with its exponent averaged covered 98, 53, 32, 36 and 34 % without part 3. Where this one
    falls short: a controller that holds entropy up, or sets in later, is not in the early record. In the 9 runs above
    that have one, coverage was 100, 78, 78, 56 and 67 %, most misses with entropy above the interval. A learning rate
    that warms up bends the first steps the wrong way, and forecasts from 15 and 20 % came out 0.02 low. Noise in log
    H grew from 0.045 to 0.075 along the runs, where the model has it constant. At 5 % (8 steps) the median is hardly
    more than the prior. An exponential fall to a floor is no power law either: for H = 0.1 + 0.2 exp(-t / 40) with
    3 % noise, forecasts for step 300 from the first 100 were 0.06 nats, and the intervals of 40 runs held it in none.
    The runs share the order of their problems, and with it noise (correlation 0.66 in log H).

    The spread has three parts.

    1. Noise: given tau, log H is linear in log(1 + step / tau), and gets the calibrated block bootstrap of
       `bootstrap.resample`; noise of the mean of `average` steps is added.
    2. The shape: tau is drawn from its posterior, in which n autocorrelated steps count for n (1 - rho) / (1 + rho)
       (the prior: a factor of 10 about the length of the record, so that it scales with the clock).
    3. The model may be wrong. The run rehearses: the first half of the record forecasts its end, the first quarter
       the end of that half, and so on down to MIN_POINTS steps. Errors z, in units of the spread, give a common
       scale: deviations from the median are multiplied by sqrt((3 + sum z^2) / chi2), chi2 with 3 + (number of
       rehearsals) degrees of freedom. So few rehearsals make wide tails, and bad ones wide intervals.

    Two constants were chosen by hand, looking at these runs. The prior's factor of 10: with 3 coverage without part 3
    is 83, 85, 77, 74 and 66 %, with 30 it is 100, 87, 75, 72 and 74 %. And the 3 rehearsals that the spread's own
    claim counts for, the fewest with which the tails have a variance: 2 and 5 cover 85 to 100 and 83 to 100 %, with
    widths about a tenth wider and narrower (a third at 5 and 15 %). Draws stop at twice the highest entropy seen.

    Raises:
      InputError: fewer than MIN_POINTS steps, steps that do not rise, `at` within them, entropy that is not positive.
    """
    step, H = rising(step, H)
    enough(step, at, "steps of the entropy record")
    if not (H > 0).all():
        index = np.flatnonzero(~(H > 0))[0]
        raise InputError(f"entropy {H[index]:g} at step {step[index]:g}: its forecast needs positive nats per token")
    bootstrap.check(level, draws)
    log_H = np.log(H)
    errors = _rehearsals(step, log_H, rng, level, draws)
    found = _power_law(step, log_H, at, rng, average, level, draws)
    freedom = _OWN_CLAIM + len(errors)
    scale = np.sqrt((_OWN_CLAIM + np.square(errors).sum()) / rng.chisquare(freedom, draws))
    middle = np.median(found)
    return np.exp(np.minimum(middle + scale * (found - middle), math.log(_EXPLOSION * H.max())))


def noise_ahead(
    X: NDArray, residual: NDArray, rho: float, average: int, rng: np.random.Generator, draws: int
) -> NDArray:
    """[draws] means of `average` future values of the noise behind the residuals [n] of a fit on X [n, p].

    A fit, and slow noise more so, leaves residuals smaller than the noise, by an amount that few points do not
    tell. So AR(1) noise is drawn, past and future, the past is fitted, and the future is given in units of
    the residuals that this left: for independent noise that is Student's t with n - p degrees of freedom.
    """
    X = X[:: -(-len(X) // _MOST_ROWS)]
    past, future = bootstrap.ar1(rng, rho, draws, len(X)), bootstrap.ar1(rng, rho, draws, average)
    Q = np.linalg.qr(X)[0]
    left = np.sqrt(np.mean((past - (past @ Q) @ Q.T) ** 2, 1))
    return math.sqrt(residual @ residual / len(residual)) * future.mean(1) / left


def rising(step: ArrayLike, H: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both as arrays; InputError where they are not finite, or steps do not rise from 0 or later."""
    step, H = np.asarray(step, float), np.asarray(H, float)
    if step.ndim != 1 or step.shape != H.shape:
        raise InputError(f"step and H have shapes {step.shape} and {H.shape}: give 1-D arrays, equally long")
    if not (np.isfinite(step).all() and np.isfinite(H).all()):
        raise InputError("step or H has values that are not finite: leave such points out")
    if (step < 0).any() or not (np.diff(step) > 0).all():
        raise InputError("steps must start at 0 or later and rise: sort the points by step, one for each step")
    return step, H


def enough(step: NDArray, at: float, what: str) -> None:
    """InputError for fewer than MIN_POINTS points, or for a step `at` that is not after them."""
    if len(step) < bootstrap.MIN_POINTS:
        least = bootstrap.MIN_POINTS
        raise InputError(f"{len(step)} {what}: a forecast needs at least {least}; wait longer or evaluate more often")
    if not at > step[-1]:
        raise InputError(f"step {at:g} is forecast from points up to step {step[-1]:g}: leave out all from there on")


def _rehearsals(step: NDArray, log_H: NDArray, rng: np.random.Generator, level: float, draws: int) -> list[float]:
    """Errors of forecasts of the record's end from its first half, of that half's end from its first half, ..."""
    errors, n = [], len(step)
    while n // 2 >= bootstrap.MIN_POINTS:
        last = slice(n - max(1, round(0.05 * n)), n)
        end, at = np.log(np.exp(log_H[last]).mean()), float(step[last].mean())
        half = slice(0, n // 2)
        found = _power_law(step[half], log_H[half], at, rng, last.stop - last.start, level, draws)
        low, middle, high = np.quantile(found, [0.16, 0.5, 0.84])  # one standard deviation each way
        spread = high - middle if end > middle else middle - low
        errors.append(float((end - middle) / spread) if spread > 0 else 0.0)  # no noise: nothing to scale
        n //= 2
    return errors


def _power_law(
    step: NDArray, log_H: NDArray, at: float, rng: np.random.Generator, average: int, level: float, draws: int
) -> NDArray:
    """[draws] of log H at `at` under log H = c - beta log(1 + step / tau) + noise."""
    n = len(step)
    phi = np.log1p(np.r_[step, at] / (step[-1] * _TAUS)[:, None])
    phi -= phi[:, :-1].mean(1, keepdims=True)
    phi /= np.linalg.norm(phi[:, :-1], axis=1, keepdims=True)  # so that the coefficients of all tau compare
    seen, ahead = phi[:, :-1], phi[:, -1]
    slope = seen @ log_H
    total = float(np.square(log_H - log_H.mean()).sum())
    squares = np.maximum(total - slope**2, 1e-12 * total + 1e-300)  # never 0: a record may have no noise
    prior = -0.5 * (np.log(_TAUS) / _TAU_SPREAD) ** 2
    best = np.argmax(prior - (n - 2) / 2 * np.log(squares))
    X = np.stack([np.ones(n), seen[best]], 1)
    moved = bootstrap.resample(X, log_H, np.eye(2), rng, level=level, draws=draws)

    free = max(n * (1 - moved.rho) / (1 + moved.rho) if moved.rho > 0 else n, 3.0) - 2
    posterior = prior - free / 2 * np.log(squares)
    posterior = np.exp(posterior - posterior.max())
    tau = rng.choice(len(_TAUS), draws, p=posterior / posterior.sum())
    residual = log_H - log_H.mean() - slope[best] * seen[best]
    noise = noise_ahead(X, residual, moved.rho, average, rng, draws)
    # the columns of neighbouring tau are nearly parallel: what noise does to one coefficient it does to the other
    return log_H.mean() - moved.moves[:, 0] + (slope[tau] - moved.moves[:, 1]) * ahead[tau] + noise
