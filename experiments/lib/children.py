"""Child processes that end with whoever started them.

Standard library only: Ray sends these functions to machines that need not have what this package needs
(experiments/lib/ray_cluster.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time


def start(command: list[str], log: str, cores: set[int] | None = None, cwd: str | None = None) -> subprocess.Popen:
    """Starts a command that adds what it says to the file `log`, on `cores` where they are given.

    To be called in the main thread, as the child ends with the thread that started it.
    """
    with open(log, "a") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # a group of its own, to end it with all that it has started
            preexec_fn=lambda: _prepare(cores),
        )


def _prepare(cores: set[int] | None) -> None:
    """In the child, before its program."""
    # where the sweep itself was started in the background of a script, SIGINT is ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if cores:
        os.sched_setaffinity(0, cores)
    if sys.platform == "linux":
        # PR_SET_PDEATHSIG: the kernel ends it when its parent dies in a way that runs no `finally`
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def end(child: subprocess.Popen) -> None:
    """Asks a child to end (SIGTERM), waits as long as it takes to save, and ends what it leaves of its group."""
    try:
        child.terminate()  # it alone: what it has started may be needed until it has saved
        while child.poll() is None:  # not `wait`, which a worker of Ray's that is to end would not leave
            time.sleep(0.05)
    finally:
        kill(child)


def kill(child: subprocess.Popen) -> None:
    """Ends a child and its group by force."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
