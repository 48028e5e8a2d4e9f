"""What thoughts are worth on held-out text: the table of runs of experiments.rlp.

    python -m experiments.rlp_table --config=configs/rlp_table.py --config.runs=FOLDER --workdir=OUT

FOLDER holds the run that all start from, `base`, and runs in folders `<arm>_text.<seed>`, as configs/sweeps/rlp.py has
them. Writes OUT/rlp.json and OUT/rlp.md, and prints the latter: the course of each arm, means over seeds, and how far
it ends from the base, document by document (laws/paired.py says what the intervals can say). A run that is not finished
is named, and left out.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files, metrics, tables
from entropy_rl.errors import InputError
from entropy_rl.laws import paired
from experiments.lib import checks, launch

COURSE = ("ce_without", "ce_with", "reduction", "ce_marginal", "says", "length", "entropy", "nll")
ENDS = ("ce_without", "ce_with", "reduction", "says")  # of each document


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Compares, writes rlp.json and rlp.md, prints the latter; returns what is in rlp.json.

    Raises:
      InputError: no runs given or found, runs with other held-out documents, or a value out of range.
    """
    if config.runs is None:
        raise InputError("no runs given: add --config.runs=FOLDER (with folders base and rlp_text.0 in it)")
    checks.seed(config)
    folder, notes = Path(config.runs), []
    base = read(folder / "base", notes)
    if base is None:
        raise InputError(f"{folder} has no finished run in a folder base: {'; '.join(notes)}")
    arms: dict[str, dict[int, dict]] = {}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(r"(\w+)_text\.(\d+)", path.name)
        if match and (one := read(path, notes)):
            arms.setdefault(match[1], {})[int(match[2])] = one
    for name, runs in arms.items():
        if any(run["ends"]["ce_with"].shape != base["ends"]["ce_with"].shape for run in runs.values()):
            raise InputError(f"{folder}: {name} was evaluated on other documents than base: give runs of one sweep")
    if not arms:
        raise InputError(f"{folder} has no finished run in a folder <arm>_text.<seed>: {'; '.join(notes)}")
    rng = np.random.default_rng(config.seed)
    how = {"level": config.level, "draws": config.draws}
    table = {
        "base": base["course"][max(base["course"])],
        "arms": {name: compare(list(runs.values()), base, rng, **how) for name, runs in arms.items()},
        "notes": notes,
        "level": config.level,
    }
    text = markdown(table)
    out = Path(workdir)
    files.write(out / "rlp.json", json.dumps(table, indent=2) + "\n")
    files.write(out / "rlp.md", text + "\n")
    print(text)
    return table


def read(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """{"course": {step: {metric: value}}, "ends": {metric: f64[P]}, "tokens"}; None where it is not finished."""
    try:
        data = metrics.read(path)
    except InputError:
        data = None
    if data is None or not data.problems or "ce_with" not in data.problems[0]:
        notes.append(f"{path.name}: not finished")
        return None
    course: dict[int, dict[str, float]] = {}
    for row in data.evals:
        if row["metric"] in COURSE:
            course.setdefault(row["step"], {})[row["metric"]] = row["value"]
    rows = [row | {"reduction": row["ce_without"] - row["ce_with"]} for row in data.problems]
    ends = {name: np.array([row[name] for row in rows]) for name in ENDS}
    return {"course": course, "ends": ends, "tokens": data.metrics[-1]["text/tokens"]}


def compare(runs: list[dict], base: dict, rng: np.random.Generator, **how) -> dict[str, Any]:
    """The course of an arm, mean over its runs, and the differences of its ends to the base's."""
    steps = sorted(set.intersection(*(set(run["course"]) for run in runs)))
    course = {s: {k: float(np.mean([run["course"][s][k] for run in runs])) for k in COURSE} for s in steps}
    ends = {}
    for name in ENDS:
        x = np.stack([run["ends"][name] for run in runs])
        d = paired.difference(x, np.broadcast_to(base["ends"][name], x.shape), rng, **how)
        ends[name] = {"mean": float(x.mean()), "difference": d.value, "low": d.low, "high": d.high}
    return {
        "seeds": len(runs),
        "tokens": float(np.mean([run["tokens"] for run in runs])),
        "course": course,
        "ends": ends,
    }


def markdown(table: dict[str, Any]) -> str:
    """The two tables, as text."""
    arms = table["arms"].items()
    course = [[name, n, *(f"{row[k]:.3f}" for k in COURSE)] for name, arm in arms for n, row in arm["course"].items()]
    lines = [tables.table(["arm", "step", *COURSE], course)]
    lines += ["", f"Ends less the base's, {100 * table['level']:g} % intervals over seeds and documents:", ""]
    ends = []
    for name, arm in arms:
        spans = (tables.span((e["difference"], e["low"], e["high"])) for e in arm["ends"].values())
        ends.append([name, arm["seeds"], f"{arm['tokens'] / 1e6:.2f} M", *spans])
    lines.append(tables.table(["arm", "seeds", "tokens", *ENDS], ends))
    return "\n".join([*lines, *(f"\n{note}" for note in table["notes"])])


if __name__ == "__main__":
    launch.main(run)
