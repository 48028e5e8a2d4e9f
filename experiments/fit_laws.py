"""Fits R = -a exp(H) + b (Cui et al. 2025, arXiv:2505.22617, Eq. 6) and its rivals to logged runs of any trainer.

    python -m experiments.fit_laws --config=configs/laws/fit.py --config.logs=PATH --workdir=OUT

PATH: a file or folder of a format that laws/readers.py knows, a pattern, or several of these between commas; several
runs get a fit each, and one for all with intervals over runs. Writes, and prints the gist of:

    OUT/law.json   coefficients, ceiling, intervals, errors, signs, verdict, forecasts; with several runs those of the
                   fit to all, and `runs` with each run's own
    OUT/law.png    entropy and score over steps, score against entropy with curves and bands, residuals
    OUT/law.md     the same in words, on a page
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from entropy_rl import figures, files
from entropy_rl.errors import InputError
from entropy_rl.laws import analyse, backtest, bootstrap, forecast, report
from entropy_rl.laws.analyse import Series
from entropy_rl.laws.scaling import scaling
from entropy_rl.laws.together import together
from entropy_rl.logs import read as logs
from entropy_rl.logs.read import Points

_COEFFICIENTS = ("a", "b", "ceiling")


def run(config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Fits, prints the gist, and returns what is in law.json; see `fit`."""
    law = fit(config, workdir)
    for line in (*law["sources"], *(f"left out: {line}" for line in law["skipped"])):
        print(line)
    for text in (report.runs(law), report.table(law), report.law_line(law), law["verdict"]):
        if text:
            print(text)
    if law["forecast"]:
        print(report.forecasts(law))
    print("wrote " + ", ".join(str(Path(workdir) / f"law.{kind}") for kind in ("json", "png", "md")))
    return law


