"""The command-line entry point: flags to config, a workdir per config, and one line for whatever a user gets wrong."""

from __future__ import annotations

import errno
import fcntl
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from entropy_rl.errors import InputError, Preempted, nearest
from experiments.lib.process import define_flags, join, left_alone, setup_process

ROOT = Path(__file__).resolve().parents[2]
# What may change while a run goes on, by keys and groups of keys: how long it is, how it is looked at, and on what it
# runs. All else defines the experiment. More steps of a rate that decays are also other rates from there on.
KNOBS = (
    *("steps", "rounds", "eval", "checkpoint", "log_every", "mesh", "microbatches", "rollout.slots"),
    *("model.args.remat", "model.args.attention", "task.args.workers"),
)


def main(
    run: Callable[[ConfigDict, str], Any], default_config: str | None = None, *, distributed: bool = False
) -> None:
    """Parses `--config=FILE[:arg] [--config.key=value ...] --workdir=DIR` and calls `run(config, workdir)`.

    Does not return. What the user got wrong (InputError, a misspelt key, a mistyped value, a missing file, a
    full disk) is one line `error: ...` on stderr and exit status 2; Ctrl-C is status 130, a run that a signal ended
    128 and its number. A bug keeps its traceback.

    Args:
      run: the experiment.
      default_config: the config file where --config is not given.
      distributed: whether it runs in several processes too, and has the flags for it (process.define_flags).
    """

    def checked(argv: list[str]) -> None:
        workdir = flags.FLAGS.workdir
        if not workdir:
            raise InputError("--workdir is missing: give a folder for what the run writes")
        if distributed:
            join()
        run(flags.FLAGS.config, workdir)

    def define() -> None:
        setup_process()
        if distributed:
            define_flags()
        _define_flags(default_config)

    guarded(checked, define)


def guarded(main: Callable[[list[str]], Any], define: Callable[[], None] | None = None) -> None:
    """Runs `main(argv)` as an absl app with the manners that `launch.main` describes. Does not return.

    Args:
      main: called when the flags are parsed.
      define: called first; may define flags.
    """
    try:
        if define:
            define()
        # what --help lists
        for name in ("config", "workdir", "workers", "ray", "ray_slot", "distributed", "processes", "process"):
            if name in flags.FLAGS:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
        app.run(main, flags_parser=_parse)
    except Preempted as e:
        _leave(str(e), 128 + e.number)
    except KeyboardInterrupt:
        _leave("interrupted: the same command continues", 130)
    except InputError as e:
        _leave(f"error: {e}", 2)
    except Exception as e:
        if left_alone(e):
            _leave(
                f"error: another process of this run has ended ({' '.join(str(e).split())[:200]}): once all have, the "
                "same commands continue from the last checkpoint",
                2,
                now=True,
            )
        if not isinstance(e, OSError):
            raise
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" for {e.filename}" if e.filename else ""
            _leave(f"error: no space left{where}: free some and give the same command again to continue", 2)
        if e.filename is None:  # not about a file the user gave: a bug
            raise
        _leave(f"error: {e.filename}: {e.strerror}", 2)


def _leave(text: str, status: int, now: bool = False) -> None:
    """Ends this process; `now`, without waiting for others, which jax would do at the end."""
    print(" ".join(text.splitlines()), file=sys.stderr, flush=True)
    if now:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _define_flags(default_config: str | None) -> None:
    if not any(re.match(r"-{1,2}help", arg) for arg in sys.argv):
        # first, because defining the config flag looks at sys.argv already
        _check_overrides(sys.argv, load_config(_flag(sys.argv, "config") or default_config))
    config_flags.DEFINE_config_file("config", default_config, "config file, FILE.py or FILE.py:arg")
    flags.DEFINE_string("workdir", None, "folder for what the run writes; it continues from what is there")


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as e:
        raise InputError(str(e).replace("\n", " ")) from e
    if rest[1:]:
        raise InputError(f"unexpected argument {rest[1]!r}: flags look like --name=value")
    return rest


