"""The law of a run while it is trained: rows in as the trainer logs them, numbers to log beside them out.

    live = Live(horizon=400)
    row.update(live.add(step, row))

Made for callbacks (`trl_hook`, `verl_hook`): a fit takes a second of one core or less, is made at evaluations only
(every few rows where the log has none), and no more often than a share of the time allows; whatever goes wrong in here
is said once and ends the watch, not the run.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.laws import analyse, forecast
from entropy_rl.logs import alarms, columns, formats
from entropy_rl.logs import read as logs
from entropy_rl.logs.points import Names, Points
from entropy_rl.logs.tables import Run, Table, flatten, number

PREFIX = "law/"  # of what is logged; such columns of the rows are not read
LOG = logging.getLogger(__name__)


def law_of(
    points: Points,
    *,
    horizon: float | None = None,
    nonnegative: bool = False,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """A run's row of law.json: `analyse.analyse`, what it was read from, and `ahead`, the pure forecast at `horizon`.

    Raises:
      InputError: as `analyse.analyse` and `forecast.pure`.
    """
    how = {"level": level, "draws": draws}
    try:
        law = analyse.analyse(
            points.step,
            points.H,
            points.R,
            weights=points.weight,
            effort=points.compute,
            nonnegative=nonnegative,
            seed=seed,
            **how,
        )
        ahead = None
        if horizon is not None:
            whole = (points.step, points.H, points.R, points.entropy_step, points.entropy_H)
            found = forecast.pure(*whole, horizon, np.random.default_rng(seed), weights=points.weight, **how)
            ahead = analyse.plain(dataclasses.asdict(found))
    except InputError as error:
        raise InputError(f"run {points.name}: {error}") from None
    read = {key: getattr(points, key) for key in ("source", "format", "entropy", "score", "unit")}
    return law | read | {"broken_rows": points.broken, "ahead": ahead}


class Live:
    """A run that is being trained.

    Attributes:
      law: its row of law.json (`law_of`) as of the last fit, with `alarms`; empty before.
    """

    def __init__(
        self,
        *,
        entropy: str | None = None,
        score: str | None = None,
        horizon: float | None = None,
        stop_left: float | None = None,
        length_limit: float | None = None,
        every: int = 20,
        share: float = 0.01,
        min_points: int = 8,
        level: float = 0.9,
        draws: int = 200,
        seed: int = 0,
        history: str | None = None,
        form: str = "trainer",
        clock: Callable[[], float] = time.monotonic,
    ):
        """Nothing is read before `add`.

        Args:
          entropy, score, length_limit, min_points: as in `logs.read`; columns are chosen by rule where they are None.
          horizon: the step to forecast, such as the last of the run; None for no forecast.
          stop_left: as in `alarms.find`.
          every: rows after which a run without evaluations is fitted anew.
          share: of a core's time that fits may take; the next one waits until it is kept.
          level, draws, seed: of the intervals.
          history: a log with the rows before this process began, for a run that goes on from a checkpoint.
          form: what messages and `trainers.recognise` take the log for.
          clock: seconds.
        """
        self.law: dict[str, Any] = {}
        self._asked = Names(entropy, score, "step", None, None, length_limit)
        self._how = {"level": level, "draws": draws, "seed": seed}
        self._horizon, self._stop_left, self._min_points = horizon, stop_left, min_points
        self._every, self._share, self._clock = every, share, clock
        self._history, self._form = history, form
        self._table = Table("rows of the trainer", step="step", unit="row")
        self._before: list[Table] = []
        self._rows, self._rest, self._waits, self._ended = 0, -math.inf, "", False
        self._raised: set[str] = set()

    def resume(self, rows: Iterable[tuple[float | None, Mapping[str, Any]]]) -> None:
        """Takes rows that were logged before, (step, row) each, without a fit."""
        try:
            for step, row in rows:
                if step is not None:
                    self._keep(step, row)
        except Exception as error:
            self._end(error)

    def add(self, step: float, row: Mapping[str, Any]) -> dict[str, float]:
        """Takes a row that the trainer logs at a step; gives what is new by it, nothing where no fit was due.

        law/ceiling of exp, law/left to it, law/forecast of the score at the horizon, each also with _low and _high of
        its interval, law/left_linear, what a line leaves: in units of the score, none of them where no law is allowed
        (see `diagnose`). law/alarms: how many are raised; law/alarm/NAME: 1 for each of them, 0 once it has ended.
        """
        if self._ended:
            return {}
        try:
            due = self._keep(step, row)
            return self._judged() if due and self._clock() >= self._rest else {}
        except Exception as error:  # the run goes on, whatever is wrong here
            self._end(error)
            return {}

    def _end(self, error: Exception) -> None:
        self._ended = True
        LOG.warning("the law of this run is no longer watched: %s: %s", type(error).__name__, error)

    def _keep(self, step: float, row: Mapping[str, Any]) -> bool:
        """Whether the law may have changed by this row: it holds an evaluation, or enough rows have come without."""
        if self._history is not None:
            self._before = [table for run in formats.gather(formats.find(self._history))[0] for table in run.tables]
            self._history = None
        cells = {name: number(value) for name, value in flatten(dict(row)) if getattr(value, "ndim", 0) == 0}
        known = {n: x for n, x in cells.items() if not math.isnan(x) and not n.startswith(PREFIX) and n != "step"}
        self._table.add(len(self._table.lines) + 1, [("step", float(step)), *known.items()])
        self._rows += 1
        score = self.law.get("score") or self._asked.score
        if score is not None and columns.held_out(score):
            return score in known
        evaluated = any(columns.held_out(name) and columns.kind(name) is not None for name in known)
        return evaluated or self._rows >= self._every

    def _judged(self) -> dict[str, float]:
        began = time.process_time()
        self._rows = 0
        run = Run("run", self._form, self._table.file, [*self._before, self._table])
        try:
            points = logs.of_runs([run], self._asked, self._min_points).runs[-1]
            over = self._horizon is not None and points.entropy_step[-1] >= self._horizon
            law = law_of(points, horizon=None if over else self._horizon, **self._how)
        except InputError as error:  # too few points yet, as a rule: each is said once, whatever the numbers in it
            if (text := re.sub(r"[\d.]+", "#", str(error))) != self._waits:
                self._waits = text
                LOG.warning("no law yet: %s", error)
            return {}
        found = alarms.find(points, law, stop_left=self._stop_left, seed=self._how["seed"])
        self.law = law | {"alarms": [dataclasses.asdict(alarm) for alarm in found]}
        self._rest = self._clock() + (time.process_time() - began) / self._share
        for alarm in found:
            if alarm.name not in self._raised:
                LOG.warning("ALARM %s at step %g: %s. Knobs: %s", alarm.name, alarm.step, alarm.evidence, alarm.knobs)
        now = {alarm.name for alarm in found}
        self._raised |= now
        said = {f"alarm/{name}": float(name in now) for name in sorted(self._raised)}
        values = numbers(law) | {"alarms": float(len(found))} | said
        return {PREFIX + name: value for name, value in values.items()}


def numbers(law: Mapping[str, Any]) -> dict[str, float]:
    """ceiling, left, left_linear and forecast of a run's row, with intervals: what of them there is."""
    found: dict[str, Any] = {}
    if left := alarms.remaining(law):
        found |= {"ceiling": (law["ceiling"], *law["interval"]["ceiling"]), "left": left["exp"]}
        found |= {"left_linear": left["linear"]}
        if ahead := law["ahead"]:
            found["forecast"] = (ahead["score"], *ahead["interval"])
    flat = {name + end: x for name, span in found.items() for end, x in zip(("", "_low", "_high"), span)}
    return {name: float(x) for name, x in flat.items() if x is not None and math.isfinite(x)}
