"""Where a run's numbers go: JSON-lines files in its workdir, cut back when it goes on from a checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl import files
from entropy_rl.errors import InputError, nearest
from entropy_rl.trackers import Trackers

METRICS, EVALS, SAMPLES, PROBLEMS = "metrics.jsonl", "evals.jsonl", "samples.jsonl", "problems.jsonl"
SOLVED = "solved.jsonl"
FILES = (METRICS, EVALS, SAMPLES, PROBLEMS, SOLVED)


class Writer:
    """Appends rows to `metrics.jsonl`, `evals.jsonl`, `samples.jsonl`, `problems.jsonl`, `solved.jsonl` of a workdir.

    Only process 0 writes. A row has left this process when the call returns, so a kill loses none. Use it as a
    context manager, or `close()` it. What writes raises InputError where the disk is full, and TypeError for a value
    among numbers that is not a scalar.

    Args:
      workdir: the folder; made where missing.
      track: start -> the trackers that get scalars, evaluations and samples too; called where the files are written.
      start: the first step that this run writes.

    Raises:
      InputError: a file cannot be opened, or what `track` raises.
    """

    def __init__(self, workdir: str | os.PathLike, *, track: Callable[[int], Trackers] | None = None, start: int = 0):
        import jax  # here and not above: reading metrics for a figure needs no jax

        self._get = jax.device_get
        self._files: dict[str, _Appender] = {}
        self._trackers = None
        if jax.process_index() != 0:
            return
        workdir = Path(workdir)
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                self._files[name] = _Appender(workdir / name)
        except OSError as e:
            self.close()
            raise InputError(f"cannot write {e.filename}: {e.strerror}; give another workdir") from e
        self._trackers = track and track(start)

    @classmethod
    def resume(
        cls,
        workdir: str | os.PathLike,
        step: int,
        *,
        track: Callable[[int], Trackers] | None = None,
        say: Callable[[str], None] = print,
    ) -> Writer:
        """A Writer for a run that (re)starts at `step`, where `step` updates are done.

        The run will write the rows of update `step` and later ones again, and the evaluation at `step` too,
        so those are cut from the files first. Broken lines, such as a kill in a write leaves, are moved to
        `set_aside/<file>.<line number>` with a message to `say`. A file that needs no change is left alone.
        For the rows before `step` to be complete, write row `step - 1` before the checkpoint `step` is saved.

        Raises:
          InputError: a file cannot be read or written.
        """
        import jax

        if jax.process_index() == 0:
            for name in FILES:
                _cut(Path(workdir) / name, step, say)
        return cls(workdir, track=track, start=step)

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes one row of numbers, `{"step": step, **values}`, each as a float (NaN too)."""
        row = {"step": int(step), **{k: _float(k, v) for k, v in self._get(dict(values)).items()}}
        self._append(METRICS, [row])
        if self._trackers:
            self._trackers.scalars(int(step), {k: v for k, v in row.items() if k != "step"})

    def evals(self, step: int, task: str, values: Mapping[str, Any], n: int) -> None:
        """Writes a row `{"step", "task", "metric", "value", "n"}` per metric, of an evaluation on n problems."""
        values = {k: _float(k, v) for k, v in self._get(dict(values)).items()}
        rows = [{"step": int(step), "task": task, "metric": k, "value": v, "n": int(n)} for k, v in values.items()]
        self._append(EVALS, rows)
        if self._trackers:
            self._trackers.scalars(int(step), {f"eval/{task}/{k}": v for k, v in values.items()})

    def samples(self, step: int, samples: Iterable[Mapping[str, Any]]) -> None:
        """Writes texts with their numbers, a row `{"step": step, **sample}` for each."""
        rows = [{k: _plain(v) for k, v in row.items()} for row in self._get([dict(sample) for sample in samples])]
        self._append(SAMPLES, [{"step": int(step), **row} for row in rows])
        if self._trackers and rows:
            self._trackers.texts(int(step), rows)

    def problems(self, step: int, task: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes a row `{"step", "task", **row}` for each problem of an evaluation; see evaluate.per_problem."""
        rows = [{"step": int(step), "task": task, **{k: _plain(v) for k, v in row.items()}} for row in rows]
        self._append(PROBLEMS, rows)

    def solved(self, step: int, task: str, n: int, right: Iterable[int]) -> None:
        """Writes a row `{"step", "task", "n", "right"}` of an evaluation: right attempts of n, problem by problem."""
        row = {"step": int(step), "task": task, "n": int(n), "right": [int(c) for c in right]}
        self._append(SOLVED, [row])

    def flush(self) -> None:
        """Forces what was written onto the disk, so that a power cut cannot take it; call it before a save"""
        for file in self._files.values():
            file.sync()
        if self._trackers:
            self._trackers.flush()

    def close(self) -> None:
        """Closes the files; closing twice is fine."""
        for file in self._files.values():
            file.close()
        self._files = {}
        if self._trackers:
            self._trackers.close()
            self._trackers = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        if name in self._files:
            self._files[name].append("".join(files.line(row) for row in rows))


class _Appender:
    """A file to which whole rows are added, or nothing."""

    def __init__(self, path: Path):
        self._path = path
        # unbuffered: nothing is left to be written twice, or half, when a write fails and the file is closed
        self._file = open(path, "ab", buffering=0)

    def append(self, text: str) -> None:
        data = text.encode()
        before = self._file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as e:
            with contextlib.suppress(OSError):  # best effort: resume() finds a torn row anyway
                self._file.truncate(before)
            raise self._error(e) from e

    def sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as e:
            if e.errno in (errno.EINVAL, errno.EROFS):  # a pipe or device: nothing to sync
                return
            raise self._error(e) from e

    def close(self) -> None:
        self._file.close()

    def _error(self, e: OSError) -> Exception:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(
                f"no space left to write {self._path}: free some and give the same command again to continue"
            )
        return InputError(f"cannot write {self._path}: {e.strerror}; repair that and start again")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a workdir holds: the rows of its files, in file order."""

    metrics: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    solved: list[dict[str, Any]]


def read(workdir: str | os.PathLike, *, say: Callable[[str], None] = print) -> Run:
    """Reads a run's numbers; a run that is still going on can be read too.

    Broken lines are left out, with a message to `say`; a file that does not exist gives no rows.

    Raises:
      InputError: there is neither metrics.jsonl nor evals.jsonl, or a file cannot be read.
    """
    workdir = Path(workdir)
    if not (workdir / METRICS).exists() and not (workdir / EVALS).exists():
        raise InputError(f"{workdir} holds no {METRICS}: give the --workdir of a run")
    return Run(*(_read(workdir / name, say) for name in FILES))


def series(rows: Iterable[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """`(steps i64[n], values f64[n])` of the rows that hold `key`, in file order.

    Raises:
      InputError: no row holds it.
    """
    rows = list(rows)
    found = [(row["step"], row[key]) for row in rows if key in row]
    if not found:
        keys = sorted({k for row in rows for k in row})
        raise InputError(f"no row holds {key!r}{nearest(key, keys)}: there is {', '.join(keys) or 'nothing'}")
    steps, values = zip(*found)
    return np.asarray(steps, np.int64), np.asarray(values, np.float64)


def eval_series(rows: Iterable[Mapping[str, Any]], task: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """`(steps i64[n], values f64[n])` of one metric on one task, from the rows of evals.jsonl.

    Raises:
      InputError: no row is about that task and metric.
    """
    # by `series` on `task/metric`, so that its message lists what there is
    rows = ({"step": r["step"], f"{r['task']}/{r['metric']}": r["value"]} for r in rows)
    return series(rows, f"{task}/{metric}")


def persistent(rows: Iterable[Mapping[str, Any]], task: str) -> np.ndarray:
    """bool[E, P]: the problems that none of the first e + 1 evaluations has solved, from the rows of solved.jsonl.

    Critique-GRPO (arXiv:2506.03106, section 3) calls those with pass@4 = 0 throughout training persistent failures;
    here all n attempts of every evaluation count, which is stricter.

    Raises:
      InputError: there is no row of that task.
    """
    right = [row["right"] for row in rows if row["task"] == task]
    if not right:
        raise InputError(f"no row of {SOLVED} is of task {task!r}: it is written at every evaluation")
    return np.maximum.accumulate(np.array(right), axis=0) == 0


def _read(path: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    try:
        rows, broken = files.read(path)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}") from e
    for number, _ in broken:
        say(f"{path}: line {number} is broken and left out")
    return rows


def _cut(path: Path, step: int, say: Callable[[str], None]) -> None:
    """Keeps the whole rows before `step`; moves broken lines to set_aside/."""
    try:
        rows, broken = files.read(path)
        for number, text in broken:
            aside = path.parent / "set_aside" / f"{path.name}.{number}"
            aside.parent.mkdir(exist_ok=True)
            with open(aside, "a", encoding="utf-8") as f:
                f.write(text + "\n")
            say(f"{path}: line {number} is broken, set aside in {aside}")
        keep = [row for row in rows if row.get("step", -1) < step]
        if broken or len(keep) < len(rows):
            files.rewrite(path, keep)
    except FileNotFoundError:
        return
    except OSError as e:
        raise InputError(f"cannot cut {path} back to step {step}: {e.strerror}; repair that first") from e


def _float(key: str, value: Any) -> float:
    if isinstance(value, str) or np.ndim(value) != 0:
        raise TypeError(f"metric {key!r} is not a scalar: {value!r}")
    return float(value)


def _plain(value: Any) -> Any:
    """`value` as json knows it: numpy scalars and arrays become numbers and lists."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
