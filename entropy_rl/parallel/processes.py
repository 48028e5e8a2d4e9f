"""Several processes of one run, one a host: all do the same things in the same order, each with its own devices.

Arrays that are cut over devices are then in no process whole. What the host needs of them (tokens, scores, metrics) is
gathered, so that every process has the same numbers and makes the same decisions; what is made on the host is placed,
each process giving its devices their part; and work of the host itself, such as verifying, is shared out. In one
process all of this does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from entropy_rl.errors import InputError

HEARTBEAT = 20  # seconds without a sign of life after which a process is given up


def initialize(coordinator: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Joins the other processes; to be called before jax computes anything.

    Args:
      coordinator: HOST:PORT of process 0; None with the other two: found in the environment of SLURM, Cloud TPU,
        Kubernetes or Open MPI.
      count, index: of the processes, and of this one.

    Raises:
      InputError: the others are not found, or the environment names none.
    """
    # SIGTERM no longer ends a process then: parallel/preemption.py reads it between steps
    jax.config.update("jax_enable_preemption_service", True)
    try:
        jax.distributed.initialize(coordinator, count, index, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as e:
        where = coordinator or "the environment"
        text = str(e).strip().splitlines()[0]
        raise InputError(
            f"cannot join the other processes through {where} ({text}): start all of them, with the same HOST:PORT in "
            "--distributed and the same --processes, each with its own --process from 0"
        ) from e


def is_peer_failure(error: BaseException) -> bool:
    """Whether an error says that another process has gone: one of the runtime or of the network, not a bug's."""
    signs = ("gloo", "connection", "heartbeat", "coordination", "unavailable", "deadline_exceeded", "barrier")
    of_others = jax.process_count() > 1 and isinstance(error, RuntimeError | OSError)
    return of_others and any(sign in str(error).lower() for sign in signs)


def put_global(x: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array of the host, the same in every process, on devices."""
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def fetch(tree: Any) -> Any:
    """numpy arrays of all leaves, whole in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)

    def get(x):
        cut = isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)
        return multihost_utils.process_allgather(x, tiled=True) if cut else np.asarray(x)

    return jax.tree.map(get, tree)


def log(message: str) -> None:
    """Prints, once for all processes."""
    if jax.process_index() == 0:
        print(message, flush=True)


def broadcast(value: bool) -> bool:
    """What process 0 says: it may see a file before or after the others do."""
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def run_on_primary(f: Callable[[], Any]) -> Any:
    """Process 0 calls f, and the others wait for what it gives: a value that JSON can write.

    Raises:
      InputError: what f raised, in every process.
    """
    if jax.process_count() == 1:
        return f()
    text = b""
    if jax.process_index() == 0:
        try:
            text = json.dumps({"value": f()}).encode()
        except InputError as e:
            text = json.dumps({"error": str(e)}).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(text), np.int32)))
    sent = np.frombuffer(text.ljust(size, b" "), np.uint8)
    said = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent))))
    if "error" in said:
        raise InputError(said["error"])
    return said["value"]


def shared_out(items: Sequence[Any], f: Callable[[Sequence[Any]], Sequence[float]]) -> list[float]:
    """f(items), a number for each, of which every process makes its part."""
    count = jax.process_count()
    if count == 1:
        return list(f(items))
    part = np.zeros(-(-len(items) // count))
    mine = items[jax.process_index() :: count]
    part[: len(mine)] = f(mine)
    # as bits: jax would make float32 of it
    bits = multihost_utils.process_allgather(part.view(np.uint32))
    return np.asarray(bits).view(np.float64).T.reshape(-1)[: len(items)].tolist()
