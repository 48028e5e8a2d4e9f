"""Values of a config that must be in range, named by their keys; each check raises a one-line InputError."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from entropy_rl.errors import InputError, nearest
from entropy_rl.parallel.sharding import row_shards


def require(config: ConfigDict, rule: str, holds: Callable[[float], bool], *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a finite number for which `holds`, that is `rule`."""
    for key in keys:
        value = config[key]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and holds(value)):
            raise InputError(f"config.{key}={value!r}: must be {rule}")


def positive(config: ConfigDict, *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a number above 0."""
    require(config, "a number above 0", lambda x: x > 0, *keys)


def not_negative(config: ConfigDict, *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a number of 0 or more."""
    require(config, "a number of 0 or more", lambda x: x >= 0, *keys)


def whole(config: ConfigDict, least: int, *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a whole number of `least` or more."""
    require(config, f"a whole number of {least} or more", lambda x: x >= least and x == int(x), *keys)


def seed(config: ConfigDict) -> None:
    """InputError for a seed that jax or numpy cannot take."""
    require(config, "a whole number from 0 to 2**32 - 1", lambda x: 0 <= x < 2**32, "seed")


def one_of(config: ConfigDict, key: str, words: Iterable[str], old: Iterable[str] = ()) -> None:
    """InputError unless the dotted key's value is one of `words`, or of their `old` names."""
    value = config[key]
    if value not in [*words, *old]:
        raise InputError(f"config.{key}={value!r}{nearest(str(value), words)}: must be one of {', '.join(words)}")


def rows(mesh: Mesh, what: str, count: int) -> None:
    """InputError unless the mesh's data axes can share `count` rows evenly; `what` says what they are."""
    devices = row_shards(mesh)
    if count % devices:
        raise InputError(
            f"{what} are {count}, which mesh.data * mesh.fsdp = {devices} does not divide: give a multiple"
        )


def microbatches(mesh: Mesh, rows: int, count: int, key: str = "microbatches", whole: int = 1) -> None:
    """InputError unless each of `count` parts of `rows` rows gives every device that cuts rows as many, in pieces of
    `whole` rows."""
    devices = row_shards(mesh)
    good = [n for n in range(1, rows + 1) if rows % (n * devices * whole) == 0]
    if whole > 1 and count not in good:
        remedy = f"one of {', '.join(map(str, good[-4:]))}, or 0, which chooses" if good else "more rollout.prompts"
        raise InputError(
            f"config.{key}={count}: a micro-batch has {rows / whole / count:.4g} of {rows // whole} groups with their "
            f"retries (critique.learn=joint), which must be a multiple of mesh.data * mesh.fsdp = {devices}: give "
            f"{remedy}"
        )
    if rows % count or rows // count % devices:
        raise InputError(
            f"config.{key}={count}: a micro-batch has {rows / count:.4g} of {rows} rows, which mesh.data * mesh.fsdp = "
            f"{devices} does not divide: give one of {', '.join(map(str, good[-4:]))}, or 0, which chooses"
        )


def ks(values: tuple[int, ...], samples: int) -> None:
    """InputError unless every k of pass@k is a whole number from 1 to `samples`."""
    for k in values:
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= samples:
            raise InputError(f"config.eval.ks has {k!r}: pass@k needs 1 <= k <= eval.samples={samples}")


def share(tree: Any) -> float:
    """Bytes of a tree of arrays, or of their shapes and shardings, on one device."""
    leaves = jax.tree.leaves(tree)
    return float(sum(np.dtype(x.dtype).itemsize * math.prod(x.sharding.shard_shape(x.shape)) for x in leaves))


def host_memory() -> float:
    """Bytes of this machine's memory that a process can have; infinity where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return math.inf


def device_memory(mesh: Mesh) -> float:
    """Bytes that the smallest device of the mesh has in all; devices that are no accelerators share the machine's."""
    own = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    told = [(d.memory_stats() or {}).get("bytes_limit") for d in own]
    return float(min(told)) if all(told) else host_memory() / len(own)


def fits(what: str, needed: float, there: float, remedy: str) -> None:
    """InputError where `what` needs more bytes than `there` are: it says how many are missing."""
    if needed > there:
        gb = lambda x: f"{x / 1e9:.3g} GB"  # noqa: E731
        raise InputError(f"{what} takes {gb(needed)} and there are {gb(there)}, {gb(needed - there)} too few: {remedy}")


def state_fits(mesh: Mesh, *trees: Any) -> None:
    """InputError where shapes of what a run keeps on its devices all the time are more than a device has.

    A lower bound: activations, and the sampler's cache, come to it (experiments.plan has them).
    """
    remedy = "give config.lora.rank, config.mesh.fsdp, or a device with more memory"
    fits("what is trained, with its optimiser, on each device,", sum(map(share, trees)), device_memory(mesh), remedy)
