"""Columns of a run by step: sorted, each step once, restarts told apart, and all that was left out on the way said."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.errors import InputError
from entropy_rl.logs import columns
from entropy_rl.logs.tables import Column, Run, Table, only

GOOD = 0.8  # share of the cells of a column that must be finite numbers: trainers write a NaN now and then
EVENLY = 0.9  # share of distances of an evaluation to the next that are alike, where NaN stands for an empty cell
UNITS = {"episode", "episodes", "samples", "tokens", "timesteps", "epoch", "epochs", "hours", "minutes", "seconds"}
UNITS |= {"wall", "relative"}  # of an axis that does not count optimizer steps
DISORDER = 0.2  # a log whose steps fall more often than that, for each row, is in no order and has no restarts


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
        self.run, self.step = run, step
        self.where = run.path if run.name in (path, path.rpartition(".")[0]) else f"{run.path} (run {run.name})"
        self.counts = run.names()
        self.notes = list(dict.fromkeys(note for table in run.tables for note in table.notes))
        self.broken = [line for table in run.tables for line in table.broken]
        if step is not None:
            columns.named(self.where, self.counts, step, "step")

    def files(self, name: str) -> str:
        """The files that have a column."""
        return columns.some(dict.fromkeys(table.file for table in self.run.tables if name in table.columns), 4)

    def record(self, name: str) -> Record:
        """A column over all tables.

        Several cells of a step that follow each other are averaged, repeats of a cell count once; where a step comes
        back later, as after a restart, the last cell counts.

        Raises:
          InputError: more than 1 - GOOD of its cells are no finite numbers.
        """
        parts, bad, cells = [(np.zeros(0), np.zeros(0))], [], 0
        for table in self.run.tables:
            if name not in table.columns:
                continue
            row, value = (np.asarray(part) for part in table.columns[name])
            steps, lines = self._steps(table, name), np.asarray(table.lines)
            stepless = np.isnan(steps[row])
            lost = [table.place(line) + " (no step)" for line in lines[row[stepless]]]
            self.broken += [text for text in lost if text not in self.broken]
            row, value = row[~stepless], value[~stepless]
            good = np.isfinite(value)
            if empty := _empty(steps[row], value):
                self._note(f"{empty} NaN of {name} between its values, which come evenly: taken for empty cells")
                row, value, good = row[good], value[good], good[good]
            cells, bad = cells + len(row), bad + [table.place(line) for line in lines[row[~good]]]
            self._note(_goes_back(table, name, steps[row[good]], lines[row[good]]))
            parts.append((steps[row[good]], value[good]))
        if len(bad) > (1 - GOOD) * cells:
            some = f"{len(bad)} of {cells} cells ({columns.some(bad)})"
            raise InputError(f"{self.where}: {name!r} is no finite number in {some}: mend or remove them")
        self.broken += [f"{place} ({name} is no finite number)" for place in bad]
        step, value = self._averaged(name, *(np.concatenate(arrays) for arrays in zip(*parts)))
        order = np.argsort(step, kind="stable")
        step, value = step[order], value[order]
        last = np.append(step[1:] != step[:-1], True)[: len(step)]
        if repeated := int((~last).sum()):
            hint = SEVERAL if 2 * repeated > len(step) else ""
            self._note(f"{repeated} row(s) of {name} repeat a step, the last one counts{hint}")
        return Record(step[last], value[last])

    def _averaged(self, name: str, step: NDArray, value: NDArray) -> tuple[NDArray, NDArray]:
        """Each stretch of cells of one step as one: their mean, or themselves where they are alike."""
        if not len(step):
            return step, value
        starts = np.flatnonzero(np.append(True, step[1:] != step[:-1]))
        sizes = np.diff(np.append(starts, len(step)))
        if (sizes == 1).all():
            return step, value
        low, high = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
        mean = np.where(low == high, low, np.add.reduceat(value, starts) / sizes)
        if same := int((sizes - 1)[low == high].sum()):
            self._note(f"{same} row(s) of {name} repeat the row before and are left out")
        if several := int((low != high).sum()):
            hint = SEVERAL if 2 * several > len(starts) else ""
            self._note(f"{name} has several rows in {several} step(s), averaged: micro-batches or ranks?{hint}")
        return step[starts], mean

    def axis(self, table: Table, name: str | None = None) -> str | None:
        """The step of a column of a table: the one asked for, the format's, its own (train/step), the table's."""
        if self.step or table.step and table.step != "_step":
            return self.step or table.step
        if name is not None and (own := f"{name.partition('/')[0]}/step") in table.columns:
            return own
        known = columns.choose_step({n: len(c.row) for n, c in table.columns.items()}) or table.step
        return known or next((n for n in columns.likely_steps(table.columns) if _rises(n, table.columns[n])), None)

    def _steps(self, table: Table, name: str | None) -> NDArray:
        """[rows] the step of each row, NaN where it has none."""
        chosen = self.axis(table, name)
        if chosen is None:
            if table.columns:
                self._note(f"no step in {table.file}, its {table.unit} numbers are used")
            return np.asarray(table.lines, float)
        if UNITS & set(columns.words(chosen)):
            self._note(f"the x axis is {chosen}, not optimizer steps")
        step = table.by_row(chosen)
        step[~np.isfinite(step)] = np.nan
        return self._through_epochs(table, chosen, step)

    def _through_epochs(self, table: Table, chosen: str, step: NDArray) -> NDArray:
        """Steps that begin anew with each epoch, added up."""
        falls = np.flatnonzero(np.diff(step) < 0)
        if not len(falls) or "epoch" not in table.columns or chosen == "epoch":
            return step
        epoch = table.by_row("epoch")
        if not (np.floor(epoch[falls + 1]) > np.floor(epoch[falls])).all():
            return step
        self._note(f"{chosen} begins anew with each epoch: added up")
        every = float(np.median(np.diff(np.unique(step[np.isfinite(step)]))))
        added = np.zeros(len(step))
        added[falls + 1] = step[falls] + every - step[falls + 1].min()
        return step + np.cumsum(added)

    def tries(self, entropy: str, score: str) -> list[Run]:
        """The run, or its parts where it went back to its first step and began anew, each with its rows only.

        A part has the rows from its beginning to that of the next. A step that goes back less far is a run that
        went on from a checkpoint. Entropy and score of different files are cut each for itself, if equally often.
        """
        if self.run.format == "W&B run":  # its id is the run's, and its steps rise
            return [self.run]
        tables = self.run.tables
        apart = not any(entropy in table.columns and score in table.columns for table in tables)
        own = [[t for t in tables if name in t.columns] for name in (entropy, score)]
        if apart and not set(map(id, own[0])) & set(map(id, own[1])):
            cuts = [self._beginnings([name]) for name in (entropy, score)]
            if len(cuts[0]) != len(cuts[1]):
                if cuts[0] or cuts[1]:
                    self._note("a restart in one of its files only: the last row of a step counts")
                return [self.run]
            pairs = list(zip(*cuts))
        else:
            pairs = [(cut,) for cut in self._beginnings([entropy, score])]
        if not pairs:
            return [self.run]
        parts = []
        for n, (begin, end) in enumerate(zip([None, *pairs], [*pairs, None]), 1):
            part = copy.copy(self.run)
            part.name = f"{self.run.name} (try {n} of {len(pairs) + 1})"
            part.tables = list(tables)
            for place in range(len(pairs[0])):
                mine = tables if len(pairs[0]) == 1 else own[place]
                for i, table in enumerate(tables):
                    if any(table is one for one in mine):
                        start, stop = _span(i, len(table.lines), begin and begin[place], end and end[place])
                        rows = np.arange(len(table.lines))
                        part.tables[i] = only(table, (rows >= start) & (rows < stop))
            parts.append(part)
        return parts

    def _beginnings(self, names: list[str]) -> list[tuple[int, int]]:
        """(table, row) where the steps of these columns go back to where they began and a new try begins."""
        cells = []  # of each column: [n, 2] table and row, [n] step
        for name in names:
            place, steps = [np.zeros((0, 2), int)], [np.zeros(0)]
            for i, table in enumerate(self.run.tables):
                if name in table.columns:
                    row = np.asarray(table.columns[name].row)
                    step = self._clock(table, name)[row]
                    row, step = row[np.isfinite(step)], step[np.isfinite(step)]
                    place.append(np.stack([np.full(len(row), i), row], 1))
                    steps.append(step)
            cells.append((np.concatenate(place), np.concatenate(steps)))
        if not any((np.diff(step) < 0).any() for _, step in cells):
            return []
        place, first = np.unique(np.concatenate([place for place, _ in cells]), axis=0, return_index=True)
        step = np.concatenate([step for _, step in cells])[first]
        falls = np.flatnonzero(np.diff(step) < 0) + 1
        if len(falls) > DISORDER * len(step):
            return []
        found, start = [], 0
        for at in falls.tolist():
            begun = len(np.unique(step[start:at])) > 2
            alone = at + 1 < len(step) and step[at + 1] > step[at - 1]  # a row out of order, and the log goes on
            if begun and step[at] <= step[start : start + 3].min() and not alone:
                here = (int(place[at, 0]), int(place[at, 1]))
                if any(_falls(here, *column) for column in cells):  # not where one column ends and another begins
                    found.append(here)
                    start = at
        return found

    def _clock(self, table: Table, name: str) -> NDArray:
        """[rows] what goes back where a run is begun anew: the step, or where there is none the epoch."""
        if self.axis(table, name) is None and "epoch" in table.columns:
            return table.by_row("epoch")
        return self._steps(table, name)

    def _note(self, note: str | None) -> None:
        if note and note not in self.notes:
            self.notes.append(note)


SEVERAL = " (several runs in it? name the column that tells them apart as run)"


def _rises(name: str, column: Column) -> bool:
    """Whether a column may count: it rises from row to row, but for few. Of epochs none may be there twice in a row."""
    value = np.asarray(column.value, float)
    moves = np.diff(value[np.isfinite(value)])
    rounded = "epoch" in name.lower() and bool((moves == 0).any())
    return len(moves) > 1 and not rounded and bool((moves > 0).mean() >= 1 - DISORDER)


def _empty(step: NDArray, value: NDArray) -> int:
    """How many NaN say that nothing was logged, as of pandas: values come evenly, and more rarely than rows."""
    good = np.isfinite(value)
    if good.sum() < 3 or good.mean() >= GOOD or not np.isnan(value[~good]).all():
        return 0
    gaps, all_gaps = np.diff(step[good]), np.diff(np.unique(step))
    if not all_gaps.size:  # all of one step
        return 0
    usual = np.median(gaps)
    evenly = (gaps == usual).mean() >= EVENLY and usual > np.median(all_gaps)
    return int((~good).sum()) if evenly else 0


def _falls(here: tuple[int, int], place: NDArray, step: NDArray) -> bool:
    """Whether a column's steps fall from before a place (table, row) to behind it."""
    behind = (place[:, 0] > here[0]) | (place[:, 0] == here[0]) & (place[:, 1] >= here[1])
    at = int(np.argmax(behind)) if behind.any() else 0
    return at > 0 and bool(step[at] < step[at - 1])


def _span(i: int, rows: int, begin: tuple[int, int] | None, end: tuple[int, int] | None) -> tuple[int, int]:
    """[start, stop) of the rows of table i that lie between two places (table, row)."""
    start = 0 if begin is None or i > begin[0] else begin[1] if i == begin[0] else rows
    stop = rows if end is None or i < end[0] else end[1] if i == end[0] else 0
    return start, max(start, stop)


def _goes_back(table: Table, name: str, step: NDArray, lines: NDArray) -> str | None:
    """Where the steps of a column fall: a restart, or a log in no order; it is sorted in any case."""
    falls = np.flatnonzero(np.diff(step) < 0)
    if not len(falls):
        return None
    i = falls[0]
    times = f" and {len(falls) - 1} more time(s)" if len(falls) > 1 else ""
    return f"steps of {name} go back in {table.place(lines[i + 1])}, {step[i]:g} to {step[i + 1]:g}{times}: sorted"
