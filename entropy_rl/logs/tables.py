"""Columns of logged runs in compact arrays: what every reader fills and `logs` chooses from.

A million rows of five columns take about 100 MB; as Python objects they would take ten times as much.
"""

from __future__ import annotations

import dataclasses
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError

# Columns that say of each row whether it is of training or of what was held out, and what they say.
SPLITS = {"split", "phase", "mode", "stage", "type", "kind", "subset", "set"}
TRAINED, HELD = ("train", "training", "rollout"), ("eval", "evaluation", "val", "valid", "validation", "test", "dev")
COMMON = {"step", "steps", "epoch", "iteration", "episode", "episodes", "seed", "run", "model"}  # of both kinds of rows
SPREAD = re.compile(r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*(?:(?:±|\+/?-)\s*[\d.]\S*|\([\d.]+\))")  # 0.52 ± 0.01
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")


class Column(NamedTuple):
    """Cells of one name: the row of each, from 0, and its value, NaN where it is no number."""

    row: ArrayLike
    value: ArrayLike


@dataclasses.dataclass
class Table:
    """Rows of one file.

    Attributes:
      file: name of the file, as messages give it.
      step: the step column where the format has one, else None: it is guessed.
      run: the column whose texts tell runs apart, if asked for, or several between commas.
      unit: what the file counts in, "line", "row" or "record".
      lines: [rows] number of each row in the file, from 1.
      columns: cells by name. An empty cell (None or "") says that nothing was logged and is left out.
      texts: for each column of `run`, row to text.
      percent: columns some cell of which was written with a `%`.
      said: column to the first two of its texts that are no numbers.
      broken: what could not be used, as "file line n (why)".
      notes: what else is worth knowing.
    """

    file: str
    step: str | None = None
    run: str | None = None
    unit: str = "line"
    lines: array = dataclasses.field(default_factory=lambda: array("q"))
    columns: dict[str, Column] = dataclasses.field(default_factory=dict)
    texts: dict[str, dict[int, str]] = dataclasses.field(default_factory=dict)
    percent: set[str] = dataclasses.field(default_factory=set)
    said: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    broken: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def by(self) -> tuple[str, ...]:
        """The columns of `run`."""
        return tuple(self.run.split(",")) if self.run else ()

    def add(self, line: int, cells: Iterable[tuple[str, Any]]) -> None:
        """One row of (name, value)."""
        row, columns, by = len(self.lines), self.columns, self.by
        self.lines.append(line)
        for name, value in cells:
            if value is None or value == "":
                continue
            column = columns.get(name)
            if column is None:
                column = columns[name] = Column(array("q"), array("d"))
            column.row.append(row)
            try:  # what most cells are: millions pass here
                column.value.append(float(value) if type(value) in (str, float, int) else number(value))
            except (ValueError, OverflowError):
                column.value.append(self._text(name, str(value)))
            if name in by:
                self.texts.setdefault(name, {})[row] = str(value)

    def _text(self, name: str, value: str) -> float:
        """A text that is no number: of a percentage the number, of a step the "3" of "3/40" (ms-swift)."""
        if value.endswith("%"):
            self.percent.add(name)
            return number(value[:-1])
        if name in SPLITS and value.lower() in TRAINED + HELD:
            return float((TRAINED + HELD).index(value.lower()))
        if "/" in value and "step" in name:
            return number(value.partition("/")[0])
        if THOUSANDS.fullmatch(value):
            return number(value.replace(",", ""))
        if spread := SPREAD.fullmatch(value):
            return number(spread[1])
        said = self.said.setdefault(name, set())
        if len(said) < 2:
            said.add(value)
        return math.nan

    def put(self, row: int, name: str, value: Any) -> None:
        """One cell of a row that is there; cells of a name are in the order of rows."""
        column = self.columns.get(name)
        if column is None:
            column = self.columns[name] = Column(array("q"), array("d"))
        column.row.append(row)
        column.value.append(number(value))

    def spoil(self, line: int, why: str = "") -> None:
        """Counts a line that holds no row."""
        self.broken.append(self.place(line) + (f" ({why})" if why else ""))

    def by_row(self, name: str) -> NDArray:
        """[rows] the cells of a column, NaN where there are none."""
        cells = np.full(len(self.lines), np.nan)
        if name in self.columns:
            row, value = self.columns[name]
            cells[np.asarray(row)] = value
        return cells

    def place(self, line: int) -> str:
        """ "file line n"."""
        return f"{self.file} {self.unit} {line}"


@dataclasses.dataclass
class Run:
    """One run as a reader found it.

    Attributes:
      name: of the run; unique only after `readers.gather`.
      format: a row of `readers.READERS`.
      path: as messages name it.
      tables: in order of time: the later one counts where two have a column at the same step.
      by: the columns that told it apart from the other runs in its file.
      group: its text in the first of these.
    """

    name: str
    format: str
    path: str
    tables: list[Table]
    by: str | None = None
    group: str | None = None

    def names(self) -> dict[str, int]:
        """Number of cells by column."""
        return self._counted(lambda column: len(column.row))

    def values(self, names: Iterable[str]) -> dict[str, set[float | str]]:
        """What is in columns: column to its finite numbers and the first of its texts, by table."""
        found = {}
        for name in names:
            cells = [np.asarray(table.columns[name].value, float) for table in self.tables if name in table.columns]
            numbers = np.unique(np.concatenate(cells))
            texts = set().union(*(table.said.get(name, ()) for table in self.tables))
            found[name] = set(numbers[np.isfinite(numbers)].tolist()) | texts
        return found

    def numbers(self) -> dict[str, int]:
        """Number of finite cells by column, of columns that have any."""
        counts = self._counted(lambda column: int(np.isfinite(np.asarray(column.value, float)).sum()))
        return {name: n for name, n in counts.items() if n}

    def _counted(self, of: Callable[[Column], int]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for table in self.tables:
            for name, column in table.columns.items():
                counts[name] = counts.get(name, 0) + of(column)
        return counts


def number(value: Any) -> float:
    """A cell as a float, NaN for what is no number; booleans are none."""
    if isinstance(value, (bool, list, dict)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def flatten(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Cells of an object; those of objects inside it are called outer/inner, as trainers name their metrics."""
    stack = [("", row)]
    while stack:
        prefix, inner = stack.pop()
        for name, value in inner.items():
            if isinstance(value, dict):
                stack.append((f"{prefix}{name}/", value))
            else:
                yield f"{prefix}{name}", value


def only(table: Table, mine: NDArray) -> Table:
    """The table with the rows of a mask, bool[rows], and without the texts that tell runs apart."""
    new = np.cumsum(mine) - 1  # old row to new row
    part = dataclasses.replace(table, lines=np.asarray(table.lines)[mine], columns={}, texts={})
    for name, column in table.columns.items():
        row, value = np.asarray(column.row), np.asarray(column.value)
        if mine[row].any():
            part.columns[name] = Column(new[row[mine[row]]], value[mine[row]])
    return part


def split(table: Table) -> dict[tuple[str, ...], Table]:
    """A table for each text of its columns `run`, in order of appearance; rows without one are broken."""
    owner = np.full(len(table.lines), -1)
    codes: dict[tuple[str, ...], int] = {}
    first, *others = (table.texts.get(name, {}) for name in table.by)
    for row, text in first.items():
        if all(row in other for other in others):
            owner[row] = codes.setdefault((text, *(other[row] for other in others)), len(codes))
    lost = [table.place(line) + " (no run)" for line in np.asarray(table.lines)[owner < 0]]
    parts = {}
    for text, code in codes.items():
        part = only(table, owner == code)
        part.columns = {name: column for name, column in part.columns.items() if name not in table.by}
        part.said, part.broken, part.notes = {}, table.broken + lost, list(table.notes)
        parts[text] = part
    return parts


def by_split(table: Table) -> Table:
    """The table, where a column tells rows of training from others with the cells of those as eval/name, val/name, ...

    Counters and whatever tells runs apart stay as they are.
    """
    for split_name in SPLITS & table.columns.keys() - set(table.by):
        code = np.asarray(table.columns[split_name].value)
        said = np.nan_to_num(table.by_row(split_name), nan=-1.0)
        if not np.isfinite(code).all() or not (code >= len(TRAINED)).any() or code.max() >= len(TRAINED + HELD):
            continue
        found = {}
        for name, column in table.columns.items():
            if name in (split_name, *table.by) or COMMON & set(re.findall("[a-z]+", name.lower())):
                found[name] = column
                continue
            at = said[np.asarray(column.row)]
            for one in np.unique(at):
                own = name if one < len(TRAINED) else f"{HELD[int(one) - len(TRAINED)]}/{name}"
                cells = Column(np.asarray(column.row)[at == one], np.asarray(column.value)[at == one])
                if own in found:
                    cells = Column(*(np.concatenate(pair) for pair in zip(found[own], cells)))
                    order = np.argsort(cells.row, kind="stable")
                    cells = Column(cells.row[order], cells.value[order])
                found[own] = cells
        note = f"{split_name} tells rows of training from others, whose cells are columns of their own"
        return dataclasses.replace(table, columns=found, notes=[*table.notes, note])
    return table


def folder_name(path: Path) -> str:
    """The name of a folder, also where it is given as `.` or `..`."""
    return path.resolve().name or str(path)


def one_or_more(path: Path, kind: str, table: Table, name: str | None = None) -> list[Run]:
    """The run of a table, or if its columns `run` were asked for and are there, the runs."""
    table = by_split(table)
    if table.by and table.columns.keys() >= set(table.by):
        parts = split(table).items()
        return [Run(", ".join(said), kind, str(path), [part], table.run, said[0]) for said, part in parts]
    return [Run(name or path.stem, kind, str(path), [table])]


def mostly_good(path: Path, table: Table, what: str, remedy: str) -> None:
    """InputError where most lines are no rows: two formats in a file, and what can be read is not the log."""
    bad, good = len(table.broken), len(table.lines)
    if good and bad > good:
        raise InputError(f"{path}: {bad} of {bad + good} lines do not hold {what}, as {table.broken[0]}: {remedy}")
