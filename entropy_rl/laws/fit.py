"""Weighted least squares for R = b - a * phi(x; shape): a and b in closed form, the shape by search.

Variable projection (Golub & Pereyra 1973): for every shape the best a and b are known, so that the search has one or
two dimensions instead of three or four, and needs no guess for a and b.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import Curve

_STEPS = 100  # at most, in the search for a shape; ten do as a rule


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted curve.

    Attributes:
      a, b: coefficients, units of R.
      ceiling: b - a * phi at the end, units of R; inf where the curve has none.
      rmse: root of the weighted mean of squared residuals, units of R; divided by n, not n - 2.
      r2: 1 - (weighted residual squares) / (weighted squares of R around its mean); 0 where R is constant.
      n: number of points.
      shape: values of the curve's shape parameters, in its order.
    """

    a: float
    b: float
    ceiling: float
    rmse: float
    r2: float
    n: int
    shape: tuple[float, ...] = ()

    def predict(self, curve: Curve, x: ArrayLike) -> NDArray:
        """The fitted curve at x, units of R."""
        return curve.predict(x, self.a, self.b, *self.shape)


def arrays(x: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None) -> tuple[NDArray, NDArray, NDArray]:
    """x, R and weights (1 where None) as float64 [n]; InputError where they cannot be fitted (see `fit`)."""
    x, R = np.asarray(x, float), np.asarray(R, float)
    w = np.ones_like(R) if weights is None else np.asarray(weights, float)
    if not x.ndim == R.ndim == w.ndim == 1 or not len(x) == len(R) == len(w):
        raise InputError(f"H, R, weights have shapes {x.shape}, {R.shape}, {w.shape}: give 1-D arrays, equally long")
    for name, values in (("H", x), ("R", R), ("weights", w)):
        if not np.isfinite(values).all():
            index = np.flatnonzero(~np.isfinite(values))[0]
            raise InputError(f"{name} is not finite at index {index}: leave such points out")
    if not (w > 0).all():
        raise InputError(f"weight {w.min():g} at index {w.argmin()}: leave that point out")
    return x, R, w


def basis(curve: Curve, x: NDArray, *shape: float) -> NDArray:
    """phi(x), [n]; InputError where it is not finite or does not vary: nothing can be fitted to that."""
    if len(x) < curve.parameters:
        raise InputError(f"{len(x)} point(s): {curve.formula} has {curve.parameters} coefficients, and needs as many")
    name = {"H": "entropy", "step": "the step"}[curve.x]
    seen = f"{curve.x} from {x.min():g} to {x.max():g}"
    if np.ptp(x) <= 1e-6 * np.abs(x).max():  # logs in float32 hold no more digits
        raise InputError(f"{name} is constant ({seen}, {len(x)} points): the law needs {name} that moves")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # said below, in words
        phi = np.asarray(curve.phi(x, *(shape or (s.starts(x)[0] for s in curve.shape))), float)
    if not np.isfinite(phi).all():
        remedy = "entropy is nats per token, 0 or more" if curve.x == "H" else "it needs steps above 0"
        raise InputError(f"{curve.formula} is not finite for {seen}: {remedy}")
    return phi


def fit(
    curve: Curve, x: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None, *, nonnegative: bool = False
) -> Fit:
    """Minimises sum_i w_i (R_i - b + a * phi(x_i; shape))^2 over a, b and the shape.

    a = -cov_w(phi, R) / var_w(phi),  b = mean_w(R) + a * mean_w(phi): least squares with two coefficients, as
    Cui et al. 2025 (arXiv:2505.22617, Eq. 6) fit theirs. A shape is searched from the best places of a grid, within
    the bounds that the curve sets.

    Args:
      curve: a row of `CURVES`.
      x: [n] entropy, nats per token, or steps, as `curve.x` says.
      R: [n] reward or accuracy, in any unit.
      weights: [n], positive, proportional to 1 / variance of the noise, such as the number of attempts behind each
        score; None weighs all alike.
      nonnegative: a >= 0, that is, reward that does not fall as entropy is spent; where the data say otherwise a = 0.

    Raises:
      InputError: shapes that differ, values that are not finite, weights that are not positive, fewer points than
        coefficients, constant entropy.
    """
    x, R, w = arrays(x, R, weights)
    basis(curve, x)
    if np.ptp(R) == 0:  # exactly, not up to the rounding of a mean
        return Fit(0.0, float(R[0]), float(R[0]), 0.0, 0.0, len(R), tuple(s.starts(x)[0] for s in curve.shape))
    w = w / w.sum()
    shape = _search(curve, x, R, w, nonnegative) if curve.shape else ()
    a, b, residual = _project(basis(curve, x, *shape), R, w, nonnegative)
    mse, variance = w @ residual**2, w @ (R - w @ R) ** 2
    r2 = float(1 - mse / variance) if variance > 0 else 0.0
    return Fit(a, b, curve.ceiling(a, b), float(np.sqrt(mse)), r2, len(R), shape)


