"""How a law's coefficients grow with model size: c = intercept + slope * ln N over a family of models.

Cui et al. 2025 (arXiv:2505.22617, Sec. 2.4, Fig. 7) find a and b of R = -a exp(H) + b log-linear in the number N of
non-embedding parameters, and extrapolate larger models from smaller ones; they print no numbers.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from entropy_rl.errors import InputError


def _student(freedom: int, level: float) -> float:
    """Half the width, in standard errors, of an interval by Student's t."""
    from scipy.special import stdtrit  # no other part of a fit needs scipy, whose import takes longer than the fit

    return float(stdtrit(freedom, (1 + level) / 2))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A coefficient against ln N.

    Attributes:
      slope: change for N e times as large, with `slope_interval` at `level`. intercept: at N = 1.
      r2: share of the variance over models that the line explains.
      n: number of models.
      left_out: error (fitted less predicted) of the largest model, from the others alone; None for 3 models.
    """

    slope: float
    intercept: float
    slope_interval: tuple[float, float]
    level: float
    r2: float
    n: int
    left_out: float | None
    _mean: float
    _square: float
    _sigma: float

    def predict(self, N: float) -> tuple[float, float, float]:
        """Value, low and high for a new model of N parameters: an interval for its coefficient, not for the line."""
        x = math.log(N)
        width = self._sigma * math.sqrt(1 + 1 / self.n + (x - self._mean) ** 2 / self._square)
        width *= _student(self.n - 2, self.level)
        value = self.intercept + self.slope * x
        return value, value - width, value + width


def scaling(N: ArrayLike, values: ArrayLike, *, level: float = 0.9) -> Scaling:
    """Least squares of `values` [m] on ln N [m], with Student's t of m - 2 degrees of freedom.

    All models weigh alike: what scatters coefficients about the line is mostly that models differ in more than
    their size, and hardly the error of each fit.

    Raises:
      InputError: fewer than 3 models, sizes that are not positive or all the same, values that are not finite.
    """
    N, values = np.asarray(N, float), np.asarray(values, float)
    if N.shape != values.shape or N.ndim != 1 or len(N) < 3:
        raise InputError(
            f"sizes and values of shapes {N.shape} and {values.shape}: give at least 3 models, one of each"
        )
    if not (N > 0).all() or not np.isfinite(values).all() or np.ptp(N) == 0:
        raise InputError("sizes must be positive numbers of parameters, not all the same, and values finite")
    if not 0 < level < 1:
        raise InputError(f"level {level:g}: give a share between 0 and 1, such as 0.9")
    x = np.log(N)
    slope, intercept = np.polyfit(x, values, 1)
    residual = values - intercept - slope * x
    square = float(np.sum((x - x.mean()) ** 2))
    sigma = math.sqrt(float(residual @ residual) / (len(x) - 2))
    half = _student(len(x) - 2, level) * sigma / math.sqrt(square)
    total = float(np.sum((values - values.mean()) ** 2))
    left_out = None
    if len(x) > 3:
        rest = np.arange(len(x)) != x.argmax()
        left_out = float(values[~rest][0] - np.polyval(np.polyfit(x[rest], values[rest], 1), x.max()))
    return Scaling(
        float(slope),
        float(intercept),
        (float(slope - half), float(slope + half)),
        level,
        1 - float(residual @ residual) / total if total else 0.0,
        len(x),
        left_out,
        float(x.mean()),
        square,
        sigma,
    )
