"""Columns of a run by step: sorted, each step once, and all that was left out on the way said."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.errors import InputError
from entropy_rl.logs import columns
from entropy_rl.logs.tables import Run, Table

GOOD = 0.8  # share of the cells of a column that must be finite numbers: trainers write a NaN now and then


class Record(NamedTuple):
    """A column of a run: steps, rising, each once, and values."""

    step: NDArray
    value: NDArray

    def at(self, step: NDArray) -> NDArray:
        """[n] index of the cell at the same step or the nearest earlier one; -1 where there is none."""
        return np.searchsorted(self.step, step, side="right") - 1


class Sheet:
    """The columns of a run.

    Attributes:
      run: as a reader found it.
      where: the run, as messages name it.
      counts: number of cells by column.
      notes: what is notable; `record` adds to it.
      broken: what could not be used, a text for each line or cell; `record` adds to it.
    """

    def __init__(self, run: Run, step: str | None):
        """`step` names the step column; None takes that of the format, or guesses.

        Raises:
          InputError: there is no column of that name.
        """
        path = run.path.rpartition("/")[2]
        self.run = run
        self.where = run.path if run.name in (path, path.rpartition(".")[0]) else f"{run.path} (run {run.name})"
        self.counts = run.names()
        self.notes = list(dict.fromkeys(note for table in run.tables for note in table.notes))
        self.broken = [line for table in run.tables for line in table.broken]
        if step is not None:
            columns.choose(self.where, self.counts, step, [], "step", self.notes)
        self.steps = [self._steps(table, step) for table in run.tables]

    def choose(self, name: str | None, patterns: list[str], role: str) -> str:
        """See `names.choose`."""
        return columns.choose(self.where, self.counts, name, patterns, role, self.notes)

    def files(self, name: str) -> str:
        """The files that have a column."""
        return ", ".join(dict.fromkeys(table.file for table in self.run.tables if name in table.columns))

    def record(self, name: str) -> Record:
        """A column over all tables. The last cell of a step counts, as after a restart.

        Raises:
          InputError: more than 1 - GOOD of its cells are no finite numbers.
        """
        parts, bad, cells = [(np.zeros(0), np.zeros(0))], [], 0
        for table, steps in zip(self.run.tables, self.steps):
            if name not in table.columns:
                continue
            row, value = (np.asarray(part) for part in table.columns[name])
            row, value = row[~np.isnan(steps[row])], value[~np.isnan(steps[row])]
            good, lines = np.isfinite(value), np.asarray(table.lines)
            cells, bad = cells + len(row), bad + [table.place(line) for line in lines[row[~good]]]
            self._note(_goes_back(table, name, steps[row[good]], lines[row[good]]))
            parts.append((steps[row[good]], value[good]))
        if len(bad) > (1 - GOOD) * cells:
            some = f"{len(bad)} of {cells} cells ({columns.some(bad)})"
            raise InputError(f"{self.where}: {name!r} is no finite number in {some}: mend or remove them")
        self.broken += [f"{place} ({name} is no finite number)" for place in bad]
        step, value = (np.concatenate(arrays) for arrays in zip(*parts))
        order = np.argsort(step, kind="stable")
        step, value = step[order], value[order]
        last = np.append(step[1:] != step[:-1], True)[: len(step)]
        if repeated := int((~last).sum()):
            several = 2 * repeated > len(step)
            hint = " (several runs in it? name the column that tells them apart as run)" if several else ""
            self._note(f"{repeated} row(s) of {name} repeat a step, the last one counts{hint}")
        return Record(step[last], value[last])

    def _steps(self, table: Table, name: str | None) -> NDArray:
        """[rows] the step of each row, NaN where it has none, which is broken."""
        lines = np.asarray(table.lines)
        chosen = name or table.step or columns.choose_step({n: len(c.row) for n, c in table.columns.items()})
        if chosen is None:
            if table.columns:
                self._note(f"no step in {table.file}, its {table.unit} numbers are used")
            return lines.astype(float)
        step = np.full(len(lines), np.nan)
        if chosen in table.columns:
            row, value = table.columns[chosen]
            step[np.asarray(row)] = value
        step[~np.isfinite(step)] = np.nan
        self.broken += [table.place(line) + " (no step)" for line in lines[np.isnan(step)]]
        return step

    def _note(self, note: str | None) -> None:
        if note and note not in self.notes:
            self.notes.append(note)


def _goes_back(table: Table, name: str, step: NDArray, lines: NDArray) -> str | None:
    """Where the steps of a column fall: a restart, or a log in no order; it is sorted in any case."""
    falls = np.flatnonzero(np.diff(step) < 0)
    if not len(falls):
        return None
    i = falls[0]
    times = f" and {len(falls) - 1} more time(s)" if len(falls) > 1 else ""
    return f"steps of {name} go back in {table.place(lines[i + 1])}, {step[i]:g} to {step[i + 1]:g}{times}: sorted"