def jacobian(curve: Curve, x: NDArray, found: Fit) -> NDArray:
    """[n, parameters] derivatives of the fitted values with respect to a, b and the shape."""
    phi = basis(curve, x, *found.shape)
    columns = [-phi, np.ones_like(phi)]
    for i, value in enumerate(found.shape):
        h = 1e-5 * max(abs(value), 1e-2)  # central differences
        up, down = ([*found.shape[:i], value + s * h, *found.shape[i + 1 :]] for s in (1, -1))
        columns.append(-found.a * (curve.phi(x, *up) - curve.phi(x, *down)) / (2 * h))
    return np.stack(columns, 1)


def _project(phi: NDArray, R: NDArray, w: NDArray, nonnegative: bool) -> tuple[float, float, NDArray]:
    """The best a and b for a given phi, weights that sum to 1, and the residuals; a = 0 where phi is flat."""
    phi_mean, R_mean = w @ phi, w @ R
    square = w @ (phi - phi_mean) ** 2
    a = float(-(w * (phi - phi_mean)) @ (R - R_mean) / square) if square > 0 else 0.0
    if nonnegative:
        a = max(a, 0.0)
    b = float(R_mean + a * phi_mean)
    return a, b, R - b + a * phi


def _search(curve: Curve, x: NDArray, R: NDArray, w: NDArray, nonnegative: bool) -> tuple[float, ...]:
    """The shape with the least squares: a grid, then a descent from its three best places."""
    grids = [parameter.starts(x) for parameter in curve.shape]
    low, high = [grid[0] for grid in grids], [grid[-1] for grid in grids]

    def residual(shape: NDArray) -> NDArray:
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.sqrt(w) * _project(curve.phi(x, *shape), R, w, nonnegative)[2]
        return np.nan_to_num(found, nan=1e6, posinf=1e6, neginf=-1e6)

    starts = sorted(itertools.product(*grids), key=lambda shape: float(np.sum(residual(np.array(shape)) ** 2)))[:3]
    scale = [np.abs(grid).max() if grid[0] <= 0 else np.median(grid) for grid in grids]
    found = [descend(residual, start, low, high, scale) for start in starts]
    return tuple(float(value) for value in min(found, key=lambda f: f[0])[1])


def descend(
    residual: Callable[[NDArray], NDArray],
    start: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    scale: Sequence[float],
) -> tuple[float, NDArray]:
    """The least sum of squares near `start`, and where: Levenberg's and Marquardt's steps within a box.

    x += -(J'J + lambda diag(J'J))^-1 J'r, cut off at the box, with lambda a tenth after a step that helps and ten times
    after one that does not (Marquardt 1963); J by forward differences. A coordinate that its bound holds is left out.
    For one or two coordinates it finds what `scipy.optimize.least_squares` finds, whose import alone takes twice the
    time of a whole analysis.

    Args:
      residual: x [k] -> r [n].
      start, low, high: [k], low <= start <= high.
      scale: [k] size of each coordinate; differences are 1e-7 of it, and a step below 1e-9 of it is the last.
    """
    x, low, high, scale = (np.array(values, float) for values in (start, low, high, scale))
    r, damping = residual(x), 1e-3
    cost = float(r @ r)
    for _ in range(_STEPS):
        moves = np.where(x + 1e-7 * scale > high, -1e-7, 1e-7) * scale
        J = np.stack([(residual(x + move) - r) / move.sum() for move in np.diag(moves)], 1)
        slope, square = J.T @ r, J.T @ J
        free = np.flatnonzero(~((x <= low) & (slope > 0) | (x >= high) & (slope < 0)) & (np.diag(square) > 0))
        moved, gained = 0.0, 0.0
        while len(free) and damping < 1e9:
            A = square[np.ix_(free, free)]
            new = x.copy()
            new[free] -= np.linalg.solve(A + damping * np.diag(np.diag(A)), slope[free])
            new = np.clip(new, low, high)
            moved = float(np.abs((new - x) / scale).max())
            r_new = residual(new)
            cost_new = float(r_new @ r_new)
            if cost_new < cost or moved < 1e-9:
                break
            damping *= 10
        else:
            break
        if cost_new < cost:
            gained, x, r, cost = cost - cost_new, new, r_new, cost_new
            damping = max(damping / 10, 1e-12)
        if moved < 1e-9 or gained <= 1e-12 * cost:
            break
    return cost, x
