"""A checkpoint on disk: read back onto shards, if it is what was saved and what is asked for."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore
from jax.experimental import multihost_utils

from entropy_rl.errors import InputError
from entropy_rl.training.checksums import sums

PyTree = Any
_AT_ONCE = 1 << 30  # bytes of arrays that are read at a time


def read(path: Path, *trees: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """(state, meta) of a checkpoint's folder, the state like the first of the abstract trees whose names it has.

    Raises:
      InputError: it has not the arrays of any. What is damaged raises other things, in every process.
    """
    said = _agreed(partial(text, path))
    abstract_state = next((tree for tree in trees if named(tree).keys() == said["arrays"].keys()), trees[0])
    _check_fit(path, said["arrays"], abstract_state)
    state = _arrays(path, abstract_state)
    _check_sums(state, said["arrays"])
    return state, said["meta"]


def read_params(path: Path, abstract_params: PyTree) -> PyTree:
    """The parameters alone, converted to the types of the abstract ones; as `read`."""
    arrays = {k: v for k, v in _agreed(partial(text, path))["arrays"].items() if k.startswith("params.")}
    wanted = {"params": abstract_params}
    _check_fit(path, arrays, wanted, dtypes=False)
    params = _arrays(path, wanted)
    if all(arrays[name][1] == str(x.dtype) for name, x in named(params).items()):
        _check_sums(params, arrays)
    return params["params"]


def text(path: Path) -> dict[str, Any]:
    """The text of a checkpoint: its `meta` and `arrays`."""
    meta = json.loads((path / "meta" / "metadata").read_text())
    if zlib.crc32(meta["about"].encode()) != meta["crc"]:
        raise ValueError(f"the text in {path / 'meta'} is not the one that was saved")
    return json.loads(meta["about"])


def named(tree: PyTree) -> dict[str, Any]:
    """`params.layer_0.bias` -> leaf, in the order of `jax.tree.leaves`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _arrays(path: Path, abstract: PyTree) -> PyTree:
    """The checkpoint's arrays on the shards of `abstract`, converted to its types: what orbax wrote, through
    tensorstore, which it lies on. A process reads of each array what its devices hold between them, once.

    Orbax' own reading goes on in the background after the first bad file, with a traceback for each, while the
    processes wait for one another; and a reading through beforehand would be a second one.

    Raises:
      ValueError: this process or another one could not read something.
    """

    def read():
        leaves, tree = jax.tree.flatten(abstract)
        names = list(named(abstract))
        base = {"driver": "file", "path": f"{path / 'state'}/"}
        spec = {"driver": "zarr", "fill_missing_data_reads": False}  # zeros in place of a file that is not there
        context = tensorstore.Context()
        stores = [
            tensorstore.open(
                spec | {"kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}},
                context=context,
                read=True,
                open=True,
            )
            for name in names
        ]
        stores, out, begun = [store.result() for store in stores], [], []
        for n, (store, x) in enumerate(zip(stores, leaves)):
            box = _box(x)
            begun.append((x, box, store[box].read()))
            if n + 1 == len(leaves) or sum(math.prod(x.shape) * x.dtype.itemsize for x, _, _ in begun) > _AT_ONCE:
                out += [_placed(x, box, future.result()) for x, box, future in begun]
                begun = []
        return jax.tree.unflatten(tree, out)

    return _agreed(read)


def _box(x: jax.ShapeDtypeStruct) -> tuple[slice, ...]:
    """The smallest part of an array that has all that this process's devices hold of it."""
    parts = x.sharding.addressable_devices_indices_map(tuple(x.shape)).values()
    spans = [[i.indices(n)[:2] for i, n in zip(index, x.shape)] for index in parts]
    return tuple(slice(min(a for a, _ in axis), max(b for _, b in axis)) for axis in zip(*spans))


def _placed(x: jax.ShapeDtypeStruct, box: tuple[slice, ...], values: np.ndarray) -> jax.Array:
    """The array of `x` whose values in `box` these are."""

    def part(index):
        spans = (i.indices(n)[:2] for i, n in zip(index, x.shape))
        return values[tuple(slice(a - s.start, b - s.start) for (a, b), s in zip(spans, box))].astype(x.dtype)

    return jax.make_array_from_callback(tuple(x.shape), x.sharding, part)


def _agreed(read: Callable[[], Any]) -> Any:
    """What `read` gives, if it gives something in every process."""
    problem, found = "", None
    try:
        found = read()
    except PermissionError:
        raise
    except (ValueError, KeyError, OSError) as e:
        problem = f"{e}" or type(e).__name__
    # all must agree on which checkpoint they continue from
    if not multihost_utils.process_allgather(np.asarray(not problem)).all():
        raise ValueError(problem or "another process cannot read it")
    return found


def _check_sums(tree: PyTree, arrays: dict[str, list]) -> None:
    for name, number in zip(named(tree), sums(tree).tolist()):
        if arrays[name][2] != number:
            raise ValueError(f"the values of {name} are not those that were saved")


def _check_fit(path: Path, arrays: dict[str, list], abstract: PyTree, *, dtypes: bool = True) -> None:
    """Raises an InputError where the checkpoint's arrays are not those of `abstract`."""
    wanted = named(abstract)
    problem = None
    # params before opt_state, whose leaves follow from them
    for name in sorted(arrays.keys() | wanted.keys(), key=lambda name: (not name.startswith("params"), name)):
        if name not in wanted:
            problem = f"{name} is in it and not in this run's model or optimizer"
        elif name not in arrays:
            problem = f"{name} is missing in it"
        elif (there := tuple(arrays[name][0])) != (here := tuple(wanted[name].shape)):
            problem = f"{name} has shape {there} in it and {here} here"
        elif dtypes and (there := arrays[name][1]) != (here := str(wanted[name].dtype)):
            problem = f"{name} is {there} in it and {here} here"
        if problem:
            raise InputError(
                f"checkpoint {path} does not fit: {problem}; give the config it was made with, or another --workdir"
            )
