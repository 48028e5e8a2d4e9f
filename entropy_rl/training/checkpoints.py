"""Checkpoints through orbax: restored bitwise, and never from files that a kill or a full disk damaged."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from entropy_rl.errors import InputError
from entropy_rl.training.checksums import sums

PyTree = Any
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Checkpoints:
    """The checkpoints of one run: `directory/<step>/`, the `keep` latest of them.

    Checkpoint `step` holds the state with `step` updates done. Use it as a context manager, or `close()` it:
    a save goes on in the background until `wait()`, `close()` or the next save. Every process of a run calls
    every method. What a killed save left is moved to `directory/../set_aside/`, with a message to `say`.

    Args:
      directory: made where missing; usually `workdir/checkpoints`.
      keep: how many to keep, at least 1; with 2 there is one to go back to if the latest is damaged.
      say: where messages go.

    Raises:
      InputError: the directory cannot be made or written.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, *, say: Callable[[str], None] = print):
        if keep < 1:
            raise InputError(f"checkpoints to keep is {keep}: give 1 or more")
        _quiet()
        self._directory = Path(os.path.abspath(directory))  # tensorstore refuses `..`
        self._say = say
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for path in _unfinished(self._directory):
                self._set_aside(path, "was still being written when the run stopped")
        except OSError as e:
            raise InputError(f"cannot write {self._directory}: {e.strerror}; give another workdir") from e
        _barrier("checkpoints_tidied")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            # its own reading of step metadata on start would stumble over a damaged checkpoint
            lightweight_initialize=True,
        )
        self._manager = ocp.CheckpointManager(epath.Path(self._directory), options=options)

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Starts to save a tree of jax arrays, sharded or not, and `meta` (json), with `step` updates done.

        The state may be donated as soon as this returns. A step that is there already is not saved again.

        Raises:
          InputError: no space left, in this save or the one before. The previous checkpoint is intact then.
          ValueError: a later step is there already, or an array has no elements. TypeError: meta is not json.
        """
        latest = self._manager.latest_step()
        if latest == step:
            return
        if latest is not None and latest > step:
            raise ValueError(f"checkpoint {latest} is there already: cannot save the earlier step {step}")
        # Orbax has the values on the host when its save returns: a copy from an accelerator, and on CPU a
        # view, whose reference keeps the runtime from reusing the buffer when it is donated. The tests hold
        # it to that, and the checksums, taken from the live arrays here, would show it at the next start.
        arrays = {
            name: [list(x.shape), str(x.dtype), number]
            for (name, x), number in zip(_named(state).items(), sums(state).tolist())
        }
        about = json.dumps({"meta": meta, "arrays": arrays})
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({"about": about, "crc": zlib.crc32(about.encode())}),
        )
        with _writing(self._directory):
            self._manager.save(step, args=args)

    def restore_latest(self, abstract_state: PyTree, *others: PyTree) -> tuple[int, PyTree, dict[str, Any]] | None:
        """`(step, state, meta)` of the latest good checkpoint, or None where there is none yet.

        A damaged checkpoint is moved to `set_aside/` with a message, and the one before it is used.

        Args:
          abstract_state: a tree of jax.ShapeDtypeStruct with shardings, which the arrays will have.
          *others: such trees that a checkpoint of before may hold instead; the first whose names are its own is read.

        Raises:
          InputError: the checkpoint's arrays are not those of `abstract_state`; or every checkpoint was
            damaged (the next start begins from step 0).
        """
        self.wait()
        lost = []
        while (step := self._manager.latest_step()) is not None:
            path = self._directory / str(step)
            problem, restored = _attempt(self._read, step, abstract_state, *others)
            if restored is not None:
                return step, *restored
            self._set_aside(path, f"is damaged ({problem})")
            _barrier(f"checkpoint_{step}_set_aside")
            lost.append(str(step))
            self._manager.reload()
        if lost:
            raise InputError(
                f"no good checkpoint is left in {self._directory} (damaged: {', '.join(lost)}, set aside): "
                "the same command again starts from step 0"
            )
        return None

    def wait(self) -> None:
        """Returns when the save that is under way is on disk.

        Raises:
          InputError: no space left for it.
        """
        with _writing(self._directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the save that is under way, and ends.

        Raises:
          InputError: no space left for it.
        """
        with _writing(self._directory):
            self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _read(self, step: int, *trees: PyTree) -> tuple[PyTree, dict[str, Any]]:
        path = self._directory / str(step)
        about = _agreed(partial(_about, path))
        own = (tree for tree in trees if _named(tree).keys() == about["arrays"].keys())
        abstract_state = next(own, trees[0])
        _check_fit(path, about["arrays"], abstract_state)
        state = _arrays(path, abstract_state)
        _check_sums(state, about["arrays"])
        return state, about["meta"]

    def _set_aside(self, path: Path, why: str) -> None:
        """Moves a step's folder out of the way, under a name that is still free."""
        if jax.process_index() != 0:
            return
        aside = self._directory.parent / "set_aside"
        aside.mkdir(exist_ok=True)
        new, number = aside / f"{self._directory.name}.{path.name}", 1
        while new.exists():
            new, number = aside / f"{self._directory.name}.{path.name}.{number}", number + 1
        shutil.move(path, new)
        self._say(f"checkpoint {path.name.split('.')[0]} {why}: set aside in {new}")


