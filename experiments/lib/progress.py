"""How far a run is and how long it still takes: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import tqdm

EVERY = 10.0  # seconds between two lines where stderr is no terminal


def progress(total: int, initial: int = 0, desc: str = "") -> Bar | Lines | Silent:
    """A context manager with `update(n=1)`, `note({name: value})` and `close()`, on stderr.

    On a terminal it is a tqdm bar. Elsewhere it is plain lines with the time left: at most one every 10 s,
    and one at the end.

    Args:
      total: steps in all.
      initial: how many of them were done before this process started.
      desc: a word or two before the numbers.
    """
    if processes_before():
        return Silent()
    return (Bar if sys.stderr.isatty() else Lines)(total, initial, desc)


def processes_before() -> bool:
    """Whether another process of this run shows how far it is; jax is asked only if it is there already."""
    return "jax" in sys.modules and sys.modules["jax"].process_index() > 0


class _Progress:
    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class Silent(_Progress):
    """Where another process says it."""

    def update(self, n: int = 1) -> None:
        """Nothing."""

    def note(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Bar(_Progress):
    """On a terminal."""

    def __init__(self, total: int, initial: int, desc: str):
        self._bar = tqdm.tqdm(total=total, initial=initial, desc=desc or None, dynamic_ncols=True)

    def update(self, n: int = 1) -> None:
        """`n` more steps are done."""
        self._bar.update(n)

    def note(self, values: Mapping[str, Any]) -> None:
        """Shows numbers beside the bar."""
        self._bar.set_postfix_str(_text(values), refresh=False)

    def close(self) -> None:
        """Leaves the bar as it stands; closing twice is fine."""
        self._bar.close()


class Lines(_Progress):
    """In a log: no carriage returns, few lines."""

    def __init__(self, total: int, initial: int, desc: str):
        self._total, self._initial, self._done, self._desc = total, initial, initial, desc
        self._values: Mapping[str, Any] = {}
        self._start = self._last = time.monotonic()
        self._shown = initial

    def update(self, n: int = 1) -> None:
        """`n` more steps are done."""
        self._done += n
        if time.monotonic() - self._last >= EVERY:
            self._show()

    def note(self, values: Mapping[str, Any]) -> None:
        """Numbers for the next line."""
        self._values = dict(values)

    def close(self) -> None:
        """Writes the last line, unless it stands there already."""
        if self._shown != self._done:
            self._show()

    def _show(self) -> None:
        self._last, self._shown = time.monotonic(), self._done
        seconds = self._last - self._start
        rate = (self._done - self._initial) / seconds if seconds > 0 else 0.0
        parts = [f"{self._desc} {self._done}/{self._total}".strip(), _clock(seconds)]
        if rate > 0 and self._done < self._total:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        if rate > 0:
            parts.append(f"{rate:.2f}/s" if rate >= 1 else f"{1 / rate:.2f} s each")
        if self._values:
            parts.append(_text(self._values))
        print(", ".join(parts), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return tqdm.tqdm.format_interval(seconds)


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
