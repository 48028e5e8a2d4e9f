"""From intervals to verdicts, by one rule.

A claim is a list of *tests*. A test is a number with an interval and a side on which the claim says that it lies:

    for       the whole interval lies on that side
    against   the whole interval lies on the other side
    open      neither, or fewer than `least` seeds (or runs, where runs and not seeds are the units)

Where the claim says that there is an effect, one smaller than `slack` counts as none: an interval that ends before the
slack is against, wherever it begins. And the verdict for the runs at hand:

    holds          tests for, and none against or open
    holds partly   tests for, and others against or open
    fails          tests against, and none for
    undecided      no test either way

Intervals are each by itself at `level`: of many tests about nothing, some come out for or against.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from entropy_rl.tables import span
from experiments.claims.arms import Study
from experiments.claims.data import Data, Run

FOR, AGAINST, OPEN = "for", "against", "open"
HOLDS, PARTLY, FAILS, UNDECIDED = "holds", "holds partly", "fails", "undecided"
spelled = functools.partial(span, missing="-")


@dataclasses.dataclass(frozen=True)
class How:
    """Of intervals and rules. margin: a difference of pass@k that is worth the name. least: seeds or runs of a test."""

    level: float = 0.9
    draws: int = 1000
    seed: int = 0
    margin: float = 0.02
    least: int = 3

    def rng(self) -> np.random.Generator:
        """The source of an interval's draws."""
        return np.random.default_rng(self.seed)  # anew: an interval does not depend on what else is tested


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One number that speaks about a claim.

    what: after a colon, if it has one; before it, where the number is from, such as the study. said: what the claim
    says of it. units: what is behind it, such as 5 seeds.
    """

    what: str
    value: float
    low: float
    high: float
    units: str
    said: str
    outcome: str

    @property
    def where(self) -> str:
        """The place that it is from; empty where it has none."""
        return self.what.partition(": ")[0] if ": " in self.what else ""


@dataclasses.dataclass
class Verdict:
    """What became of a claim. details: tables for the page, (title, header, rows). plots: numbers of its figure.

    beside: runs of which something is shown without a test.
    """

    criteria: list[Criterion] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    runs: list[Run] = dataclasses.field(default_factory=list)
    beside: list[Run] = dataclasses.field(default_factory=list)
    files: list[Path] = dataclasses.field(default_factory=list)
    details: list[tuple[str, list[str], list[list[str]]]] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    plots: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, *args: Any, **side: Any) -> None:
        """One more criterion, made by `criterion`."""
        self.criteria.append(criterion(*args, **side))

    @property
    def verdict(self) -> str:
        """By the rule, of all tests."""
        return rule([test.outcome for test in self.criteria])

    @property
    def by_place(self) -> dict[str, str]:
        """The verdict of each place that tests are from."""
        places = dict.fromkeys(test.where for test in self.criteria)
        return {place: rule([t.outcome for t in self.criteria if t.where == place]) for place in places}


@dataclasses.dataclass(frozen=True)
class Claim:
    """A row of the table. `test` gives the verdict; later work on it is in `literature.PAPERS`, by its id.

    main: words in the title of the tests of which one stands in the summary.
    """

    id: str
    text: str
    source: str
    definition: str
    needs: str
    decides: str
    main: str
    test: Callable[[Data, list[Study], How], Verdict]


def main_criterion(claim: Claim, found: Verdict) -> Criterion | None:
    """The test for the summary: of those meant for it one that is decided, the one with the most units behind it."""
    some = [test for test in found.criteria if claim.main in test.what] or found.criteria
    return max(some, key=lambda test: (test.outcome != OPEN, int(test.units.split()[0])), default=None)


def rule(outcomes: Iterable[str]) -> str:
    """The verdict from the outcomes of tests; see the module's text."""
    outcomes = list(outcomes)
    if FOR in outcomes:
        return HOLDS if set(outcomes) == {FOR} else PARTLY
    return FAILS if AGAINST in outcomes else UNDECIDED


