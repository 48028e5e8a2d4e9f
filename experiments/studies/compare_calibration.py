"""What policies know about themselves, arm by arm: accuracy, entropy, calibration (experiments/compare.py).

Differences to the baseline are, of means by `paired.difference`, of the calibration error and the AUROC of greedy
responses, which are no means over problems, by `paired.of_statistic`. The last table is CoT-decoding less the greedy
response of the same policy.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl import figures, files, tables
from entropy_rl.errors import InputError
from entropy_rl.evaluate import pass_at_k
from entropy_rl.laws import paired
from entropy_rl.methods.confidence import calibration
from experiments.calibrate import ROWS, SUMMARY
from experiments.lib import runs

FILE, POSITIVE = "table", ("bins",)


def read(folder: str | os.PathLike | None) -> tuple[runs.Runs, list[str]]:
    """({arm: {seed: (rows of its problems, what all have in common)}}, a line for each that is not finished).

    Raises:
      InputError: no folder, no run in it, a damaged one, or runs with different problems.
    """
    found, _ = runs.find(folder, rf"calibration,{runs.ARM}", "calibration,grpo,seed=0")
    notes, seen = [], []

    def one(path: Path, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        if not (path / SUMMARY).exists():
            notes.append(f"{path.name}: not finished")
            return None
        runs.identify(path, seed)
        try:
            new = json.loads((path / SUMMARY).read_text())
            common = {key: new[key] for key in ("problems", "samples", "k", "spans")}
            rows, _ = files.read(path / ROWS)
            seen.append(([row["id"] for row in rows], common))
        except (KeyError, TypeError, ValueError) as e:
            raise InputError(f"{path} is damaged ({e}): remove it and run experiments.calibrate again") from e
        if seen[-1] != seen[0]:
            raise InputError(f"{path.name} has other problems, samples or spans than those before it: move it away")
        return rows, common

    return runs.finished(found, one), notes


def compare(found: runs.Runs, config: ConfigDict) -> dict[str, Any]:
    """What table.json says."""
    about = next(iter(found[config.baseline].values()))[1]
    spans = about["spans"]
    cells = {arm: {seed: columns(rows, spans) for seed, (rows, _) in seeds.items()} for arm, seeds in found.items()}
    out: dict[str, Any] = {"baseline": config.baseline, "level": config.level, "draws": config.draws, **about}
    out["arms"] = {}
    for arm in runs.first(cells, config.baseline):
        seeds = cells[arm]
        own = list(seeds.values())
        row: dict[str, Any] = {"seeds": list(seeds)}
        row |= {key: float(np.mean([c[key].mean() for c in own])) for key in own[0]}
        for key, of in statistics(spans, config.bins).items():
            row[key] = float(np.mean([of(c) for c in own]))
        both = [seed for seed in cells[config.baseline] if seed in seeds]
        if arm != config.baseline and both:
            row["difference"] = {key: runs.less(cells, arm, config.baseline, key, config) for key in own[0]}
            x, y = ([cells[a][s] for s in both] for a in (arm, config.baseline))
            row["difference"] |= of_statistics(x, y, spans, config)
        row["decoding"] = {
            f"{mode}/{span}": runs.less(cells, arm, arm, f"{mode}/{span}", config, "greedy")
            for span in spans
            for mode in ("max", "aggregate")
        }
        for span in spans:
            every = {key: np.concatenate([c[key] for c in own]) for key in (span, "greedy")}
            row[f"reliability/{span}"] = calibration.reliability(every[span], every["greedy"], config.bins)
        out["arms"][arm] = row
    return out


def columns(rows: list[dict[str, Any]], spans: list[str]) -> dict[str, np.ndarray]:
    """Values of each problem whose means the table has."""
    n, right = rows[0]["n"], np.array([row["right"] for row in rows])
    column = lambda key: np.array([row[key] for row in rows], float)  # noqa: E731
    out = {"greedy": column("greedy"), "pass@1": right / n, f"pass@{n}": pass_at_k(n, right, n)}
    out |= {key: column(key) for key in ("distinct", "entropy")}
    for span in spans:
        out |= {key: column(key) for key in (span, f"max/{span}", f"aggregate/{span}")}
    return out


def statistics(spans: list[str], bins: int) -> dict[str, Callable[[dict[str, np.ndarray]], float]]:
    """Statistics of the greedy responses that are no means."""
    out = {}
    for span in spans:
        out[f"ece/{span}"] = lambda c, s=span: calibration.ece(c[s], c["greedy"], bins)
        out[f"auroc/{span}"] = lambda c, s=span: calibration.auroc(c[s], c["greedy"])
    return out


def of_statistics(x: list[dict], y: list[dict], spans: list[str], config: ConfigDict) -> dict[str, Any]:
    """Of each statistic that is finite, x less y with its interval; both are columns, seed by seed."""
    out = {}
    for key, of in statistics(spans, config.bins).items():

        def statistic(places, of=of):
            part = lambda c: of({k: v[places] for k, v in c.items()})  # noqa: E731
            return [part(a) - part(b) for a, b in zip(x, y, strict=True)]

        if np.isfinite(statistic(slice(None))).all():
            rng, how = np.random.default_rng(config.seed), {"level": config.level, "draws": config.draws}
            out[key] = dataclasses.asdict(paired.of_statistic(statistic, len(x[0]["greedy"]), rng, **how))
    return out


def markdown(out: dict[str, Any]) -> str:
    """The tables of levels, of differences, and of CoT-decoding."""
    arms, spans = out["arms"], out["spans"]
    passes = ["greedy", "pass@1", f"pass@{out['samples']}", "distinct", "entropy"]
    keys = list(dict.fromkeys([*passes, *(f"{what}/{span}" for span in spans for what in ("ece", "auroc"))]))
    levels = [[arm, len(row["seeds"]), *(f"{row[key]:.3f}" for key in keys)] for arm, row in arms.items()]
    less = {arm: row["difference"] for arm, row in arms.items() if "difference" in row}
    modes = list(next(iter(arms.values()))["decoding"])
    differences = ([arm, *(tables.span(d.get(key)) for key in keys)] for arm, d in less.items())
    decoding = ([arm, *map(tables.span, row["decoding"].values())] for arm, row in arms.items())
    lines = [
        tables.table(["arm", "seeds", *keys], levels, "lr"),
        f"\nLess {out['baseline']}, {out['level']:.0%} intervals:\n",
        tables.table(["arm", *keys], differences, "lr"),
        f"\nCoT-decoding ({out['k']} branches) less the greedy response of the same policy:\n",
        tables.table(["arm", *modes], decoding, "lr"),
        f"\n{out['problems']} problems, {out['samples']} samples at each. ece in percent, of greedy responses;",
        "intervals over seeds and problems (laws/paired.py), each by itself.",
    ]
    return "\n".join([*lines, *(f"- {note}" for note in out["notes"])])


def draw(out: dict[str, Any], path: Path) -> None:
    """Reliability diagrams, one for each span, of the baseline and at most three other arms."""
    from matplotlib.figure import Figure

    spans = out["spans"]
    figure = Figure(figsize=(4.5 * len(spans), 4.2), layout="constrained")
    for ax, span in zip(np.atleast_1d(figure.subplots(1, len(spans))), spans):
        some = list(out["arms"].items())[:4]
        figures.reliability(ax, {arm: row[f"reliability/{span}"] for arm, row in some})
        ax.set_title(f"confidence of the {span}")
    figure.savefig(path, format="png", dpi=110)
