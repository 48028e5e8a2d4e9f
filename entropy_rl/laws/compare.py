"""Which curve, if any: errors on points that were not fitted, information criteria, exp against linear."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap
from entropy_rl.laws.curves import CURVES, Curve
from entropy_rl.laws.fit import Fit, arrays, basis, fit

Run = tuple[ArrayLike, ArrayLike, ArrayLike | None]  # x, R, weights of a run

# No policy has more entropy than ln(vocabulary): about 12 nats for the largest.
_H_MOST = 12.0


@dataclasses.dataclass(frozen=True)
class Identifiability:
    """Can `exp` and `linear` be told apart on the entropies seen?

    Attributes:
      max_difference: largest |difference| of the two fits over [min H, max H], units of R.
      noise: rmse of the exp fit, units of R: what the difference has to be seen through.
      separation: bootstrap standard errors between what the data would show under one curve and under the
        other; below about 2 the choice is open. None where there is no noise at all.
      ceiling_difference: ceiling of linear minus ceiling of exp, units of R: what an open choice costs.
      H_needed: entropy (nats) from which a run with as many points, the same noise and the same end would have to
        start for exp, if it is true, to show with a probability of 90 %; None where there is no such start below
        12 nats, or no noise.
      exp_rejected: a term of linear, added to exp, differs from 0 at `level`. linear_rejected: the reverse.
      verdict: one sentence.
    """

    max_difference: float
    noise: float
    separation: float | None
    ceiling_difference: float
    H_needed: float | None
    exp_rejected: bool
    linear_rejected: bool
    level: float
    verdict: str


def heldout_rmse(
    curve: Curve, x: ArrayLike, R: ArrayLike, part: float = 0.3, *, weights: ArrayLike | None = None
) -> float:
    """Fits the first 1 - part of the points, in time order, and returns the RMSE on the rest, in units of R.

    Neighbours resemble each other, so points left out at random would flatter every curve: the later part is
    left out, which is also what a forecast needs. H of the later points is taken as known.

    Raises:
      InputError: what `fit` refuses, and a part that leaves too few points to fit or none to test.
    """
    x, R, w = arrays(x, R, weights)
    cut = round(len(R) * (1 - part))
    if not curve.parameters <= cut < len(R):
        raise InputError(f"holding out {part:g} of {len(R)} points leaves {cut} to fit: give part in (0, 1)")
    early = np.arange(len(R)) < cut
    try:
        return _rmse(curve, x, R, w, [(early, ~early)])
    except InputError as error:
        raise InputError(f"held-out error, first {cut} of {len(R)} points: {error}") from None


def blocked_rmse(
    curve: Curve, x: ArrayLike, R: ArrayLike, *, folds: int = 10, gap: int = 0, weights: ArrayLike | None = None
) -> float:
    """Each stretch of time but the first and the last is left out once and predicted from the rest; RMSE, units of R.

    The two ends stay in, since most of the entropy goes in the first stretch, and its error would drown all others:
    this is how well a curve bridges, and `heldout_rmse` how well it goes on.

    Args:
      folds: number of stretches; of short runs half as many as there are points.
      gap: points on either side of the stretch that are not fitted either, as autocorrelated noise would tell them.

    Raises:
      InputError: what `fit` refuses, fewer than 3 folds, a gap that leaves too few points.
    """
    x, R, w = arrays(x, R, weights)
    folds = min(folds, len(R) // 2)
    if folds < 3:
        raise InputError(f"{folds} folds of {len(R)} points: give at least 3, and twice as many points")
    place = np.arange(len(R))
    inner = np.array_split(place, folds)[1:-1]
    return _rmse(curve, x, R, w, [((place < out[0] - gap) | (place > out[-1] + gap), out) for out in inner])


def leave_one_run_out(curve: Curve, runs: Sequence[Run]) -> list[float]:
    """RMSE on each run of the curve fitted to all others, units of R.

    Raises:
      InputError: what `fit` refuses, fewer than 2 runs.
    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run(s): leaving one out needs at least 2")
    parts = [arrays(*run) for run in runs]
    x, R, w = (np.concatenate(column) for column in zip(*parts))
    of = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return [_rmse(curve, x, R, w, [(of != r, of == r)]) for r in range(len(parts))]


def _rmse(curve: Curve, x: NDArray, R: NDArray, w: NDArray, parts: Sequence[tuple[NDArray, NDArray]]) -> float:
    """RMSE on points that were not fitted: `parts` are (places that are fitted, places that are tested by that)."""
    squares = [(R[out] - fit(curve, x[of], R[of], w[of]).predict(curve, x[out])) ** 2 for of, out in parts]
    weights = np.concatenate([w[out] for _, out in parts])
    return float(np.sqrt(np.average(np.concatenate(squares), weights=weights)))


def effective_size(n: int, rho: float) -> float:
    """n (1 - rho) / (1 + rho): how many independent points say as much about a mean as n of an AR(1) series."""
    rho = max(rho, 0.0)
    return n * (1 - rho) / (1 + rho)


