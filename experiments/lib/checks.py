"""Values of a config that must be in range, named by their keys; each check raises a one-line InputError."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from entropy_rl.errors import InputError, nearest
from entropy_rl.parallel.sharding import row_shards


def require(config: ConfigDict, rule: str, holds: Callable[[float], bool], *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a finite number for which `holds`, that is `rule`."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = value[part]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and holds(value)):
            raise InputError(f"config.{key}={value!r}: must be {rule}")


def positive(config: ConfigDict, *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a number above 0."""
    require(config, "a number above 0", lambda x: x > 0, *keys)


def seed(config: ConfigDict) -> None:
    """InputError for a seed that jax or numpy cannot take."""
    require(config, "a whole number from 0 to 2**32 - 1", lambda x: 0 <= x < 2**32, "seed")


def one_of(config: ConfigDict, key: str, words: Iterable[str], old: Iterable[str] = ()) -> None:
    """InputError unless the dotted key's value is one of `words`, or of their `old` names."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
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
