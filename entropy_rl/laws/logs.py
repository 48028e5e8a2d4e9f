"""Points (step, H, R) from logged runs: which columns hold entropy and reward, joined by step.

A reader turns a path into named columns, each with its own steps; the rest is the same for all formats:
choose the columns (by name, or by the tables at the foot), join each score to the entropy record at the same
step or the nearest earlier one, count broken rows, and refuse what cannot be fitted in one line that names
file, row or column, and remedy.
"""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
import io
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl import jsonl
from entropy_rl.errors import InputError, nearest
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import basis


@dataclasses.dataclass(frozen=True)
class Points:
    """One run, ready for `compare.analyse`; sorted by step.

    Attributes:
      step: [n] steps of the scores.
      H: [n] entropy of the joined records, nats per token.
      R: [n] score, units of the file.
      source: format, columns, unit and everything left out, as one line of text.
      broken: rows that could not be used (torn lines, cells that are no numbers, rows without a step).
      entropy, score: names of the columns chosen.
      unit: "fraction", or "percent" where some R is above 1.5.
    """

    step: NDArray
    H: NDArray
    R: NDArray
    source: str
    broken: int
    entropy: str
    score: str
    unit: str


class Cell(NamedTuple):
    """One value: its step, the number (None where the text is none) and its line in the file, from 1."""

    step: float
    value: float | None
    line: int


@dataclasses.dataclass
class Log:
    """What a reader returns: cells by column, the file of each column, unusable lines as 'file line n'."""

    columns: dict[str, list[Cell]] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    broken: list[str] = dataclasses.field(default_factory=list)

    def add(self, file: str, line: int, step: float, cells: Iterable[tuple[str, Any]]) -> None:
        """Sorts in the cells of one row; an empty one (None or '') says that nothing was logged there."""
        for name, value in cells:
            if value is not None and value != "":
                self.columns.setdefault(name, []).append(Cell(step, number(value), line))
                self.files.setdefault(name, file)


class Reader(NamedTuple):
    """`read(path, step_column | None)` is for the paths that `matches` accepts; `about` names the format."""

    about: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, str | None], Log]


def read(
    path: str | os.PathLike,
    *,
    entropy: str | None = None,
    score: str | None = None,
    step: str | None = None,
    min_points: int = 8,
) -> Points:
    """Reads a run.

    Args:
      path: of a format in READERS.
      entropy, score, step: columns; None chooses by ENTROPIES, SCORES and STEPS (no step: line number).
        In a workdir the rows of evals.jsonl make columns called eval/<task>/<metric>.
      min_points: fewest joined points to accept.

    Raises:
      InputError: a path that is missing, of no known format, empty or not text; a column that is not there or
        cannot be guessed; NaN or infinite values; too few points; an entropy that is constant or cannot be in
        nats per token.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory: check the path given as logs")
    kind = next((name for name, reader in READERS.items() if reader.matches(path)), None)
    if kind is None:
        what = "a directory without metrics.jsonl" if path.is_dir() else "a file of no known format"
        raise InputError(f"{path}: {what}: give {', or '.join(reader.about for reader in READERS.values())}")
    try:
        log = READERS[kind].read(path, step)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None
    if not log.columns:
        broken = f" but {len(log.broken)} broken row(s), the first {log.broken[0]}" if log.broken else ""
        raise InputError(f"{path}: no rows in it{broken}: give {READERS[kind].about}")
    notes: list[str] = []
    entropy = _choose(path, log, entropy, ENTROPIES, "entropy", notes)
    score = _choose(path, log, score, SCORES, "score", notes)
    if entropy == score:
        raise InputError(f"{path}: column {entropy!r} is both entropy and score: name two columns")
    h_step, h = _series(path, log, entropy, notes)
    r_step, R = _series(path, log, score, notes)

    at = np.searchsorted(h_step, r_step, side="right") - 1  # the same step or the nearest earlier one
    joined = at >= 0
    if not joined.all():
        notes.append(f"{(~joined).sum()} score(s) before the first entropy record left out")
    r_step, R, at = r_step[joined], R[joined], at[joined]
    H = h[at]
    if len(R) < min_points:
        raise InputError(
            f"{path}: {len(R)} point(s) with {score!r} and {entropy!r}, {min_points} needed: "
            "evaluate more often, train longer, or name other columns"
        )
    if H.min() < -1e-3 or H.max() > 20:  # the log of the largest vocabularies is about 13
        raise InputError(
            f"{path}: {entropy!r} runs from {H.min():g} to {H.max():g}, no entropy in nats per token: "
            "name another column as entropy"
        )
    for curve in CURVES.values():
        try:
            basis(curve, H)
        except InputError as error:
            raise InputError(f"{path}: {entropy!r}: {error}") from None
    if (gap := float((r_step - h_step[at]).max())) > 0:
        notes.append(f"entropy from up to {gap:g} step(s) before its score")
    if log.broken:
        notes.append(f"{len(log.broken)} broken row(s) left out: {_some(log.broken)}")
    unit = "percent" if R.max() > 1.5 else "fraction"
    columns = f"H = {entropy} ({log.files[entropy]}), R = {score} ({log.files[score]}, {unit})"
    source = "; ".join([f"{kind} {path}: {columns}, {len(R)} points", *notes])
    return Points(r_step, H, R, source, len(log.broken), entropy, score, unit)


def number(value: Any) -> float | None:
    """A cell as a float ('nan' and 'inf' too), or None for what is no number; booleans are none."""
    if isinstance(value, (bool, list, dict)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _some(things: Iterable[Any], most: int = 8) -> str:
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _choose(path: Path, log: Log, name: str | None, patterns: list[str], role: str, notes: list[str]) -> str:
    """The column `name`, or the first that a pattern finds, in order of trust; rivals of it go to notes."""
    names = list(log.columns)
    if name is not None:
        if name not in names:
            raise InputError(f"{path}: no column {name!r} for {role}{nearest(name, names)}: there are {_some(names)}")
        return name
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if found:
            # a metric logged now and then is rarely the one that was watched
            found.sort(key=lambda name: -len(log.columns[name]))
            if len(found) > 1:
                notes.append(f"{role} could also be {_some(found[1:])}")
            return found[0]
    raise InputError(f"{path}: no column looks like {role}: name it (--config.{role}=NAME): there are {_some(names)}")


def _series(path: Path, log: Log, name: str, notes: list[str]) -> tuple[NDArray, NDArray]:
    """Steps, rising, each once (the last row counts, as after a restart), and values of a column."""
    file = log.files[name]
    log.broken += [f"{file} line {c.line} ({name})" for c in log.columns[name] if c.value is None]
    cells = [c for c in log.columns[name] if c.value is not None]
    bad = [c.line for c in cells if not math.isfinite(c.value)]
    if bad:
        raise InputError(f"{path}: {name!r} is NaN or infinite in line(s) {_some(bad)} of {file}: mend or remove them")
    last = {c.step: c.value for c in cells}
    if len(last) < len(cells):
        notes.append(f"{len(cells) - len(last)} row(s) of {name} repeat a step, the last one counts")
    steps = sorted(last)
    return np.array(steps, float), np.array([last[s] for s in steps], float)


def _json_rows(path: Path, log: Log) -> list[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a JSON-lines file."""
    rows, broken = jsonl.read(path)
    lost = {line for line, _ in broken}
    log.broken += [f"{path.name} line {line}" for line in sorted(lost)]
    lines = [i for i, raw in enumerate(path.read_bytes().split(b"\n"), 1) if raw.strip() and i not in lost]
    return list(zip(lines, rows, strict=True))


