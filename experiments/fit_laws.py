"""Fits R = -a exp(H) + b (Cui et al. 2025, arXiv:2505.22617, Eq. 6) and its rivals to logged runs of any trainer.

    python -m experiments.fit_laws --config=configs/laws/fit.py --config.logs=PATH --workdir=OUT

PATH: a file or folder of a format that logs/formats.py knows, a pattern, or several of these between commas; several
runs get a fit each, and one for all with intervals over runs. With --config.follow=True it watches the logs and does so
at every evaluation, a line each; with --config.fail_on=collapse,plateau it ends with status 3 where such an alarm is
raised (logs/alarms.py has them). Writes, and prints the gist of:

    OUT/law.json   coefficients, ceiling, intervals, errors, signs, verdict, forecasts, alarms; with several runs those
                   of the fit to all; `runs` says of each what was read, and of several has each one's own fit
    OUT/law.png    entropy and score over steps, score against entropy with curves and bands, residuals
    OUT/law.md     the same in words, on a page
    OUT/law.html   with --config.html=True: all of it on one page with curves to hover over, by Bokeh
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: at these sizes a second thread waits, at full cost

import numpy as np
from matplotlib.figure import Figure

from entropy_rl import figures, files, tables
from entropy_rl.errors import InputError, lookup
from entropy_rl.laws import analyse, backtest, bootstrap, html, report
from entropy_rl.laws.analyse import Series
from entropy_rl.laws.scaling import scaling
from entropy_rl.laws.together import together
from entropy_rl.logs import alarms, columns, formats, live
from entropy_rl.logs import read as logs
from entropy_rl.logs.points import Points
from entropy_rl.logs.trainers import ERRATA, TRAINERS
from experiments.lib import follow

FAILED = 3  # exit status where an alarm of config.fail_on is raised
_COEFFICIENTS = ("a", "b", "ceiling")


def run(config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Fits, prints the gist, and returns what is in law.json; see `fit`. With config.follow, at every evaluation.

    Raises:
      InputError: as `fit`, and for an alarm in config.fail_on that is none.
      SystemExit: with status 3 where an alarm of config.fail_on is raised.
    """
    fatal = _fatal(config.fail_on)
    _check(config)
    if config.show_columns:
        _show_columns(config)
    law = _follow(config, workdir, fatal) if config.follow else _told(fit(config, workdir), workdir)
    raised = [alarm for alarm in law.get("alarms", []) if alarm["name"] in fatal]
    if raised:
        print(f"status {FAILED}: " + ", ".join(f"{alarm['name']} in {alarm['run']}" for alarm in raised), flush=True)
        raise SystemExit(FAILED)
    return law


def _check(config) -> None:
    """InputError for what no log can mend. Not by lib/checks.py, which loads jax."""
    if config.logs is None:
        raise InputError("no logs given: add --config.logs=PATH (a workdir, a log of another trainer, a table)")
    if config.min_points < bootstrap.MIN_POINTS:
        raise InputError(f"config.min_points is {config.min_points}: give at least {bootstrap.MIN_POINTS}")
    if config.size_at is not None and not config.sizes:
        raise InputError("config.size_at needs the parameters of each run: add --config.sizes=RUN=N,RUN=N")
    for key in ("seed", "stop_left", "length_limit", "follow_for"):
        if (value := config.get(key)) is not None and not 0 <= value < math.inf:
            raise InputError(f"config.{key}={value}: must be a number of 0 or more")


def _told(law: dict[str, Any], workdir: str | os.PathLike) -> dict[str, Any]:
    for one in law["runs"]:
        for text in one["warnings"]:
            print(f"WARNING ({one['name']}): {text}")
    for line in (*law["sources"], *(f"left out: {line}" for line in law["skipped"])):
        print(line)
    several = (report.runs(law), report.groups(law))
    raised = (report.alarms(law), report.alarm_counts(law))
    for text in (*several, report.table(law), report.law_line(law), law["verdict"], *raised):
        if text:
            print(text)
    if law["forecast"]:
        print(report.forecasts(law))
    there = [Path(workdir) / f"law.{kind}" for kind in ("json", "png", "md", "html")]
    print("wrote " + ", ".join(str(path) for path in there if path.exists()))
    return law


def _fatal(names: str | None) -> list[str]:
    """The alarms at which to fail."""
    found = [name.strip() for name in (names or "").split(",") if name.strip()]
    for name in found:
        lookup(alarms.KNOBS, name, "alarm")
    return found


