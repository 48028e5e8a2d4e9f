"""Points (step, H, R) from logged runs of any trainer: which columns hold entropy and score, joined by step.

`formats` turns paths into runs with named columns; here it is the same for all formats: choose the columns (by
name, or by the rules of `columns`), join each score to the entropy record at the same step or the nearest earlier
one, say what the numbers are (`trainers`), count what is broken, and refuse what cannot be fitted in one line that
names file, row or column, and remedy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import basis
from entropy_rl.logs import columns, formats, lengths, trainers
from entropy_rl.logs.records import Record, Sheet
from entropy_rl.logs.tables import Run

PERCENT = 1.5  # accuracies above it are taken for percent
AGGREGATED = {"verl", "rLLM", "tunix"}  # trainers that aggregate the entropy that they log as the loss


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
        score that is held out.
      log: where the run was read from: the same for the tries of a run that was begun anew several times.
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


class Names(NamedTuple):
    """What was asked for; None is chosen, or not wanted (weight, compute), or not known (length_limit)."""

    entropy: str | None = None
    score: str | None = None
    step: str | None = None
    weight: str | None = None
    compute: str | None = None
    length_limit: float | None = None


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
        `formats.READERS`. Several files are several runs, but that one which begins where another ends is the same
        run, resumed; one file may hold several. Runs of an archive (logs/archive.py) are found as if they were
        folders in it.
      entropy, score, step: columns; None chooses by the rules of `columns` (no step: line number).
        In a workdir the rows of evals.jsonl make columns called eval/<task>/<metric>.
      run: column whose values tell runs apart.
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
    found = _joined(found) if join and found else _resumed(found, asked, min_points)
    points: list[Points] = []
    for one in found:
        try:
            new, failed = _tries(one, asked, min_points)
        except InputError as error:
            errors.append(error)
            continue
        points, errors = points + new, errors + failed
    if not points:
        hint = "" if join or len(found) < 2 else _join_hint(found, min_points)
        raise InputError(
            f"{errors[0]}" + (f"; nor can {len(errors) - 1} other(s) be used" if errors[1:] else "") + hint
        )
    return Logs(_same_unit(points), [str(error) for error in errors])


def _joined(runs: list[Run]) -> list[Run]:
    """All as one run."""
    kinds = list(dict.fromkeys(run.format for run in runs))
    tables = [table for run in runs for table in run.tables]
    return [Run(" + ".join(run.name for run in runs), " + ".join(kinds), ",".join(r.path for r in runs), tables)]


def _join_hint(runs: list[Run], min_points: int) -> str:
    """What to do where one log has an entropy only and another a score only."""
    have = [(bool(columns.entropies(r.names())), bool(columns.scores(r.names(), min_points))) for r in runs]
    if any(h and not r for h, r in have) and any(r and not h for h, r in have):
        return "; entropy is in one of these logs and a score in another: if they are of one run add --config.join=True"
    return ""


def _resumed(runs: list[Run], asked: Names, min_points: int) -> list[Run]:
    """The runs, those that begin where another of the same format and folder ends joined to it.

    Not runs that a column tells apart, and none whose steps are line numbers.
    """
    spans = []
    for run in runs:
        step = []
        if len(runs) > 1 and run.by is None:
            with contextlib.suppress(InputError):
                sheet = Sheet(run, asked.step)
                name = _choose_entropy(sheet, asked.entropy, run.names())
                if all(sheet.axis(table, name) is not None for table in run.tables if name in table.columns):
                    step = sheet.record(name).step
        spans.append((step[0], step[-1], float(np.median(np.diff(step)))) if len(step) > 2 else None)
    into = list(range(len(runs)))
    order = sorted((i for i, span in enumerate(spans) if span), key=lambda i: spans[i][0])
    for before, after in itertools.permutations(order, 2):
        (first, last, stride), (begin, end, _) = spans[before], spans[after]
        alike = runs[before].format == runs[after].format and _folder(runs[before]) == _folder(runs[after])
        if alike and into[after] == after and end > last and (first + last) / 2 < begin <= last + 2 * stride:
            into[after] = into[before]
            runs[before].tables[0].notes.append(
                f"{runs[after].path} begins at step {begin:g}, where {runs[before].path} ends ({last:g}): one run, "
                "resumed"
            )
    joined = []
    for i, run in enumerate(runs):
        if into[i] == i:
            parts = [runs[k] for k in order if into[k] == i and k != i]
            run.tables = run.tables + [table for part in parts for table in part.tables]
            joined.append(run)
    return joined


def _folder(run: Run) -> str:
    return run.path.rpartition("/")[0]


def _choose_entropy(sheet: Sheet, name: str | None, counts: dict[str, int]) -> str:
    if name is not None:
        return columns.named(sheet.where, sheet.counts, name, "entropy")
    found = columns.entropies(counts)
    if found:
        if rest := [n for n in found[1:] if n not in ("policy/entropy",)]:
            sheet.notes.append(f"entropy could also be {columns.some(rest, 4)}")
        return found[0]
    trainer = trainers.recognise(sheet.counts, sheet.run.format)
    empty = [n for n in columns.entropies(sheet.counts)][:1]
    what = f"{empty[0]!r} holds no number" if empty else "no column looks like entropy"
    remedy = "name it (--config.entropy=NAME), or if it was not logged, log it"
    elsewhere = trainers.TRAINERS[trainer].elsewhere if trainer and "console" in sheet.run.format else ""
    raise InputError(
        f"{sheet.where}: {what}: {remedy}: there are {columns.some(sheet.counts, 20)}; {trainers.how_to_log(trainer)}"
        + (f"; or the numbers are in {elsewhere}" if elsewhere else "")
    )


def _choose_score(sheet: Sheet, name: str | None, counts: dict[str, int], least: int) -> tuple[str, list[str]]:
    """The score, and what must be said about it."""
    if name is not None:
        chosen = columns.named(sheet.where, sheet.counts, name, "score")
    else:
        found = columns.scores(counts, least)
        if not found:
            raise InputError(
                f"{sheet.where}: no column looks like score: name it (--config.score=NAME), or if it was not logged, "
                f"log it: there are {columns.some(sheet.counts, 20)}"
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
    parts = sheet.tries(entropy, score)
    if len(parts) == 1:
        return [_points(run, sheet, entropy, score, warnings, asked, min_points)], []
    points, errors = [], []
    warnings.append(
        f"{sheet.where} goes back to its first step {len(parts) - 1} time(s): {len(parts)} tries, a run each, and not "
        "counted as independent runs (if they are, name the column that tells them apart: --config.run=COLUMN)"
    )
    for part in parts:
        try:
            own = Sheet(part, asked.step)
            own.notes += [note for note in sheet.notes if note not in own.notes]
            points.append(_points(part, own, entropy, score, warnings, asked, min_points))
        except InputError as error:
            errors.append(error)
    if not points:
        raise errors[0]
    return points, errors


def _points(
    run: Run, sheet: Sheet, entropy: str, score: str, warnings: list[str], asked: Names, min_points: int
) -> Points:
    """Joins and checks the columns of a run; see `read`. The unit is `_same_unit`'s."""
    trainer = trainers.recognise(sheet.counts, sheet.run.format)
    warnings = list(warnings)
    h, r = sheet.record(entropy), sheet.record(score)
    signals = _signals(run, asked, score)
    h, estimator = _per_token(h, r, signals, trainer, entropy, asked, warnings)
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
        log=f"{run.path}\0{run.by}\0{run.name.partition(' (try ')[0]}",
    )


