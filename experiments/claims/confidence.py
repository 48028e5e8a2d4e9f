"""Does confidence as reward restore calibration?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.claims.arms import Study
from experiments.claims.control import plain_studies
from experiments.claims.data import Data, Run
from experiments.claims.judge import Claim, How, Test, Verdict, judge, mean_span, of_json, spelled


@dataclasses.dataclass(frozen=True)
class Look:
    """A calibration.json (experiments.calibrate): what is in it, and the policy that it looked at."""

    path: Path
    content: dict[str, Any]
    seed: int
    init: Path


def looks(data: Data, out: Verdict) -> list[Look]:
    """Those that say which policy they are of, in the config.json beside them."""
    found = []
    for document in data.documents:
        if not any(key.startswith("ece/") for key in document.content):
            continue
        beside = document.path.with_name("config.json")
        try:
            config = json.loads(beside.read_text(encoding="utf-8"))["config"]
            found.append(Look(document.path, document.content, int(config["seed"]), Path(config["init"])))
        except (OSError, ValueError, KeyError, TypeError):
            out.missing.append(f"{document.path}: no config.json beside it that says which policy it is of")
    return found


def calibration(data: Data, studies: list[Study], how: How) -> Verdict:
    """ECE after self-feedback less before, and less after RL with a verifier; accuracy after less before."""
    out = Verdict()
    found = looks(data, out)
    folders = dict.fromkeys(look.path.parent.parent for look in found)
    for folder in folders:
        here = [look for look in found if look.path.parent.parent == folder]
        near = [folder]
        if not any(run.path.parent == folder for run in data.runs) and folder.parent not in data.roots:
            near += [folder.parent, *(path for path in folder.parent.iterdir() if path.is_dir())]
        runs = {run.path.name: run for run in data.runs if run.path.parent in near}
        beside = [s for s in studies if any(run.path.parent in near for arm in s.arms for run in arm.runs.values())]
        taught = [study for study in beside if study.kind == "self_feedback"]
        verified = plain_studies(beside, several=False)
        starts = {Path(run.get("init") or "").name for s in taught for arm in s.arms for run in arm.runs.values()}
        base = {look.seed: look for look in here if look.init.name in starts}
        rewarded = _of({run.path.name for _, plain in verified for run in plain.runs.values()}, here, runs)
        rows = []
        for study in taught:
            for arm in study.arms:
                own = _of({run.path.name for run in arm.runs.values()}, here, runs)
                span = str(arm.first.get("branches.span", "answer"))
                key = f"ece/{span}" if all(f"ece/{span}" in look.content for look in own.values()) else "ece/answer"
                name = f"{folder.name}, {arm.name}"
                out.tests.append(
                    _less(f"{name}: ECE of the {span} (%) less the start's", key, own, base, how, below=0.0)
                )
                out.tests.append(
                    _less(f"{name}: greedy accuracy less the start's", "greedy", own, base, how, above=-how.margin)
                )
                if rewarded:
                    what = f"{name}: ECE of the {span} (%) less RLVR's"
                    out.tests.append(_less(what, key, own, rewarded, how, below=0.0))
                out.runs += list(arm.runs.values())
                rows.append([arm.name, span, *(_mean(key, of, how) for of in (base, own, rewarded))])
        out.files += [look.path for look in here]
        if rows:
            header = ["arm", "confidence of", "ECE (%) of the start", "after self-feedback", "after RLVR"]
            out.details.append((f"{folder.name}: calibration error, means over seeds", header, rows))
        if not taught:
            out.missing.append(f"{folder}: no run of experiments.self_feedback beside the calibrations")
        elif not base:
            out.missing.append(f"{folder}: no calibration of the start of its runs ({', '.join(sorted(starts))})")
    if not found:
        _tables(data, studies, how, out)
    if not (found or out.tests):
        out.missing.append("no calibration.json (experiments.calibrate) of policies before and after self-feedback")
    return out


def _tables(data: Data, studies: list[Study], how: How, out: Verdict) -> None:
    """Tests of a table of looks (table.json of experiments.compare_calibration), whose arms are told by their runs."""
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
            out.tests.append(judge(f"{where}: ECE of the {span} (%) less the start's", ece, how, count, below=0.0))
            count, right = of_json(row, "greedy")
            what = f"{where}: greedy accuracy less the start's"
            out.tests.append(judge(what, right, how, count, above=-how.margin))
            out.runs += list(arm.runs.values())
            out.files.append(document.path)
        if document.path not in out.files:
            out.missing.append(f"{document.path}: none of its arms has runs of experiments.self_feedback here")


def _of(names: set[str], here: list[Look], runs: dict[str, Run]) -> dict[int, Look]:
    """{seed of the run: the look at it}."""
    return {runs[look.init.name].seed: look for look in here if look.init.name in names and look.init.name in runs}


def _less(what: str, key: str, x: dict[int, Look], y: dict[int, Look], how: How, **side: float) -> Test:
    seeds = [s for s in x if s in y and key in x[s].content and key in y[s].content]
    span = mean_span([x[s].content[key] - y[s].content[key] for s in seeds], how)
    return judge(what, span, how, len(seeds), **side)


def _mean(key: str, of: dict[int, Look], how: How) -> str:
    return spelled(mean_span([look.content[key] for look in of.values() if key in look.content], how), 1, sign=False)


CALIBRATION = Claim(
    id="calibration",
    main="ECE",
    text="Confidence as reward restores calibration",
    source="van Niekerk et al. 2025, arXiv:2507.21931",
    definition=(
        "Expected calibration error (10 bins, percent) of the confidence of greedy answers to held-out "
        "problems, in the "
        "span that was rewarded: after RL from self-feedback less its start's, and less that after RL with a verifier, "
        "by seed. For the claim: lower, and greedy accuracy not below the start's by more than the margin."
    ),
    needs="calibration.json of the start, of runs of experiments.self_feedback and of RLVR, 3 seeds",
    decides="a start that RL has made overconfident, answers whose span carries the uncertainty, and more seeds",
    literature=(
        ("2507.21931", "lower ECE and higher accuracy than base and SFT are claimed; tables were not found"),
        ("2511.05993", "miscalibration grows in RLVR"),
    ),
    test=calibration,
)
