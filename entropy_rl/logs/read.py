"""Points (step, H, R) from logged runs of any trainer: which columns hold entropy and score, joined by step.

`readers` turn paths into runs with named columns; here it is the same for all formats: choose the columns (by
name, or by the patterns in `names`), join each score to the entropy record at the same step or the nearest earlier
one, count what is broken, and refuse what cannot be fitted in one line that names file, row or column, and remedy.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import basis
from entropy_rl.logs import columns, formats
from entropy_rl.logs.records import Record, Sheet
from entropy_rl.logs.tables import Run

PERCENT = 1.5  # scores above it are taken for percent


@dataclasses.dataclass(frozen=True)
class Points:
    """One run, ready for a fit; sorted by step.

    Attributes:
      name: file, folder, W&B run or value of the run column; unique among the runs read.
      step: [n] steps of the scores, rising.
      H: [n] entropy of the joined records, nats per token.
      R: [n] score, units of the file.
      weight: [n] number of samples behind each score, or None where the log does not say.
      compute: [n] column `compute` at the scores, joined as the entropy is, or None where not asked for.
      entropy_step, entropy_H: [m] the whole entropy record, also where no score was taken.
      source: format, columns, unit and everything left out or notable, as one line of text.
      format: a row of `readers.READERS` ("csv", "verl console", ...).
      broken: rows and cells that could not be used (torn lines, cells that are no finite numbers, no step).
      entropy, score: names of the columns chosen.
      unit: "fraction", or "percent" where some score of any of the runs is above 1.5.
    """

    name: str
    step: NDArray
    H: NDArray
    R: NDArray
    weight: NDArray | None
    compute: NDArray | None
    entropy_step: NDArray
    entropy_H: NDArray
    source: str
    format: str
    broken: int
    entropy: str
    score: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Logs:
    """What `read` found: the runs that can be used, and a line for each run or path that cannot."""

    runs: list[Points]
    skipped: list[str]


class Names(NamedTuple):
    """The columns that were asked for; None is chosen, or not wanted (weight, compute)."""

    entropy: str | None
    score: str | None
    step: str | None
    weight: str | None
    compute: str | None


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
) -> Logs:
    """Reads runs.

    Args:
      logs: a path, a glob pattern, several of these between commas, or a sequence of such, of formats in
        `readers.READERS`. Several files are several runs; one file may hold several. Runs of an archive
        (logs/archive.py) are found as if they were folders in it.
      entropy, score, step: columns; None chooses by the tables in `names` (no step: line number).
        In a workdir the rows of evals.jsonl make columns called eval/<task>/<metric>.
      run: column whose values tell runs apart.
      weight: column with the number of samples behind a score; None takes <score>/n, if there (a workdir has it).
      compute: column to have at the scores.
      min_points: fewest joined points of a run to accept.

    Raises:
      InputError: no run can be used: paths that are missing, of no known format, empty or not text; a column that
        is not there or cannot be guessed; too many values that are no finite numbers; too few points; an entropy
        that is constant or cannot be in nats per token. Where one run can be used, the others are in `skipped`.
    """
    asked = Names(entropy, score, step, weight, compute)
    found, errors = formats.gather(formats.find(logs), run)
    points: list[Points] = []
    for one in found:
        try:
            points.append(_points(one, asked, min_points))
        except InputError as error:
            errors.append(error)
    if not points:
        raise InputError(f"{errors[0]}" + (f"; nor can {len(errors) - 1} other(s) be used" if errors[1:] else ""))
    return Logs(_same_unit(points), [str(error) for error in errors])


def _points(run: Run, asked: Names, min_points: int) -> Points:
    """Chooses, joins and checks the columns of a run; see `read`. The unit is `_same_unit`'s."""
    sheet = Sheet(run, asked.step)
    entropy = sheet.choose(asked.entropy, columns.ENTROPIES, "entropy")
    score = sheet.choose(asked.score, columns.SCORES, "score")
    if entropy == score:
        raise InputError(f"{sheet.where}: column {entropy!r} is both entropy and score: name two columns")
    h, r = sheet.record(entropy), sheet.record(score)
    H = _join(sheet, h, r.step, "entropy record")
    cost = np.zeros(len(H))
    if asked.compute is not None:
        cost = _join(sheet, sheet.record(sheet.choose(asked.compute, [], "compute")), r.step, asked.compute)
    kept = ~np.isnan(H) & ~np.isnan(cost)
    step, H, R, cost = r.step[kept], H[kept], r.value[kept], cost[kept]
    _check(sheet, entropy, score, H, R, min_points)
    weight = _weight(sheet, asked.weight, score, step)
    if (gap := float((step - h.step[h.at(step)]).max())) > 0:
        sheet.notes.append(f"entropy from up to {gap:g} step(s) before its score")
    if sheet.broken:
        sheet.notes.append(f"{len(sheet.broken)} broken row(s) left out: {columns.some(sheet.broken)}")
    what = f"H = {entropy} ({sheet.files(entropy)}, nats per token), R = {score} ({sheet.files(score)})"
    return Points(
        name=run.name,
        step=step,
        H=H,
        R=R,
        weight=weight,
        compute=None if asked.compute is None else cost,
        entropy_step=h.step,
        entropy_H=h.value,
        source="; ".join([f"{run.format} {sheet.where}: {what}, {len(R)} points", *sheet.notes]),
        format=run.format,
        broken=len(sheet.broken),
        entropy=entropy,
        score=score,
        unit="fraction",
    )


