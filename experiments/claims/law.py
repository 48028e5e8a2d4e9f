"""The law R = -a exp(H) + b: does it hold, and is it the algorithm's or the task's?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.laws import compare
from entropy_rl.laws.analyse import Series, series
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import fit
from entropy_rl.logs import read as logs
from entropy_rl.logs.points import Points
from experiments.claims import arms
from experiments.claims.arms import Study
from experiments.claims.data import Data, Run
from experiments.claims.verdicts import Claim, How, Verdict, mean_span, spelled, spread_span

MIN_POINTS = 16  # evaluations of a run that is tested
FEW_POINTS = 8  # of one that is shown without a test
RIVALS = ("linear", "sqrt", "log", "quadratic")  # of as many coefficients as exp
BEND = (0.5, 1.5)  # of the rate c: nearer to the law than to a line, and no further beyond it


@dataclasses.dataclass(frozen=True)
class Course:
    """A run with its points (H, R)."""

    run: Run
    points: Points
    series: Series


def courses(runs: list[Run], out: Verdict, least: int = MIN_POINTS) -> Iterator[Course]:
    """The runs whose points can be fitted; why others cannot is said in `out.missing`, once for each folder."""
    refused: dict[str, list[str]] = {}
    for run in runs:
        if run.task is None:
            refused.setdefault(f"{run.study}: no evaluations of pass@1", []).append(run.path.name)
            continue
        try:
            (points,) = logs.read([run.path], score=f"eval/{run.task}/pass@1", min_points=least).runs
            yield Course(run, points, series(points.step, points.H, points.R, points.weight))
        except InputError as error:
            text = str(error).replace(f"{run.path}: ", "")
            refused.setdefault(f"{run.study}: {text}", []).append(run.path.name)
    for why, names in refused.items():
        out.missing.append(f"{why} ({len(names)} run{'s' if len(names) > 1 else ''})")


def plain_runs(studies: list[Study]) -> list[Run]:
    """RL runs of plain algorithms without critiques: those of whom the law speaks, and that are their study's."""
    found = []
    for study in studies:
        if study.kind == "rl" and (plain := study.plain()):
            found += list(plain.runs.values())
    return found


def starts(run: Run) -> str:
    """`notebooks/data/laws, logits at the start divided by 2.3`: runs that began alike."""
    heat = run.get("init_temperature", 1.0) or 1.0
    return run.study.name + (f", start heated by {heat:g}" if heat != 1 else "")


