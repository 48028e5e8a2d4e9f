"""Mistakes in what the user gave: one line that names the offender and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """A bad value, file or folder. The message is one line: what, where, and what to do about it.

    Scripts print it without a traceback and exit with status 2 (experiments/lib/launch.py).
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest of `names`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """`table[name]`, or an InputError that names the `kind` of thing and what there is."""
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}{nearest(name, table)}: one of {', '.join(sorted(table))}")
    return table[name]