def _signals(run: Run, asked: Names, score: str) -> dict[str, tuple[str, Record]]:
    """What alarms look at; a column that cannot be read is left out, as nothing is fitted to it."""
    names = columns.signals(run.numbers())
    if columns.held_out(score):
        training = [name for name in columns.scores(run.numbers()) if not columns.held_out(name)]
        names |= {"training": training[0]} if training else {}
    found = {}
    for role, name in names.items():
        try:
            record = Sheet(run, asked.step).record(name)  # a sheet of its own: what is broken there is not counted
        except InputError:
            continue
        if len(record.step):
            found[role] = (name, record)
    return found


def _per_token(
    h: Record,
    r: Record,
    signals: dict[str, tuple[str, Record]],
    trainer: str | None,
    entropy: str,
    asked: Names,
    said: list[str],
) -> tuple[Record, str]:
    """The entropy record per token, and its estimator; where it was scaled by length that is said, and undone."""
    estimator = trainers.estimator(trainer, entropy)
    if trainer not in AGGREGATED or "length" not in signals or asked.length_limit == 0:
        return h, estimator
    name, length = signals["length"]
    there = np.isin(h.step, length.step)
    L = length.value[length.at(h.step[there])]
    cap = asked.length_limit
    if cap is None and "longest" in signals:
        longest = signals["longest"][1].value
        cap = float(longest.max()) if (longest == longest.max()).sum() > 1 else None
    H, at = h.value[there], h.step[there]
    found = lengths.scaled(H, L, cap)
    if found is None:
        shared = np.isin(r.step, at)
        places = np.searchsorted(at, r.step[shared])
        better = lengths.explained(H[places], L[places], r.value[shared])
        if better < lengths.BETTER:
            return h, estimator
        what = f"{entropy} MAY BE SCALED BY LENGTH: the score goes far better with {entropy} / {name}"
        what += f" (squared errors {min(better, 1e6):.3g} times as small)"
        if cap is None or better < lengths.SURELY and asked.length_limit is None:
            said.append(
                f"{what}; if loss_agg_mode is seq-mean-token-sum-norm, --config.length_limit=TOKENS (the longest "
                "response allowed) undoes it; with token-mean there is nothing to undo"
            )
            return h, estimator
        said.append(
            f"{what}: undone, times {cap:g} / length, as for loss_agg_mode=seq-mean-token-sum-norm; if it is "
            "token-mean, --config.length_limit=0 leaves it as it is"
        )
        return Record(at, H * cap / L), f"{estimator}, of seq-mean-token-sum-norm times {cap:g} / length"
    mode = "seq-mean-token-sum" + ("" if found.summed else "-norm")
    evidence = (
        f"{entropy} IS SCALED BY LENGTH: ln of it moves with ln of {name} with slope {found.slope:.2f} +- "
        f"{found.error:.2f} (1 for loss_agg_mode={mode}, 0 for token-mean)"
    )
    if found.factor is None:
        said.append(
            f"{evidence}: these are no nats per token, and the ceiling is wrong; give --config.length_limit=TOKENS "
            "(the longest response allowed), by which it is undone, or log with token-mean"
        )
        return h, f"{estimator}, scaled by length ({mode})"
    by = "divided by the length" if found.summed else f"times {cap:g} / length"
    said.append(f"{evidence}: undone, {by}")
    return Record(at, H * found.factor), f"{estimator}, of {mode} {by}"


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
        raise InputError(
            f"{sheet.where}: {len(R)} point(s) with {score!r} and {entropy!r}, {min_points} needed: evaluate more "
            f"often, train longer, or name other columns{hint}"
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


def _same_unit(points: list[Points]) -> list[Points]:
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
