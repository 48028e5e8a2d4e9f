"""What thoughts are worth on held-out text, arm by arm: runs of experiments.rlp (experiments/compare.py).

`base` is the run that all start from. The course of each arm, means over seeds, and how far it ends from the base,
document by document.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl import metrics, tables
from entropy_rl.errors import InputError
from entropy_rl.laws import paired
from experiments.lib import runs

FILE, POSITIVE = "rlp", ()
BASE = "base"  # the run that all start from
COURSE = ("ce_without", "ce_with", "reduction", "ce_marginal", "says", "length", "entropy", "nll")
ENDS = ("ce_without", "ce_with", "reduction", "says")  # of each document


def read(folder: str | os.PathLike | None) -> tuple[runs.Runs, list[str]]:
    """({arm: {seed: {"course": {step: {metric: value}}, "ends": {metric: f64[P]}, "tokens"}}}, lines on the others).

    Raises:
      InputError: no folder, no run in it, or runs with other held-out documents.
    """
    found, _ = runs.find(folder, r"(?P<arm>\w+)_text\.(?P<seed>\d+)", "rlp_text.0 and base")
    notes: list[str] = []
    base = one(Path(folder) / BASE, None, notes)
    arms = runs.finished(found, lambda path, seed: one(path, seed, notes))
    for name, seeds in arms.items():
        if base and any(run["ends"]["ce_with"].shape != base["ends"]["ce_with"].shape for run in seeds.values()):
            raise InputError(f"{folder}: {name} was evaluated on other documents than base: give runs of one sweep")
    return ({BASE: {0: base}} if base else {}) | arms, notes


def one(path: Path, seed: int | None, notes: list[str]) -> dict[str, Any] | None:
    """What `read` has of a run; None where it is not finished, which `notes` is told."""
    try:
        data = metrics.read(path)
    except InputError:
        data = None
    if data is None or not data.problems or "ce_with" not in data.problems[0]:
        notes.append(f"{path.name}: not finished")
        return None
    runs.identify(path, seed)
    course: dict[int, dict[str, float]] = {}
    for row in data.evals:
        if row["metric"] in COURSE:
            course.setdefault(row["step"], {})[row["metric"]] = row["value"]
    rows = [row | {"reduction": row["ce_without"] - row["ce_with"]} for row in data.problems]
    ends = {name: np.array([row[name] for row in rows]) for name in ENDS}
    return {"course": course, "ends": ends, "tokens": data.metrics[-1]["text/tokens"]}


def compare(found: runs.Runs, config: ConfigDict) -> dict[str, Any]:
    """What rlp.json says.

    Raises:
      InputError: no run but the base.
    """
    base, rng = found[BASE][0], np.random.default_rng(config.seed)
    out: dict[str, Any] = {"base": base["course"][max(base["course"])], "level": config.level, "arms": {}}
    for name, seeds in found.items():
        if name == BASE:
            continue
        steps = sorted(set.intersection(*(set(run["course"]) for run in seeds.values())))
        mean = lambda s, k: float(np.mean([run["course"][s][k] for run in seeds.values()]))  # noqa: B023, E731
        row = {"seeds": len(seeds), "tokens": float(np.mean([run["tokens"] for run in seeds.values()]))}
        row |= {"course": {s: {k: mean(s, k) for k in COURSE} for s in steps}, "ends": {}}
        for key in ENDS:
            x = {seed: run["ends"][key] for seed, run in seeds.items()}
            y = dict.fromkeys(x, base["ends"][key])
            d = paired.over_seeds(x, y, rng, level=config.level, draws=config.draws)
            number = {"difference": d["value"], "low": d["low"], "high": d["high"]}
            row["ends"][key] = {"mean": float(np.stack([*x.values()]).mean()), **number}
        out["arms"][name] = row
    if not out["arms"]:
        raise InputError(f"{config.runs} has no finished run in a folder <arm>_text.<seed>")
    return out


def markdown(out: dict[str, Any]) -> str:
    """The two tables, as text."""
    arms = out["arms"].items()
    course = [[name, n, *(f"{row[k]:.3f}" for k in COURSE)] for name, arm in arms for n, row in arm["course"].items()]
    lines = [tables.table(["arm", "step", *COURSE], course)]
    lines += ["", f"Ends less the base's, {100 * out['level']:g} % intervals over seeds and documents:", ""]
    ends = []
    for name, arm in arms:
        spans = (tables.span((e["difference"], e["low"], e["high"])) for e in arm["ends"].values())
        ends.append([name, arm["seeds"], f"{arm['tokens'] / 1e6:.2f} M", *spans])
    lines.append(tables.table(["arm", "seeds", "tokens", *ENDS], ends))
    return "\n".join([*lines, *(f"\n{note}" for note in out["notes"])])
