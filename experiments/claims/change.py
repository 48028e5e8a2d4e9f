"""Does the change of entropy follow the covariance?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.claims.arms import Study
from experiments.claims.data import ENTROPY, Data, Run
from experiments.claims.verdicts import Claim, How, Verdict, mean_span

LEAST = 8  # updates of a run that were measured
CORRELATION = 0.5
SLOPE = (0.5, 1.5)
ALIKE = ("ppo", "reinforce", "cispo", "gppo", "ce_gppo")  # losses that treat all tokens alike at a ratio of 1
WINDOWS = 10  # of a run's steps, in the test of the covariance that is logged


def change(data: Data, studies: list[Study], how: How) -> Verdict:
    """Correlations and slopes of the measured on the predicted change, of each run; means over runs."""
    out = Verdict()
    found: dict[tuple[str, str], list[float]] = {}  # by world and title
    names = {"predicted": "Lemma 1, of the measured change of logits", "single_token": "single token, of advantages"}
    for run in data.runs:
        measured = [row for row in run.metrics if "entropy/change_measured" in row]
        if len(measured) >= LEAST:
            y = np.array([row["entropy/change_measured"] for row in measured])
            out.runs.append(run)
            for key, title in names.items():
                if key == "single_token" and not _alike(run):
                    continue
                if all(f"entropy/change_{key}" in row for row in measured):
                    x = np.array([row[f"entropy/change_{key}"] for row in measured])
                    found.setdefault((run.world, f"correlation over updates, {title}"), []).append(_correlation(x, y))
                    slope = _slope(measured, key)
                    if key == "predicted" and slope is not None:
                        found.setdefault((run.world, f"slope over states, {title}"), []).append(slope)
        if (value := _logged(run)) is not None:
            out.runs += [] if run in out.runs else [run]
            key = f"correlation of policy/cov with the fall of entropy, {WINDOWS} stretches of a run"
            found.setdefault((run.world, key), []).append(value)
    for (world, title), values in found.items():
        values = [v for v in values if np.isfinite(v)]
        span, what = mean_span(values, how), f"{world}: {title}"
        if title.startswith("slope"):
            out.add(what, span, how, len(values), "runs", within=SLOPE)
        else:
            out.add(what, span, how, len(values), "runs", above=CORRELATION)
    if not found:
        out.missing.append(f"no run with {LEAST} rows of entropy/change_measured (config.change.every)")
    else:
        seeds = sorted({run.seed for run in out.runs})
        out.remarks.append(
            f"The runs have seed(s) {', '.join(map(str, seeds))}: settings and seeds are both counted as runs."
        )
    return out


def _alike(run: Run) -> bool:
    """Whether all tokens of a mini-batch have one weight in the loss.

    Older logs predict from the advantage alone, and so of another update where weights differ or a loss drops tokens;
    where all are alike it is the same up to a factor, which a correlation does not see.
    """
    return run.get("weight.name") in ("token_mean", "fixed_length") and run.get("loss.name") in ALIKE


def _correlation(x: NDArray, y: NDArray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else np.nan


def _slope(rows: list[dict], key: str) -> float | None:
    """Median over updates of E[mu] / E[u^2] over states: the regression through 0 of measured m on predicted u."""
    pair = [f"entropy/change_{key}_{of}" for of in ("cross", "square")]
    slopes = [row[pair[0]] / row[pair[1]] for row in rows if all(k in row for k in pair) and row[pair[1]] > 0]
    return float(np.median(slopes)) if slopes else None


def _logged(run: Run) -> float | None:
    """Correlation over stretches of a run of the mean covariance with the fall of entropy from stretch to stretch."""
    rows = [row for row in run.metrics if "policy/cov" in row and ENTROPY in row]
    if len(rows) < 5 * WINDOWS:
        return None
    parts = np.array_split(np.array([[row["policy/cov"], row[ENTROPY]] for row in rows]), WINDOWS)
    cov, entropy = np.array([part.mean(axis=0) for part in parts]).T
    return _correlation((cov[1:] + cov[:-1]) / 2, -np.diff(entropy))


CHANGE = Claim(
    id="covariance",
    main="Lemma 1",
    text="ΔH follows the covariance",
    source="Cui et al. 2025, arXiv:2505.22617, Lemma 1, Theorems 1 and 2, Figure 8",
    definition=(
        f"Measured changes of entropy at the states of a batch against predicted ones, update by update, a group for "
        f"each world (task and model). For the claim: a correlation over updates above {CORRELATION:g} of "
        f"−Cov(log π, Δz) with the measured Δz (Lemma 1), its slope over states within {SLOPE[0]:g} and {SLOPE[1]:g}; "
        "the same correlation for what advantages predict (single token, whose mean is "
        f"Theorem 1; its slope is an effective step, and not judged); and a correlation above {CORRELATION:g} "
        f"of policy/cov with the fall of entropy over {WINDOWS} stretches of a run."
    ),
    needs="RL runs with config.change.every on; policy/cov for the last part",
    decides="strictly on-policy runs with a plain gradient step, as the theorems assume, of several seeds",
    test=change,
)
