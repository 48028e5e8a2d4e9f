"""How a worker is paced: it does a step for each line that it is sent, and answers with what the step took.

Standard library alone: it runs in other projects' environments.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator

QUIET = 0.1  # seconds without work after which a step that goes on in the background is over
POLL = 0.005


def used() -> float:
    """CPU-seconds of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def begin() -> None:
    """Keeps stdout for answers; what libraries print goes to stderr."""
    global _answers
    _answers, sys.stdout = sys.stdout, sys.stderr


_answers = sys.stdout


def answer(about: dict) -> None:
    """A line of json."""
    _answers.write(json.dumps(about) + "\n")
    _answers.flush()


class Clock:
    """Seconds and CPU-seconds since it was made."""

    def __init__(self):
        self._time, self._cpu = time.perf_counter(), used()

    def stop(self) -> None:
        """Answers, at once."""
        answer({"wall_s": time.perf_counter() - self._time, "cpu_s": used() - self._cpu})

    def settle(self) -> None:
        """Answers once nothing is going on any more; the quiet time does not count."""
        end, cpu = time.perf_counter(), used()
        while time.perf_counter() - end < QUIET:
            time.sleep(POLL)
            if used() - cpu > 0.002:  # a poll takes microseconds
                end, cpu = time.perf_counter(), used()
        answer({"wall_s": end - self._time, "cpu_s": cpu - self._cpu})


def asked() -> bool:
    """Waits for the next step to be asked for; False: there is none."""
    return bool(sys.stdin.readline())


def paced(items: Iterable) -> Iterator:
    """The items, one for each step that is asked for; a step is over when the next item is wanted and all is quiet."""
    clock = None
    for item in items:
        if clock:
            clock.settle()
        if not asked():
            return
        clock = Clock()
        yield item