def criterion(
    what: str,
    found: tuple[float, float, float] | None,
    how: How,
    count: int,
    unit: str = "seeds",
    *,
    above: float | None = None,
    below: float | None = None,
    within: tuple[float, float] | None = None,
    slack: float = 0.0,
    digits: int = 3,
) -> Criterion:
    """The test of (value, low, high): above or below a threshold, or within a pair."""
    value, low, high = found or (math.nan,) * 3
    number = lambda x: f"{x:.{digits}f}".rstrip("0").rstrip(".") or "0"  # noqa: E731
    if above is not None:
        said, good, bad = f"above {number(above)}", low > above, high < above + slack
    elif below is not None:
        said, good, bad = f"below {number(below)}", high < below, low > below - slack
    else:
        said = f"within {number(within[0])} and {number(within[1])}"
        good, bad = within[0] < low and high < within[1], high < within[0] or low > within[1]
    known = count >= how.least and all(map(math.isfinite, (value, low, high)))
    outcome = OPEN if not known else AGAINST if bad else FOR if good else OPEN
    return Criterion(what, value, low, high, f"{count} {unit}", said, outcome)


def mean_span(values: ArrayLike, how: How) -> tuple[float, float, float] | None:
    """Mean and Student's t interval; as wide as all numbers for a single value, None without any."""
    values = np.asarray([v for v in values if v is not None and np.isfinite(v)], float)
    if not len(values):
        return None
    mean = float(values.mean())
    if len(values) == 1:
        return mean, -math.inf, math.inf
    half = stats.t.ppf((1 + how.level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def rms_span(errors: ArrayLike, how: How) -> tuple[float, float, float] | None:
    """Root mean square of errors about 0, and its interval if they are normal: n rms^2 / chi2 of n degrees."""
    errors = np.asarray(errors, float)
    if not len(errors):
        return None
    total, tail = float(np.square(errors).sum()), (1 - how.level) / 2
    low, high = (math.sqrt(total / stats.chi2.ppf(q, len(errors))) for q in (1 - tail, tail))
    return math.sqrt(total / len(errors)), low, high


def spread_span(values: ArrayLike, how: How) -> tuple[float, float, float]:
    """How much settings differ beyond what seeds do: tau of y[a, s] = mu + t_a + u_s + e_as, t of variance tau^2.

    values [A, S]; with F = MS(settings) / MS(rest), tau^2 = max(0, F - 1) MS(rest) / S, and its interval by the
    quantiles of F, with MS(rest) taken for exact.
    """
    y = np.asarray(values, float)
    A, S = y.shape
    rows, columns = y.mean(axis=1), y.mean(axis=0)
    rest = np.square(y - rows[:, None] - columns + y.mean()).sum() / ((A - 1) * (S - 1))
    rest = max(float(rest), 1e-30)
    F, tail = S * rows.var(ddof=1) / rest, (1 - how.level) / 2
    quantile = lambda q: stats.f.ppf(q, A - 1, (A - 1) * (S - 1))  # noqa: E731
    tau = [math.sqrt(max(0.0, ratio - 1) * rest / S) for ratio in (F, F / quantile(1 - tail), F / quantile(tail))]
    return tau[0], tau[1], tau[2]


def triple(values: Any) -> tuple[float, float, float] | None:
    """(value, low, high) of a list in json; None of anything else."""
    if not (isinstance(values, list) and len(values) == 3):
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])


def of_json(row: Any, key: str) -> tuple[int, tuple[float, float, float] | None]:
    """(seeds, (value, low, high)) of a paired difference in json."""
    cell = row.get(key) if isinstance(row, dict) else None
    if not isinstance(cell, dict):
        return 0, None
    seeds = cell.get("seeds", 0)
    return (seeds if isinstance(seeds, int) else 0), triple([cell.get(name) for name in ("value", "low", "high")])
