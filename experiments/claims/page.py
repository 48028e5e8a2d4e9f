"""retest.md: a table of verdicts, a section for each claim, and the runs behind them."""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entropy_rl.tables import table
from experiments.claims.arms import Study
from experiments.claims.data import Data, Run
from experiments.claims.literature import PAPERS
from experiments.claims.summary import Worlds, by_world, screen, short, valued, where
from experiments.claims.verdicts import UNDECIDED, Claim, Criterion, How, Verdict, main_criterion

Verdicts = Sequence[tuple[Claim, Verdict]]
QUESTION = "bottleneck"  # the id of the last section
UNKNOWN = "not recorded"


def page(
    verdicts: Verdicts, data: Data, studies: list[Study], how: How, figures: dict[str, str], command: str, commit: str
) -> str:
    """The whole page; figures: a path for the ids of claims that have one, and for "verdicts"."""
    claims = [(claim, found) for claim, found in verdicts if claim.id != QUESTION]
    counts = collections.Counter(found.verdict for _, found in claims)
    words = {"holds": "hold", "holds partly": "hold partly", "fails": "fail", UNDECIDED: "are undecided"}
    told = ", ".join(f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict])
    worlds = Worlds(studies, data)
    parts = [
        "# The claims, tested again",
        f"Verdicts on {len(data.runs)} runs and {len(data.documents)} other results, for their setting and no "
        f"other: {told}. A verdict is made by a rule from {how.level:.0%} intervals and from nothing else:",
        "- a *test* is **for** a claim where its whole interval lies on the side that the claim says, **against** "
        f"where it lies on the other, or ends before an effect of the size that is worth the name ({how.margin:g} of "
        f"pass@k; others are said), and **open** otherwise, or with fewer than {how.least} seeds or runs;",
        "- a claim **holds** where all tests are for it, **holds partly** where some are, **fails** where "
        "some are against it and none for it, and is **undecided** where there is no test either way. "
        "Each test is by itself: of many about nothing, some come out for or against.",
        "- a *world* is a task and its model; a claim has a verdict in each that has runs which speak of it, with its "
        "tests for/against/open, and – elsewhere.",
        f"Made by commit {commit or UNKNOWN}:\n\n    {command}",
        screen(claims, worlds),
        _where(claims, worlds),
        _later(verdicts),
    ]
    parts += [_figure("verdicts", "Tests for, against and open, claim by claim.", figures)]
    parts += [section(claim, found, figures) for claim, found in verdicts]
    parts += [_runs(verdicts, data, studies), _notes(data, studies)]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(claim: Claim, found: Verdict, figures: dict[str, str]) -> str:
    """All that is said about a claim."""
    verdict = f"Verdict: **{found.verdict}**." if claim.id != QUESTION else ""
    parts = [
        f'<a id="{claim.id}"></a>\n\n## {claim.text}',
        f"{verdict} Source: {claim.source}.".strip(),
        f"*Tested as:* {claim.definition}",
    ]
    if found.criteria:
        parts.append(table(["test", "value", "claimed", "of", "outcome"], [_row(test) for test in found.criteria]))
    parts += found.remarks
    parts.append(_figure(claim.id, claim.text, figures))
    for title, header, rows in found.details:
        parts.append(f"<details><summary>{title}</summary>\n\n{table(header, rows)}\n\n</details>")
    if found.missing:
        parts.append("*Missing:* " + "; ".join(dict.fromkeys(found.missing)) + f". It needs {claim.needs}.")
    if found.verdict != "holds" or claim.id == QUESTION:
        lead = "What would decide it" if found.verdict == UNDECIDED else "What would tell more"
        parts.append(f"*{lead}:* {claim.decides}.")
    parts += [_papers(claim, found), _behind(found)]
    return "\n\n".join(part for part in parts if part)


def _row(test: Criterion) -> list[str]:
    return [test.what, valued(test), test.said, test.units, f"**{test.outcome}**" if test.outcome != "open" else "open"]


def _where(claims: Verdicts, worlds: Worlds) -> str:
    told = where(claims, worlds)
    return f"## Where they hold\n\nOf the claims that hold partly in a world.\n\n{told}" if told else ""


def _later(verdicts: Verdicts) -> str:
    """How many papers stand beside the claims, and how many of them nobody here has read."""
    papers = [paper for claim, _ in verdicts for paper in PAPERS.get(claim.id, ())]
    blind = sum(not paper.grounded for paper in papers)
    return (
        f"Later work that contradicts, limits, replaces or supports a claim stands in its section, with our numbers "
        f"beside it: {len(papers)} rows, {len({paper.id for paper in papers})} papers. {blind} rows are **not "
        "grounded**: we have them at second hand, or our notes do not say what was read."
    )


def _papers(claim: Claim, found: Verdict) -> str:
    """Later work on a claim, with the tests that stand beside it."""
    rows = []
    for paper in PAPERS.get(claim.id, ()):
        tests = [test for test in found.criteria if any(words in test.what for words in paper.tests)]
        told = [f"{short(test, place=True)}: {valued(test)}" for test in tests]
        read = paper.read if paper.grounded else f"{paper.read}: **not grounded**"
        beside = "; ".join([*told, *([paper.beside] if paper.beside else [])]) or "no runs here"
        rows.append([f"[{paper.id}](https://arxiv.org/abs/{paper.id})", paper.found, paper.bears, beside, read])
    return "*Later work:*\n\n" + table(["arXiv", "it says", "the claim", "beside it here", "read"], rows)


