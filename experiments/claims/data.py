"""Finished runs as the claims see them: what their files say, and what is wrong with those.

A folder is searched for runs (a config.json that holds `config`, with metrics.jsonl or evals.jsonl beside it) and for
other results in json, such as test_time.json, which are told apart by what they hold. Whatever cannot be used becomes
a note: a torn line, a value that is no finite number, a config.json that is not one. Nothing here raises for a file.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropy_rl import metrics
from entropy_rl.errors import InputError
from experiments.lib import runs

LAST = 3  # evaluations that an end is a mean of, where there are at least four times as many
MOST_BYTES = 20_000_000  # of a json document that is read
ENTROPY = "policy/entropy_sequence"  # the law's H: mean over responses of token means, nats


@dataclasses.dataclass(frozen=True)
class Attempts:
    """One or more evaluations of the same policy, or nearly: right i[E, P] of n attempts at the same P problems."""

    n: int
    right: NDArray
    problems: tuple[Any, ...]  # what tells them apart: ids, or the task and their number where only the order is known
    levels: NDArray | None = None  # i[P]


@dataclasses.dataclass(frozen=True)
class Run(runs.Run):
    """A run with its rows. `study` is the folder with the runs that it is compared with."""

    study: Path
    metrics: list[dict[str, Any]]
    evals: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    solved: list[dict[str, Any]]

    @property
    def world(self) -> str:
        """The task, and the model where it is that of a folder: `countdown`, or `countdown_words, smollm2`."""
        task, folder = self.get("task.name"), self.get("model.path")
        if not isinstance(folder, str):
            return str(task or "unknown")
        path = PurePath(folder)
        return f"{task}, {path.parent.name if path.name == 'model' and path.parent.name else path.name}"

    @property
    def task(self) -> str | None:
        """The task with the most evaluations of pass@1."""
        tasks = collections.Counter(row["task"] for row in self.evals if row["metric"] == "pass@1")
        return tasks.most_common(1)[0][0] if tasks else None

    def curve(self, metric: str) -> tuple[NDArray, NDArray]:
        """(steps, values) of an evaluation metric; empty arrays where there is none."""
        rows = [r for r in self.evals if r["metric"] == metric and r["task"] == self.task]
        return np.array([r["step"] for r in rows], float), np.array([r["value"] for r in rows], float)

    def record(self, key: str) -> tuple[NDArray, NDArray]:
        """(steps, values) of a training metric; empty arrays where there is none."""
        rows = [r for r in self.metrics if key in r]
        return np.array([r["step"] for r in rows], float), np.array([r[key] for r in rows], float)

    def end(self, metric: str) -> float | None:
        """An evaluation metric at the end: the mean of the last evaluations; see LAST."""
        values = self.curve(metric)[1]
        return float(values[-last(len(values)) :].mean()) if len(values) else None

    def entropy(self) -> float | None:
        """Policy entropy at the end, nats a token: the mean over the last tenth of the record."""
        values = self.record(ENTROPY)[1]
        if self.kind != "rl" or not len(values):
            return self.end("entropy_sequence")
        return float(values[-max(1, len(values) // 10) :].mean())

    def largest(self) -> int:
        """The largest k of the pass@k evaluated; 0 without any."""
        found = [re.fullmatch(r"pass@(\d+)", row["metric"]) for row in self.evals]
        return max((int(m[1]) for m in found if m), default=0)

    def attempts(self, when: str = "last") -> Attempts | None:
        """Right attempts problem by problem.

        when: "last" is the last evaluation with its many attempts, or the end of the course where there is none;
        "start" and "end" are of the course, the same problems all along.
        """
        if when == "last" and self.problems:
            rows = sorted(self.problems, key=lambda row: str(row["id"]))
            if len({row["n"] for row in rows}) == 1:
                levels = np.array([row["level"] for row in rows]) if all("level" in row for row in rows) else None
                ids = tuple(row["id"] for row in rows)
                return Attempts(rows[0]["n"], np.array([[row["right"] for row in rows]]), ids, levels)
        rows = [r for r in self.solved if r["task"] == self.task and (r["step"] == 0 or when != "start")]
        if not rows:
            return None
        rows = rows[:1] if when == "start" else rows[-last(len(rows)) :]
        n, P = rows[-1]["n"], len(rows[-1]["right"])
        right = np.array([r["right"] for r in rows if (r["n"], len(r["right"])) == (n, P)])
        return Attempts(n, right, (self.task, P), self._levels(P))

    def _levels(self, count: int) -> NDArray | None:
        """Levels of evaluated problems, where they take turns: believed if they give the pass@1/level<n> logged."""
        levels = self.get("task.args.levels")
        rows = [r for r in self.solved if r["task"] == self.task and len(r["right"]) == count]
        if not (isinstance(levels, list) and len(levels) > 1 and rows):
            return None
        turns = np.resize(levels, count)
        for level in levels:
            steps, values = self.curve(f"pass@1/level{level}")
            logged = values[steps == rows[-1]["step"]]
            seen = np.array(rows[-1]["right"])[turns == level].mean() / rows[-1]["n"]
            if not len(logged) or abs(logged[-1] - seen) > 1e-3:
                return None
        return turns


@dataclasses.dataclass(frozen=True)
class Document:
    """Another result in json."""

    path: Path
    content: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Data:
    """All that was found; `notes` say what was left out, and why."""

    roots: list[Path]
    runs: list[Run]
    documents: list[Document]
    notes: list[str]


def last(count: int) -> int:
    """How many of `count` evaluations an end is a mean of."""
    return LAST if count >= 4 * LAST else 1


def read(folders: list[Path]) -> Data:
    """Everything below the folders.

    Raises:
      InputError: one of them is not a folder.
    """
    all_runs, documents, notes = [], [], []
    for root in folders:
        if not root.is_dir():
            raise InputError(f"no folder {root}: give --config.runs=FOLDER, or several between commas")
        paths = sorted(path for path in root.rglob("*.json") if not _hidden(path.relative_to(root)))
        homes = [path.parent for path in paths if path.name == "config.json"]
        for path in sorted(root.rglob(metrics.METRICS)):
            if not (path.parent / "config.json").exists() and not _hidden(path.relative_to(root)):
                notes.append(f"{path.parent}: left out, as there is no config.json beside its {metrics.METRICS}")
        found = [run for run in (_run(home, notes.append) for home in homes) if run]
        places = {id(run): _study(run, found, root) for run in found}
        all_runs += [dataclasses.replace(run, study=places[id(run)]) for run in found]
        inside = {run.path for run in found}
        for path in paths:
            if path.name != "config.json" and not (path.parent in inside and path.name == "law.json"):
                documents += _document(path, notes.append)
    return Data(folders, all_runs, documents, notes)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part in ("checkpoints", "wandb", "tensorboard") for part in path.parts)


def _study(run: Run, found: list[Run], root: Path) -> Path:
    """The nearest folder above a run with another run below it; `seeds` for seeds/seed0/rl.

    Its own folder's parent where none of those below is of its script and world: it stands alone.
    """
    path = run.path
    below = lambda folder: [one for one in found if one.path != path and folder in one.path.parents]  # noqa: E731
    above = path.parent
    while above != root and path != root and not below(above):
        above = above.parent
    alike = any((one.kind, one.world) == (run.kind, run.world) for one in below(above))
    return above if alike or path == root else path.parent


def _document(path: Path, say) -> Iterator[Document]:
    try:
        if path.stat().st_size > MOST_BYTES:
            say(f"{path}: left out, as it has more than {MOST_BYTES // 1_000_000} MB")
            return
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        say(f"{path}: left out, as it is not json ({type(e).__name__})")
        return
    if isinstance(content, dict) and not {"claims", "rule"} <= content.keys():  # a report of ours
        yield Document(path, content)


def _run(path: Path, say) -> Run | None:
    """The run in a folder; None where there is none, which `say` is told."""
    try:
        about = runs.identify(path)
    except InputError as e:
        say(f"left out: {e}")
        return None
    try:
        rows = metrics.read(path, say=say)
    except InputError:
        return None  # a run of another script, or one that has not begun
    broken: list[str] = []
    run = Run(
        **vars(about),
        study=path.parent,
        metrics=[clean for row in rows.metrics if (clean := _numbers(row, broken))],
        evals=[row for row in rows.evals if _evaluation(row, broken)],
        problems=[row for row in rows.problems if _problem(row, broken)],
        solved=[row for row in rows.solved if _solved(row, broken)],
    )
    if broken:
        say(f"{path}: {len(broken)} value(s) or row(s) left out, the first {broken[0]}")
    return run


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(row: dict[str, Any], broken: list[str]) -> dict[str, Any]:
    """The row's finite numbers; empty without a step. NaN is what a metric has that was not measured: no note of it."""
    if not _number(row.get("step")):
        broken.append(f"a row without a step: {str(row)[:60]}")
        return {}
    for key, value in row.items():
        if not _number(value) and not isinstance(value, float):
            broken.append(f"{key}={value!r}"[:60])
    if "policy/entropy_sequence" in row and not _number(row[ENTROPY]):
        broken.append(f"{ENTROPY}={row[ENTROPY]!r} at step {row['step']}")
    return {key: value for key, value in row.items() if _number(value)}


def _evaluation(row: dict[str, Any], broken: list[str]) -> bool:
    good = _number(row.get("step")) and isinstance(row.get("task"), str) and isinstance(row.get("metric"), str)
    if good and _number(row.get("value")):
        return True
    if not (good and isinstance(row.get("value"), float)) or row["metric"].startswith("pass@"):
        broken.append(f"an evaluation {str(row)[:80]}")
    return False


def _problem(row: dict[str, Any], broken: list[str]) -> bool:
    n, right = row.get("n"), row.get("right")
    if isinstance(n, int) and isinstance(right, int) and 0 <= right <= n and n > 0:
        return "id" in row
    if "n" in row or "right" in row:  # else of another kind of evaluation
        broken.append(f"a problem {str(row)[:80]}")
    return False


def _solved(row: dict[str, Any], broken: list[str]) -> bool:
    n, right = row.get("n"), row.get("right")
    good = isinstance(n, int) and n > 0 and isinstance(right, list) and len(right) > 0
    if good and _number(row.get("step")) and "task" in row and all(isinstance(c, int) and 0 <= c <= n for c in right):
        return True
    broken.append(f"a row of {metrics.SOLVED} {str(row)[:60]}")
    return False
