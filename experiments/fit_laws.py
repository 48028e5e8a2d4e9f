"""Fits R = -a exp(H) + b (Cui et al. 2025, arXiv:2505.22617, Eq. 6) and its rivals to a logged run.

    python -m experiments.fit_laws --config=configs/laws/fit.py --config.logs=PATH --workdir=OUT

Writes OUT/law.json (coefficients, ceiling, intervals, errors, verdict) and OUT/law.png, prints a table.
Left out against the paper: the forecast from the first steps, and how a and b scale with model size.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from entropy_rl import figures
from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap, compare, logs


def run(config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Fits, prints a table, and returns what is in law.json; see `fit`."""
    law = fit(config, workdir)
    print(table(law))
    print(f"wrote {Path(workdir) / 'law.json'} and {Path(workdir) / 'law.png'}")
    return law


def fit(config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Reads config.logs, writes law.json and law.png into `workdir`; returns law.json.

    Raises:
      InputError: no logs given, a number out of range, and all that `logs.read` and `compare.analyse` refuse.
    """
    if config.logs is None:
        raise InputError("no logs given: add --config.logs=PATH (a workdir, or a .csv, .tsv or .jsonl file)")
    if config.min_points < bootstrap.MIN_POINTS:
        raise InputError(f"config.min_points is {config.min_points}: give at least {bootstrap.MIN_POINTS}")
    points = logs.read(
        config.logs,
        entropy=config.entropy,
        score=config.score,
        step=config.step,
        min_points=config.min_points,
    )
    law = compare.analyse(points.step, points.H, points.R, level=config.level, draws=config.draws, seed=config.seed)
    law |= {
        "logs": str(config.logs),
        "source": points.source,
        "entropy": points.entropy,
        "score": points.score,
        "unit": points.unit,
        "broken_rows": points.broken,
    }
    score = f"{points.score} (%)" if points.unit == "percent" else points.score
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    figures.entropy_and_reward(left, points.step, points.H, points.step, points.R, score=score)
    figures.law(right, points.H, points.R, points.step, law, score=score)

    workdir = Path(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{workdir}: no folder ({error.strerror}): give another --workdir") from None
    new = workdir / "law.png.new"
    figure.savefig(new, format="png", dpi=150)
    os.replace(new, workdir / "law.png")
    # the json comes last: where it is, the figure beside it is of the same fit
    new = workdir / "law.json.new"
    new.write_text(json.dumps(law, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(new, workdir / "law.json")
    return law


def table(law: dict[str, Any]) -> str:
    """The law as a few lines of text."""
    rows = [f"{'curve':<8}{'a':>9}{'b':>9}{'ceiling':>9}{'R2':>8}{'rmse':>9}{'held-out rmse':>15}"]
    for name, c in law["curves"].items():
        rows.append(
            f"{name:<8}{c['a']:>9.4g}{c['b']:>9.4g}{c['ceiling']:>9.4g}{c['r2']:>8.3f}{c['rmse']:>9.3g}"
            f"{c['heldout_rmse']:>15.3g}"
        )
    interval = law["interval"]
    spans = ", ".join(f"{k} {interval[k][0]:.4g} to {interval[k][1]:.4g}" for k in ("a", "b", "ceiling"))
    return "\n".join([law["source"], *rows, f"exp, {interval['level']:.0%} intervals: {spans}", law["verdict"]])


if __name__ == "__main__":
    from experiments import launch

    launch.main(run)