def _behind(found: Verdict) -> str:
    """The runs, files, commits, seeds and machines of a verdict."""
    if not (found.runs or found.files):
        return "*Behind it:* no run."
    folders: dict[Path, list[Run]] = {}
    for run in found.runs:
        folders.setdefault(run.study, []).append(run)
    told = []
    for folder, runs in folders.items():
        paths = dict.fromkeys(str(run.path.relative_to(folder)) for run in runs)
        names = dict.fromkeys(run.name for run in runs)
        few = ", ".join(list(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        told.append(f"{shown(folder)} ({len(paths)} runs: {few})")
    told += [shown(path) for path in dict.fromkeys(found.files)]
    about = circumstances(found.runs)
    extra = f" Seeds {about['seeds']}; commits {about['commits']}; {about['hardware']}." if found.runs else ""
    return f"*Behind it:* {'; '.join(told)}.{extra}"


def circumstances(runs: Sequence[Run]) -> dict[str, str]:
    """Seeds, commits, hardware and versions, as far as runs say."""
    commits = sorted(
        {str(run.about.get("git_commit") or UNKNOWN)[:7] if run.about.get("git_commit") else UNKNOWN for run in runs}
    )
    return {
        "seeds": ", ".join(map(str, sorted({run.seed for run in runs}))),
        "commits": ", ".join(commits),
        "hardware": "; ".join(sorted({hardware(run.about) for run in runs})),
        "versions": "; ".join(sorted({versions(run.about) for run in runs})),
    }


def hardware(about: dict[str, Any]) -> str:
    """The devices of a run, as its config.json or result says."""
    device = about.get("device")
    if not isinstance(device, dict):
        return f"hardware {UNKNOWN}"
    return f"{device.get('count', '?')} × {device.get('kind', '?')}"


def versions(about: dict[str, Any]) -> str:
    """Of Python and jax."""
    found = about.get("versions")
    if not isinstance(found, dict):
        return UNKNOWN
    return ", ".join(f"{key} {found[key]}" for key in ("python", "jax") if key in found)


def _runs(verdicts: Verdicts, data: Data, studies: list[Study]) -> str:
    folders: dict[Path, list[Study]] = {}
    for study in studies:
        folders.setdefault(study.folder, []).append(study)
    rows = []
    for folder, members in folders.items():
        runs = [run for study in members for arm in study.arms for run in arm.runs.values()]
        about = circumstances(runs)
        kinds = ", ".join(sorted({study.kind for study in members}))
        steps = sorted({str(run.get("steps", run.get("rounds", "?"))) for run in runs})
        cells = [about["seeds"], ", ".join(steps), about["commits"], about["hardware"], about["versions"]]
        rows.append([shown(folder), kinds, str(sum(len(s.arms) for s in members)), str(len(runs)), *cells])
    used = {path for _, found in verdicts for path in found.files}
    for document in data.documents:
        if document.path in used:
            content = document.content
            commit = str(content.get("git_commit") or UNKNOWN)
            cells = [commit if commit == UNKNOWN else commit[:7], hardware(content), versions(content)]
            rows.append([shown(document.path), "json", "", "", "", "", *cells])
    if not rows:
        return "## Runs\n\nNone was found."
    header = ["folder or file", "kind", "settings", "runs", "seeds", "steps", "commit", "hardware", "versions"]
    return "## Runs\n\n" + table(header, rows)


def _notes(data: Data, studies: list[Study]) -> str:
    notes = [*data.notes, *(note for study in studies for note in study.notes)]
    return "## Left out\n\n" + "\n".join(f"- {' '.join(note.split())}" for note in notes) if notes else ""


def _figure(id: str, title: str, figures: dict[str, str]) -> str:
    return f"![{title}]({figures[id]})" if id in figures else ""


def shown(path: Path) -> str:
    """The path, from here if it is below."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def as_json(
    verdicts: Verdicts, data: Data, studies: list[Study], how: How, command: str, commit: str
) -> dict[str, Any]:
    """What retest.json holds: verdicts with their tests, and every run and file behind each."""
    claims, worlds = [], Worlds(studies, data)
    for claim, found in verdicts:
        about = circumstances(found.runs) if found.runs else {}
        files = dict.fromkeys([shown(run.path) for run in found.runs] + [shown(path) for path in found.files])
        claims.append(
            {
                "id": claim.id,
                "claim": claim.text,
                "source": claim.source,
                "definition": claim.definition,
                "verdict": found.verdict if claim.id != QUESTION else None,
                "by_world": by_world(found, worlds),
                "by_place": found.by_place,
                "effect": vars(main) if (main := main_criterion(claim, found)) else None,
                "tests": [vars(test) for test in found.criteria],
                "details": [{"title": t, "header": h, "rows": r} for t, h, r in found.details],
                "remarks": found.remarks,
                "missing": list(dict.fromkeys(found.missing)),
                "needs": claim.needs,
                "decides": claim.decides,
                "literature": [paper.as_json() for paper in PAPERS.get(claim.id, ())],
                "files": list(files),
                "plots": found.plots,
            }
            | about
        )
    folders = {shown(study.folder): study for study in studies}
    return {
        "command": command,
        "git_commit": commit,
        "rule": vars(how),
        "runs": len(data.runs),
        "folders": list(folders),
        "claims": claims,
        "notes": [*data.notes, *(note for study in studies for note in study.notes)],
    }


def dumps(content: Any) -> str:
    """The text of a json file."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