def fit(config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Reads config.logs, writes law.json, law.png and law.md into `workdir`; returns law.json.

    Raises:
      InputError: no logs given, a number out of range, a size that belongs to no run, and all that `logs.read`,
        `analyse.analyse` and `forecast.pure` refuse.
    """
    if config.logs is None:
        raise InputError("no logs given: add --config.logs=PATH (a workdir, a log of another trainer, a table)")
    if config.min_points < bootstrap.MIN_POINTS:
        raise InputError(f"config.min_points is {config.min_points}: give at least {bootstrap.MIN_POINTS}")
    columns = {key: config[key] for key in ("entropy", "score", "step", "run", "weight", "compute")}
    read = logs.read(config.logs, **columns, min_points=config.min_points)
    options = {"level": config.level, "draws": config.draws, "seed": config.seed}
    used, skipped, runs, each, rows = [], list(read.skipped), {}, {}, {}
    for points in read.runs:
        try:
            each[points.name] = _one(points, config, options)
        except InputError as error:
            skipped.append(str(error))
            continue
        used.append(points)
        runs[points.name] = analyse.series(points.step, points.H, points.R, points.weight, points.compute)
        rows[points.name] = _backtest(points, runs[points.name], config)
    if not used:
        raise InputError(skipped[0] + (f"; nor can {len(skipped) - 1} other(s) be used" if skipped[1:] else ""))
    sizes = _sizes(config.sizes, list(runs))
    first = used[0]
    law = dict(each[first.name])
    if len(runs) > 1:
        law = together(runs, each, **options) | {"runs": each}
    law |= {
        "logs": str(config.logs),
        "sources": [points.source for points in used],
        "skipped": skipped,
        "unit": first.unit,
        "forecast": _forecast_json(rows),
        "scaling": _scaling(sizes, each, config.level, config.size_at),
    }
    _write(law, used, runs, Path(workdir))
    return law


def _one(points: Points, config, options: dict[str, Any]) -> dict[str, Any]:
    """A run's analysis, with what it was read from and, where config.horizon is set, the forecast there."""
    try:
        law = analyse.analyse(
            points.step,
            points.H,
            points.R,
            weights=points.weight,
            effort=points.compute,
            nonnegative=config.nonnegative,
            **options,
        )
        ahead = _ahead(points, config)
    except InputError as error:
        raise InputError(f"run {points.name}: {error}") from None
    read = {key: getattr(points, key) for key in ("source", "format", "entropy", "score", "unit")}
    return law | read | {"broken_rows": points.broken, "ahead": ahead}


def _ahead(points: Points, config) -> dict[str, Any] | None:
    """The pure forecast at step config.horizon, from all of the run."""
    if config.horizon is None:
        return None
    found = forecast.pure(
        points.step,
        points.H,
        points.R,
        points.entropy_step,
        points.entropy_H,
        config.horizon,
        np.random.default_rng(config.seed),
        weights=points.weight,
        level=config.level,
        draws=config.draws,
    )
    return analyse.plain(dataclasses.asdict(found))


def _backtest(points: Points, run: Series, config) -> list[backtest.Row]:
    record = analyse.series(points.entropy_step, points.entropy_H, points.entropy_H)
    return backtest.backtest(
        run.step,
        run.H,
        run.R,
        np.random.default_rng(config.seed),
        tuple(config.shares),
        entropy_step=record.step,
        entropy_H=record.H,
        weights=run.w,
        level=config.level,
        draws=config.draws,
    )


def _forecast_json(rows: dict[str, list[backtest.Row]]) -> dict[str, Any]:
    """Every forecast of every run, and their summary over runs; empty where none was asked for."""
    everything = [row for of_run in rows.values() for row in of_run]
    if not everything:
        return {}
    summary = [dataclasses.asdict(line) for line in backtest.summary(everything)]
    of_runs = {name: [dataclasses.asdict(row) for row in of_run] for name, of_run in rows.items()}
    return analyse.plain({"summary": summary, "runs": of_runs})


def _sizes(text: str | None, names: list[str]) -> dict[str, float]:
    """Run -> number of parameters, from "0.5B=0.36e9,7B=6.53e9": the longest key that is in the run's name counts."""
    if text is None:
        return {}
    sizes = {}
    for part in text.split(","):
        key, _, number = part.partition("=")
        try:
            sizes[key.strip()] = float(number)
        except ValueError:
            raise InputError(f"config.sizes has {part!r}: give NAME=PARAMETERS, such as 7B=6.53e9") from None
    found = {}
    for name in names:
        keys = sorted((key for key in sizes if key in name), key=len)
        if not keys:
            raise InputError(f"config.sizes says nothing of run {name!r}: add {name}=PARAMETERS")
        found[name] = sizes[keys[-1]]
    return found


def _scaling(
    sizes: dict[str, float], each: dict[str, Any], level: float, size_at: float | None
) -> dict[str, Any] | None:
    """a, b and ceiling of exp against ln N, means over the runs of a size; at N = size_at a prediction."""
    if not sizes:
        return None
    N = sorted(set(sizes.values()))
    found = {}
    for key in _COEFFICIENTS:
        values = [np.mean([each[name]["curves"]["exp"][key] for name, size in sizes.items() if size == n]) for n in N]
        line = scaling(N, values, level=level)
        found[key] = dataclasses.asdict(line) | {"N": N, "values": values}
        if size_at is not None:
            found[key]["at"] = {"N": size_at, **dict(zip(("value", "low", "high"), line.predict(size_at)))}
    return analyse.plain(found)


def _write(law: dict[str, Any], read: list[Points], runs: dict[str, Series], workdir: Path) -> None:
    """The three files, each whole or not at all, and the json last: where it is, the others are of the same fit."""
    with files.replacing(workdir / "law.png") as new:
        draw(law, read, runs).savefig(new, format="png", dpi=150)
    script = Path(sys.argv[0]).stem  # the main job fits too
    command = f"python -m experiments.{script} {' '.join(sys.argv[1:])}"
    files.write(workdir / "law.md", report.page(law, command=command))
    files.write(workdir / "law.json", json.dumps(law, indent=2, ensure_ascii=False, allow_nan=False))


def draw(law: dict[str, Any], read: list[Points], runs: dict[str, Series]) -> Figure:
    """law.png."""
    score = f"{read[0].score} (%)" if read[0].unit == "percent" else read[0].score
    figure = Figure(figsize=(16, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.2, 1))
    if len(read) == 1:
        points = read[0]
        figures.entropy_and_reward(left, points.entropy_step, points.entropy_H, points.step, points.R, score=score)
    else:
        twin = figures.entropy_and_reward(left, [], [], [], [], score=score)
        for points in read:
            left.plot(points.entropy_step, points.entropy_H, color=figures.BLUE, lw=0.8, alpha=0.6)
            twin.plot(points.step, points.R, color=figures.VERMILLION, lw=0.8, alpha=0.6)
        left.set_ylim(0, 1.05 * max(points.entropy_H.max() for points in read))
    every = {key: np.concatenate([getattr(run, key) for run in runs.values()]) for key in ("H", "R", "step")}
    curves = list(dict.fromkeys(["exp", "linear", *filter(None, law["best"].values())]))[:3]
    figures.law(middle, every["H"], every["R"], every["step"], law, score=score, curves=curves)
    figures.residuals(right, every["H"], every["R"], every["step"], law, curves=curves)
    return figure


if __name__ == "__main__":
    from experiments.lib import launch

    launch.main(run)
