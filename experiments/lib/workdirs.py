"""A workdir per config: which one it belongs to, what may change when a run goes on, and what it ran with."""

from __future__ import annotations

import copy
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from entropy_rl import files
from entropy_rl.errors import InputError
from entropy_rl.trackers import Trackers, libraries
from experiments.lib import launch

COMPUTES = ("remat", "scan_layers", "attention", "grouped")  # of config.Config: how, not what
# What may change while a run goes on, by keys and groups of keys: how long it is, how it is looked at, and on what it
# runs. All else defines the experiment. More steps of a rate that decays are also other rates from there on.
KNOBS = (
    *("steps", "rounds", "eval", "checkpoint", "log_every", "track", "mesh", "microbatches", "rollout.slots"),
    "rollout.gather_weights",
    *(f"model.args.{key}" for key in COMPUTES),
    "task.args.workers",
)


def open_workdir(
    config: ConfigDict, workdir: str | os.PathLike, ignore: Collection[str] = (), knobs: Collection[str] = ()
) -> Path:
    """Makes the workdir, or checks that it belongs to `config`; gives its path. Process 0 writes.

    `config.json` holds the resolved config and what it first ran with: command, git commit, versions, device; and,
    where a later start changed something, `history`: a row a change, with the values before and after, and what it ran
    with. A key that the stored config has not is new since, and takes its default. Until this process ends no other
    one gets the same workdir.

    Args:
      config: as the run uses it.
      workdir: the folder.
      ignore: keys (`log_every`) and groups of keys (`eval`) that may differ from the stored config's, which stays.
      knobs: those that may change: the stored config becomes this one.

    Raises:
      InputError: the workdir is a file, cannot be written, is in use, or belongs to another config.
    """
    from entropy_rl.parallel import processes

    if "track" in config:
        libraries(config.track)  # one that is missing leaves no workdir behind
    workdir = Path(workdir)
    path = workdir / "config.json"
    new = json.loads(config.to_json_best_effort())

    def claim() -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        _lock(workdir / "lock")
        if path.exists():
            about = json.loads(path.read_text())
            changed = _compare(path, about["config"], new, ignore, knobs, _overridden(config))
            if not changed:
                return
            about["config"] = _merged(about["config"], new, changed)
            row = {key: {"was": was, "is": now} for key, (was, now) in changed.items()}
            about["history"] = [*about.get("history", []), {"changed": row, **_circumstances()}]
            print(f"{path}: {', '.join(f'{k} {_say(was)} -> {_say(now)}' for k, (was, now) in changed.items())}")
        else:
            about = {"config": new, **_circumstances()}
        files.write(path, json.dumps(about, indent=2))

    def claimed() -> None:
        try:
            claim()
        except (FileExistsError, NotADirectoryError) as e:
            raise InputError(f"workdir {workdir} is not a folder: give another --workdir") from e
        except PermissionError as e:
            raise InputError(f"workdir {workdir}: {e.strerror}: give another --workdir") from e
        except (KeyError, TypeError, json.JSONDecodeError) as e:
            raise InputError(f"{path} is damaged: give another --workdir, or remove that file") from e

    processes.run_on_primary(claimed)
    return workdir


