"""The final score from the first part of a run, with an interval for it as it will be measured.

Two kinds, never mixed:

- `given_entropy`: a and b of R = b - a exp(H) from the early part, the score at the entropy that the run *ended*
  with. This is what Cui et al. 2025 (arXiv:2505.22617, section 2) do; it forecasts the score only for somebody
  who knows the final entropy.
- `pure`: the entropy is forecast too, from its own record (`entropy_draws`), and nothing after the early part is
  used but the step at which the run will end.

Both intervals are for the final score as measured, the mean of the last few evaluations: error of the law, error of
the entropy where it is forecast, and noise of those evaluations, joined draw by draw. Both take the law for true.

Coverage of the 90 % intervals where law and entropy model are true: H = 0.3 (1 + 10 step / n)^-0.9, n = 400 steps,
3 % noise in log H, R = 1.8 - 1.2 exp(H) with noise of 0.02 on every fourth step, both AR(1); 200 runs (standard error
2 %), 300 draws:

                      given entropy           pure                  entropy in "pure"
    share, rho     0.0   0.5   0.8       0.0   0.5   0.8         0.0   0.5   0.8
     10 %           93    87    80        98    94    92          94    95    96
     20 %           94    91    88        92    94    95          96    96    94
     33 %           95    94    89        96    94    90          95    95    98

10 % are 10 evaluations here.

On real runs, where neither is quite true: 50 runs of 160 steps (GRPO and 16 other losses and controls, most at three
strengths; countdown; score: the training reward of every step, 0.35 rising to 0.65). Bias, RMSE, coverage, mean
width; "free": without the 9 runs made to hold entropy up (Clip-Cov, and the two stronger entropy_adaptive,
entropy_target and kl_reference):

    share    given entropy                  pure                            pure, free
      5 %    +0.201 0.227 100 % 0.84        +0.045 0.078 100 % 1.08         +0.045 0.080 100 %
     10 %    +0.132 0.148  62 % 0.30        +0.138 0.157 100 % 0.46         +0.137 0.154 100 %
     15 %    +0.065 0.082  60 % 0.14        +0.095 0.108  88 % 0.32         +0.094 0.103  95 %
     20 %    +0.020 0.042  86 % 0.14        +0.037 0.049  94 % 0.20         +0.040 0.047  98 %
     33 %    +0.006 0.028  88 % 0.09        +0.017 0.032  94 % 0.13         +0.017 0.032  93 %

These runs had the same problems at the same steps, and residuals of two of them correlate with 0.76: as to noise in
the reward the table is hardly more than one run, and each coverage close to one throw. With 8 or 16 steps the
intervals of "pure" are too wide to say much. Those of "given entropy" held too little at 10 and 15 %: noise that all
runs share, or a law that bends, which an interval given the law cannot know.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.decay import enough, entropy_draws, noise_ahead, rising
from entropy_rl.laws.fit import arrays, basis, fit

EXP = CURVES["exp"]  # the law that forecasts go by


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The score at step `at`, from points up to step `until`.

    Attributes:
      kind: "given entropy" or "pure".
      share: until / at. points: evaluations used.
      entropy: H at `at`, nats per token: as given, or the median forecast. entropy_interval: None where given.
      score: b - a exp(entropy), units of R. interval: holds the score as measured with probability `level`.
      a, b: the law on the early part, units of R.
      extrapolates: entropy lies outside the entropies of the evaluations used.
    """

    kind: str
    share: float
    points: int
    until: float
    at: float
    entropy: float
    entropy_interval: tuple[float, float] | None
    score: float
    interval: tuple[float, float]
    level: float
    a: float
    b: float
    extrapolates: bool


@dataclasses.dataclass(frozen=True)
class _Law:
    """The law on the early part, and [draws] of what is not known about it.

    Attributes:
      middle: an entropy. score, slope: errors of the fitted score there, and of a; calibrated each on its own.
      noise: what the measurement adds to the final score.
    """

    a: float
    b: float
    middle: float
    score: NDArray
    slope: NDArray
    noise: NDArray

    def predict(self, H: ArrayLike) -> NDArray:
        return EXP.predict(H, self.a, self.b)

    def draws(self, H: ArrayLike) -> NDArray:
        """[draws] scores as measured at entropy H, a number or one for each draw."""
        distance = EXP.phi(H) - EXP.phi(self.middle)
        return self.predict(H) - self.score + self.slope * distance + self.noise


