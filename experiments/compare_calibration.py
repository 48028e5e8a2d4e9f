"""A table of looks at policies: what each arm ends with, and its difference to a baseline with intervals.

    python -m experiments.compare_calibration --config=configs/compare_calibration.py --config.runs=FOLDER --workdir=OUT

FOLDER holds workdirs of experiments.calibrate named `calibration,<arm>,seed=<k>`. Differences to the baseline are over
the seeds that both have and the same problems (laws/paired.py): of means by `difference`, of the calibration error and
the AUROC of greedy responses, which are no means over problems, by `of_statistic`. The last table is CoT-decoding less
the greedy response of the same policy. Writes table.md, table.json and reliability.png; prints the first. A folder that
is not finished is named, and left out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl import figures, files
from entropy_rl.errors import InputError, nearest
from entropy_rl.evaluate import pass_at_k
from entropy_rl.laws import paired
from entropy_rl.methods.confidence import calibration
from entropy_rl.tables import span as spelled
from entropy_rl.tables import table
from experiments.calibrate import ROWS, SUMMARY
from experiments.lib import checks, launch

Looks = dict[str, dict[int, list[dict[str, Any]]]]  # arm -> seed -> rows of its problems


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Compares; gives what is in table.json.

    Raises:
      InputError: no runs given or found, none of the baseline, looks at different problems, a value out of range.
    """
    if config.runs is None:
        raise InputError("no runs given: add --config.runs=FOLDER (with folders such as calibration,grpo,seed=0 in it)")
    checks.positive(config, "bins")
    checks.seed(config)
    looks, about, notes = read(Path(config.runs))
    if config.baseline not in looks:
        raise InputError(
            f"{config.runs} has no finished look at baseline {config.baseline!r}{nearest(config.baseline, looks)}: "
            f"there are {', '.join(looks) or 'none'}"
        )
    spans = about["spans"]
    cells = {arm: {seed: columns(rows, spans) for seed, rows in seeds.items()} for arm, seeds in looks.items()}
    how = {"level": config.level, "draws": config.draws}
    out: dict[str, Any] = {"baseline": config.baseline, "level": config.level, "draws": config.draws, **about}
    out["arms"] = {}
    for arm in sorted(cells, key=lambda a: (a != config.baseline, a)):
        seeds = cells[arm]
        row: dict[str, Any] = {"seeds": sorted(seeds)}
        row |= {key: float(np.mean([c[key].mean() for c in seeds.values()])) for key in next(iter(seeds.values()))}
        for key, of in statistics(spans, config.bins).items():
            row[key] = float(np.mean([of(c) for c in seeds.values()]))
        both = [seed for seed in cells[config.baseline] if seed in seeds]
        if arm != config.baseline and both:
            x, y = ([cells[a][seed] for seed in both] for a in (arm, config.baseline))
            row["difference"] = differences(x, y, spans, config, how)
        own = list(seeds.values())
        row["decoding"] = {
            f"{mode}/{span}": _difference(own, own, f"{mode}/{span}", "greedy", config.seed, how)
            for span in spans
            for mode in ("max", "aggregate")
        }
        for span in spans:
            every = {key: np.concatenate([c[key] for c in own]) for key in (span, "greedy")}
            row[f"reliability/{span}"] = calibration.reliability(every[span], every["greedy"], config.bins)
        out["arms"][arm] = row
    out["notes"] = notes
    folder = Path(workdir)
    text = markdown(out)
    files.write(folder / "table.md", text)
    files.write(folder / "table.json", json.dumps(out, indent=1))
    with files.replacing(folder / "reliability.png") as new:
        draw(out, new)
    print(text)
    return out