def _show_columns(config) -> None:
    """Every column of the logs and what it is taken for."""
    for one in formats.gather(formats.inside(formats.find(config.logs)), config.run)[0]:
        rows = columns.explain(one.names(), one.numbers(), config.min_points)
        body = [[name, str(cells), role] for name, cells, role in rows]
        print(f"{one.format} {one.path} (run {one.name}):")
        print(tables.table(["column", "cells", "taken for"], body, "lrl"))


def _follow(config, workdir: str | os.PathLike, fatal: list[str]) -> dict[str, Any]:
    """Watches the logs; the law of the last evaluation, empty where there was none."""
    last: dict[str, Any] = {}

    def evaluated(read: logs.Logs) -> list[tuple[str, int, float]]:
        return [(p.log, len(p.R), float(p.step[-1])) for p in _newest(read)]

    def show(read: logs.Logs) -> bool:
        newest = _newest(read)
        law = _fitted(config, workdir, logs.Logs(newest, read.skipped))
        last.clear()
        last.update(law)
        for points, one in zip(newest, law["runs"]):
            print(_line(points, one if "curves" in one else law, law["alarms"], len(newest) > 1), flush=True)
        return not any(alarm["name"] in fatal for alarm in law["alarms"])

    follow.follow(
        config.logs,
        lambda: _read(config),
        evaluated,
        show,
        poll=config.poll,
        until=config.follow_for,
        say=lambda text: print(text, flush=True),
    )
    return last


def _newest(read: logs.Logs) -> list[Points]:
    """Of each log its last try: the one that is being written."""
    return list({points.log: points for points in read.runs}.values())


def _line(points: Points, law: dict[str, Any], raised: list[dict[str, Any]], named: bool) -> str:
    """A run as it stands, in one line."""
    parts = [f"step {points.step[-1]:g}: H {points.H[-1]:.3g}, score {points.R[-1]:.3g}"]
    low, high = law["interval"]["ceiling"]
    left = alarms.remaining(law)
    if left:
        exp, line = left["exp"], left["linear"]
        parts.append(f"ceiling {law['ceiling']:.3g} [{low:.3g}, {high:.3g}]")
        parts.append(f"left {exp[0]:.3g} [{exp[1]:.3g}, {exp[2]:.3g}] by exp, {line[0]:.3g} by a line")
    else:
        parts.append(f"no law ({next(sign['name'] for sign in law['signs'] if sign['forbids'])})")
    if ahead := law.get("ahead"):
        low, high = ahead["interval"]
        parts.append(f"at step {ahead['at']:g} {ahead['score']:.3g} [{low:.3g}, {high:.3g}]")
    mine = [f"{alarm['name'].upper()} ({alarm['evidence']})" for alarm in raised if alarm["run"] == points.name]
    return (f"{points.name}: " if named else "") + "; ".join([*parts, "alarms: " + ("; ".join(mine) or "none")])


def _read(config) -> logs.Logs:
    named = ("entropy", "score", "step", "weight", "compute", "join", "length_limit", "min_points")
    # a group is told apart as runs are, before them
    by = ",".join(dict.fromkeys(filter(None, (config.get("group"), config.run)))) or None
    return logs.read(config.logs, run=by, **{key: config[key] for key in named})


