"""Finished runs: where they are, and what they are, which their config.json says."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.laws import paired

CONFIG = "config.json"
ARM = r"(?P<arm>.+),seed=(?P<seed>\d+)"  # the folder of a run in that of a sweep

Runs = dict[str, dict[int, Any]]  # {arm: {seed: what a run is or holds}}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as its config.json has it: `config`, and `about` with all that stands beside it (commit, device, ...)."""

    path: Path
    config: dict[str, Any]
    about: dict[str, Any]

    @property
    def seed(self) -> int:
        """The config's, 0 where it has none."""
        return self.config.get("seed", 0)

    @property
    def name(self) -> str:
        """The folder's, without the seed."""
        return re.sub(r",?(seed=?\d+)$", "", self.path.name) or self.path.name

    @property
    def kind(self) -> str:
        """Which script ran: "rl", "self_train", "self_feedback", "sft" or "other"."""
        config = self.config
        if "branches" in config and "arm" in config:
            return "self_feedback"
        if isinstance(config.get("loss"), dict) and "rollout" in config:
            return "rl"
        if "rounds" in config and "pool" in config:
            return "self_train"
        return "sft" if "optimizer" in config and "batch" in config else "other"

    @property
    def made_by(self) -> dict[str, str]:
        """Commit and kind of device, "unknown" where it is not said."""
        device = (self.about.get("device") or {}).get("kind")
        return {"git_commit": self.about.get("git_commit") or "unknown", "device": device or "unknown"}

    def get(self, key: str, default: Any = None) -> Any:
        """The config's value at a dotted key."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value


def identify(path: str | os.PathLike, seed: int | None = None) -> Run:
    """The run in the folder `path`.

    Raises:
      InputError: its config.json cannot be read or is not that of a run, or has another seed than `seed`.
    """
    path = Path(path)
    try:
        about = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        config = about.pop("config")
        if not isinstance(config, dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path / CONFIG} is not that of a run: remove {path}, or repair it") from e
    run = Run(path, config, about)
    if not isinstance(run.seed, int) or isinstance(run.seed, bool):
        raise InputError(f"{path / CONFIG} has the seed {run.seed!r}, no whole number: remove {path}, or repair it")
    if seed not in (None, run.seed):
        raise InputError(f"{path} ran with seed {run.seed}, as its {CONFIG} says: give it that name")
    return run


def find(folder: str | os.PathLike | None, pattern: str = ARM, example: str = "grpo,seed=0") -> tuple[Runs, list[str]]:
    """({arm: {seed: folder}} of the runs of a sweep, by arm and seed; names of the folders that are none).

    Args:
      folder: with the runs' folders in it.
      pattern: of their names, with groups `arm` and `seed`.
      example: such a name, for messages.

    Raises:
      InputError: no folder given or there, no run in it, or the same seed twice.
    """
    if folder is None:
        raise InputError(f"no runs given: add --config.runs=FOLDER (with folders such as {example} in it)")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: give --config.runs=FOLDER, the --workdir of a sweep")
    found: Runs = {}
    others = []
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        if not (match := re.fullmatch(pattern, path.name)):
            others.append(path.name)
            continue
        seeds, seed = found.setdefault(match["arm"], {}), int(match["seed"])
        if seed in seeds:
            raise InputError(f"{path} has the seed of {seeds[seed].name}: remove one of them")
        seeds[seed] = path
    if not found:
        raise InputError(f"no runs in {folder}: it needs folders with names such as {example}")
    return {arm: dict(sorted(found[arm].items())) for arm in sorted(found)}, others


def finished(found: Runs, read) -> Runs:
    """The same with `read(folder, seed)` in place of folders; runs for which that is None are left out, and arms."""
    read_all = {arm: {seed: read(path, seed) for seed, path in seeds.items()} for arm, seeds in found.items()}
    some = {arm: {s: one for s, one in seeds.items() if one is not None} for arm, seeds in read_all.items()}
    return {arm: seeds for arm, seeds in some.items() if seeds}


def first(names: Iterable[str], baseline: str) -> list[str]:
    """Names in order, the baseline's before the others."""
    return sorted(names, key=lambda name: (name != baseline, name))


def less(values: Runs, arm: str, other: str, key: str, config: ConfigDict, key_other: str | None = None) -> Any:
    """The difference of two arms in a column, paired by seed and problem (laws/paired.py); None without common seeds.

    Args:
      values: {arm: {seed: {column: [P]}}}.
      arm, other: the one less the other.
      key: of the column; `key_other` is that of the other arm, where it differs.
      config: with `seed`, `level`, `draws`, of the interval.
    """
    x, y = ({s: of[k] for s, of in values[a].items()} for a, k in ((arm, key), (other, key_other or key)))
    rng = np.random.default_rng(config.seed)  # anew: an interval does not depend on what else is compared
    return paired.over_seeds(x, y, rng, level=config.level, draws=config.draws)