def _join(sheet: Sheet, record: Record, step: NDArray, what: str) -> NDArray:
    """[n] the record at the same step or the nearest earlier one, NaN before the first, which is noted."""
    at = record.at(step)
    if (at < 0).any():
        sheet.notes.append(f"{(at < 0).sum()} score(s) before the first {what} left out")
    return np.where(at < 0, np.nan, record.value[at]) if len(record.value) else np.full(len(step), np.nan)


def _check(sheet: Sheet, entropy: str, score: str, H: NDArray, R: NDArray, min_points: int) -> None:
    """InputError for points that no curve can be fitted to."""
    if len(R) < max(min_points, 1):
        others = [name for name in columns.scores(sheet.counts, min_points) if name not in (entropy, score)]
        raise InputError(
            f"{sheet.where}: {len(R)} point(s) with {score!r} and {entropy!r}, {min_points} needed: evaluate more "
            f"often, train longer, or name other columns{f' (there is {others[0]!r})' if others else ''}"
        )
    if H.min() < -1e-3 or H.max() > 20:  # the log of the largest vocabularies is about 13
        raise InputError(
            f"{sheet.where}: {entropy!r} runs from {H.min():g} to {H.max():g}, no entropy in nats per token: "
            "name another column as entropy"
        )
    for curve in (CURVES["exp"], CURVES["linear"]):
        try:
            basis(curve, H)
        except InputError as error:
            raise InputError(f"{sheet.where}: {entropy!r}: {error}") from None


def _weight(sheet: Sheet, asked: str | None, score: str, step: NDArray) -> NDArray | None:
    """[n] weights: column `asked`, joined as the entropy is, or <score>/n where each score has one of its own."""
    name = asked or f"{score}/n"
    if not asked and name not in sheet.counts:
        return None
    record = sheet.record(sheet.choose(name, [], "weight"))
    weight = _join(sheet, record, step, name)
    if not asked:
        weight[~np.isin(step, record.step)] = np.nan
    if (weight > 0).all():
        return weight
    problem = f"weight {name!r} is missing or not positive at step {step[~(weight > 0)][0]:g}"
    if asked:
        raise InputError(f"{sheet.where}: {problem}: mend it, or leave weight out")
    sheet.notes.append(f"{problem}: no weights used")
    return None


def _same_unit(points: list[Points]) -> list[Points]:
    """Percent or fraction, for all runs alike: runs that are compared were scored alike."""
    high = [p for p in points if p.R.max() > PERCENT]
    unit = "percent" if high else "fraction"
    told = []
    for p in points:
        why = f" (as in run {high[0].name}; here no score is above {PERCENT})" if high and p.R.max() <= PERCENT else ""
        told.append(dataclasses.replace(p, unit=unit, source=f"{p.source}; unit of R: {unit}{why}"))
    return told
