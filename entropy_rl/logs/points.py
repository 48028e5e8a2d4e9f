"""One run, ready for a fit: entropy joined to scores by step, in nats per token, checked, what is notable said."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import basis
from entropy_rl.logs import columns, lengths, trainers
from entropy_rl.logs.records import EVENLY, Record, Sheet
from entropy_rl.logs.tables import Run

PERCENT = 1.5  # accuracies above it are taken for percent


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
      format: a row of `formats.READERS` ("csv", "verl console", ...).
      broken: rows and cells that could not be used (torn lines, cells that are no finite numbers, no step).
      entropy, score: names of the columns chosen.
      unit: "fraction"; "percent" where the names or values of some run say so; "reward", which has no unit.
      trainer: a row of `trainers.TRAINERS`, or None.
      estimator: what the entropy is, as `trainers.estimator` says.
      held_out: whether the score is of data that was not trained on, as its name says.
      warnings: what must not be overlooked, a sentence each.
      seen: number of cells by column, of all that the log has.
      signals: role of `columns.SIGNALS` -> its column and record; "training" is the reward in training beside a
        score that is held out, "component NAME" that of a reward function.
      log: where the run was read from: the same for the tries of a run that was begun anew several times.
      group: its text in the first of the columns that tell runs apart, where there are such.
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
    trainer: str | None = None
    estimator: str = trainers.UNKNOWN
    held_out: bool = False
    warnings: tuple[str, ...] = ()
    seen: dict[str, int] = dataclasses.field(default_factory=dict)
    signals: dict[str, tuple[str, Record]] = dataclasses.field(default_factory=dict)
    log: str = ""
    group: str | None = None


class Names(NamedTuple):
    """What was asked for; None is chosen, or not wanted (weight, compute), or not known (length_limit)."""

    entropy: str | None = None
    score: str | None = None
    step: str | None = None
    weight: str | None = None
    compute: str | None = None
    length_limit: float | None = None


def of_run(
    run: Run, sheet: Sheet, entropy: str, score: str, warnings: list[str], asked: Names, min_points: int
) -> Points:
    """Joins and checks the columns of a run; see `read`. The unit is `same_unit`'s."""
    trainer = trainers.recognise(sheet.counts, sheet.run.format)
    warnings = list(warnings)
    h, r = sheet.record(entropy), sheet.record(score)
    r = _evaluations(sheet, score, r)
    if columns.BITS in columns.words(entropy):
        h = Record(h.step, h.value * np.log(2))
        sheet.notes.append(f"{entropy} is in bits: times ln 2")
    signals = _signals(run, asked, score)
    h, estimator = lengths.per_token(h, r, signals, trainer, entropy, asked.length_limit, warnings)
    h = Record(_same_axis(sheet, entropy, h.step, score, r.step), h.value)
    H = _join(sheet, h, r.step, "entropy record")
    cost = np.zeros(len(H))
    if asked.compute is not None:
        name = columns.named(sheet.where, sheet.counts, asked.compute, "compute")
        cost = _join(sheet, sheet.record(name), r.step, asked.compute)
    kept = ~np.isnan(H) & ~np.isnan(cost)
    step, H, R, cost = r.step[kept], H[kept], r.value[kept], cost[kept]
    _check(sheet, entropy, score, H, R, min_points)
    weight = _weight(sheet, asked.weight, score, step)
    if (gap := float((step - h.step[h.at(step)]).max())) > 0:
        sheet.notes.append(f"entropy from up to {gap:g} step(s) before its score")
    axis = next(sheet.axis(table, score) for table in run.tables if score in table.columns)
    if trainer and axis in trainers.TRAINERS[trainer].episodes:
        sheet.notes.append(f"the x axis is {axis}, which in {trainer} counts episodes")
    if sheet.broken:
        sheet.notes.append(f"{len(sheet.broken)} broken row(s) left out: {columns.some(sheet.broken)}")
    what = f"H = {entropy} ({sheet.files(entropy)}, nats per token), R = {score} ({sheet.files(score)})"
    known = [f"estimator: {estimator}"] if estimator != trainers.UNKNOWN else []
    return Points(
        name=run.name,
        step=step,
        H=H,
        R=R,
        weight=weight,
        compute=None if asked.compute is None else cost,
        entropy_step=h.step,
        entropy_H=h.value,
        source="; ".join([f"{run.format} {sheet.where}: {what}, {len(R)} points", *known, *warnings, *sheet.notes]),
        format=run.format,
        broken=len(sheet.broken),
        entropy=entropy,
        score=score,
        unit=_unit(run, score, R),
        trainer=trainer,
        estimator=estimator,
        held_out=columns.held_out(score),
        warnings=tuple(warnings),
        seen=sheet.counts,
        signals=signals,
        group=run.group,
        log=f"{run.path}\0{run.by}\0{run.name.partition(' (try ')[0]}",
    )


