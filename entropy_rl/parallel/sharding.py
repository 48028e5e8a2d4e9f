"""Meshes and where arrays lie on them: regex rules from parameter paths to axes, rows of a batch over the data axes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from entropy_rl.errors import InputError

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")  # what cuts batches, slots and everything else with rows
Rules = Sequence[tuple[str, tuple[str | tuple[str, ...] | None, ...]]]


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the axes data, fsdp, tensor.

    Args:
      data, fsdp, tensor: sizes; data = -1 takes the devices that are left.
      devices: default all.

    Raises:
      InputError: the sizes do not fit the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    rest = fsdp * tensor
    if data == -1:
        data = max(len(devices) // rest, 1)
    if data * rest != len(devices) or min(data, fsdp, tensor) < 1:
        raise InputError(
            f"mesh data={data} fsdp={fsdp} tensor={tensor} needs {data * rest} devices and there are {len(devices)}: "
            "choose sizes whose product is that number (data=-1 takes what is left)"
        )
    # Linen modules know nothing of explicit axes, which current jax would choose by default: said here and nowhere
    # else.
    return Mesh(_grid((data, fsdp, tensor), devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _grid(shape: tuple[int, int, int], devices: list[Any]) -> np.ndarray:
    """Devices in the order of the mesh: neighbours on an axis are neighbours in a TPU's torus, and of several slices,
    whose network is slow, each has a part of the data axis or, where those do not share it evenly, of fsdp.

    Raises:
      InputError: several slices, of which neither axis can be cut.
    """
    if devices[0].platform != "tpu" or len(devices) == 1:
        return np.asarray(devices).reshape(shape)
    slices = len({getattr(d, "slice_index", 0) for d in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    axis = next((i for i in (0, 1) if shape[i] % slices == 0), None)
    if axis is None:
        raise InputError(
            f"mesh data={shape[0]} fsdp={shape[1]} tensor={shape[2]} on {slices} slices: give data, or fsdp, as a "
            f"multiple of {slices}, so that tensor stays within a slice"
        )
    across = tuple(slices if i == axis else 1 for i in range(3))
    within = tuple(n // m for n, m in zip(shape, across))
    return mesh_utils.create_hybrid_device_mesh(within, across, devices, allow_split_physical_axes=True)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches, slots and everything else with rows: the first axis over data and fsdp together."""
    return NamedSharding(mesh, PartitionSpec(ROWS))


def row_shards(mesh: Mesh | None) -> int:
    """Over how many devices rows are cut; without a mesh they lie on one."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in ROWS)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def infer_sharding(tree: Any, rules: Rules, mesh: Mesh) -> Any:
    """A NamedSharding for every leaf, by the first rule whose regex is found in the leaf's path.

    The whole train state goes through it: the path of an optimiser moment ends in that of its parameter. Scalars are
    replicated; so is a dimension that its mesh axis does not divide.

    Args:
      tree: of arrays or ShapeDtypeStructs.
      rules: (regex, axis of each dimension) pairs, such as models/transformer.RULES.
      mesh: of the axes that the rules name.

    Raises:
      ValueError: no rule for a leaf that has dimensions, or one for another number of dimensions.
    """

    def leaf(path, x):
        if x.ndim == 0:
            return replicated(mesh)
        name = "/".join(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)
        for pattern, axes in rules:
            if re.search(pattern + "$", name):
                if len(axes) != x.ndim:
                    raise ValueError(f"rule {pattern!r} has {len(axes)} axes and {name} has shape {x.shape}")
                # Only axes that really cut, and none at the end that do not: the form in which XLA gives an update's
                # results back, so that the second update does not look like another program to jit.
                cuts = [_cut(axis, n, mesh) for axis, n in zip(axes, x.shape)]
                while cuts and cuts[-1] is None:
                    cuts.pop()
                return NamedSharding(mesh, PartitionSpec(*cuts))
        raise ValueError(f"no sharding rule matches {name} {x.shape}: add one to the model's RULES")

    return jax.tree_util.tree_map_with_path(leaf, tree)


def laid_out(tree: Any, rules: Rules, mesh: Mesh) -> Any:
    """Shapes and types of a tree's leaves, with the shardings of `infer_sharding`."""
    where = infer_sharding(tree, rules, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, where)


def without(rules: Rules, axis: str) -> Rules:
    """The rules with dimensions whole that they cut over an axis of the mesh."""
    left = lambda axes: None if axes == axis else axes  # noqa: E731
    return tuple((pattern, tuple(map(left, axes))) for pattern, axes in rules)


def _cut(axes, n, mesh):
    """Those of the axes that cut a dimension of n: an axis, several, or None."""
    names = [a for a in ((axes,) if isinstance(axes, str) else axes or ()) if mesh.shape[a] > 1]
    parts = math.prod(mesh.shape[a] for a in names)
    if not names or n % parts:
        return None
    return names[0] if len(names) == 1 else tuple(names)
