"""Which curve, if any: error on later points, can exp and linear be told apart, and the whole analysis."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap
from entropy_rl.laws.curves import CURVES, Curve
from entropy_rl.laws.fit import arrays, basis, fit


@dataclasses.dataclass(frozen=True)
class Identifiability:
    """Can `exp` and `linear` be told apart on the entropies seen?

    Attributes:
      max_difference: largest |difference| of the two fits over [min H, max H], units of R.
      noise: rmse of the exp fit, units of R: what the difference has to be seen through.
      separation: bootstrap standard errors between what the data would show under one curve and under the
        other; below about 2 the choice is open. None where there is no noise at all.
      ceiling_difference: ceiling of linear minus ceiling of exp, units of R: what an open choice costs.
      exp_rejected: a term of linear, added to exp, differs from 0 at `level`. linear_rejected: the reverse.
      verdict: one sentence.
    """

    max_difference: float
    noise: float
    separation: float | None
    ceiling_difference: float
    exp_rejected: bool
    linear_rejected: bool
    level: float
    verdict: str


def heldout_rmse(
    curve: Curve, H: ArrayLike, R: ArrayLike, part: float = 0.3, *, weights: ArrayLike | None = None
) -> float:
    """Fits the first 1 - part of the points, in time order, and returns the RMSE on the rest, in units of R.

    Neighbours resemble each other, so points left out at random would flatter every curve: the later part is
    left out, which is also what a forecast needs. H of the later points is taken as known.

    Raises:
      InputError: what `fit` refuses, and a part that leaves fewer than 2 points to fit or none to test.
    """
    H, R, w = arrays(H, R, weights)
    cut = round(len(R) * (1 - part))
    if not 2 <= cut < len(R):
        raise InputError(f"holding out {part:g} of {len(R)} points leaves {cut} to fit: give part in (0, 1)")
    try:
        first = fit(curve, H[:cut], R[:cut], w[:cut])
    except InputError as error:
        raise InputError(f"held-out error, first {cut} of {len(R)} points: {error}") from None
    squares = (R[cut:] - curve.predict(H[cut:], first.a, first.b)) ** 2
    return float(np.sqrt(np.average(squares, weights=w[cut:])))


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
    low, high, _, _ = bootstrap.linear(X, R * root, np.eye(3)[:2], rng, level=level, draws=draws)
    linear_rejected, exp_rejected = ((low > 0) | (high < 0)).tolist()
    # a curve through every point stands: without noise the other coefficient is rounding
    exp_rejected &= fits["exp"].rmse > 1e-9 * np.abs(R).max()
    linear_rejected &= fits["linear"].rmse > 1e-9 * np.abs(R).max()
    standard_error = float(high[0] - low[0]) / 2 / ndtri((1 + level) / 2)
    separation = float(abs(fits["exp"].a) / standard_error) if standard_error > 0 else None

    seen = f"H {H.min():.3g} to {H.max():.3g} nats"
    ceilings = f"their ceilings are {fits['exp'].ceiling:.3g} and {fits['linear'].ceiling:.3g}"
    if exp_rejected and linear_rejected:
        verdict = f"exp and linear are both rejected at {level:.0%} on {seen}: ceilings from them are guesses"
    elif linear_rejected:
        verdict = f"exp fits on {seen} and linear is rejected at {level:.0%}; {ceilings}"
    elif exp_rejected:
        verdict = f"linear fits on {seen} and exp is rejected at {level:.0%}; {ceilings}"
    else:
        distance = "no noise" if separation is None else f"separation {separation:.2g} standard errors"
        verdict = (
            f"exp and linear cannot be told apart on {seen}: the fits differ by at most {max_difference:.2g} "
            f"where points scatter by {fits['exp'].rmse:.2g} ({distance}); {ceilings}"
        )
    return Identifiability(
        max_difference,
        fits["exp"].rmse,
        separation,
        ceiling_difference,
        bool(exp_rejected),
        bool(linear_rejected),
        level,
        verdict,
    )


def analyse(
    step: ArrayLike,
    H: ArrayLike,
    R: ArrayLike,
    *,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
    weights: ArrayLike | None = None,
) -> dict[str, Any]:
    """Everything that law.json says about one run, as plain Python numbers; a function of its arguments only.

    Args:
      step: [n]; only its order is used.
      H: [n] entropy, nats per token.
      R: [n] reward.
      level, draws, seed: of the bootstrap intervals (a curve is rejected at 95 % whatever the level).
      weights: [n] as in `fit`.

    Returns:
      n; H {min, max};
      curves {name: {a, b, ceiling, rmse, r2, heldout_rmse}} for every row of `CURVES`; ceiling: that of exp;
      interval {level, a, b, ceiling, rho, block}: of exp, pairs [low, high], as if exp were the true form;
      identifiability: the fields of `Identifiability`; verdict: a sentence.

    Raises:
      InputError: as `bootstrap.intervals` and `heldout_rmse`; a step for some point missing or not finite.
    """
    H, R, w = arrays(H, R, weights)
    step = np.asarray(step, float)
    if step.shape != R.shape or not np.isfinite(step).all():
        raise InputError(f"step has shape {step.shape}, R {R.shape}: give one finite step for each point")
    order = np.argsort(step, kind="stable")
    H, R, w = H[order], R[order], w[order]
    rng = np.random.default_rng(seed)
    curves = {}
    for name, curve in CURVES.items():
        f = fit(curve, H, R, w)
        curves[name] = {key: getattr(f, key) for key in ("a", "b", "ceiling", "rmse", "r2")}
        curves[name]["heldout_rmse"] = heldout_rmse(curve, H, R, weights=w)
    interval = bootstrap.intervals(CURVES["exp"], H, R, rng, weights=w, level=level, draws=draws)
    rivals = identifiability(H, R, rng, weights=w, draws=draws)
    a, (low, high) = curves["exp"]["a"], interval.a
    if a <= 0:
        verdict = f"reward does not fall with entropy (a = {a:.3g} <= 0): no law is forced on this run"
    elif low <= 0:
        verdict = (
            f"a fall of reward with entropy is not established: the {level:.0%} interval of a, {low:.3g} to "
            f"{high:.3g}, holds 0; no law is forced on this run"
        )
    else:
        verdict = rivals.verdict
    pairs = {key: list(value) for key, value in vars(interval).items() if isinstance(value, tuple)}
    return {
        "n": len(R),
        "H": {"min": float(H.min()), "max": float(H.max())},
        "curves": curves,
        "ceiling": curves["exp"]["ceiling"],
        "interval": {"level": level, **pairs, "rho": interval.rho, "block": interval.block},
        "identifiability": dataclasses.asdict(rivals),
        "verdict": verdict,
    }
