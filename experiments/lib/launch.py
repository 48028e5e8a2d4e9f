"""The command-line entry point: flags to config, and one line for whatever a user gets wrong."""

from __future__ import annotations

import ast
import errno
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from entropy_rl.errors import InputError, Preempted, nearest
from experiments.lib.process import define_flags, join, left_alone, setup_process

ROOT = Path(__file__).resolve().parents[2]


def main(run: Callable[[ConfigDict, str], Any], *, distributed: bool = False) -> None:
    """Parses `--config=FILE[:arg] [--config.key=value ...] --workdir=DIR` and calls `run(config, workdir)`.

    Does not return. What the user got wrong (InputError, a misspelt key, a mistyped value, a missing file, a
    full disk) is one line `error: ...` on stderr and exit status 2; Ctrl-C is status 130, a run that a signal ended
    128 and its number. A bug keeps its traceback.

    Args:
      run: the experiment.
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
        _define_flags()

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
        if key := _missing_key(e):
            _leave(f"error: {key}: give a config of this script; the docstring of a config has its command", 2)
        if not isinstance(e, OSError):
            raise
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" for {e.filename}" if e.filename else ""
            _leave(f"error: no space left{where}: free some and give the same command again to continue", 2)
        if e.filename is None:  # not about a file the user gave: a bug
            raise
        _leave(f"error: {e.filename}: {e.strerror}", 2)


def _missing_key(error: Exception) -> str:
    """The key that a script looked for and its config has not, and where; empty for any other error."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, KeyError | AttributeError) or "ml_collections" not in frames[-1].filename:
        return ""
    reader = next(f for f in reversed(frames) if "ml_collections" not in f.filename)
    key, script = re.search(r"\w[\w.]*", str(error))[0], Path(sys.argv[0]).name
    where = f"{reader.filename} line {reader.lineno}"
    return f"config {_flag(sys.argv, 'config')} has no key {key!r}, which {script} reads ({where})"


def _leave(text: str, status: int, now: bool = False) -> None:
    """Ends this process; `now`, without waiting for others, which jax would do at the end."""
    print(" ".join(text.splitlines()), file=sys.stderr, flush=True)
    if now:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _define_flags() -> None:
    if not any(re.match(r"-{1,2}help", arg) for arg in sys.argv):
        # first, because defining the config flag looks at sys.argv already
        _check_overrides(sys.argv, load_config(_flag(sys.argv, "config")))
    config_flags.DEFINE_config_file("config", None, "config file, FILE.py or FILE.py:arg")
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
                _PARSERS[kind](value)
            except (ValueError, SyntaxError) as e:
                raise InputError(f"config.{key}={value}: expected {_ARTICLES[kind]}") from e


_PARSERS = {int: flags.IntegerParser().parse, float: flags.FloatParser().parse, bool: flags.BooleanParser().parse}
_PARSERS[ConfigDict] = lambda value: dict(ast.literal_eval(value))
_ARTICLES = {int: "an int", float: "a float", bool: "true or false (bool)"}
_ARTICLES[ConfigDict] = "a dict, such as \"{'name': 'ppo', 'args': {'clip_low': 0.2, 'clip_high': 0.2}}\""


def _keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items(preserve_field_references=True):
        keys.append(prefix + key)
        if isinstance(value, ConfigDict):
            keys += _keys(value, f"{prefix}{key}.")
    return keys