def _evaluations(sheet: Sheet, score: str, r: Record) -> Record:
    """The scores without what stands in rows between evaluations: -1 of an accuracy, or the last one over again."""
    no = r.value == -1
    if no.any() and not no.all() and columns.kind(score) in range(5) and r.value[~no].min() >= 0:
        sheet.notes.append(f"{no.sum()} cell(s) of {score} are -1: taken for empty ones")
        r = Record(r.step[~no], r.value[~no])
    if columns.held_out(score) and len(r.value) > 3:
        starts = np.flatnonzero(np.append(True, np.diff(r.value) != 0))
        gaps = np.diff(starts)
        if len(gaps) > 2 and np.median(gaps) > 1 and (gaps == np.median(gaps)).mean() >= EVENLY:
            repeats = f"{len(r.value) - len(starts)} repeats of an evaluation left out"
            sheet.notes.append(f"{score} is another in every {np.median(gaps):g}th row only: {repeats}")
            r = Record(r.step[starts], r.value[starts])
    return r


def _signals(run: Run, asked: Names, score: str) -> dict[str, tuple[str, Record]]:
    """What alarms look at; a column that cannot be read is left out, as nothing is fitted to it."""
    names = columns.signals(run.numbers())
    if columns.held_out(score):
        training = [name for name in columns.scores(run.numbers()) if not columns.held_out(name)]
        names |= {"training": training[0]} if training else {}
    names |= {f"component {function}": name for function, name in columns.components(run.numbers()).items()}
    found = {}
    for role, name in names.items():
        try:
            record = Sheet(run, asked.step).record(name)  # a sheet of its own: what is broken there is not counted
        except InputError:
            continue
        if len(record.step):
            found[role] = (name, record)
    return found


def _same_axis(sheet: Sheet, entropy: str, h: NDArray, score: str, r: NDArray) -> NDArray:
    """Steps of the entropy on the axis of the score: a rollout may be cut into several training steps (slime)."""
    axes = [
        next((sheet.axis(t, name) for t in sheet.run.tables if name in t.columns), None) for name in (entropy, score)
    ]
    if axes[0] == "train/step" and axes[1] in ("rollout/step", "eval/step") and len(h) and len(r):
        others = [t for t in sheet.run.tables if "rollout/step" in t.columns]
        last = max((np.nanmax(np.asarray(t.columns["rollout/step"].value)) for t in others), default=r[-1])
        many = round((h[-1] + 1) / (last + 1))
        if many > 1 and abs((h[-1] + 1) / (last + 1) - many) < 0.2:
            sheet.notes.append(f"{many} training steps a rollout: steps are those of rollouts")
            return np.floor(h / many)
    return h


def _join(sheet: Sheet, record: Record, step: NDArray, what: str) -> NDArray:
    """[n] the record at the same step or the nearest earlier one, NaN before the first, which is noted."""
    at = record.at(step)
    if (at < 0).any():
        sheet.notes.append(f"{(at < 0).sum()} score(s) before the first {what} left out")
    return np.where(at < 0, np.nan, record.value[at]) if len(record.value) else np.full(len(step), np.nan)


def _check(sheet: Sheet, entropy: str, score: str, H: NDArray, R: NDArray, min_points: int) -> None:
    """InputError for points that no curve can be fitted to."""
    if len(R) < max(min_points, 1):
        enough = {name: n for name, n in sheet.counts.items() if n >= min_points and name not in (entropy, score)}
        others = columns.scores(enough)
        hint = f" (there is {others[0]!r}): --config.score={others[0]}" if others else ""
        if stepless := [line for line in sheet.broken if line.endswith("(no step)")]:
            hint += f"; {len(stepless)} row(s) have no number for a step: name another column (--config.step=NAME)"
        raise InputError(
            f"{sheet.where}: {len(R)} point(s) with {score!r} and {entropy!r}, {min_points} needed: evaluate more "
            f"often, train longer, or name other columns{hint}"
        )
    if H.max() <= 0:
        raise InputError(
            f"{sheet.where}: {entropy!r} runs from {H.min():g} to {H.max():g}, no entropy in nats per token but a loss "
            "term, minus the entropy, perhaps times its coefficient: log the entropy itself, or where there is no "
            "coefficient give a copy with the sign turned"
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
    record = sheet.record(columns.named(sheet.where, sheet.counts, name, "weight"))
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


def _unit(run: Run, score: str, R: NDArray) -> str:
    """Of one run: see `Points.unit`. A sum of reward functions has none, nor has what is below 0 or above 100."""
    said = set(columns.words(score))
    functions = [n for n in run.names() if "rewards/" in n and n.endswith("/mean") and not columns.held_out(n)]
    if said & {"reward", "rewards"} and columns.segments(score)[-1] in (("reward",), ("eval", "reward")):
        if len(functions) > 1:
            return "reward"
    if R.min() < 0 or R.max() > 100:
        return "reward"
    if any(score in table.percent for table in run.tables) or said & {"percent", "pct", "percentage"} or "%" in score:
        return "percent"
    if R.max() <= 1 + 1e-9:
        return "fraction"
    if not said & {"reward", "rewards"} and R.max() > (15 if "score" in said or "scores" in said else PERCENT):
        return "percent"
    return "reward"


def same_unit(points: list[Points]) -> list[Points]:
    """Percent, fraction or reward, for all runs alike: runs that are compared were scored alike."""
    units = [p.unit for p in points]
    unit = next((one for one in ("reward", "percent") if one in units), "fraction")
    told = []
    for p in points:
        other = points[units.index(unit)].name
        why = f" (as in run {other}; here alone it would be {p.unit})" if p.unit != unit else ""
        text = "reward, which has no unit" if unit == "reward" else unit
        told.append(dataclasses.replace(p, unit=unit, source=f"{p.source}; unit of R: {text}{why}"))
    return told