def fit(config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Reads config.logs, writes law.json, law.png and law.md into `workdir`; returns law.json.

    Raises:
      InputError: no logs given, a number out of range, a size that belongs to no run, and all that `logs.read`,
        `analyse.analyse` and `forecast.pure` refuse.
    """
    _check(config)
    return _fitted(config, workdir, _read(config))


def _fitted(config, workdir: str | os.PathLike, read: logs.Logs) -> dict[str, Any]:
    """The law of what was read, written into `workdir`."""
    options = {"level": config.level, "draws": config.draws, "seed": config.seed}
    used, skipped, each = [], list(read.skipped), {}
    for points in read.runs:
        try:
            each[points.name] = _one(points, config, options)
        except InputError as error:
            skipped.append(str(error))
            continue
        used.append(points)
    if not used:
        raise InputError(skipped[0] + (f"; nor can {len(skipped) - 1} other(s) be used" if skipped[1:] else ""))
    # tries of one run are no independent runs: one of each log stands for it
    counted = logs.Logs(used, []).independent()
    runs = {p.name: analyse.series(p.step, p.H, p.R, p.weight, p.compute) for p in counted}
    rows = {points.name: _backtest(points, runs[points.name], config) for points in counted}
    sizes = _sizes(config.sizes, list(runs))
    law = dict(each[counted[0].name])
    if len(runs) > 1:
        law = together(runs, {name: each[name] for name in runs}, **options)
    law |= {
        "logs": str(config.logs),
        "sources": [points.source for points in used],
        "skipped": skipped,
        "unit": counted[0].unit,
        "groups": _groups(counted, runs, each, options) if config.get("group") else [],
        "runs": [_about(points) | (each[points.name] if len(used) > 1 else {}) for points in used],
        "alarms": [
            {"run": points.name, **dataclasses.asdict(alarm)}
            for points in counted
            for alarm in alarms.find(points, each[points.name], stop_left=config.stop_left, seed=config.seed)
        ],
        "errata": _errata(used),
        "forecast": _forecast_json(rows),
        "scaling": _scaling(sizes, each, config.level, config.size_at),
    }
    law = analyse.plain(law)
    _write(law, counted, runs, Path(workdir), config.html)
    return law


def _groups(
    counted: list[Points], runs: dict[str, Series], each: dict[str, Any], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Of each group its runs, and the ceiling by exp: over runs, with whether they share a curve, or of its one run."""
    found = []
    for group in dict.fromkeys(points.group for points in counted):
        names = [points.name for points in counted if points.group == group]
        law = each[names[0]]
        if len(names) > 1:
            law = together({name: runs[name] for name in names}, {name: each[name] for name in names}, **options)
        found.append({"name": group, "runs": names} | {k: law[k] for k in ("n", "ceiling", "interval")})
        found[-1] |= {"a": law["curves"]["exp"]["a"], "share_p": law["agreement"]["p"] if "agreement" in law else None}
    return found


def _label(points: Points) -> str:
    return f"{points.score} (%)" if points.unit == "percent" else points.score


def _about(points: Points) -> dict[str, Any]:
    """What law.json says of a run that was read."""
    step = {"min": points.step[0], "max": points.step[-1]}
    keys = ("name", "entropy", "score", "estimator", "unit", "trainer", "held_out")
    return {key: getattr(points, key) for key in keys} | {
        "n": len(points.R),
        "step": step,
        "warnings": list(points.warnings),
    }


def _errata(used: list[Points]) -> list[dict[str, str]]:
    """What is known to be wrong in the entropies of these trainers, and at which temperature they are."""
    found = []
    for trainer in dict.fromkeys(points.trainer for points in used if points.trainer):
        if temperature := TRAINERS[trainer].temperature:
            row = {"versions": "any", "defect": f"entropy {temperature}", "size": "", "source": ""}
            found.append({"trainer": trainer, **row})
        found += [{"trainer": trainer, **dataclasses.asdict(erratum)} for erratum in ERRATA.get(trainer, ())]
    return found


def _one(points: Points, config, options: dict[str, Any]) -> dict[str, Any]:
    """A run's analysis; a run that is watched may have gone beyond config.horizon."""
    over = config.get("follow") and config.horizon is not None and points.entropy_step[-1] >= config.horizon
    horizon = None if over else config.horizon
    return live.law_of(points, horizon=horizon, nonnegative=config.nonnegative, **options)


def _backtest(points: Points, run: Series, config) -> list[backtest.Row]:
    record = analyse.series(points.entropy_step, points.entropy_H, points.entropy_H)
    how = {"entropy_step": record.step, "entropy_H": record.H, "weights": run.w}
    how |= {"level": config.level, "draws": config.draws}
    rng = np.random.default_rng(config.seed)
    return backtest.backtest(run.step, run.H, run.R, rng, tuple(config.shares), **how)


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


def _write(law: dict[str, Any], read: list[Points], runs: dict[str, Series], workdir: Path, to_hover: bool) -> None:
    """The files, each whole or not at all, and the json last: where it is, the others are of the same fit."""
    keys = ("name", "step", "H", "R", "entropy_step", "entropy_H")
    drawn = [{key: getattr(points, key) for key in keys} for points in read]
    page = html.page(law, drawn, score=_label(read[0])) if to_hover else None
    with files.replacing(workdir / "law.png") as new:
        draw(law, read, runs).savefig(new, format="png", dpi=150, pil_kwargs={"compress_level": 2})
    script = Path(sys.argv[0]).stem  # the quickstart fits too
    command = f"python -m experiments.{script} {' '.join(sys.argv[1:])}"
    files.write(workdir / "law.md", report.page(law, command=command))
    if page:
        files.write(workdir / "law.html", page)
    files.write(workdir / "law.json", json.dumps(law, indent=2, ensure_ascii=False, allow_nan=False))


def draw(law: dict[str, Any], read: list[Points], runs: dict[str, Series]) -> Figure:
    """law.png."""
    score = _label(read[0])
    figure = Figure(figsize=(16, 4.4))  # a constrained layout draws it three times
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.2, 1))
    figure.subplots_adjust(left=0.045, right=0.99, bottom=0.13, top=0.93, wspace=0.27)
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
