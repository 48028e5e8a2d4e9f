"""Forecasts that a finished run would have got early, beside what came of it; and how good they were over many runs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import bootstrap
from entropy_rl.laws.decay import rising
from entropy_rl.laws.forecast import EXP, Forecast, checked, given_entropy, pure

SHARES = (0.05, 0.10, 0.15, 0.20, 0.33)


@dataclasses.dataclass(frozen=True)
class Row:
    """One forecast beside what came of it; units of R and nats per token.

    Attributes:
      share: the share asked for, of the last step.
      forecast: None where the share has too few points, with the `reason`.
      score, entropy: means over the last evaluations, what was to be forecast.
      error: forecast less score. covered: the interval holds the score.
      rmse_after: root mean square error over all points after `until`, given their entropies, as the paper counts;
        for "given entropy" only.
      entropy_error, entropy_covered: the same for entropy; for "pure" only.
    """

    kind: str
    share: float
    score: float
    entropy: float
    forecast: Forecast | None = None
    reason: str = ""
    error: float | None = None
    covered: bool | None = None
    rmse_after: float | None = None
    entropy_error: float | None = None
    entropy_covered: bool | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """Rows of one kind and share, over runs; None where there is none to count.

    Attributes:
      runs: forecasts made. impossible: runs with too few points for one.
      bias, rmse, median_error: mean, root mean square, and median absolute error of the final score, units of R.
      coverage: share of intervals that hold it. width: their mean width, units of R.
      rmse_after: mean over runs. entropy_rmse: nats per token. entropy_coverage: as for the score.
    """

    kind: str
    share: float
    runs: int
    impossible: int
    bias: float | None = None
    rmse: float | None = None
    median_error: float | None = None
    coverage: float | None = None
    width: float | None = None
    rmse_after: float | None = None
    entropy_rmse: float | None = None
    entropy_coverage: float | None = None


def backtest(
    step: ArrayLike,
    H: ArrayLike,
    R: ArrayLike,
    rng: np.random.Generator,
    shares: Sequence[float] = SHARES,
    *,
    entropy_step: ArrayLike,
    entropy_H: ArrayLike,
    weights: ArrayLike | None = None,
    last: float = 0.05,
    level: float = 0.9,
    draws: int = 1000,
) -> list[Row]:
    """Forecasts a finished run from its first parts: for every share, both kinds.

    A share q uses the points up to step q * (last step). The final score is the mean of the last k = max(1, round(
    last * n)) evaluations, the final entropy the mean of theirs, and both belong to the mean of their steps. A share
    with too few points, or in which entropy does not move, keeps its row, with the reason.

    Args:
      step, H, R, weights: [n] the whole run, as in `pure`.
      entropy_step, entropy_H: [m] its entropy record.
      rng: every row draws from a child of its own.

    Raises:
      InputError: what no share can mend: arrays that `fit` refuses, steps that do not rise, shares outside (0, 1).
    """
    step, H, R, w = checked(step, H, R, weights)
    record = rising(entropy_step, entropy_H)
    bootstrap.check(level, draws)
    if not 0 < last < 1:
        raise InputError(f"last {last:g}: the final score is over a share of the run between 0 and 1, such as 0.05")
    if not len(R):
        raise InputError("no evaluations: give the steps, entropies and scores of a run")
    k = max(1, round(last * len(R)))
    at, entropy, score = (float(values[-k:].mean()) for values in (step, H, R))
    rows = []
    for share in shares:
        until = share * step[-1]
        if not 0 < share < 1 or until >= step[-k]:
            raise InputError(
                f"share {share:g}: give one above 0 that ends before the last {k}, the final, evaluation(s)"
            )
        early, known = step <= until, record[0] <= until
        part = {"step": step[early], "H": H[early], "R": R[early], "weights": w[early]}
        part |= {"at": at, "average": k, "level": level, "draws": draws}
        seen = {"entropy_step": record[0][known], "entropy_H": record[1][known]}
        first, second = rng.spawn(2)
        for kind, attempt in (
            ("given entropy", functools.partial(given_entropy, **part, entropy_end=entropy, rng=first)),
            ("pure", functools.partial(pure, **part, **seen, rng=second)),
        ):
            row = Row(kind, float(share), score, entropy)
            try:
                rows.append(_judged(row, attempt(), H[~early], R[~early], w[~early]))
            except InputError as error:
                rows.append(dataclasses.replace(row, reason=str(error)))
    return rows


def summary(rows: Iterable[Row]) -> list[Summary]:
    """Rows of many runs -> one line for each kind and share, in the order in which they first appear."""
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.share), []).append(row)
    return [_summarised(kind, share, group) for (kind, share), group in groups.items()]


def _summarised(kind: str, share: float, rows: list[Row]) -> Summary:
    made = [row for row in rows if row.forecast is not None]
    if not made:
        return Summary(kind, share, 0, len(rows))
    error = np.array([row.error for row in made])
    widths = [row.forecast.interval[1] - row.forecast.interval[0] for row in made]
    pure_only = kind == "pure"
    return Summary(
        kind,
        share,
        len(made),
        len(rows) - len(made),
        bias=float(error.mean()),
        rmse=_rms(error),
        median_error=float(np.median(np.abs(error))),
        coverage=float(np.mean([row.covered for row in made])),
        width=float(np.mean(widths)),
        rmse_after=None if pure_only else float(np.mean([row.rmse_after for row in made])),
        entropy_rmse=_rms([row.entropy_error for row in made]) if pure_only else None,
        entropy_coverage=float(np.mean([row.entropy_covered for row in made])) if pure_only else None,
    )


def _rms(values: ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _judged(row: Row, found: Forecast, H: NDArray, R: NDArray, w: NDArray) -> Row:
    """The row with its forecast and errors; H, R, w of the points after it."""
    low, high = found.interval
    row = dataclasses.replace(row, forecast=found, error=found.score - row.score, covered=low <= row.score <= high)
    if found.entropy_interval is None:
        squares = (R - EXP.predict(H, found.a, found.b)) ** 2
        return dataclasses.replace(row, rmse_after=float(np.sqrt(np.average(squares, weights=w))))
    low, high = found.entropy_interval
    error = found.entropy - row.entropy
    return dataclasses.replace(row, entropy_error=error, entropy_covered=low <= row.entropy <= high)
