"""Curves of reward R against policy entropy H (nats per token) or against the step: R = b - a * phi(x; shape).

Whatever the curve, a and b enter linearly, and so their best values are in closed form; only the parameters of
its shape, where it has any, are searched for (`laws.fit`). phi rises with entropy and falls with the step, so that
with a > 0 reward rises as entropy is spent, and as training goes on. The ceiling is what is left at the end of that:
the value at H = 0, or after infinitely many steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True)
class Shape:
    """A parameter that does not enter linearly.

    Attributes:
      name: as in the formula.
      starts: x -> values to start the search from, the first and the last of them its bounds; rising.
    """

    name: str
    starts: Callable[[NDArray], NDArray]


@dataclasses.dataclass(frozen=True)
class Curve:
    """R = b - a * phi(x; shape).

    Attributes:
      formula: as it is printed under figures.
      source: paper and equation.
      phi: (x, *shape) -> basis function, elementwise.
      x: "H" (nats per token) or "step" (or any measure of effort that starts at 0, such as FLOPs).
      at_zero: phi is finite at x = 0.
      end: phi where the ceiling is, at H = 0 or at infinitely many steps; -inf: there is no ceiling.
      shape: its parameters, in the order in which phi takes them.
    """

    formula: str
    source: str
    phi: Callable[..., NDArray]
    x: str = "H"
    at_zero: bool = True
    end: float = 0.0
    shape: tuple[Shape, ...] = ()

    def predict(self, x: ArrayLike, a: float, b: float, *shape: float) -> NDArray:
        """b - a * phi(x): same shape as x, units of R."""
        return b - a * self.phi(x, *shape)

    def ceiling(self, a: float, b: float) -> float:
        """b - a * phi at the end, units of R; infinite where phi is, and b where a = 0."""
        return float(b - a * self.end) if a else float(b)

    @property
    def parameters(self) -> int:
        """How many numbers are fitted."""
        return 2 + len(self.shape)


def _identity(H: ArrayLike) -> NDArray:
    return np.asarray(H, float)


def _exp_rate(H: ArrayLike, c: float) -> NDArray:
    H = np.asarray(H, float)
    return H if abs(c) < 1e-8 else np.expm1(c * H) / c


def _sigmoid(step: ArrayLike, mid: float, slope: float) -> NDArray:
    return 1 / (1 + (np.asarray(step, float) / mid) ** slope)


def _power(step: ArrayLike, rate: float) -> NDArray:
    return np.asarray(step, float) ** -rate


def _rates(H: NDArray) -> NDArray:
    # beyond 12 e-folds over the range seen all that is left to bend is the last point
    return np.array([-12, -6, -3, -1.5, -0.5, 0, 0.5, 1.5, 3, 6, 12]) / np.ptp(H)


def _middles(step: NDArray) -> NDArray:
    positive = step[step > 0]
    return np.geomspace(positive.min() / 10, positive.max() * 100, 13)


CURVES: dict[str, Curve] = {
    "exp": Curve("R = -a exp(H) + b", "Cui et al. 2025, arXiv:2505.22617, Eq. 6", np.exp, end=1.0),
    # exp(H) = 1 + H + O(H^2): on the narrow ranges of most runs this is the rival to beat
    "linear": Curve("R = -a H + b", "first order of exp(H) at H = 0", _identity),
    "sqrt": Curve("R = -a sqrt(H) + b", "two-parameter rival: bends the other way", np.sqrt),
    "log": Curve(
        "R = -a ln(H) + b", "two-parameter rival: reward without a ceiling", np.log, at_zero=False, end=-math.inf
    ),
    "quadratic": Curve("R = -a H^2 + b", "two-parameter rival: flat before entropy is spent", np.square),
    "exp_rate": Curve(
        "R = -a (exp(c H) - 1) / c + b",
        "holds linear (c = 0) and the law (c = 1): c says how strongly reward bends",
        _exp_rate,
        shape=(Shape("c", _rates),),
    ),
    "sigmoid": Curve(
        "R = b - a / (1 + (step / mid)^slope)",
        "Khatri et al. 2025 (ScaleRL), arXiv:2510.13786, Eq. 1: b their A, a their A - R_0, mid their C_mid",
        _sigmoid,
        x="step",
        shape=(Shape("mid", _middles), Shape("slope", lambda step: np.array([0.2, 0.5, 1.0, 2.0, 4.0, 8.0]))),
    ),
    "power": Curve(
        "R = b - a step^-rate",
        "Khatri et al. 2025 (ScaleRL), arXiv:2510.13786, the power law that they compare with",
        _power,
        x="step",
        at_zero=False,
        shape=(Shape("rate", lambda step: np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0])),),
    ),
}
