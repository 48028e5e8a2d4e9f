"""Mistakes in what the user gave, one line that names the offender and the remedy; and a run that was told to end."""

from __future__ import annotations

import difflib
import inspect
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """A bad value, file or folder. The message is one line: what, where, and what to do about it.

    Scripts print it without a traceback and exit with status 2 (experiments/lib/launch.py).
    """


class Preempted(KeyboardInterrupt):
    """A signal asked this run to end, and what was done is saved: the same command goes on from there.

    A KeyboardInterrupt, so that it passes through whatever handles errors. Scripts exit with status 128 + number.

    Args:
      number: of the signal.
      steps: that are done.
    """

    def __init__(self, number: int, steps: int | None = None):
        self.number = int(number)
        done = "" if steps is None else f"{steps} steps are done and saved, "
        super().__init__(f"ended by {signal.Signals(number).name}: {done}the same command continues")


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest of `names`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """`table[name]`, or an InputError that names the `kind` of thing and what there is."""
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}{nearest(name, table)}: one of {', '.join(sorted(table))}")
    return table[name]


def bind(
    table: Mapping[str, Callable],
    name: str,
    args: Mapping[str, Any],
    kind: str,
    *,
    first: int = 0,
    given: Collection[str] = (),
    missing: str = "add it to its args",
) -> partial:
    """`table[name]` with the hyper-parameters `args` as keywords.

    Args:
      table: of functions; whatever parameters `first` and `given` leave over are hyper-parameters.
      name: of a row.
      args: its hyper-parameters; those with a default may be left out.
      kind: what messages call a row.
      first: number of leading parameters that are no hyper-parameters, such as arrays.
      given: names of further ones.
      missing: what messages advise where a hyper-parameter is missing.

    Raises:
      InputError: there is no such row, or it has no such hyper-parameter or needs another.
    """
    function = lookup(table, name, kind)
    parameters = list(inspect.signature(function).parameters.items())[first:]
    known = {k: p.default for k, p in parameters if k not in given}
    for key in args:
        if key not in known:
            there = f"it has {', '.join(known) or 'none'}"
            raise InputError(f"{kind} {name!r} has no hyper-parameter {key!r}{nearest(key, known)}: {there}")
    for key, default in known.items():
        if default is inspect.Parameter.empty and key not in args:
            raise InputError(f"{kind} {name!r} needs a hyper-parameter {key!r}: {missing}")
    return partial(function, **args)
