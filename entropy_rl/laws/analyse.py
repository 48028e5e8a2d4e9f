"""All that law.json says about a run, as plain numbers and sentences; `together` does so for several on one curve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap, compare, diagnose
from entropy_rl.laws.bootstrap import Intervals
from entropy_rl.laws.curves import CURVES, Curve
from entropy_rl.laws.fit import Fit, arrays, fit

MARKS = (1 / 12, 1 / 3)  # of a run: Cui et al. 2025 (arXiv:2505.22617, Sec. 2.3) say what is spent and had by then
MOST_POINTS = 2000  # of a run; more are averaged in groups, as nothing fitted here has so fine a grain
GRID = 41  # places of a band
BANDED = ("exp", "linear")  # curves that get one

# A fit, its intervals, the places of its band, and its errors on points that were not fitted.
Fitted = tuple[Fit, Intervals, ArrayLike, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Series:
    """A run in time order, [n] each: step, entropy (nats per token), score, weight, and effort (step or compute)."""

    step: NDArray
    H: NDArray
    R: NDArray
    w: NDArray
    effort: NDArray

    def of(self, curve: Curve) -> tuple[NDArray, NDArray, NDArray]:
        """x, R, weights for a curve; one in steps that has no value at 0 does without the points there."""
        if curve.x == "H":
            return self.H, self.R, self.w
        keep = self.effort >= 0 if curve.at_zero else self.effort > 0
        return self.effort[keep], self.R[keep], self.w[keep]


def series(
    step: ArrayLike, H: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None, effort: ArrayLike | None = None
) -> Series:
    """Sorts by step, and averages neighbours where there are more than MOST_POINTS.

    Raises:
      InputError: as `fit`; a step or effort that is missing for some point or not finite.
    """
    H, R, w = arrays(H, R, weights)
    step = np.asarray(step, float)
    effort = step if effort is None else np.asarray(effort, float)
    for name, values in (("step", step), ("effort", effort)):
        if values.shape != R.shape or not np.isfinite(values).all():
            raise InputError(f"{name} has shape {values.shape}, R {R.shape}: give one finite {name} for each point")
    order = np.argsort(step, kind="stable")
    columns = [column[order] for column in (step, H, R, effort)]
    w, size = w[order], -(-len(R) // MOST_POINTS)
    if size > 1:
        places = np.arange(0, len(R), size)
        total = np.add.reduceat(w, places)
        columns = [np.add.reduceat(w * column, places) / total for column in columns]
        w = total
    step, H, R, effort = columns
    return Series(step, H, R, w, effort)


def analyse(
    step: ArrayLike,
    H: ArrayLike,
    R: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    effort: ArrayLike | None = None,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
    nonnegative: bool = False,
) -> dict[str, Any]:
    """One run; a function of its arguments only.

    Args:
      step: [n]; its order, and what curves in steps are fitted to.
      H: [n] entropy, nats per token.
      R: [n] reward.
      weights: [n] as in `fit`.
      effort: [n] compute or the like, in place of the step for the curves in steps.
      level, draws, seed: of the bootstrap intervals (a curve is rejected at 95 % whatever the level).
      nonnegative: as in `fit`.

    Returns:
      n, fitted (points after averaging), H {min, max}, n_effective (`compare.effective_size`);
      curves {name: {x, a, b, shape, ceiling, interval, rmse, r2, heldout_rmse, blocked_rmse, delta_aic, delta_bic}},
        the deltas from the best; ceiling is None where there is none; exp and linear have a band {x, low, high} too;
      left_out {name: why} for curves that could not be fitted;
      best {heldout, blocked, bic}: names of the best curves in H; identified: exp is not rejected, linear is, and
        no curve in H without an exponential has a better BIC;
      ceiling, interval {level, a, b, ceiling, rho, block}: of exp, as if it were the true form;
      identifiability: the fields of `compare.Identifiability`;
      headroom: see `headroom`; marks: see `marks`;
      signs [{name, text, forbids}]; verdict: a sentence.

    Raises:
      InputError: as `series`, `bootstrap.intervals` and `compare.heldout_rmse`, for exp and linear.
    """
    run, rng = series(step, H, R, weights, effort), np.random.default_rng(seed)

    def fitted(curve: Curve, banded: bool) -> Fitted:
        x, R, w = run.of(curve)
        found = fit(curve, x, R, w, nonnegative=nonnegative)
        places = np.linspace(0, x.max(), GRID) if banded else ()
        spans = bootstrap.intervals(curve, x, R, rng, weights=w, level=level, draws=draws, at=places)
        errors = {"heldout_rmse": compare.heldout_rmse(curve, x, R, weights=w)}
        gap = min(spans.block, len(R) // 20)
        return found, spans, places, errors | {"blocked_rmse": compare.blocked_rmse(curve, x, R, gap=gap, weights=w)}

    rows, left_out = curve_rows(fitted)
    law, interval = rows["exp"]["_fit"], rows["exp"]["_spans"]
    size = max(compare.effective_size(len(run.R), row["_spans"].rho) for row in rows.values())
    add_criteria(rows, size)
    signs = diagnose.signs(run.step, run.H, run.R, rng, draws=draws)
    rivals = compare.identifiability(run.H, run.R, rng, weights=run.w, draws=draws)
    best = best_of(rows, heldout="heldout_rmse", blocked="blocked_rmse", bic="delta_bic")
    identified = rivals.linear_rejected and not rivals.exp_rejected and best["bic"] in ("exp", "exp_rate")
    return plain(
        {
            "n": len(np.asarray(R)),
            "fitted": len(run.R),
            "n_effective": size,
            "H": {"min": run.H.min(), "max": run.H.max()},
            "curves": rows,
            "left_out": left_out,
            "best": best,
            "identified": identified,
            "ceiling": law.ceiling,
            "interval": pairs(interval, CURVES["exp"]) | {"level": level, "rho": interval.rho, "block": interval.block},
            "identifiability": dataclasses.asdict(rivals),
            "headroom": headroom(run, law, interval),
            "marks": marks(run),
            "signs": [dataclasses.asdict(sign) for sign in signs],
            "verdict": verdict(signs, identified, rivals.verdict),
        }
    )


def headroom(run: Series, law: Fit, interval: Intervals) -> dict[str, Any]:
    """What is left, by the law: reward from the entropy now to the ceiling, a (exp(H_now) - 1), and shares so far.

    entropy_spent = 1 - H_now / H_start, gain_had = (exp(H_start) - exp(H_now)) / (exp(H_start) - 1): the part of the
    way from the start to the ceiling. H_start and H_now are means over the first and last twentieth of the points.
    """
    start, now = diagnose.ends(run.H)
    left = math.expm1(now)
    return {
        "H_start": start,
        "H_now": now,
        "left": law.a * left,
        "interval": [interval.a[0] * left, interval.a[1] * left],
        "entropy_spent": 1 - now / start if start > 0 else None,
        "gain_had": (math.exp(start) - math.exp(now)) / math.expm1(start) if start > 0 else None,
    }


def marks(run: Series) -> list[dict[str, Any]]:
    """At 1/12 and 1/3 of the run: shares of all entropy that it spent, and of all reward that it gained, by then.

    Both from means over a twentieth of the points around the mark; None where the run gained or spent nothing.
    """
    k = max(1, len(run.R) // 20)
    (H0, H1), (R0, R1) = diagnose.ends(run.H), diagnose.ends(run.R)
    found = []
    for share in MARKS:
        at = run.step[0] + share * (run.step[-1] - run.step[0])
        near = np.argsort(np.abs(run.step - at), kind="stable")[:k]
        found.append(
            {
                "share": share,
                "step": at,
                "entropy": (H0 - run.H[near].mean()) / (H0 - H1) if H0 > H1 else None,
                "gain": (run.R[near].mean() - R0) / (R1 - R0) if R1 > R0 else None,
            }
        )
    return found


def verdict(signs: list[diagnose.Sign], identified: bool, rivals: str) -> str:
    """One sentence: why there is no law, or whether exp is identified and which curves the data allow."""
    forbidding = [sign.text for sign in signs if sign.forbids]
    if forbidding:
        return "; ".join([*forbidding, "no law is forced on this run"])
    rivals = f"exp is {'' if identified else 'not '}identified: {rivals}"
    return "; ".join([rivals, *(sign.text for sign in signs)])


def plain(value: Any) -> Any:
    """For json: numpy's numbers and arrays as Python's, infinite and undefined ones as None, private keys dropped."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if not str(k).startswith("_")}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def curve_rows(fitted: Callable[[Curve, bool], Fitted]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The rows of `curves`, each with its fit and intervals under private keys; why the others could not be fitted.

    fitted: of a curve, and whether it gets a band. Its InputError is raised for BANDED, without which there is no law.
    """
    rows, left_out = {}, {}
    for name, curve in CURVES.items():
        try:
            found, spans, places, errors = fitted(curve, name in BANDED)
        except InputError as error:
            if name in BANDED:
                raise
            left_out[name] = str(error)
            continue
        rows[name] = {
            "x": curve.x,
            "a": found.a,
            "b": found.b,
            "shape": {parameter.name: value for parameter, value in zip(curve.shape, found.shape)},
            "ceiling": found.ceiling,
            "interval": pairs(spans, curve),
            "rmse": found.rmse,
            "r2": found.r2,
            **errors,
        }
        if name in BANDED:
            rows[name]["band"] = {"x": places, "low": spans.band[0], "high": spans.band[1]}
        rows[name] |= {"_fit": found, "_spans": spans}
    return rows, left_out


def pairs(spans: Intervals, curve: Curve) -> dict[str, Any]:
    """Intervals by the name of what they are of."""
    shape = {parameter.name: list(pair) for parameter, pair in zip(curve.shape, spans.shape)}
    return {"a": list(spans.a), "b": list(spans.b), "ceiling": list(spans.ceiling)} | shape


def add_criteria(rows: dict[str, dict[str, Any]], size: float) -> None:
    """delta_aic and delta_bic into every row, from its fit and the effective number of points."""
    found = {name: compare.criteria(row["_fit"], CURVES[name], size) for name, row in rows.items()}
    known = [pair for pair in found.values() if pair is not None]
    best = [min(values) for values in zip(*known)]
    for name, row in rows.items():
        pair = found[name]
        row["delta_aic"], row["delta_bic"] = (None, None) if pair is None else np.subtract(pair, best).tolist()


def best_of(rows: dict[str, dict[str, Any]], **by: str) -> dict[str, str | None]:
    """For each criterion the curve in H where it is lowest; None where none has it."""
    found = {}
    for what, key in by.items():
        candidates = {name: row[key] for name, row in rows.items() if row["x"] == "H" and row[key] is not None}
        found[what] = min(candidates, key=candidates.get) if candidates else None
    return found