def restore_params(
    path: str | os.PathLike, abstract_params: PyTree, *, step: int | None = None, say: Callable[[str], None] = print
) -> PyTree:
    """The parameters in the latest good checkpoint of a workdir, or of a folder of checkpoints. Only reads.

    Args:
      path: a run's workdir, or its `checkpoints` folder. The run may be going on.
      abstract_params: a tree of jax.ShapeDtypeStruct with shardings; values are converted to its dtypes.
      step: that of the checkpoint, None: the latest.
      say: told of a checkpoint that is damaged and passed over.

    Raises:
      InputError: there is no good checkpoint, or its parameters are not those of `abstract_params`.
    """
    _quiet()
    path = Path(os.path.abspath(path))
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    for there in sorted(steps(path), reverse=True):
        if step not in (None, there):
            continue
        problem, params = _attempt(_read_params, folder / str(there), abstract_params)
        if params is not None:
            return params
        say(f"checkpoint {folder / str(there)} is damaged and passed over ({problem})")
    which = "" if step is None else f" {step}"
    raise InputError(f"{path} holds no good checkpoint{which}: give the --workdir of a run that has saved one")


def about(path: str | os.PathLike, step: int | None = None) -> tuple[set[str], dict[str, Any]] | None:
    """(names of the arrays, meta) of a checkpoint, the latest whose text is whole; None where there is none.

    Args:
      path: a run's workdir, or its `checkpoints` folder.
      step: that of the checkpoint, None: the latest.
    """
    path = Path(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    for there in sorted(steps(path), reverse=True):
        if step in (None, there):
            with contextlib.suppress(ValueError, KeyError, OSError):
                read = _about(folder / str(there))
                return set(read["arrays"]), read["meta"]
    return None


def steps(path: str | os.PathLike) -> list[int]:
    """Steps of the checkpoints of a workdir, or of a folder of checkpoints, rising; none where there is no folder."""
    path = Path(path)
    return sorted(_steps(path / "checkpoints" if (path / "checkpoints").is_dir() else path))


def _read_params(path: Path, abstract_params: PyTree) -> PyTree:
    arrays = {k: v for k, v in _agreed(partial(_about, path))["arrays"].items() if k.startswith("params.")}
    wanted = {"params": abstract_params}
    _check_fit(path, arrays, wanted, dtypes=False)
    params = _arrays(path, wanted)
    if all(arrays[name][1] == str(x.dtype) for name, x in _named(params).items()):
        _check_sums(params, arrays)
    return params["params"]


def _attempt(read: Callable[..., Any], *args) -> tuple[str, Any]:
    """`("", what read returns)`, or `(what is damaged, None)`.

    Tensorstore and orbax report bad data as anything from ValueError to a plain Exception. What is not about
    the data must not be blamed on it: a device without memory, a wrong config, a file that may not be read.
    """
    try:
        return "", read(*args)
    except (InputError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except PermissionError as e:
        raise InputError(f"cannot read {e.filename}: {e.strerror}") from e
    except Exception as e:
        return f"{type(e).__name__}: {str(e).strip().splitlines()[0][:200] if str(e).strip() else ''}", None


_AT_ONCE = 1 << 30  # bytes of arrays that are read at a time


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
        names = list(_named(abstract))
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
    if not _everywhere(not problem):
        raise ValueError(problem or "another process cannot read it")
    return found


def _about(path: Path) -> dict[str, Any]:
    """The text of a checkpoint: its `meta` and `arrays`."""
    meta = json.loads((path / "meta" / "metadata").read_text())
    if zlib.crc32(meta["about"].encode()) != meta["crc"]:
        raise ValueError(f"the text in {path / 'meta'} is not the one that was saved")
    return json.loads(meta["about"])


def _check_sums(tree: PyTree, arrays: dict[str, list]) -> None:
    for name, number in zip(_named(tree), sums(tree).tolist()):
        if arrays[name][2] != number:
            raise ValueError(f"the values of {name} are not those that were saved")


def _quiet() -> None:
    """Keeps orbax from logging every file, and an error's traceback for each of its threads that sees it."""
    if logging.get_verbosity() > logging.WARNING:
        logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(_raised_anyway)  # adding it twice is adding it once


def _raised_anyway(record) -> bool:
    return not (record.exc_info and "orbax" in Path(record.pathname).parts)


def _steps(folder: Path) -> list[int]:
    return [int(p.name) for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []


def _unfinished(folder: Path) -> Iterator[Path]:
    """What orbax leaves when it is killed in a save: it writes under such a name and renames at the end."""
    return (p for p in sorted(folder.iterdir()) if ".orbax-checkpoint-tmp" in p.name)


def _named(tree: PyTree) -> dict[str, Any]:
    """`params.layer_0.bias` -> leaf, in the order of `jax.tree.leaves`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _check_fit(path: Path, arrays: dict[str, list], abstract: PyTree, *, dtypes: bool = True) -> None:
    """Raises an InputError where the checkpoint's arrays are not those of `abstract`."""
    wanted = _named(abstract)
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


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _everywhere(ok: bool) -> bool:
    """Whether every process says so: they must agree on which checkpoint they continue from."""
    if jax.process_count() == 1:
        return ok
    return bool(multihost_utils.process_allgather(np.asarray(ok)).all())


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turns what a full disk raises, here or in orbax' threads, into an InputError."""
    try:
        yield
    except Exception as e:
        cause: BaseException | None = e
        while cause:
            # tensorstore, a C++ library, has only the words
            full = getattr(cause, "errno", None) in _FULL or any(os.strerror(n) in str(cause) for n in _FULL)
            if full:
                raise InputError(
                    f"no space left to save a checkpoint in {directory}, the previous one is intact: "
                    "free some and give the same command again to continue"
                ) from e
            cause = cause.__cause__ or cause.__context__
        raise