def read(folder: Path) -> tuple[Looks, dict[str, Any], list[str]]:
    """(rows of all finished looks, what they have in common, a line for each that is not finished).

    Raises:
      InputError: no folder, none finished in it, or looks at different problems.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: give --config.runs=FOLDER, the --workdir of a sweep")
    looks: Looks = {}
    notes, about, ids = [], {}, None
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        if not (match := re.fullmatch(r"calibration,(.+),seed=(\d+)", path.name)):
            continue
        if not (path / SUMMARY).exists():
            notes.append(f"{path.name}: not finished")
            continue
        try:
            new = json.loads((path / SUMMARY).read_text())
            common = {key: new[key] for key in ("problems", "samples", "k", "spans")}
            rows, _ = files.read(path / ROWS)
            here = [row["id"] for row in rows]
        except (KeyError, TypeError, ValueError) as e:
            raise InputError(f"{path} is damaged ({e}): remove it and run that look again") from e
        if ids not in (None, here) or about not in ({}, common):
            raise InputError(
                f"{path.name} looked at other problems, samples or spans than those before it: move it away"
            )
        ids, about = here, common
        looks.setdefault(match[1], {})[int(match[2])] = rows
    if not looks:
        raise InputError(f"no finished look in {folder}: it needs folders with names such as calibration,grpo,seed=0")
    return looks, about, notes


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


def differences(x: list[dict], y: list[dict], spans: list[str], config: ConfigDict, how: dict) -> dict[str, Any]:
    """Of each column and statistic, x less y with its interval."""
    out: dict[str, Any] = {key: _difference(x, y, key, key, config.seed, how) for key in x[0]}
    for key, of in statistics(spans, config.bins).items():

        def statistic(places, of=of):
            part = lambda c: of({k: v[places] for k, v in c.items()})  # noqa: E731
            return [part(a) - part(b) for a, b in zip(x, y)]

        if np.isfinite(statistic(slice(None))).all():
            rng = np.random.default_rng(config.seed)
            out[key] = dataclasses.asdict(paired.of_statistic(statistic, len(x[0]["greedy"]), rng, **how))
    return out


def _difference(x: list[dict], y: list[dict], key_x: str, key_y: str, seed: int, how: dict) -> dict[str, Any]:
    tables = np.stack([c[key_x] for c in x]), np.stack([c[key_y] for c in y])
    return dataclasses.asdict(paired.difference(*tables, np.random.default_rng(seed), **how))


def markdown(out: dict[str, Any]) -> str:
    """The tables of levels, of differences, and of CoT-decoding."""
    arms, spans = out["arms"], out["spans"]
    passes = ["greedy", "pass@1", f"pass@{out['samples']}", "distinct", "entropy"]
    keys = list(dict.fromkeys([*passes, *(f"{what}/{span}" for span in spans for what in ("ece", "auroc"))]))
    levels = [[arm, len(row["seeds"]), *(f"{row[key]:.3f}" for key in keys)] for arm, row in arms.items()]
    less = {arm: row["difference"] for arm, row in arms.items() if "difference" in row}
    modes = list(next(iter(arms.values()))["decoding"])
    lines = [
        table(["arm", "seeds", *keys], levels, "lr"),
        f"\nLess {out['baseline']}, {out['level']:.0%} intervals:\n",
        table(["arm", *keys], ([arm, *(spelled(d.get(key)) for key in keys)] for arm, d in less.items()), "lr"),
        f"\nCoT-decoding ({out['k']} branches) less the greedy response of the same policy:\n",
        table(["arm", *modes], ([arm, *map(spelled, row["decoding"].values())] for arm, row in arms.items()), "lr"),
    ]
    lines += [
        "",
        f"{out['problems']} problems, {out['samples']} samples at each. ece in percent, of greedy responses;",
    ]
    lines.append("intervals over seeds and problems (laws/paired.py), each by itself.")
    return "\n".join([*lines, *(f"- {note}" for note in out["notes"])])


def draw(table: dict[str, Any], path: Path) -> None:
    """Reliability diagrams, one for each span, of the baseline and at most three other arms."""
    from matplotlib.figure import Figure

    spans = table["spans"]
    figure = Figure(figsize=(4.5 * len(spans), 4.2), layout="constrained")
    for ax, span in zip(np.atleast_1d(figure.subplots(1, len(spans))), spans):
        some = list(table["arms"].items())[:4]
        figures.reliability(ax, {arm: row[f"reliability/{span}"] for arm, row in some})
        ax.set_title(f"confidence of the {span}")
    figure.savefig(path, format="png", dpi=110)


if __name__ == "__main__":
    launch.main(run)
