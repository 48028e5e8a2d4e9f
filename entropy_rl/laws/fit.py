"""Closed-form weighted least squares for R = b - a * phi(H)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import Curve


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted curve.

    Attributes:
      a, b: coefficients, units of R.
      ceiling: b - a * phi(0), units of R.
      rmse: root of the weighted mean of squared residuals, units of R; divided by n, not n - 2.
      r2: 1 - (weighted residual squares) / (weighted squares of R around its mean); 0 where R is constant.
      n: number of points.
    """

    a: float
    b: float
    ceiling: float
    rmse: float
    r2: float
    n: int


def arrays(H: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None) -> tuple[NDArray, NDArray, NDArray]:
    """H, R and weights (1 where None) as float64 [n]; InputError where they cannot be fitted (see `fit`)."""
    H, R = np.asarray(H, float), np.asarray(R, float)
    w = np.ones_like(R) if weights is None else np.asarray(weights, float)
    if not H.ndim == R.ndim == w.ndim == 1 or not len(H) == len(R) == len(w):
        raise InputError(f"H, R, weights have shapes {H.shape}, {R.shape}, {w.shape}: give 1-D arrays, equally long")
    for name, x in (("H", H), ("R", R), ("weights", w)):
        if not np.isfinite(x).all():
            index = np.flatnonzero(~np.isfinite(x))[0]
            raise InputError(f"{name} is not finite at index {index}: leave such points out")
    if not (w > 0).all():
        raise InputError(f"weight {w.min():g} at index {w.argmin()}: leave that point out")
    return H, R, w


def basis(curve: Curve, H: NDArray) -> NDArray:
    """phi(H), [n]; InputError where it is not finite or does not vary: nothing can be fitted to that."""
    if len(H) < 2:
        raise InputError(f"{len(H)} point(s): a curve with two coefficients needs at least 2")
    seen = f"H from {H.min():g} to {H.max():g}"
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # said below, in words
        phi = np.asarray(curve.phi(H), float)
    if not np.isfinite(phi).all():
        raise InputError(f"{curve.formula} is not finite for {seen}: entropy is nats per token, 0 or more")
    if np.ptp(phi) <= 1e-6 * np.abs(phi).max():  # logs in float32 hold no more digits
        raise InputError(f"entropy is constant ({seen}, {len(H)} points): the law needs entropy that moves")
    return phi


def fit(curve: Curve, H: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None) -> Fit:
    """Minimises sum_i w_i (R_i - b + a * phi(H_i))^2 over (a, b).

    a = -cov_w(phi, R) / var_w(phi),  b = mean_w(R) + a * mean_w(phi): least squares with two coefficients, as
    Cui et al. 2025 (arXiv:2505.22617, Eq. 6) fit theirs.

    Args:
      curve: a row of `CURVES`.
      H: [n] entropy, nats per token.
      R: [n] reward or accuracy, in any unit.
      weights: [n], positive, proportional to 1 / variance of the noise; None weighs all alike.

    Raises:
      InputError: shapes that differ, values that are not finite, weights that are not positive, fewer than 2
        points, constant entropy.
    """
    H, R, w = arrays(H, R, weights)
    phi = basis(curve, H)
    if np.ptp(R) == 0:  # exactly, not up to the rounding of a mean
        return Fit(0.0, float(R[0]), float(R[0]), 0.0, 0.0, len(R))
    w = w / w.sum()
    phi_mean, R_mean = w @ phi, w @ R
    a = float(-(w * (phi - phi_mean)) @ (R - R_mean) / (w @ (phi - phi_mean) ** 2))
    b = float(R_mean + a * phi_mean)
    mse, variance = w @ (R - b + a * phi) ** 2, w @ (R - R_mean) ** 2
    r2 = float(1 - mse / variance) if variance > 0 else 0.0
    return Fit(a, b, curve.ceiling(a, b), float(np.sqrt(mse)), r2, len(R))