def given_entropy(
    step: ArrayLike,
    H: ArrayLike,
    R: ArrayLike,
    entropy_end: float,
    at: float,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    average: int = 1,
    level: float = 0.9,
    draws: int = 1000,
) -> Forecast:
    """The score where the run ended at `entropy_end`, from its early part; see `pure` for the arguments.

    The interval adds, draw by draw, the calibrated block bootstrap of the fit (`bootstrap.resample`) and the noise
    of the final score. It takes the law for true, and `entropy_end` for exact.

    Raises:
      InputError: as `pure`, and a final entropy that is not a number of nats.
    """
    step, H, R, w = _early(step, H, R, weights, at, average)
    if not (np.isfinite(entropy_end) and entropy_end >= 0):
        raise InputError(f"final entropy {entropy_end:g}: give nats per token, 0 or more")
    law = _law(H, R, w, entropy_end, rng, average, level, draws)
    return _forecast("given entropy", step, H, law, entropy_end, law.draws(entropy_end), at, level)


def pure(
    step: ArrayLike,
    H: ArrayLike,
    R: ArrayLike,
    entropy_step: ArrayLike,
    entropy_H: ArrayLike,
    at: float,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    average: int = 1,
    level: float = 0.9,
    draws: int = 1000,
) -> Forecast:
    """The score at step `at` from the early part alone, its entropy from `entropy_draws`.

    The interval joins, draw by draw, an entropy, a and b, and the noise of the final score. The errors of the law
    and of the entropy are drawn apart, as if the noise of reward and that of entropy had nothing to do with each other.

    Args:
      step, H, R: [n] the evaluations of the early part, steps rising from the start of training.
      entropy_step, entropy_H: [m] the entropy record of the early part: every step, where evaluations are sparse.
      at: the step forecast, later than all of these.
      rng: source of all randomness; equal generators give equal forecasts.
      weights: [n] as in `fit`. The final score is taken to weigh as these do on average.
      average: the final score is the mean of so many evaluations (and the final entropy of so many steps); their
        noise is autocorrelated as that of the early part is, and independent of it.
      level, draws: as in `bootstrap.resample`.

    Raises:
      InputError: what `fit` refuses, fewer than MIN_POINTS evaluations or steps of the record, steps that do not
        rise, `at` within the early part, entropy that is not positive.
    """
    step, H, R, w = _early(step, H, R, weights, at, average)
    entropies = entropy_draws(entropy_step, entropy_H, at, rng, average=average, draws=draws, level=level)
    end = float(np.median(entropies))
    law = _law(H, R, w, end, rng, average, level, draws)
    found = _forecast("pure", step, H, law, end, law.draws(entropies), at, level)
    until = max(found.until, float(np.asarray(entropy_step)[-1]))
    interval = _interval(entropies, level)
    return dataclasses.replace(found, until=until, share=until / found.at, entropy_interval=interval)


def _forecast(
    kind: str, step: NDArray, H: NDArray, law: _Law, entropy: float, scores: NDArray, at: float, level: float
) -> Forecast:
    """Puts together what is known of the score at `at`, of which `scores` are draws."""
    until = float(step[-1])
    return Forecast(
        kind,
        share=until / float(at),
        points=len(step),
        until=until,
        at=float(at),
        entropy=float(entropy),
        entropy_interval=None,
        score=float(law.predict(entropy)),
        interval=_interval(scores, level),
        level=level,
        a=law.a,
        b=law.b,
        extrapolates=bool(not H.min() <= entropy <= H.max()),
    )


def _interval(values: NDArray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def _law(
    H: NDArray, R: NDArray, w: NDArray, end: float, rng: np.random.Generator, average: int, level: float, draws: int
) -> _Law:
    """Fits the early part; the bootstrap is calibrated for the score at entropy `end`, and for a."""
    found = fit(EXP, H, R, w)
    *phi, phi_end = basis(EXP, np.r_[H, end])
    root = np.sqrt(w / w.mean())
    X = np.stack([-np.array(phi), np.ones_like(H)], 1) * root[:, None]
    moved = bootstrap.resample(X, R * root, [[-phi_end, 1.0], [1.0, 0.0]], rng, level=level, draws=draws)
    residual = (R - found.predict(EXP, H)) * root
    noise = noise_ahead(X, residual, moved.rho, average, rng, draws)
    return _Law(found.a, found.b, end, *moved.moves.T, noise)


def _early(
    step: ArrayLike, H: ArrayLike, R: ArrayLike, weights: ArrayLike | None, at: float, average: int
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """`checked` evaluations of the early part, enough of them for a forecast of `at`."""
    step, H, R, w = checked(step, H, R, weights)
    enough(step, at, "evaluations")
    if average < 1:
        raise InputError(f"average {average}: the final score is the mean of 1 evaluation or more")
    return step, H, R, w


def checked(
    step: ArrayLike, H: ArrayLike, R: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """step, H, R and weights of a run as arrays; InputError as `fit`, and for steps that do not rise."""
    H, R, w = arrays(H, R, weights)
    return *rising(step, H), R, w
