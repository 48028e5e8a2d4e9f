"""Curves of reward R against policy entropy H (nats per token), all of the form R = b - a * phi(H).

Two coefficients and a fixed basis function: the fit is linear in (a, b), closed and without a starting guess.
With a > 0 reward rises as entropy is spent, and the value at H = 0 is the ceiling that the run is heading
for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True)
class Curve:
    """R = b - a * phi(H).

    Attributes:
      formula: as it is printed under figures.
      source: paper and equation.
      phi: basis function, elementwise, increasing on H >= 0 (nats). Where phi(0) is infinite there is no
        ceiling.
    """

    formula: str
    source: str
    phi: Callable[[ArrayLike], NDArray]

    def predict(self, H: ArrayLike, a: float, b: float) -> NDArray:
        """b - a * phi(H): same shape as H, units of R."""
        return b - a * self.phi(H)

    def ceiling(self, a: float, b: float) -> float:
        """b - a * phi(0), the reward left when no entropy is, in units of R."""
        return float(b - a * self.phi(0.0))


def _identity(H: ArrayLike) -> NDArray:
    return np.asarray(H, float)


CURVES: dict[str, Curve] = {
    "exp": Curve("R = -a exp(H) + b", "Cui et al. 2025, arXiv:2505.22617, Eq. 6", np.exp),
    # exp(H) = 1 + H + O(H^2): on the narrow ranges of most runs this is the rival to beat
    "linear": Curve("R = -a H + b", "first order of exp(H) at H = 0", _identity),
}
