"""The runs of a sweep as tasks of a Ray cluster: what `experiments.sweep --ray=ADDRESS` executes with.

A task is small: it starts the run's command on its node, waits for it and gives its exit status. Ray queues the
tasks it has no slot for. A run whose worker or node dies is started again, and goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import ray

from entropy_rl.errors import InputError
from experiments.lib import children, launch
from experiments.lib.children import end, kill, start  # not `children.end`: a task takes what it names, and no more

RESTARTS = 5  # of a run whose worker died
CONNECT_SECONDS = 120  # a busy head takes a minute; ray:// gives up by itself after 30
NOT_YET, TRIES = "Starting Ray client server failed", 3  # of a cluster that is there, and whose head is busy
LOCK_SECONDS = 180  # NFS keeps the locks of a machine that is gone for 90


@dataclasses.dataclass
class Job:
    """A run on the cluster."""

    ref: ray.ObjectRef
    command: list[str]
    log: str
    deaths: int = 0


class Cluster:
    """Executes runs on the nodes of a Ray cluster; the methods are those of sweep.Local."""

    free = True  # there is always room in Ray's queue
    pause = 0.2

    def __init__(self, address: str, slot: dict[str, float]):
        """Connects.

        Args:
          address: what `ray.init` takes.
          slot: how much of which resource of a node a run takes.

        Raises:
          InputError: no cluster at the address.
        """
        named = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
        options = {option: slot.get(name, 0) for name, option in named.items()}
        options["resources"] = {name: number for name, number in slot.items() if name not in named}
        # by value: a node that lacks the checkout could not import the task that is to say so
        for module in (sys.modules[__name__], children):
            ray.cloudpickle.register_pickle_by_value(module)
        # no retries of Ray's own: they would pass in silence
        self.task = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **options)(_attend)
        _reach(address)
        for last in (False,) * (TRIES - 1) + (True,):
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
                break
            except RuntimeError as e:
                if last or NOT_YET not in str(e):
                    raise
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= number for name, number in slot.items()) for node in nodes):
            words = ",".join(f"{name}={number:g}" for name, number in slot.items())
            print(f"no node has {words}: runs wait until one joins", file=sys.stderr, flush=True)

    def start(self, run: Any, command: list[str], log: str) -> None:
        """Gives a run to the cluster."""
        run.job = Job(self._submit(run.name, command, log), command, log)

    def poll(self, run: Any) -> tuple[int, float] | None:
        """None while it runs or waits, then its exit status and its seconds on the node."""
        job = run.job
        if not ray.wait([job.ref], timeout=0)[0]:
            return None
        try:
            return ray.get(job.ref)
        except ray.exceptions.RayTaskError as e:  # the task itself says what is wrong
            line = str(e.cause)
        except ray.exceptions.RayError as e:  # the worker or its node died
            job.deaths += 1
            line = f"its worker died ({type(e).__name__}: {(str(e).splitlines() or [''])[0][:200]})"
            if job.deaths <= RESTARTS:
                print(f"{run.name}: {line}, started again ({job.deaths} of {RESTARTS})", flush=True)
                job.ref = self._submit(run.name, job.command, job.log)
                return None
            line += f", as {RESTARTS} did before"
        with open(job.log, "a") as log:  # where a run's last words are looked for
            print(f"error: {' '.join(line.splitlines())}", file=log)
        return 1, 0.0

    def end(self, runs: list[Any]) -> None:
        """Asks runs that are under way or wait to end, and waits until they have."""
        refs = [run.job.ref for run in runs]
        for ref in refs:
            ray.cancel(ref, force=False)  # a SIGINT to the task, which ends the run
        while self._late(refs):
            time.sleep(self.pause)

    def kill(self, runs: list[Any]) -> None:
        """Ends those that have not ended by force."""
        for ref in self._late([run.job.ref for run in runs]):
            ray.cancel(ref, force=True)

    @staticmethod
    def _late(refs: list[ray.ObjectRef]) -> list[ray.ObjectRef]:
        return ray.wait(refs, num_returns=len(refs), timeout=0)[1] if refs else []

    def _submit(self, name: str, command: list[str], log: str) -> ray.ObjectRef:
        return self.task.options(name=name).remote(str(launch.ROOT), command, log)


def _reach(address: str) -> None:
    """Raises an InputError where there is no cluster, which ray.init itself may take minutes to find out."""
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"
    command = [sys.executable, "-c", code, address]
    for _ in range(TRIES):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT_SECONDS)
        except subprocess.TimeoutExpired:
            why = f"no answer in {CONNECT_SECONDS} s"
            break
        if not done.returncode:
            return
        why = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        if NOT_YET not in why:
            break
    raise InputError(f"no Ray cluster at --ray={address}: {why}; give the address that `ray start --head` prints")


def _attend(root: str, command: list[str], log: str) -> tuple[int, float]:
    """On a node: a run from its start to its end. Gives its exit status and its seconds."""
    node = f"node {socket.gethostname()} {ray.get_runtime_context().get_node_id()[:8]}"
    for path, remedy in (
        (root, "this checkout must be at the same place on every node"),
        (command[0], "this Python must be at the same place on every node"),
        (log, "--workdir must be a folder that all nodes share"),
    ):
        if not os.path.exists(path):
            raise FileNotFoundError(f"{node} has no {path}: {remedy}")
    with open(log, "a") as file:
        print("# on", node, file=file)
    # Ray cancels a task by a SIGINT, which Python raises between any two instructions: in the middle of `start` it
    # would leave a run that nobody knows of
    asked: list[int] = []
    before, child = signal.signal(signal.SIGINT, lambda number, _: asked.append(number)), None
    try:
        _wait_for_lock(os.path.join(os.path.dirname(log), "lock"), asked)
        begin, child = time.monotonic(), None if asked else start(command, log, cwd=root)
        while child and child.poll() is None and not asked:
            time.sleep(0.1)
    finally:
        if child and child.returncode is None:
            (end if asked else kill)(child)  # a worker that Ray ends, as where the sweep is killed, has no time left
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt  # which Ray takes for "cancelled"
    if child.returncode < 0:
        # what killed it may be ending this machine: then this worker dies too, and the run goes on elsewhere
        time.sleep(2)
    return child.returncode, time.monotonic() - begin


def _wait_for_lock(path: str, asked: list[int]) -> None:
    """Waits while a run elsewhere has the workdir: on a node that was cut off, it lives until Ray there sees that."""
    deadline = time.monotonic() + LOCK_SECONDS
    while os.path.exists(path) and time.monotonic() < deadline and not asked:
        with contextlib.suppress(OSError), open(path, "r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return  # closing it gives the lock back
        time.sleep(1)