def _read_workdir(path: Path, step: str | None) -> Log:
    log = Log()
    _add_rows(log, path / "metrics.jsonl", _json_rows(path / "metrics.jsonl", log), step or "step")
    evals = path / "evals.jsonl"
    for line, row in _json_rows(evals, log) if evals.exists() else []:
        at = number(row.get("step"))
        if at is None or not math.isfinite(at) or not {"task", "metric", "value"} <= row.keys():
            log.broken.append(f"{evals.name} line {line}")
        else:
            log.add(evals.name, line, at, [(f"eval/{row['task']}/{row['metric']}", row["value"])])
    return log


def _read_jsonl(path: Path, step: str | None) -> Log:
    log = Log()
    _add_rows(log, path, _json_rows(path, log), step)
    return log


def _read_csv(path: Path, step: str | None) -> Log:
    log, header, rows = Log(), None, []
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise csv.Error("zero bytes")
        head = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
        for cells in reader:
            if header is None:
                header = [name.strip() for name in cells]
            elif len(cells) == len(header):
                rows.append((reader.line_num, dict(zip(header, (cell.strip() for cell in cells)))))
            elif cells:
                log.broken.append(f"{path.name} line {reader.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table ({error}): give {READERS['csv'].about}") from None
    twice = sorted({name for name in header or [] if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} stands twice in the header: rename one")
    _add_rows(log, path, rows, step)
    return log


def _add_rows(log: Log, path: Path, rows: list[tuple[int, dict[str, Any]]], step: str | None) -> None:
    """Flat rows into the log; the step: column `step`, or the first of STEPS there is, or the line number."""
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if step is None:
        step = next((name for name in STEPS if name in names), None)
    elif rows and step not in names:
        raise InputError(f"{path}: no column {step!r} for step{nearest(step, names)}: there are {_some(names)}")
    for line, row in rows:
        at = float(line) if step is None else number(row.get(step))
        if at is None or not math.isfinite(at):
            log.broken.append(f"{path.name} line {line} (no step)")
        else:
            log.add(path.name, line, at, ((name, value) for name, value in row.items() if name != step))


def _is_file(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix in suffixes and path.is_file()


# The first row whose `matches` accepts a path reads it.
READERS: dict[str, Reader] = {
    "workdir": Reader(
        "a workdir (metrics.jsonl, evals.jsonl)",
        lambda path: (path / "metrics.jsonl").is_file(),
        _read_workdir,
    ),
    "csv": Reader("a .csv or .tsv file with a header", _is_file(".csv", ".tsv"), _read_csv),
    "jsonl": Reader("a .jsonl file, one object per line", _is_file(".jsonl", ".ndjson"), _read_jsonl),
}

# Shell patterns, in the order in which they are trusted. All entropies are nats per token.
ENTROPIES = [
    "policy/entropy_sequence",  # this project: mean over sequences of token means, the law's H
    "train_entropy/all",  # Entropy-Mechanism-of-RL: the same
    "policy/entropy",  # this project: token mean
    "actor/entropy",  # verl: token mean by default
    "actor/entropy_loss",  # verl: the entropy itself, in spite of its name
    "entropy",  # TRL
    *("train/entropy", "*/entropy", "policy_entropy", "H"),
]
SCORES = [
    "eval/*/pass@1",  # this project
    *("val-core/*/acc/mean@*", "val-core/*/mean@*", "val-core/*"),  # verl
    "val/test_score/*",  # older verl
    *("pass@1", "*/pass@1", "accuracy", "*accuracy*"),
    *("eval_reward", "eval/reward"),  # TRL
    # training rewards come last: which prompts were drawn moves them at every step
    *("critic/score/mean", "critic/rewards/mean"),  # verl
    "rollout/reward",  # this project
    *("reward", "train/reward", "score", "R"),  # TRL first
]
STEPS = ["step", "training/global_step", "train/global_step", "global_step", "Step", "_step"]
