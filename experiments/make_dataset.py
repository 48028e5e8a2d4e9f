"""Freezes a task into a versioned dataset on disk: the same problems on every machine, whatever becomes of the task.

    python -m experiments.make_dataset --config=configs/make_dataset.py:task=chain_sum,max_terms=3 --workdir=runs/data

The dataset is `workdir`/NAME/VERSION, in TFDS's format (array_record); `task=tfds` reads it, with `task.args.name` and
`task.args.data_dir`. It has a checksum of every split, and what its problems were made with. The same command again
changes nothing; another content under the same version is refused.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from ml_collections import ConfigDict

from entropy_rl.data import frozen
from entropy_rl.data.problem import Problem
from entropy_rl.data.splits import SPLITS
from entropy_rl.errors import InputError
from entropy_rl.tasks import base as tasks
from experiments.lib import checks, launch, workdirs

MADE_WITH = ("entropy_rl", "numpy", "reasoning-gym", "tensorflow-datasets")  # versions that are written down


def run(config: ConfigDict, workdir: str | os.PathLike) -> Path:
    """Writes the dataset and gives its folder.

    Raises:
      InputError: a bad value; a split with fewer different questions than are asked for; another dataset under this
        name and version.
    """
    checks.whole(config, 0, *(f"sizes.{split}" for split in SPLITS))
    args = config.task.args.to_dict()
    splits, counts, levels = {}, {}, set()
    for split in SPLITS:
        if config.sizes[split]:
            task = tasks.get(config.task.name, **args, split=split)
            splits[split], counts[split] = distinct(task, config.sizes[split], f"{config.task.name}/{split}")
            levels |= set(task.levels)
    name = config.name or args.get("name") or config.task.name
    about = {"task": config.task.name, "args": args, "levels": sorted(levels), "versions": versions()}
    place, written = frozen.write(workdir, name, config.version, splits, about | {"commit": workdirs.git_commit()})
    for split, problems in splits.items():
        again = f", {counts[split]} drawn again" if counts[split] else ""
        print(f"{split:<12}{len(problems):>8} problems{again}")
    print(f"{'wrote' if written else 'is there already:'} {place}", flush=True)
    return place


def distinct(task: tasks.Task | tasks.TextTask, count: int, what: str) -> tuple[list[Problem], int]:
    """The first `count` problems of which none asks what another one asked, and how many were passed over.

    Raises:
      InputError: there are fewer, or a thousand after each other bring none.
    """
    kept: dict[str, Problem] = {}
    passed = since = 0
    for i in range(len(task)):
        problem = task[i]
        key = " ".join(problem.prompt.split())
        since = since + 1 if key in kept else 0
        passed += key in kept
        kept.setdefault(key, problem)
        if len(kept) == count or since == 1000:
            break
    if len(kept) < count:
        raise InputError(f"{what} has {len(kept)} different questions and {count} are asked for: lower config.sizes")
    return list(kept.values()), passed


def versions() -> dict[str, str]:
    """Those of what problems may depend on, where it is installed."""
    found = {}
    for name in MADE_WITH:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    launch.main(run)