class _Source(importlib.machinery.SourceFileLoader):
    """Reads a file's text and no bytecode, which would be the old one's for a file changed within the same second."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def load_config(spec: str | None) -> ConfigDict:
    """The config that `FILE.py[:arg]` gives.

    Raises:
      InputError: no file, or one without get_config.
    """
    if not spec:
        raise InputError("--config is missing: give a file, such as --config=configs/quickstart.py")
    return call(spec, "get_config")


def call(spec: str, name: str) -> Any:
    """What the function `name` of the file in `FILE.py[:arg]` returns, given `arg` where there is one.

    Raises:
      InputError: no such file, no such function in it, or an argument too many or too few.
    """
    path, *arg = spec.split(":", 1)
    if not Path(path).is_file():
        names = [str(p) for p in Path(path).parent.glob("*.py")]
        raise InputError(f"no config file {path}{nearest(path, names)}")
    if not path.endswith(".py"):
        raise InputError(f"config file {path} is not a python file: give one that ends in .py")
    stem = Path(path).stem
    module_spec = importlib.util.spec_from_file_location(stem, path, loader=_Source(stem, path))
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if function is None:
        raise InputError(f"config file {path} has no function {name}: see those in configs/")
    try:
        inspect.signature(function).bind(*arg)
    except TypeError as e:
        how = f"takes no argument: give --config={path}" if arg else f"needs one: give --config={path}:ARG"
        raise InputError(f"config file {path} {how}") from e
    return function(*arg)


def _flag(argv: list[str], name: str) -> str | None:
    for i, arg in enumerate(argv[1:], 1):
        if match := re.match(rf"-{{1,2}}{name}(=(.*))?$", arg, re.DOTALL):
            return match[2] if match[1] else (argv[i + 1] if i + 1 < len(argv) else None)
    return None


def _check_overrides(argv: list[str], config: ConfigDict) -> None:
    """Raises an InputError for a wrong key or value in `--config.key=value`, which names both."""
    for i, arg in enumerate(argv[1:], 1):
        if not (match := re.match(r"-{1,2}(no)?config\.([^=]+)(=(.*))?$", arg, re.DOTALL)):
            continue
        key = match[2]
        keys = _keys(config)
        if key not in keys:
            raise InputError(f"config has no key {key!r}{nearest(key, keys)}")
        folder, _, name = key.rpartition(".")
        kind = (config[folder] if folder else config).get_type(name)
        if match[3]:
            value = match[4]
        elif kind is bool:  # --config.flag and --noconfig.flag stand alone
            continue
        else:
            value = argv[i + 1] if i + 1 < len(argv) else ""
        if kind in _PARSERS:
            try:
                _PARSERS[kind].parse(value)
            except ValueError as e:
                raise InputError(f"config.{key}={value}: expected {_ARTICLES[kind]}") from e


_PARSERS = {int: flags.IntegerParser(), float: flags.FloatParser(), bool: flags.BooleanParser()}
_ARTICLES = {int: "an int", float: "a float", bool: "true or false (bool)"}


def _keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items(preserve_field_references=True):
        keys.append(prefix + key)
        if isinstance(value, ConfigDict):
            keys += _keys(value, f"{prefix}{key}.")
    return keys


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
        temporary = path.with_name("config.json.new")
        temporary.write_text(json.dumps(about, indent=2) + "\n")
        os.replace(temporary, path)

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
    from entropy_rl.models.transformer import current_name

    old, new = (
        {key: current_name(key.split(".")[-1], value) for key, value in _flat(tree).items()} for tree in (old, new)
    )
    changed, differ = {}, []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, _NONE), new.get(key, _NONE)
        if _equal(was, now) or _within(key, ignore):
            continue
        since = was is _NONE and not _within(key, overridden)
        grown = was == {} and any(k.startswith(f"{key}.") for k in new)  # a group that has its first key
        if since or grown or _within(key, knobs):
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


def _within(key: str, names: Collection[str]) -> bool:
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
    out = _copy(new)
    flat_old, flat_new = _flat(old), _flat(new)
    for key in flat_new:
        if key in flat_old and key not in changed and not _equal(flat_old[key], flat_new[key]):
            *groups, last = key.split(".")
            part = out
            for group in groups:
                part = part[group]
            part[last] = flat_old[key]
    return out


def _copy(tree: Any) -> Any:
    return {k: _copy(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


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
        command = ["git", "-C", str(ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()) != ROOT:
            return None
        return git("rev-parse", "HEAD").strip() + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
