"""Processes that a function can hang, exhaust or crash without harm to the caller.

Each is a fresh interpreter that speaks length-prefixed JSON over pipes: a fork of a process with jax's threads can
hang, and `multiprocessing`'s spawn imports the user's `__main__` again. A limit is kept by SIGKILL from outside, since
a loop in C (a power of two big integers) sees no signal handler and no exception.

Why not pebble's ProcessPool (5.2.3, spawn; 2 shared cores): 512 answers by math-verify take it 3.0 s in one process
and 2.4 s in two, here 3.7 and 1.9 s, and its start 10 and 19 s, here 8 and 8 s; a caller's script without a `__main__`
guard is run again in each process and ends the pool; and nothing says whether an item that ran out of memory had a
fresh process.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import importlib
import json
import mmap
import os
import queue
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from entropy_rl.errors import InputError

START_SECONDS = 120.0  # for a worker's imports
MAX_BYTES = 64 * 2**20  # of a result


@dataclasses.dataclass(frozen=True)
class Failure:
    """What stands in place of a result; false in a condition.

    Attributes:
      reason: "timeout", "memory", "died" (the process ended) or "raised".
      text: more about it, such as the exception.
    """

    reason: str
    text: str = ""

    def __bool__(self) -> bool:
        return False


class Workers:
    """Runs a function on items in `count` processes with hard limits. Threads may share one; processes may not.

    The processes start with the first `map`, and end with `close`, the end of a `with`, the end of the object or of
    the program. Ctrl-C does not reach them. One that fails is killed and another takes its place.

    Args:
      target: "module:function"; the module is found where the caller would find it. The function takes one JSON value
        and gives one. What it prints is lost.
      count: processes.
      seconds: wall time for one item. Imports are not counted.
      megabytes: address space of one process (RLIMIT_AS), with its imports.
      setup: where it is not None, `target(**setup)` gives the function; that is not counted either.

    Raises:
      InputError: a value out of range.
    """

    def __init__(
        self,
        target: str,
        *,
        count: int = 1,
        seconds: float = 5.0,
        megabytes: int = 1024,
        setup: dict[str, Any] | None = None,
    ):
        for name, value in (("count", count), ("seconds", seconds), ("megabytes", megabytes)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"workers {name}={value!r}: give a number above 0")
        if int(count) != count or ":" not in target:
            raise InputError(f"workers target={target!r}, count={count!r}: give 'module:function' and a whole number")
        order = {"target": target, "setup": setup, "megabytes": megabytes, "seconds": seconds}
        self.seconds = seconds
        self._workers = [_Worker(order) for _ in range(int(count))]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._closed = False
        self._finalizer = weakref.finalize(self, _end, self._workers)

    def map(self, items: Iterable[Any]) -> list[Any]:
        """`[target(item) for item in items]`, with a `Failure` in place of what could not be had.

        An item that runs out of memory or kills its process is tried once more in a fresh one, where the process had
        run others before it: what an item gives does not depend on what others left behind.

        Raises:
          InputError: the workers cannot start (no such function, an import that fails, too few megabytes).
          TypeError: an item is no JSON value.
        """
        if self._closed:
            raise RuntimeError("these workers are closed")
        messages = [json.dumps(item).encode() for item in items]
        stop = threading.Event()
        busy: set[_Worker] = set()

        def call(message: bytes) -> Any:
            worker = self._idle.get()
            busy.add(worker)
            try:
                return worker.call(message, self.seconds, stop)
            except BaseException:
                worker.end()
                raise
            finally:
                busy.discard(worker)
                self._idle.put(worker)

        if len(messages) < 2:
            return list(map(call, messages))
        with concurrent.futures.ThreadPoolExecutor(min(len(self._workers), len(messages))) as threads:
            try:
                return list(threads.map(call, messages))
            except BaseException:  # such as Ctrl-C, which the threads do not see
                stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                for worker in list(busy):
                    worker.kill()
                raise

    def close(self) -> None:
        """Ends the processes. A second call does nothing."""
        self._closed = True
        self._finalizer()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *args: Any) -> None:
        self.close()


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.end()


class _Worker:
    def __init__(self, order: dict[str, Any]):
        self.order = order
        self.process: subprocess.Popen | None = None
        self.served = 0

    def call(self, message: bytes, seconds: float, stop: threading.Event) -> Any:
        """The result of one item. Whatever interrupts it, the process is idle or gone afterwards."""
        fresh = self.process is None or not self.served
        result = self._call(message, seconds)
        if isinstance(result, Failure) and result.reason in ("memory", "died") and not fresh and not stop.is_set():
            result = self._call(message, seconds)
        return result

    def _call(self, message: bytes, seconds: float) -> Any:
        if self.process is None:
            self._start()
        reply = self._exchange(message, seconds)
        if isinstance(reply, Failure):
            self.end()
            return reply
        self.served += 1
        if "result" in reply:
            return reply["result"]
        if reply["reason"] == "memory":
            self.end()  # what it holds on to would fail the next item
        return Failure(reply["reason"], reply["text"])

    def _start(self) -> None:
        paths = [os.path.abspath(p) for p in sys.path]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        # threads' stacks and arenas would use up the address space
        env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        env |= {"PYTHONHASHSEED": "0"}  # the order of a set is then the same in each of them, and tomorrow
        self.served = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "entropy_rl.answers.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=env,
            start_new_session=True,  # the terminal's Ctrl-C goes to the caller alone
        )
        target = self.order["target"]
        reply = self._exchange(json.dumps(self.order).encode(), START_SECONDS)
        if isinstance(reply, Failure):
            self.end()
            raise InputError(
                f"a worker for {target} ended while it started ({reply.reason}): "
                f"give more than megabytes={self.order['megabytes']}"
            )
        if "result" not in reply:
            self.end()
            raise InputError(f"a worker cannot start {target}: {' '.join(reply['text'].split())}")

    def _exchange(self, message: bytes, seconds: float) -> dict[str, Any] | Failure:
        deadline = time.monotonic() + seconds
        try:
            _write(self.process.stdin.fileno(), message)
            file = self.process.stdout.fileno()
            (size,) = struct.unpack(">I", _read(file, 4, deadline))
            if size > MAX_BYTES:
                return Failure("died", f"a result of {size} bytes")
            return json.loads(_read(file, size, deadline))
        except TimeoutError:
            return Failure("timeout", f"more than {seconds:g} s")
        except (EOFError, OSError):
            return Failure("died", "the process ended")

    def kill(self) -> None:
        """Lets the thread that waits for an item go on, with a Failure."""
        if (process := self.process) is not None:
            with contextlib.suppress(OSError):
                process.kill()

    def end(self) -> None:
        """Kills the process and waits for it: no zombie."""
        self.kill()
        process, self.process = self.process, None
        if process is None:
            return
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _write(file: int, message: bytes) -> None:
    data = memoryview(struct.pack(">I", len(message)) + message)
    while data:
        data = data[os.write(file, data) :]


def _read(file: int, size: int, deadline: float | None = None) -> bytes:
    """`size` bytes; TimeoutError at the deadline, EOFError where the other side is gone."""
    parts = []
    with selectors.PollSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while size:
            if deadline is not None and not selector.select(max(deadline - time.monotonic(), 0)):
                raise TimeoutError
            part = os.read(file, min(size, 2**20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
    return b"".join(parts)


def _serve() -> None:
    """The loop of a worker: the order, `ready`, then item after item until the pipe closes."""
    # The target may print: the protocol gets descriptors of its own, and 0 and 1 lead nowhere.
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = json.loads(_message(source))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(order["megabytes"] * 2**20),) * 2)
    try:
        _check_room(order["megabytes"])
        module, _, name = order["target"].partition(":")
        function: Callable = getattr(importlib.import_module(module), name)
        if order["setup"] is not None:
            function = function(**order["setup"])
    except BaseException as error:
        _write(sink, _failed(error))
        return
    _write(sink, b'{"result": null}')
    while True:
        item = json.loads(_message(source))
        # If the caller is killed nobody enforces the limit: the kernel does, a little later.
        signal.setitimer(signal.ITIMER_REAL, 1.5 * order["seconds"] + 5)
        try:
            reply = json.dumps({"result": function(item)}).encode()
        except BaseException as error:
            reply = _failed(error)
        signal.setitimer(signal.ITIMER_REAL, 0)
        item = None
        _write(sink, reply)


def _check_room(megabytes: float) -> None:
    """A limit below what the interpreter has already would be seen only by an import that asks for more."""
    try:
        mmap.mmap(-1, 2**20).close()
    except (OSError, ValueError) as error:
        raise MemoryError(f"{megabytes:g} megabytes are fewer than the interpreter takes: give more") from error


def _message(source: int) -> bytes:
    return _read(source, struct.unpack(">I", _read(source, 4))[0])


def _failed(error: BaseException) -> bytes:
    reason = "memory" if isinstance(error, MemoryError) else "raised"
    try:
        text = f"{type(error).__name__}: {error}"[:1000]
    except BaseException:
        text = type(error).__name__
    return json.dumps({"reason": reason, "text": text}).encode()


if __name__ == "__main__":
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        _serve()
