"""All that law.json says about several runs on one curve: the fit to all, intervals over runs, do they share it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from entropy_rl.laws import analyse, compare, pool
from entropy_rl.laws.analyse import Series
from entropy_rl.laws.curves import CURVES, Curve


def together(
    runs: Mapping[str, Series], each: Mapping[str, Any], *, level: float = 0.9, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Several runs on one curve, with intervals over runs.

    Args:
      runs: by name.
      each: `analyse.analyse` of every one of them.

    Returns:
      as `analyse.analyse`, where it means something, and in each row of curves `left_out_rmse`, the root of the mean
      square of the errors on each run of the fit to all others; agreement: the fields of `pool.Agreement`, for exp.

    Raises:
      InputError: as `pool.intervals`.
    """
    rng = np.random.default_rng(seed)

    def fitted(curve: Curve, banded: bool) -> analyse.Fitted:
        data = [run.of(curve) for run in runs.values()]
        found = pool.pooled(curve, data)
        places = np.linspace(0, max(x.max() for x, _, _ in data), analyse.GRID) if banded else ()
        spans = pool.intervals(curve, data, rng, level=level, draws=draws, at=places)
        errors = compare.leave_one_run_out(curve, data)
        return found, spans, places, {"left_out_rmse": np.sqrt(np.mean(np.square(errors)))}

    rows, left_out = analyse.curve_rows(fitted)
    law, interval = rows["exp"]["_fit"], rows["exp"]["_spans"]
    analyse.add_criteria(rows, sum(one["n_effective"] for one in each.values()))
    agree = pool.agreement(CURVES["exp"], [run.of(CURVES["exp"]) for run in runs.values()], rng, draws=draws)
    forbidden = [name for name, one in each.items() if any(sign["forbids"] for sign in one["signs"])]
    H = np.concatenate([run.H for run in runs.values()])
    return analyse.plain(
        {
            "n": sum(one["n"] for one in each.values()),
            "H": {"min": H.min(), "max": H.max()},
            "curves": rows,
            "left_out": left_out,
            "best": analyse.best_of(rows, left_out="left_out_rmse", bic="delta_bic"),
            "ceiling": law.ceiling,
            "interval": analyse.pairs(interval, CURVES["exp"]) | {"level": level, "runs": len(runs)},
            "agreement": dataclasses.asdict(agree),
            "verdict": _verdict(each, forbidden, agree),
        }
    )


def _verdict(each: Mapping[str, Any], forbidden: list[str], agree: pool.Agreement) -> str:
    size = len(each)
    parts = []
    if forbidden:
        names = ", ".join(forbidden[:5]) + (" and others" if len(forbidden) > 5 else "")
        parts.append(f"{len(forbidden)} of {size} runs allow no law ({names})")
    rejected = {
        name: sum(one["identifiability"][f"{name}_rejected"] for one in each.values()) for name in ("exp", "linear")
    }
    identified = sum(one["identified"] for one in each.values())
    parts.append(f"exp is identified in {identified} of {size} runs" if identified else "exp is not identified")
    parts.append(f"exp is rejected in {rejected['exp']} of {size} runs and linear in {rejected['linear']}")
    if agree.p < 0.01:
        parts.append(
            f"the runs do not share one curve (p {agree.p:.1g}; rmse {agree.pooled_rmse:.2g} together, "
            f"{agree.own_rmse:.2g} each on its own): what is fitted to all is a mean over them"
        )
    else:
        parts.append(f"the runs may share one curve (p {agree.p:.2g})")
    return "; ".join(parts)