def pace(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Keywords of training/loop.loop: how long a run is, by steps or rounds, what it keeps, how often it saves,
    evaluates and logs, and the trackers that `config.track` names, none where it is ""."""
    from entropy_rl.parallel import processes

    how = {"config": json.loads(config.to_json_best_effort()), "say": processes.log}
    track = (lambda start: Trackers(config.track, workdir, start=start, **how)) if config.track else None
    kept = {"keep": config.checkpoint.keep, "track": track}
    if "rounds" in config:  # round 0 is the start
        return kept | {"steps": config.rounds + 1, "numbered_from": 1}
    every = {"checkpoint_every": config.checkpoint.every, "eval_every": config.eval.every}
    return kept | every | {"steps": config.steps, "log_every": config.get("log_every", 1)}


def report(folder: Path, name: str, content: Any, page: str) -> None:
    """Writes NAME.json and NAME.md, and prints the page."""
    files.write(folder / f"{name}.json", json.dumps(content, indent=1))
    files.write(folder / f"{name}.md", page)
    print(page)


_locks: dict[Path, int] = {}  # file descriptors, open for as long as the process lives


def _lock(path: Path) -> None:
    """Two runs that write the same files would spoil both."""
    path = path.resolve()
    if path in _locks:
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(file)
        if e.errno in (errno.EACCES, errno.EAGAIN):
            raise InputError(
                f"another process is running in {path.parent}: give another --workdir, or wait for its end"
            ) from e
        print(f"{path} cannot be locked ({e.strerror}): do not start a second run there", file=sys.stderr)
        return
    _locks[path] = file


def _compare(
    path: Path, old: Any, new: Any, ignore: Collection[str], knobs: Collection[str], overridden: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """{key: (old, new)} of what changes; InputError for what may not."""
    from entropy_rl.models.config import current_name

    old, new = (
        {key: current_name(key.split(".")[-1], value) for key, value in _flat(tree).items()} for tree in (old, new)
    )
    changed, differ = {}, []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, _NONE), new.get(key, _NONE)
        if _equal(was, now) or within(key, ignore):
            continue
        since = was is _NONE and not within(key, overridden)
        grown = was == {} and any(k.startswith(f"{key}.") for k in new)  # a group that has its first key
        if since or grown or within(key, knobs):
            changed[key] = was, now
        else:
            differ.append(f"{key} is {_say(was)} there and {_say(now)} here")
    if differ:
        more = f" (and {len(differ) - 3} more)" if len(differ) > 3 else ""
        raise InputError(
            f"workdir {path.parent} belongs to another config: {', '.join(differ[:3])}{more}; "
            "give another --workdir, or the old values"
        )
    return {key: values for key, values in changed.items() if values[0] != {}}


def within(key: str, names: Collection[str]) -> bool:
    """Whether a key is one of `names`, or in a group that is."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _say(value: Any) -> str:
    return "not" if value is _NONE else json.dumps(value)


def _overridden(config: ConfigDict) -> set[str]:
    """Keys and groups that the command line gives of this config, which is the script's."""
    if "config" not in flags.FLAGS or not flags.FLAGS.is_parsed() or flags.FLAGS.config is not config:
        return set()
    found = (re.match(r"-{1,2}(?:no)?config\.([^=]+)", arg) for arg in sys.argv[1:])
    return {match[1] for match in found if match}


def _merged(old: Any, new: dict[str, Any], changed: Collection[str]) -> dict[str, Any]:
    """The new config, with the old values of what may differ and does not change (`ignore`)."""
    out = copy.deepcopy(new)
    flat_old, flat_new = _flat(old), _flat(new)
    for key in flat_new:
        if key in flat_old and key not in changed and not _equal(flat_old[key], flat_new[key]):
            *groups, last = key.split(".")
            part = out
            for group in groups:
                part = part[group]
            part[last] = flat_old[key]
    return out


_NONE = "no such key"


def _equal(old: Any, new: Any) -> bool:
    return old == new or json.dumps(old) == json.dumps(new)  # NaN is not NaN


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix.removesuffix("."): tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def _circumstances() -> dict[str, Any]:
    import jax

    versions = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        versions[name] = importlib.metadata.version(name)
    return {
        "command": [sys.executable, *sys.argv],
        "git_commit": git_commit(),
        "versions": versions,
        "device": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
        "platform": platform.platform(),
    }


def git_commit() -> str | None:
    """The commit of this checkout, `-dirty` where tracked files differ from it; None if it is none."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(launch.ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()) != launch.ROOT:
            return None
        return git("rev-parse", "HEAD").strip() + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