def criteria(found: Fit, curve: Curve, size: float) -> tuple[float, float] | None:
    """AIC = m ln(rmse^2) + 2 k and BIC = m ln(rmse^2) + k ln(m) with m = `effective_size`, k counting the variance.

    With the number of points in place of m, autocorrelated residuals are counted as evidence many times over
    (Akaike 1974, Schwarz 1978, for independent ones). None for a curve without residuals.
    """
    if found.rmse <= 1e-12 * (abs(found.a) + abs(found.b)):
        return None
    fitted, k = size * math.log(found.rmse**2), curve.parameters + 1
    return fitted + 2 * k, fitted + k * math.log(max(size, 1.0))


def identifiability(
    H: ArrayLike,
    R: ArrayLike,
    rng: np.random.Generator,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 1000,
) -> Identifiability:
    """Encompassing test of exp against linear; points in time order.

    In R = b - a_e exp(H) - a_l H + noise, exp says a_l = 0 and linear says a_e = 0. Each coefficient gets a
    block bootstrap interval; a curve is rejected where the coefficient that it says is 0 is not. (Non-nested
    hypotheses by artificial nesting: Davidson & MacKinnon 1981.) On a narrow range both intervals hold 0: the
    data cannot decide.

    Raises:
      InputError: as `bootstrap.intervals`.
    """
    H, R, w = arrays(H, R, weights)
    exp, linear = CURVES["exp"], CURVES["linear"]
    fits = {"exp": fit(exp, H, R, w), "linear": fit(linear, H, R, w)}
    grid = np.linspace(H.min(), H.max(), 201)
    curves = [curve.predict(grid, f.a, f.b) for curve, f in zip((exp, linear), fits.values())]
    max_difference = float(np.abs(curves[1] - curves[0]).max())
    ceiling_difference = fits["linear"].ceiling - fits["exp"].ceiling

    root = np.sqrt(w / w.mean())
    # centred columns span the same space with the constant and keep exp(H) and H apart to the last digits
    columns = [-(phi - phi.mean()) for phi in (basis(exp, H), basis(linear, H))]
    X = np.stack([*columns, np.ones_like(R)], 1) * root[:, None]
    low, high = bootstrap.resample(X, R * root, np.eye(3)[:2], rng, level=level, draws=draws).interval()
    linear_rejected, exp_rejected = ((low > 0) | (high < 0)).tolist()
    # a curve through every point stands: without noise the other coefficient is rounding
    exp_rejected &= fits["exp"].rmse > 1e-9 * np.abs(R).max()
    linear_rejected &= fits["linear"].rmse > 1e-9 * np.abs(R).max()
    standard_error = float(high[0] - low[0]) / 2 / NormalDist().inv_cdf((1 + level) / 2)
    separation = float(abs(fits["exp"].a) / standard_error) if standard_error > 0 else None
    needed = _needed(H, root, separation, level) if separation else None

    seen = f"H {H.min():.3g} to {H.max():.3g} nats"
    ceilings = f"their ceilings are {fits['exp'].ceiling:.3g} and {fits['linear'].ceiling:.3g}"
    if exp_rejected and linear_rejected:
        verdict = f"exp and linear are both rejected at {level:.0%} on {seen}: ceilings from them are guesses"
    elif linear_rejected:
        verdict = f"exp fits on {seen} and linear is rejected at {level:.0%}; {ceilings}"
    elif exp_rejected:
        verdict = f"linear fits on {seen} and exp is rejected at {level:.0%}; {ceilings}"
    else:
        told = f"separation {separation:.2g} standard errors" if separation is not None else "no noise"
        more = f"; a start at {needed:.2g} nats would tell" if needed and needed > H.max() else ""
        verdict = (
            f"exp and linear cannot be told apart on {seen}: the fits differ by at most {max_difference:.2g} where "
            f"points scatter by {fits['exp'].rmse:.2g} ({told}); {ceilings}{more}"
        )
    return Identifiability(
        max_difference,
        fits["exp"].rmse,
        separation,
        ceiling_difference,
        needed,
        bool(exp_rejected),
        bool(linear_rejected),
        level,
        verdict,
    )


def _needed(H: NDArray, root: NDArray, separation: float, level: float) -> float | None:
    """The start from which exp would show: points stretched away from min H, number, noise and a as they are.

    The standard error of a_e goes as 1 / |part of exp(H) that no line follows|, so the separation at a stretch s
    follows from the one that was measured. A test at `level` sees what lies ppf((1 + level) / 2) + ppf(0.9) standard
    errors away with a probability of 90 %, ppf being the normal distribution's.
    """

    def bend(stretch: float) -> float:
        X = np.stack([H.min() + stretch * (H - H.min()), np.ones_like(H)], 1)
        phi = np.exp(X[:, 0] - H.min()) * root
        X = X * root[:, None]
        return float(np.linalg.norm(phi - X @ np.linalg.lstsq(X, phi)[0]))

    ppf = NormalDist().inv_cdf
    wanted = (ppf((1 + level) / 2) + ppf(0.9)) / separation * bend(1.0)
    most = (_H_MOST - H.min()) / np.ptp(H)
    if most <= 1 or bend(most) < wanted:
        return None
    least = 1e-2
    if bend(least) > wanted:
        return float(H.min() + least * np.ptp(H))
    while most - least > 1e-3:  # bend grows with the stretch
        middle = (least + most) / 2
        least, most = (least, middle) if bend(middle) > wanted else (middle, most)
    return float(H.min() + (least + most) / 2 * np.ptp(H))
