"""From runs to the small files that notebooks read: the keys that a figure needs, and where they came from.

    python -m experiments.curate --config=configs/curate.py --config.runs=runs/seeds --workdir=notebooks/data/seeds

Every run below `runs` that has evaluations becomes a folder of its own with metrics.jsonl and evals.jsonl, thinned
out, and config.json, which holds its command, commit, versions and device.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

from ml_collections import ConfigDict

from entropy_rl import jsonl, metrics
from entropy_rl.errors import InputError
from experiments import launch


def run(config: ConfigDict, workdir: str) -> None:
    """Copies the chosen keys of every run.

    Raises:
      InputError: no runs are given, or none is there.
    """
    if config.runs is None:
        raise InputError("no runs given: add --config.runs=DIR (a folder that has runs somewhere below it)")
    found = sorted(path.parent for path in Path(config.runs).rglob(metrics.EVALS))
    found = [path for path in found if fnmatch.fnmatch(str(path.relative_to(config.runs)), config.match)]
    if not found:
        raise InputError(f"no {metrics.EVALS} below {config.runs} in a folder that matches {config.match!r}")
    for path in found:
        data = metrics.read(path)
        out = Path(workdir) / path.relative_to(config.runs)
        out.mkdir(parents=True, exist_ok=True)
        keep = [{k: v for k, v in row.items() if k == "step" or wanted(k, config.metrics)} for row in data.metrics]
        jsonl.rewrite(out / metrics.METRICS, [row for row in keep if len(row) > 1])
        jsonl.rewrite(out / metrics.EVALS, [row for row in data.evals if wanted(row["metric"], config.evals)])
        about = (path / "config.json").read_text().replace(f"{Path.cwd()}/", "")  # commands as one would type them here
        (out / "config.json").write_text(about)
        print(f"{path} -> {out}")


def wanted(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether any of the patterns (`policy/entropy*`) matches."""
    return any(fnmatch.fnmatch(name, p) for p in patterns)


if __name__ == "__main__":
    launch.main(run)