def form(data: Data, studies: list[Study], how: How) -> Verdict:
    """Fit, rejection, and errors on what was not fitted, for each kind of start."""
    out = Verdict()
    groups: dict[str, list[Course]] = {}
    for course in courses(plain_runs(studies), out):
        groups.setdefault(starts(course.run), []).append(course)
    rows = []
    for name, members in groups.items():
        fitted = [_errors(course, how) for course in members]
        fitted = [one for one in fitted if one]
        out.runs += [course.run for course in members]
        count = len(fitted)
        r2 = mean_span([one["r2"] for one in fitted], how)
        out.add(f"{name}: R² of exp, mean over runs", r2, how, count, "runs", above=0.9)
        bend = mean_span([one["c"] for one in fitted], how)
        what = f"{name}: c of R = b − a·(exp(c·H) − 1)/c, mean over runs; the law says 1, a line 0"
        out.add(what, bend, how, count, "runs", within=BEND)
        ratios = mean_span(_beside_best(fitted), how)
        what = f"{name}: held-out error of exp over that of the best rival, less 1"
        out.add(what, ratios, how, count, "runs", below=0.0)
        top = max(course.series.H.max() for course in members)
        errors = [f"{np.mean([one[curve] for one in fitted]):.3f}" for curve in ("exp", *RIVALS)] if fitted else []
        rejected = sum(one["rejected"] for one in fitted)
        rows.append([name, str(count), f"{top:.2f}", *errors, f"{rejected} of {count}"])
        H, R = (np.concatenate([getattr(course.series, of) for course in members]) for of in "HR")
        every = max(1, len(H) // 400)
        pooled = fit(CURVES["exp"], H, R)
        out.plots.append({"name": name, "H": H[::every], "R": R[::every], "a": pooled.a, "b": pooled.b})
    if rows:
        header = ["runs", "number", "highest H", "exp", *RIVALS, "exp rejected at 95 % beside a line"]
        title = "RMSE of the last 30 % of a run's evaluations, from a fit to the first 70 %, means over runs"
        out.details.append((title, header, rows))
    if not groups:
        out.missing.append(f"no RL run of a plain algorithm with {MIN_POINTS} evaluations and its entropy")
    few = _few(studies, {id(run) for run in out.runs}, how, out)
    if few:
        header = ["runs", "world", "number", "evaluations", "highest H", "R² of exp", "exp", "best rival"]
        title = f"fewer than {MIN_POINTS} evaluations, so no test: the fit of exp, and RMSE of the last 30 % as above"
        out.details.append((title, header, few))
    return out


def _few(studies: list[Study], tested: set[int], how: How, out: Verdict) -> list[list[str]]:
    """Rows of the groups that have too few evaluations for a test; their runs are told in `out.beside`."""
    groups: dict[str, list[Course]] = {}
    for course in courses([run for run in plain_runs(studies) if id(run) not in tested], Verdict(), FEW_POINTS):
        groups.setdefault(starts(course.run), []).append(course)
    rows = []
    for name, members in groups.items():
        fitted = [one for course in members if (one := _errors(course, how))]
        if not fitted:
            continue
        out.beside += [course.run for course in members]
        rival = min(RIVALS, key=lambda curve: np.mean([one[curve] for one in fitted]))
        r2, error, best = (np.mean([one[key] for one in fitted]) for key in ("r2", "exp", rival))
        about = [members[0].run.world, str(len(fitted)), str(min(len(course.series.H) for course in members))]
        top = max(course.series.H.max() for course in members)
        rows.append([name, *about, f"{top:.2f}", f"{r2:.3f}", f"{error:.3f}", f"{best:.3f} ({rival})"])
    return rows


def _beside_best(fitted: list[dict[str, float]]) -> list[float]:
    """For each run its error of exp over that of the rival that is best on the others, less 1; none of one run."""
    ratios = []
    for i, one in enumerate(fitted):
        others = fitted[:i] + fitted[i + 1 :]
        if others:
            rival = min(RIVALS, key=lambda name: np.mean([other[name] for other in others]))
            ratios.append(one["exp"] / one[rival] - 1)
    return ratios


def _errors(course: Course, how: How) -> dict[str, float] | None:
    s = course.series
    try:
        found = {"r2": fit(CURVES["exp"], s.H, s.R, s.w).r2}
        rivals = compare.identifiability(s.H, s.R, how.rng(), weights=s.w, draws=max(100, how.draws // 5))
        found["rejected"] = rivals.exp_rejected
        found["c"] = fit(CURVES["exp_rate"], s.H, s.R, s.w).shape[0]
        for name in ("exp", *RIVALS):
            found[name] = compare.heldout_rmse(CURVES[name], s.H, s.R, weights=s.w)
        return found
    except InputError:
        return None


def coefficients(data: Data, studies: list[Study], how: How) -> Verdict:
    """Spread of the curves' ceilings and slopes over algorithms, beyond that over seeds."""
    out = Verdict()
    for study in studies:
        plain = study.plain() if study.kind == "rl" else None
        if plain is None:
            continue
        several = arms.algorithms(study, plain)
        if len(several) < 2:
            continue
        fits: dict[str, dict[int, tuple[float, float, float]]] = {}
        runs = {id(run): (arm.name, seed) for arm in several for seed, run in arm.runs.items()}
        found = list(courses([run for arm in several for run in arm.runs.values()], out))
        if not found:
            continue
        middle = float(np.mean([course.series.H.mean() for course in found]))
        for course in found:
            s = course.series
            name, seed = runs[id(course.run)]
            one = fit(CURVES["exp"], s.H, s.R, s.w)
            height = float(CURVES["exp"].predict(np.array([middle]), one.a, one.b)[0])
            fits.setdefault(name, {})[seed] = (one.a, one.ceiling, height)
        fits = {name: of for name, of in fits.items() if len(of) >= how.least}
        seeds = sorted(set.intersection(*(set(of) for of in fits.values()))) if fits else []
        if len(fits) < 2 or len(seeds) < 2:
            out.missing.append(f"{study.name}: fewer than 2 algorithms with {how.least} seeds in common")
            continue
        out.runs += [course.run for course in found]
        table = np.array([[fits[name][seed] for seed in seeds] for name in fits])  # [algorithms, seeds, 3]
        slope = spread_span(table[:, :, 0] / table[:, :, 0].mean(), how)
        unit = f"seeds of {len(fits)} algorithms"
        out.add(f"{study.name}: spread of a as a share of its mean", slope, how, len(seeds), unit, below=0.1)
        for place, what in ((1, "the ceiling b - a"), (2, f"the curve at H = {middle:.2f}")):
            spread = spread_span(table[:, :, place], how)
            out.add(f"{study.name}: spread of {what}", spread, how, len(seeds), unit, below=how.margin)
        rows = [
            [name, str(len(fits[name]))]
            + [spelled(mean_span([fits[name][s][k] for s in fits[name]], how), sign=False) for k in range(3)]
            for name in fits
        ]
        header = ["algorithm", "seeds", "a", "ceiling b - a", f"at H = {middle:.2f}"]
        out.details.append((f"{study.name}: the fit of exp, means over seeds", header, rows))
    if not out.criteria:
        out.missing.append(f"no study with 2 plain algorithms, {how.least} seeds each and {MIN_POINTS} evaluations")
    return out


FORM = Claim(
    id="law",
    main="held-out error",
    text="R = −a·exp(H) + b holds, and better than its rivals",
    source="Cui et al. 2025, arXiv:2505.22617, Eq. 6",
    definition=(
        "Held-out pass@1 against policy entropy, runs of plain algorithms, a group for each kind of start. For the "
        "claim: R² of the fit above .9; the rate c of a curve that is the law at c = 1 and a line at c = 0 within "
        f"{BEND[0]:g} and {BEND[1]:g}; and an error on the last 30 % of the evaluations, from a fit to the rest, below "
        "that of the best other curve of two coefficients (line, root, logarithm, square): each run against the one "
        "that is best on the other runs of its group."
    ),
    needs=f"RL runs of a plain algorithm with {MIN_POINTS} evaluations of pass@1 and the entropy record",
    decides="starts of much entropy (H of 1 nat and more) that are base models, where exp and a line differ by more "
    "than the noise; more seeds of them",
    test=form,
)

COEFFICIENTS = Claim(
    id="coefficients",
    main="spread of the ceiling",
    text="a and b do not depend on the algorithm",
    source="Cui et al. 2025, arXiv:2505.22617, Figure 6",
    definition=(
        "Plain algorithms (GRPO, RLOO, REINFORCE++, PPO and the like, without entropy control) of one study, from one "
        "start. exp is fitted to each run; the standard deviation of its a, ceiling and height at the mean entropy "
        "over algorithms, beyond what seeds do (two-way layout, interval from F). For the claim: below 10 % of a, and "
        "below the margin for ceiling and height. It speaks of the fits, whether or not the law is true."
    ),
    needs="a study with at least 2 plain algorithms, 3 common seeds, and evaluations often enough",
    decides="five or more seeds of each algorithm, and evaluations as often as in the study of the law",
    test=coefficients,
)
