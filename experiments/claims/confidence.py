"""Does confidence as reward restore calibration?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from entropy_rl.errors import InputError
from experiments.claims.arms import Study
from experiments.claims.control import plain_studies
from experiments.claims.data import Data, Run
from experiments.claims.verdicts import Claim, How, Verdict, mean_span, of_json, spelled
from experiments.lib.runs import identify


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A calibration.json (experiments.calibrate): what is in it, and the policy that it is of."""

    path: Path
    content: dict[str, Any]
    seed: int
    init: Path


Seeds = dict[int, Calibration]


def calibrations(data: Data, out: Verdict) -> list[Calibration]:
    """Those that say which policy they are of, in the config.json beside them."""
    found = []
    for document in data.documents:
        if not any(key.startswith("ece/") for key in document.content):
            continue
        try:
            run = identify(document.path.parent)
            found.append(Calibration(document.path, document.content, run.seed, Path(run.config["init"])))
        except (InputError, KeyError, TypeError):
            out.missing.append(f"{document.path}: no config.json beside it that says which policy it is of")
    return found


def calibration(data: Data, studies: list[Study], how: How) -> Verdict:
    """ECE after self-feedback less before, and less after RL with a verifier; accuracy after less before."""
    out = Verdict()
    found = calibrations(data, out)
    folders = dict.fromkeys(one.path.parent.parent for one in found)
    for folder in folders:
        here = [one for one in found if one.path.parent.parent == folder]
        near = [folder]
        if not any(run.path.parent == folder for run in data.runs) and folder.parent not in data.roots:
            near += [folder.parent, *(path for path in folder.parent.iterdir() if path.is_dir())]
        runs = {run.path.name: run for run in data.runs if run.path.parent in near}
        beside = [s for s in studies if any(run.path.parent in near for arm in s.arms for run in arm.runs.values())]
        taught = [study for study in beside if study.kind == "self_feedback"]
        verified = plain_studies(beside, several=False)
        starts = {Path(run.get("init") or "").name for s in taught for arm in s.arms for run in arm.runs.values()}
        base = {one.seed: one for one in here if one.init.name in starts}
        rewarded = _of({run.path.name for _, plain in verified for run in plain.runs.values()}, here, runs)
        rows = []
        for study in taught:
            for arm in study.arms:
                own = _of({run.path.name for run in arm.runs.values()}, here, runs)
                span = str(arm.first.get("branches.span", "answer"))
                key = f"ece/{span}" if all(f"ece/{span}" in one.content for one in own.values()) else "ece/answer"
                name = f"{folder.name}, {arm.name}"
                what = f"{name}: ECE of the {span} (%) less"
                _add(out, f"{what} the start's", key, own, base, how, below=0.0)
                _add(out, f"{name}: greedy accuracy less the start's", "greedy", own, base, how, above=-how.margin)
                if rewarded:
                    _add(out, f"{what} RLVR's", key, own, rewarded, how, below=0.0)
                out.runs += list(arm.runs.values())
                rows.append([arm.name, span, *(_mean(key, of, how) for of in (base, own, rewarded))])
        out.files += [one.path for one in here]
        if rows:
            header = ["arm", "confidence of", "ECE (%) of the start", "after self-feedback", "after RLVR"]
            out.details.append((f"{folder.name}: calibration error, means over seeds", header, rows))
        if not taught:
            out.missing.append(f"{folder}: no run of experiments.self_feedback beside the calibrations")
        elif not base:
            out.missing.append(f"{folder}: no calibration of the start of its runs ({', '.join(sorted(starts))})")
    if not found:
        _tables(data, studies, how, out)
    if not (found or out.criteria):
        out.missing.append("no calibration.json (experiments.calibrate) of policies before and after self-feedback")
    return out


def _tables(data: Data, studies: list[Study], how: How, out: Verdict) -> None:
    """Tests of a table of calibrations (table.json of experiments.compare), whose arms are told by their runs."""
    taught = {arm.name: arm for study in studies if study.kind == "self_feedback" for arm in study.arms}
    for document in data.documents:
        table = document.content.get("arms")
        if not (isinstance(table, dict) and isinstance(document.content.get("spans"), list)):
            continue
        for name in table:
            row = table[name].get("difference") if isinstance(table[name], dict) else None
            if name not in taught or not isinstance(row, dict):
                continue
            arm = taught[name]
            span = str(arm.first.get("branches.span", "answer"))
            key = f"ece/{span}" if f"ece/{span}" in row else "ece/answer"
            where = f"{document.path.parent.name}, {name}"
            count, ece = of_json(row, key)
            out.add(f"{where}: ECE of the {span} (%) less the start's", ece, how, count, below=0.0)
            count, right = of_json(row, "greedy")
            what = f"{where}: greedy accuracy less the start's"
            out.add(what, right, how, count, above=-how.margin)
            out.runs += list(arm.runs.values())
            out.files.append(document.path)
        if document.path not in out.files:
            out.missing.append(f"{document.path}: none of its arms has runs of experiments.self_feedback here")


def _of(names: set[str], here: list[Calibration], runs: dict[str, Run]) -> Seeds:
    """{seed of the run: its calibration}."""
    return {runs[one.init.name].seed: one for one in here if one.init.name in names and one.init.name in runs}


def _add(out: Verdict, what: str, key: str, x: Seeds, y: Seeds, how: How, **side: float) -> None:
    """The criterion of a mean difference over the seeds that both have."""
    seeds = [s for s in x if s in y and key in x[s].content and key in y[s].content]
    span = mean_span([x[s].content[key] - y[s].content[key] for s in seeds], how)
    out.add(what, span, how, len(seeds), **side)


def _mean(key: str, of: Seeds, how: How) -> str:
    values = [one.content[key] for one in of.values() if key in one.content]
    return spelled(mean_span(values, how), digits=1, sign=False)


CALIBRATION = Claim(
    id="calibration",
    main="ECE",
    text="Confidence as reward restores calibration",
    source="van Niekerk et al. 2025, arXiv:2507.21931",
    definition=(
        "Expected calibration error (10 bins, percent) of the confidence of greedy answers to held-out problems, in "
        "the span that was rewarded: after RL from self-feedback less its start's, and less that after RL with a "
        "verifier, by seed. For the claim: lower, and greedy accuracy not below the start's by more than the margin."
    ),
    needs="calibration.json of the start, of runs of experiments.self_feedback and of RLVR, 3 seeds",
    decides="a start that RL has made overconfident, answers whose span carries the uncertainty, and more seeds",
    test=calibration,
)
