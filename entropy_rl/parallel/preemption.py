"""The notice that a run must end soon, to be asked for between steps: SIGTERM, or SIGUSR1.

SIGTERM is what Kubernetes, SLURM (at the end of the time, or for another job) and Cloud TPU send some time before they
kill; SIGUSR1 is what SLURM sends as early as `--signal=USR1@600` says. In several processes a notice to one of them is
told to all by jax's preemption service, and all end before the same step.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from entropy_rl.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Notice:
    """Whether this run must end. As a context manager it takes the signals; outside they do what they did before."""

    def __init__(self):
        self._number: int | None = None
        self._inside = False
        self._several = jax.process_count() > 1
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Notice:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in SIGNALS[self._several :]:  # SIGTERM is jax's own in several processes
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exc) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _receive(self, number: int, frame: Any) -> None:
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._number = number
        if self._inside:
            self._inside = False
            raise Preempted(number)

    def reached(self, step: int) -> bool:
        """Whether to end before `step`. To be asked before every step, by every process."""
        return multihost_utils.reached_preemption_sync_point(step) if self._several else self._number is not None

    def preempted(self, step: int) -> Preempted:
        """The exception that ends the run before `step`."""
        return Preempted(self._number or signal.SIGTERM, step)

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """Work that changes nothing that is saved, so that it need not come to its end: a notice raises Preempted in
        it. Not in several processes, where the others would wait for this one."""
        if self._number is not None:
            raise Preempted(self._number)
        self._inside = not self._several
        try:
            yield
        finally:
            self._inside = False
