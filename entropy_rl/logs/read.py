"""Points (step, H, R) from logged runs of any trainer: which columns hold entropy and score, joined by step.

`formats` turns paths into runs with named columns; here it is the same for all formats: which files are one run, which
columns are its entropy and its score (by name, or by the rules of `columns`), and whether it was begun anew. `points`
joins and checks them. What cannot be fitted is refused in one line that names file, row or column, and remedy.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.logs import columns, formats, trainers
from entropy_rl.logs.points import Names, Points, of_run, same_unit
from entropy_rl.logs.records import Record, Sheet
from entropy_rl.logs.tables import Run

NEAR = 8  # records on either side of a joint at which two parts of a run must be alike
JUMP = 0.05  # share of the entropy by which they may differ, and by as much as they move among these records


@dataclasses.dataclass(frozen=True)
class Logs:
    """What `read` found: the runs that can be used, and a line for each run or path that cannot."""

    runs: list[Points]
    skipped: list[str]

    def independent(self) -> list[Points]:
        """One run of each log: of several tries of a run that was begun anew, the longest, the later of equals."""
        best: dict[str, Points] = {}
        for run in self.runs:
            if run.log not in best or len(run.R) >= len(best[run.log].R):
                best[run.log] = run
        return [run for run in self.runs if best[run.log] is run]


def read(
    logs: formats.Logs,
    *,
    entropy: str | None = None,
    score: str | None = None,
    step: str | None = None,
    run: str | None = None,
    weight: str | None = None,
    compute: str | None = None,
    min_points: int = 8,
    join: bool = False,
    length_limit: float | None = None,
) -> Logs:
    """Reads runs.

    Args:
      logs: a path, a glob pattern, several of these between commas, or a sequence of such, of formats in
        `formats.READERS`. Several files are several runs, but that one which begins where another ends, at its
        entropy, is the same run, resumed; one file may hold several. Runs of an archive (logs/archive.py) are found as
        if they were folders in it.
      entropy, score, step: columns; None chooses by the rules of `columns` (no step: line number).
        In a workdir the rows of evals.jsonl make columns called eval/<task>/<metric>.
      run: column whose values tell runs apart, or several between commas.
      weight: column with the number of samples behind a score; None takes <score>/n, if there (a workdir has it).
      compute: column to have at the scores.
      min_points: fewest joined points of a run to accept.
      join: whether all the logs are of one run, its entropy in one and its score in another.
      length_limit: longest response that was allowed, tokens; 0 leaves an entropy that seems scaled by it as it is.

    Raises:
      InputError: no run can be used: paths that are missing, of no known format, empty or not text; a column that
        is not there or cannot be guessed; too many values that are no finite numbers; too few points; an entropy
        that is constant or cannot be in nats per token. Where one run can be used, the others are in `skipped`.
    """
    asked = Names(entropy, score, step, weight, compute, length_limit)
    paths = formats.find(logs)
    found, errors = formats.gather(formats.inside(paths) if join else paths, run)
    found = _joined(found) if join and found else _resumed(found, asked)
    return of_runs(found, asked, min_points, errors, "" if join or len(found) < 2 else _join_hint(found, min_points))


def of_runs(found: list[Run], asked: Names, min_points: int, errors: Sequence[InputError] = (), hint: str = "") -> Logs:
    """Points of runs as a reader found them; as `read`, which says what else could not be used, and a remedy."""
    errors, points = list(errors), []
    for one in found:
        try:
            new, failed = _tries(one, asked, min_points)
        except InputError as error:
            errors.append(error)
            continue
        points, errors = points + new, errors + failed
    if not points:
        raise InputError(
            f"{errors[0]}" + (f"; nor can {len(errors) - 1} other(s) be used" if errors[1:] else "") + hint
        )
    return Logs(same_unit(points), [str(error) for error in errors])


def _joined(runs: list[Run]) -> list[Run]:
    """All as one run."""
    for run in runs if len(runs) > 1 else ():  # W&B counts the calls of each run for itself
        for table in run.tables:
            if table.step in ("Step", "_step"):
                axes = [name for name in table.columns if columns.segments(name)[-1:] == [("train", "step")]]
                table.step = axes[0] if axes else table.step
    kinds = list(dict.fromkeys(run.format for run in runs))
    tables = [table for run in runs for table in run.tables]
    return [Run(" + ".join(run.name for run in runs), " + ".join(kinds), ",".join(r.path for r in runs), tables)]


def _join_hint(runs: list[Run], min_points: int) -> str:
    """What to do where one log has an entropy only and another a score only."""
    have = [(bool(columns.entropies(r.names())), bool(columns.scores(r.names(), min_points))) for r in runs]
    if any(h and not r for h, r in have) and any(r and not h for h, r in have):
        return "; entropy is in one of these logs and a score in another: if they are of one run add --config.join=True"
    return ""


def _resumed(runs: list[Run], asked: Names) -> list[Run]:
    """The runs, each file that goes on where one other ends joined to it; where it could be several, to none.

    Files of one format and folder, whose steps are no line numbers. Runs that their file itself tells apart, by a
    column or by names, are never joined.
    """
    joined = dict(enumerate(runs))
    records = {i: record for i, run in joined.items() if len(runs) > 1 and (record := _entropy_record(run, asked))}
    ends: dict[int, Record] = {}  # by the first of its files: a run so far
    for i in sorted(records, key=lambda i: records[i].step[0]):
        run, begin = runs[i], records[i].step[0]
        before = [k for k in ends if _goes_on(ends[k], records[i]) and _alike(runs[k], run, asked)]
        where = f"{run.path} begins at step {begin:g}, where "
        if len(before) != 1:
            ends[i] = records[i]
            if before:
                several = columns.some(runs[k].path for k in before)
                run.tables[0].notes.append(f"{where}{several} end: it is not clear which of them goes on in it")
            continue
        k = before[0]
        earlier = ends[k].step < begin
        said = f"{where}{runs[k].path} ends ({ends[k].step[-1]:g}): one run, resumed"
        ends[k] = Record(*(np.append(old[earlier], new) for old, new in zip(ends[k], records[i])))
        runs[k].tables[0].notes.append(said)
        runs[k].tables = runs[k].tables + run.tables
        del joined[i]
    return list(joined.values())


def _entropy_record(run: Run, asked: Names) -> Record | None:
    """The entropy of a run that may be a part of another, at steps that it has itself."""
    if run.by is not None:
        return None
    with contextlib.suppress(InputError):
        sheet = Sheet(run, asked.step)
        name = _choose_entropy(sheet, asked.entropy, run.names())
        record = sheet.record(name)
        stepped = all(sheet.axis(table, name) is not None for table in run.tables if name in table.columns)
        return record if stepped and len(record.step) > 2 else None
    return None


def _alike(one: Run, other: Run, asked: Names) -> bool:
    """Whether two files are of one format, folder and seed, with the same entropy and a score in common, if any."""
    if one.path == other.path or one.format != other.format:
        return False
    if one.path.rpartition("/")[0] != other.path.rpartition("/")[0]:
        return False
    told = [run.values(columns.runs(run.names())) for run in (one, other)]  # seeds
    if any(told[0][name].isdisjoint(told[1][name]) for name in told[0] if name in told[1]):
        return False
    have = [run.numbers() for run in (one, other)]
    entropies = [[asked.entropy] if asked.entropy else columns.entropies(names)[:1] for names in have]
    scores = [set(columns.scores(names)) for names in have]
    return entropies[0] == entropies[1] and bool(scores[0] & scores[1] or not all(scores))


def _goes_on(one: Record, other: Record) -> bool:
    """Whether a record begins in the second half of another or just behind it, at the entropies of that place."""
    begin, first, last = other.step[0], one.step[0], one.step[-1]
    if not ((first + last) / 2 < begin <= last + 2 * np.median(np.diff(one.step)) and other.step[-1] > last):
        return False
    end, start = one.value[one.step <= begin][-NEAR:], other.value[:NEAR]
    gap = max(end.min(), start.min()) - min(end.max(), start.max())
    return bool(gap <= max(np.ptp(end), np.ptp(start), JUMP * np.abs(end).max()))


def _choose_entropy(sheet: Sheet, name: str | None, counts: dict[str, int]) -> str:
    if name is not None:
        return columns.named(sheet.where, sheet.counts, name, "entropy")
    found = columns.entropies(counts)
    if turned := [one for one in found if _no_positive(sheet.run, one)]:  # a loss term, where an entropy is beside it
        if found := [one for one in found if one not in turned] or found:
            sheet.notes += [f"{columns.some(turned)} never above 0: a loss term"] if found != turned else []
    if found:
        if rest := [n for n in found[1:] if n not in ("policy/entropy",)]:
            sheet.notes.append(f"entropy could also be {columns.some(rest, 4)}")
        return found[0]
    trainer = trainers.recognise(sheet.counts, sheet.run.format)
    empty = [n for n in columns.entropies(sheet.counts)][:1]
    what = _no_number(sheet, empty[0]) if empty else "no column looks like entropy"
    remedy = "name it (--config.entropy=NAME), or if it was not logged, log it"
    elsewhere = trainers.TRAINERS[trainer].elsewhere if trainer and "console" in sheet.run.format else ""
    raise InputError(
        f"{sheet.where}: {what}: {remedy}: there are {columns.some(sheet.counts, 20)}{_torn(sheet)}; "
        f"{trainers.how_to_log(trainer)}" + (f"; or the numbers are in {elsewhere}" if elsewhere else "")
    )


def _no_positive(run: Run, name: str) -> bool:
    cells = [np.asarray(table.columns[name].value, float) for table in run.tables if name in table.columns]
    return not (np.concatenate(cells) > 0).any()


def _no_number(sheet: Sheet, name: str) -> str:
    texts = sorted(set().union(*(table.said.get(name, ()) for table in sheet.run.tables)))
    return f"{name!r} holds no number" + (f" but {columns.some(map(repr, texts))}" if texts else "")


def _torn(sheet: Sheet) -> str:
    """What a refusal says of rows that may have held what is missing."""
    rows = sum(len(table.lines) for table in sheet.run.tables)
    if len(sheet.broken) < 0.2 * rows:
        return ""
    return f"; {len(sheet.broken)} row(s) are broken ({columns.some(sheet.broken, 2)}): were lines wrapped or cut off?"


def _choose_score(sheet: Sheet, name: str | None, counts: dict[str, int], least: int) -> tuple[str, list[str]]:
    """The score, and what must be said about it."""
    if name is not None:
        chosen = columns.named(sheet.where, sheet.counts, name, "score")
    else:
        found = columns.scores(counts, least)
        if not found:
            empty = columns.scores(sheet.counts)[:1]
            what = _no_number(sheet, empty[0]) if empty else "no column looks like score"
            raise InputError(
                f"{sheet.where}: {what}: name it (--config.score=NAME), or if it was not logged, "
                f"log it: there are {columns.some(sheet.counts, 20)}{_torn(sheet)}"
            )
        chosen = found[0]
        if rest := [n for n in found[1:] if columns.held_out(n) or not columns.held_out(chosen)]:
            sheet.notes.append(f"score could also be {columns.some(rest, 4)}")
    if not columns.is_training(chosen):
        return chosen, []
    why = "" if name else ": the log has no column of evaluations"
    return chosen, [
        f"TRAINING REWARD, not held out: R = {chosen}{why}; which prompts were drawn moves it, and what was learnt by "
        "heart counts"
    ]


def _tries(run: Run, asked: Names, min_points: int) -> tuple[list[Points], list[InputError]]:
    """A run, or where it was begun anew in the same log each of its tries, and the tries that cannot be used."""
    sheet = Sheet(run, asked.step)
    counts = {name: n for name, n in run.numbers().items() if n} if not (asked.entropy and asked.score) else {}
    entropy = _choose_entropy(sheet, asked.entropy, counts)
    score, warnings = _choose_score(sheet, asked.score, counts, min_points)
    if entropy == score:
        raise InputError(f"{sheet.where}: column {entropy!r} is both entropy and score: name two columns")
    for name, values in run.values(columns.runs(run.names())).items():
        if len(values) > 1:
            said = f"SEVERAL RUNS AS ONE? column {name} has more than one value in {sheet.where}"
            warnings.append(f"{said}: --config.run={name} tells them apart")
    for name, values in run.values(columns.tasks(run.names())).items():
        if len(values) > 1:
            said = f"SEVERAL TASKS AS ONE? column {name} has more than one value in {sheet.where}"
            warnings.append(f"{said}, and rows of a step are averaged: --config.run={name} tells them apart")
    parts = sheet.tries(entropy, score)
    if len(parts) == 1:
        return [of_run(run, sheet, entropy, score, warnings, asked, min_points)], []
    points, errors = [], []
    warnings.append(
        f"{sheet.where} goes back to its first step {len(parts) - 1} time(s): {len(parts)} tries, a run each, and not "
        "counted as independent runs (if they are, name the column that tells them apart: --config.run=COLUMN)"
    )
    for part in parts:
        try:
            own = Sheet(part, asked.step)
            own.notes += [note for note in sheet.notes if note not in own.notes]
            points.append(of_run(part, own, entropy, score, warnings, asked, min_points))
        except InputError as error:
            errors.append(error)
    if not points:
        raise errors[0]
    return points, errors
