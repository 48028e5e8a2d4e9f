"""Differences of runs, paired by seed and, where they are known, by problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from entropy_rl.evaluate import pass_at_k
from entropy_rl.laws import paired
from experiments.claims.arms import Arm
from experiments.claims.data import Run
from experiments.claims.verdicts import How


def measure(run: Run, what: str, k: int, when: str = "last") -> NDArray | None:
    """[P] of the problems where they are known, else [1]: pass@1, pass@k, or a metric of evaluations.

    when: as in `Run.attempts`.
    """
    if what in ("pass@1", "pass@k"):
        if attempts := run.attempts(when):
            if what == "pass@1":
                return attempts.right.mean(axis=0) / attempts.n
            if what == "pass@k" and k <= attempts.n:
                return np.mean([pass_at_k(attempts.n, right, k) for right in attempts.right], axis=0)
        metric = f"pass@{k}" if what == "pass@k" else "pass@1"
    else:
        metric = what
    steps, values = run.curve(metric)
    if when == "start":
        return values[:1] if len(steps) and steps[0] == 0 else None
    end = run.end(metric)
    return None if end is None else np.array([end])


def paired_span(
    x: Sequence[Run], y: Sequence[Run], what: str, k: int, how: How, *, starts: bool = False, log: bool = False
) -> tuple[float, float, float] | None:
    """Mean over pairs of a measure of x less that of y, with its interval over seeds and, if known, problems.

    starts: y before training. log: of the logarithm, for measures of a whole evaluation. None where one lacks it.
    """
    when = ("end", "start") if starts else ("last", "last")
    sides = [[measure(run, what, k, at) for run in side] for side, at in zip((x, y), when)]
    if not x or any(values is None for side in sides for values in side):
        return None
    if log:
        sides = [[np.log(np.maximum(values.mean(keepdims=True), 1e-9)) for values in side] for side in sides]
    if len({len(values) for side in sides for values in side}) > 1 or not _same_problems([*zip(x, y)], when):
        sides = [[values.mean(keepdims=True) for values in side] for side in sides]
    return _span(np.stack(sides[0]), np.stack(sides[1]), how)


def _same_problems(pairs: Sequence[tuple[Run, ...]], when: Sequence[str]) -> bool:
    found = [run.attempts(at) for pair in pairs for run, at in zip(pair, when)]
    return len({attempts and attempts.problems for attempts in found}) == 1


def table_span(x: NDArray, y: NDArray, how: How) -> tuple[float, float, float] | None:
    """The same of tables [S, P]."""
    return _span(np.asarray(x, float), np.asarray(y, float), how)


def _span(x: NDArray, y: NDArray, how: How) -> tuple[float, float, float]:
    if len(x) < 2:
        return float((x - y).mean()), -math.inf, math.inf
    found = paired.difference(x, y, how.rng(), level=how.level, draws=how.draws)
    return found.value, found.low, found.high


def common(*arms: Arm) -> list[int]:
    """Seeds that all arms have."""
    return sorted(set.intersection(*(set(arm.runs) for arm in arms))) if arms else []


def mean_runs_span(
    some: Sequence[Arm], other: Arm | Sequence[Arm], what: str, k: int, how: How, *, log: bool = False
) -> tuple[tuple[float, float, float] | None, list[int]]:
    """The mean over arms of their differences to another arm (or the mean of several), and the seeds all have."""
    others = [other] if isinstance(other, Arm) else list(other)
    seeds = common(*some, *others)
    if not seeds or not some or not others:
        return None, []
    tables = []
    for group in (some, others):
        values = [[measure(arm.runs[s], what, k) for s in seeds] for arm in group]
        if any(v is None for row in values for v in row):
            return None, seeds
        tables.append(values)
    flat = [(arm.runs[s],) for arm in (*some, *others) for s in seeds]
    same = len({len(v) for table in tables for row in table for v in row}) == 1 and _same_problems(flat, ("last",))
    means = []
    for table in tables:
        rows = [[v if same and not log else v.mean(keepdims=True) for v in row] for row in table]
        rows = np.array(rows)  # [arms, seeds, P or 1]
        means.append((np.log(np.maximum(rows, 1e-9)) if log else rows).mean(axis=0))
    return _span(*means, how), seeds


def least_attempts(runs: Iterable[Run], when: str = "last") -> int:
    """The largest k that all runs can say something about."""
    ks = [a.n if (a := run.attempts(when)) else run.largest() for run in runs]
    return min(ks, default=0)
