"""From runs to the small files that notebooks read: the keys that a figure needs, and where they came from.

    python -m experiments.curate --config=configs/curate.py --config.runs=runs/seeds --workdir=notebooks/data/seeds

Of every run below `runs` that has evaluations, metrics.jsonl and evals.jsonl, thinned out, and config.json, which holds
its command, commit, versions and device, go to the tables of the workdir (entropy_rl/logs/archive.py), where they
replace the same run's. Of a run of experiments.tokens, tokens.json is kept as it is.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from entropy_rl import files, metrics
from entropy_rl.errors import InputError
from entropy_rl.logs import archive
from experiments.lib import checks, launch

TOKENS = "tokens.json"  # of experiments.tokens, which need not be loaded for its name


def run(config: ConfigDict, workdir: str) -> None:
    """Copies the chosen keys of every run.

    Raises:
      InputError: no runs are given, or none is there, or a value is out of range.
    """
    if config.runs is None:
        raise InputError("no runs given: add --config.runs=DIR (a folder that has runs somewhere below it)")
    checks.whole(config, 1, "every", "digits")
    made = (metrics.EVALS, TOKENS)
    found = sorted({path.parent for name in made for path in Path(config.runs).rglob(name)})
    found = [path for path in found if fnmatch.fnmatch(str(path.relative_to(config.runs)), config.match)]
    if not found:
        raise InputError(f"no {' or '.join(made)} below {config.runs} in a folder that matches {config.match!r}")
    with tempfile.TemporaryDirectory() as new:
        for path in found:
            out = Path(new) / path.relative_to(config.runs)
            out.mkdir(parents=True, exist_ok=True)
            if (path / metrics.EVALS).exists():
                thin(path, out, config)
            if (path / TOKENS).exists():
                shutil.copyfile(path / TOKENS, out / TOKENS)
            (out / "config.json").write_text(about(path))
            print(f"{path} -> {workdir}")
        archive.pack(new, workdir)


def thin(path: Path, out: Path, config: ConfigDict) -> None:
    """The chosen keys and steps of the run in `path`, with fewer digits, to `out`."""
    data = metrics.read(path)
    rows = [row for row in data.metrics if row["step"] % config.every == 0]
    keep = [{k: v for k, v in row.items() if k == "step" or wanted(k, config.metrics)} for row in rows]
    files.rewrite(out / metrics.METRICS, files.rounded([row for row in keep if len(row) > 1], config.digits))
    keep = [row for row in data.evals if wanted(row["metric"], config.evals)]
    if config.evals:
        files.rewrite(out / metrics.EVALS, files.rounded(keep, config.digits))
    for keep, name, rows in (
        (config.solved, metrics.SOLVED, data.solved),
        (config.problems, metrics.PROBLEMS, data.problems),
    ):
        if keep:
            files.rewrite(out / name, rows)


def wanted(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether any of the patterns (`policy/entropy*`) matches."""
    return any(fnmatch.fnmatch(name, p) for p in patterns)


def about(path: Path) -> str:
    """The text of the run's config.json, with its commands as one would type them here, whatever tree it ran in."""
    text = (path / "config.json").read_text().replace(f"{Path.cwd()}/", "")
    content = json.loads(text)
    for start in (content, *content.get("history", [])):
        command = start.get("command", [])
        if len(command) > 1 and (script := re.search(r"(?:^|/)experiments/(\w+)\.py$", command[1])):
            start["command"] = ["python", "-m", f"experiments.{script[1]}", *command[2:]]
    return json.dumps(content, indent=2) + "\n"


if __name__ == "__main__":
    launch.main(run)
