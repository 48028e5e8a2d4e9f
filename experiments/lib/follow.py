"""Watching logs that grow: a line an evaluation, until it is told to stop.

Between evaluations it looks at names, sizes and times of the files only, every config.poll seconds (of many files more
rarely), and reads what has changed no more often than READING of a core allows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from entropy_rl.errors import InputError
from entropy_rl.logs import formats

READING = 0.01  # share of a core for reading what has changed
MOST_FILES = 2000  # of a folder that are looked at

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp(logs: str) -> Stamp:
    """(path, size, time, inode) of every file of the logs; empty where there are none yet."""
    try:
        paths = formats.find(logs)
    except InputError:
        return ()
    files = []
    for path in paths:
        found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())[:MOST_FILES]
        for file in found:
            try:
                stat = os.stat(file)
            except OSError:  # gone since
                continue
            files.append((str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(files)


def follow(
    logs: str,
    read: Callable[[], Any],
    evaluated: Callable[[Any], Any],
    show: Callable[[Any], bool],
    *,
    poll: float,
    until: float | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Calls `show` for each new evaluation in the logs.

    A file that is not there yet, cut to nothing, replaced or torn is waited for: what `read` refuses is said once.

    Args:
      logs: as `formats.find` takes them.
      read: gives what the logs hold, or raises InputError.
      evaluated: what of it is new with an evaluation: where it is what it was, nothing is shown.
      show: prints a line for what was read; False ends the watch.
      poll: seconds between two looks at the files.
      until: seconds after which the watch ends; None: never.
    """
    end = None if until is None else time.monotonic() + until
    before: Stamp | None = None
    shown, refused, rest = None, "", 0.0
    while True:
        looked = time.process_time()
        now = stamp(logs)
        looked = time.process_time() - looked
        if now != before and time.monotonic() >= rest:
            before, began = now, time.process_time()
            try:
                found = read()
                new = evaluated(found)
            except InputError as error:
                if str(error) != refused:
                    refused = str(error)
                    say(f"waiting: {refused}")
            else:
                rest = time.monotonic() + (time.process_time() - began) / READING
                if new != shown:
                    shown, refused = new, ""
                    try:
                        if not show(found):
                            return
                    except InputError as error:
                        say(f"waiting: {error}")
        if end is not None and time.monotonic() >= end:
            return
        time.sleep(max(poll, looked / READING))
