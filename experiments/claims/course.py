"""The course of a run: is the collapse at its beginning, and does the beginning tell the end?"""

from __future__ import annotations

from entropy_rl.errors import InputError
from entropy_rl.laws import backtest
from entropy_rl.laws.analyse import MARKS, marks, series
from experiments.claims.arms import Study
from experiments.claims.data import Data
from experiments.claims.law import courses, plain_runs, starts
from experiments.claims.verdicts import Claim, How, Verdict, mean_span, rms_span

BY = (0.5, 0.9)  # of all that is spent and gained, at the marks
SHARES = (0.15, 0.33)  # of a run, from which its end is forecast
ERROR = 0.02  # of the final score: the paper's largest is .019


def front(data: Data, studies: list[Study], how: How) -> Verdict:
    """Shares of the fall of entropy and of the gain at 1/12 and 1/3 of the steps, for each kind of start."""
    out = Verdict()
    groups: dict[str, list[list[float | None]]] = {}
    for course in courses(plain_runs(studies), out):
        out.runs.append(course.run)
        cells = [mark[key] for mark in marks(course.series) for key in ("entropy", "gain")]
        groups.setdefault(starts(course.run), []).append(cells)
    names = [(k, word) for k in range(len(MARKS)) for word in ("entropy spent", "gain had")]
    for name, rows in groups.items():
        for (k, word), column in zip(names, zip(*rows)):
            values = [value for value in column if value is not None]
            what = f"{name}: share of the {word} by 1/{round(1 / MARKS[k])} of the steps"
            out.add(what, mean_span(values, how), how, len(values), "runs", above=BY[k], digits=2)
    if not groups:
        out.missing.append("no RL run of a plain algorithm with evaluations often enough")
    return out


def early(data: Data, studies: list[Study], how: How) -> Verdict:
    """Errors of forecasts of the final score from the first part of each run, as they would have been made."""
    out = Verdict()
    groups: dict[str, list[backtest.Row]] = {}
    for course in courses(plain_runs(studies), out):
        s, p = course.series, course.points
        record = series(p.entropy_step, p.entropy_H, p.entropy_H)
        more = {"entropy_step": record.step, "entropy_H": record.H, "weights": s.w}
        more |= {"level": how.level, "draws": max(100, how.draws // 5)}
        rows = groups.setdefault(starts(course.run), [])
        try:
            rows += backtest.backtest(s.step, s.H, s.R, how.rng(), SHARES, **more)
            out.runs.append(course.run)
        except InputError as error:
            out.missing.append(f"{course.run.path}: {error}")
    table = []
    for name, rows in groups.items():
        for line in backtest.summary(rows):
            if line.impossible and line.kind == "pure":
                out.missing.append(
                    f"{name}: {line.impossible} run(s) with too few evaluations in the first {line.share:.0%}"
                )
            if not line.runs:
                continue
            errors = [r.error for r in rows if (r.kind, r.share) == (line.kind, line.share) and r.error is not None]
            what = f"{name}: error (rms) of the final score from the first {line.share:.0%}, {line.kind}"
            out.add(what, rms_span(errors, how), how, len(errors), "runs", below=ERROR)
            cells = [f"{line.share:.0%}", line.kind, str(line.runs), f"{line.bias:+.3f}", f"{line.coverage:.0%}"]
            table.append([name, *cells, f"{line.width:.2f}"])
    if table:
        header = ["runs", "of the run", "kind", "number", "bias", f"{how.level:.0%} intervals that hold it", "width"]
        out.details.append(("forecasts", header, table))
    if not groups:
        out.missing.append("no RL run of a plain algorithm with evaluations often enough")
    return out


FRONT = Claim(
    id="front_loaded",
    main="entropy spent by 1/12",
    text="Collapse is front-loaded",
    source="Cui et al. 2025, arXiv:2505.22617, section 2.3",
    definition=(
        "For each kind of start, shares of all entropy spent and of all pass@1 gained by 1/12 and by 1/3 of the steps "
        "(means over a twentieth of the points around the mark), means over runs of plain algorithms. For the claim: "
        "more than half by 1/12 and more than nine tenths by 1/3, of both (the paper: 73 and 76 %, 94 and 93 %). The "
        "shares depend on how long a run is."
    ),
    needs="RL runs of a plain algorithm with evaluations often enough",
    decides="runs that go on until reward stands still, and from base models",
    test=front,
)

EARLY = Claim(
    id="early",
    main="15%, given",
    text="Early steps predict the end",
    source="Cui et al. 2025, arXiv:2505.22617, section 2.3",
    definition=(
        "The final pass@1 of each run, forecast from its first 15 and 33 % by the law, given the final "
        "entropy (as in the paper) and without it (pure). For the claim: a root mean "
        f"square error below {ERROR:g} (the paper: .005 to .019)."
    ),
    needs="RL runs of a plain algorithm with 8 evaluations in the first 15 %",
    decides="runs evaluated often at the beginning, from starts on which the law is not rejected",
    test=early,
)
