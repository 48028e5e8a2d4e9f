"""Checkpoints through orbax: restored bitwise, and never from files that a kill or a full disk damaged."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from entropy_rl.errors import InputError
from entropy_rl.training import stored
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
        multihost_utils.sync_global_devices("checkpoints_tidied")
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
            for (name, x), number in zip(stored.named(state).items(), sums(state).tolist())
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
            problem, restored = _attempt(stored.read, path, abstract_state, *others)
            if restored is not None:
                return step, *restored
            self._set_aside(path, f"is damaged ({problem})")
            multihost_utils.sync_global_devices(f"checkpoint_{step}_set_aside")
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
    for folder in _latest_first(path, step):
        problem, params = _attempt(stored.read_params, folder, abstract_params)
        if params is not None:
            return params
        say(f"checkpoint {folder} is damaged and passed over ({problem})")
    which = "" if step is None else f" {step}"
    raise InputError(f"{path} holds no good checkpoint{which}: give the --workdir of a run that has saved one")


def about(path: str | os.PathLike, step: int | None = None) -> tuple[set[str], dict[str, Any]] | None:
    """(names of the arrays, meta) of a checkpoint, the latest whose text is whole; None where there is none.

    Args:
      path: a run's workdir, or its `checkpoints` folder.
      step: that of the checkpoint, None: the latest.
    """
    for folder in _latest_first(Path(path), step):
        with contextlib.suppress(ValueError, KeyError, OSError):
            read = stored.text(folder)
            return set(read["arrays"]), read["meta"]
    return None


def steps(path: str | os.PathLike) -> list[int]:
    """Steps of the checkpoints of a workdir, or of a folder of checkpoints, rising; none where there is no folder."""
    folder = _folder(Path(path))
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def _folder(path: Path) -> Path:
    return path / "checkpoints" if (path / "checkpoints").is_dir() else path


def _latest_first(path: Path, step: int | None) -> Iterator[Path]:
    """Folders of the checkpoints that `steps` are of, the latest first, or the one of `step`."""
    return (_folder(path) / str(there) for there in reversed(steps(path)) if step in (None, there))


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


def _quiet() -> None:
    """Keeps orbax from logging every file, and an error's traceback for each of its threads that sees it."""
    if logging.get_verbosity() > logging.WARNING:
        logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(_raised_anyway)  # adding it twice is adding it once


def _raised_anyway(record) -> bool:
    return not (record.exc_info and "orbax" in Path(record.pathname).parts)


def _unfinished(folder: Path) -> Iterator[Path]:
    """What orbax leaves when it is killed in a save: it writes under such a name and renames at the end."""
    return (p for p in sorted(folder.iterdir()) if ".orbax-checkpoint-tmp" in p.name)


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
