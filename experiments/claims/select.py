"""Does RL select what the start could do, or create? And what limits a policy whose entropy is held?"""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.claims.arms import Arm, Study
from experiments.claims.control import holders, plain_studies
from experiments.claims.data import Data, Run
from experiments.claims.pairs import common, least_attempts, measure, paired_span
from experiments.claims.verdicts import AGAINST, FOR, Claim, Criterion, How, Verdict, mean_span, spelled, triple


def pairs(study: Study) -> tuple[str, list[tuple[Run, Run | None]]] | None:
    """(name, [(run at its end, run that is its start; None where the run itself was evaluated before training)])."""
    plain = study.plain()
    if plain is None or not plain.first.task:
        return None
    if study.kind == "rl":
        return plain.name, [(run, None) for run in plain.runs.values()]
    bases = [arm for arm in study.arms if study.kind == "self_train" and not arm.first.get("rounds", 0)]
    if not bases:
        return None
    return plain.name, [(plain.runs[s], bases[0].runs[s]) for s in common(plain, bases[0])]


def selects(data: Data, studies: list[Study], how: How) -> Verdict:
    """pass@1 and pass@k of trained policies less those of their starts, and where the curves cross."""
    out = Verdict()
    rows = []
    for study in studies:
        found = pairs(study)
        if found is None or not found[1]:
            continue
        name, members = found
        ends = [end for end, _ in members]
        starts = [start or end for end, start in members]
        before = members[0][1] is None
        was, at = ("start", "end") if before else ("last", "last")
        k = min(least_attempts(ends, at), least_attempts(starts, was))
        if k < 2:
            continue
        spans = [paired_span(ends, starts, what, k, how, starts=before) for what in ("pass@1", "pass@k")]
        if None in spans:
            out.missing.append(f"{study.name}: {name} was not evaluated before training")
            continue
        out.runs += [*ends, *(start for _, start in members if start)]
        count, where = len(members), f"{study.name}, {name}"
        if len(study.arms) > 1 or count >= how.least:
            out.add(f"{where}: pass@1 less the start's", spans[0], how, count, above=0.0)
            out.add(f"{where}: pass@{k} less the start's", spans[1], how, count, below=how.margin)
        found = [curves(end, start or end, k, was, at) for end, start in members]
        told = [next((str(at) for at, base, rl in zip(*of) if base >= rl), f"> {k}") for of in found]
        rows.append([study.name, name, str(count), *map(spelled, spans), str(k), ", ".join(told)])
        if len({tuple(of[0]) for of in found}) == 1:
            means = np.mean([of[1:] for of in found], axis=0)
            out.plots.append({"study": study.name, "arm": name, "ks": found[0][0], "start": means[0], "end": means[1]})
    for document in data.documents:
        try:
            if elicited(document.content, out, how, document.path.parent.name):
                out.files.append(document.path)
        except (AttributeError, KeyError, TypeError, ValueError):
            out.missing.append(f"{document.path}: not as experiments.elicit writes it")
    if rows:
        header = ["study", "arm", "seeds", "pass@1 less start's", "pass@k less start's", "k", "k* of each seed"]
        title = "k*: the smallest k, of those known, at which the start's pass@k is at least the trained policy's"
        out.details.append((title, header, rows))
    if not out.criteria:
        out.missing.append("no arm of 3 seeds evaluated before and after training with 2 attempts a problem or more")
    return out


def curves(end: Run, start: Run, k: int, was: str, at: str) -> tuple[list[int], list[float], list[float]]:
    """(ks, pass@k of the start, of the end): every k where attempts are known problem by problem, else those logged."""
    ks, x, y = [], [], []
    for n in range(1, k + 1):
        what = "pass@1" if n == 1 else "pass@k"
        of = [measure(start, what, n, was), measure(end, what, n, at)]
        if of[0] is not None and of[1] is not None:
            ks.append(n)
            x.append(float(of[0].mean()))
            y.append(float(of[1].mean()))
    return ks, x, y


def elicited(content: dict[str, Any], out: Verdict, how: How, where: str) -> bool:
    """Tests of an elicit.json (experiments.elicit), which `where` names; False for another document.

    Besides pass@1 and pass@k of RL less the base's: the share of problems that RL solves and none of the base's n
    samples did, less that of the base sampled again, which is what chance brings.
    """
    ways = content.get("ways")
    if not (isinstance(ways, dict) and isinstance(ways.get("rl"), dict) and isinstance(content.get("samples"), int)):
        return False
    count, n = content.get("seeds", 0), content["samples"]
    spans = [triple(ways["rl"].get("less base", {}).get(str(k))) for k in (1, n)]
    out.add(f"{where}, RL: pass@1 less the base's", spans[0], how, count, above=0.0)
    out.add(f"{where}, RL: pass@{n} less the base's", spans[1], how, count, below=how.margin)
    new = [[len(ids) for ids in ways.get(way, {}).get("new") or []] for way in ("rl", "again")]
    if new[0] and len(new[0]) == len(new[1]) and content.get("problems"):
        share = [(x - y) / content["problems"] for x, y in zip(*new)]
        what = f"{where}, RL: share of problems solved that none of the base's {n} samples solved, less by chance"
        out.add(what, mean_span(share, how), how, len(share), below=how.margin)
    rows = []
    for way, of in ways.items():
        less = [spelled(triple((of.get("less base") or {}).get(str(k)))) for k in (1, n)]
        star = (of.get("crossover") or {}).get("mean")
        told = "-" if way == "base" else f"> {n}" if star is None else f"{star:.1f}"
        rows.append([way, *(f"{of['pass'][str(k)]:.3f}" for k in (1, n)), *less, told])
    header = ["way", "pass@1", f"pass@{n}", "pass@1 less the base's", f"pass@{n} less the base's", "k*"]
    out.details.append((f"{where}: what else brings out of the base", header, rows))
    return True


def bottleneck(data: Data, studies: list[Study], how: How) -> Verdict:
    """What a policy that holds entropy fails by: problems with no right attempt, or right ones that are rare."""
    out = Verdict()
    moves: dict[str, list[tuple[float, float, float]]] = {}
    for study, plain in plain_studies(studies):
        held = holders(study, plain, how)
        if not held:
            continue
        rows = []
        for arm in (plain, *held):
            k = least_attempts(arm.runs.values())
            gaps = np.array([g for run in arm.runs.values() if (g := gap(run, k)) is not None])
            if not len(gaps):
                continue
            out.runs += list(arm.runs.values())
            spans = [mean_span(gaps[:, i], how) for i in (0, 1)]
            if arm is not plain:
                span = mean_span(gaps[:, 1] - gaps[:, 0], how)
                title = f"{study.name}, {arm.name}: selection gap less coverage gap, at {k} attempts"
                out.add(title, span, how, len(gaps), above=0.0, slack=how.margin)
            point = {
                "study": study.name,
                "arm": arm.name,
                "coverage": gaps[:, 0].mean(),
                "selection": gaps[:, 1].mean(),
            }
            out.plots.append(point | {"k": k})
            rows.append([arm.name, str(len(gaps)), str(k), "all", *(spelled(s, sign=False) for s in spans)])
            for level, of in levels(arm, k).items():
                spans = [mean_span(np.array(of)[:, i], how) for i in (0, 1)]
                rows.append([arm.name, str(len(of)), str(k), str(level), *(spelled(s, sign=False) for s in spans)])
        header = ["arm", "seeds", "k", "level", "coverage gap, 1 − pass@k", "selection gap, pass@k − pass@1"]
        out.details.append((f"{study.name}: what is not solved at the end", header, rows))
        moves |= moved(study, plain, held, how)
    out.remarks += in_words(moves, out.criteria)
    if not out.criteria:
        out.missing.append("no study with a plain arm and one that holds entropy, 3 common seeds each")
    return out


def gap(run: Run, k: int) -> tuple[float, float] | None:
    """(1 - pass@k, pass@k - pass@1) at the end."""
    one, many = measure(run, "pass@1", k), measure(run, "pass@k", k)
    return None if one is None or many is None else (float(1 - many.mean()), float(many.mean() - one.mean()))


def levels(arm: Arm, k: int) -> dict[int, list[tuple[float, float]]]:
    """`gap` of each level, of the runs whose problems' levels are known."""
    found: dict[int, list[tuple[float, float]]] = {}
    for run in arm.runs.values():
        attempts = run.attempts()
        if attempts is None or attempts.levels is None or attempts.n < k:
            continue
        one, many = measure(run, "pass@1", k), measure(run, "pass@k", k)
        for level in np.unique(attempts.levels).tolist():
            own = attempts.levels == level
            found.setdefault(level, []).append((float(1 - many[own].mean()), float((many - one)[own].mean())))
    return dict(sorted(found.items()))


def moved(study: Study, plain: Arm, held: list[Arm], how: How) -> dict[str, list[tuple[float, float, float]]]:
    """{study and arm: what holding entropy does to the coverage gap and to the selection gap, with intervals}."""
    found = {}
    for arm in held:
        seeds = common(arm, plain)
        k = least_attempts(of.runs[s] for of in (arm, plain) for s in seeds)
        x, y = ([gap(of.runs[s], k) for s in seeds] for of in (arm, plain))
        if not any(g is None for g in (*x, *y)):
            change = np.array(x) - np.array(y)
            found[f"{study.name}: {arm.name} less {plain.name}"] = [mean_span(change[:, i], how) for i in (0, 1)]
    return found


def in_words(moves: dict[str, list[tuple[float, float, float]]], tests: list[Criterion]) -> list[str]:
    """The answer, from the intervals alone."""
    if not moves:
        return []
    closed, opened = (sum(of[0][2] < 0 for of in moves.values()), sum(of[1][1] > 0 for of in moves.values()))
    larger = {side: sum(test.outcome == side for test in tests) for side in (FOR, AGAINST)}
    lines = [
        f"Of {len(moves)} arms that hold entropy, the coverage gap is smaller than the plain arm's in {closed} and the "
        f"selection gap larger in {opened}. What is left is mostly selection in {larger[FOR]}, mostly coverage in "
        f"{larger[AGAINST]}, and not to be told in {len(tests) - larger[FOR] - larger[AGAINST]}."
    ]
    told = [f"{name}: coverage gap {spelled(a)}, selection gap {spelled(b)}" for name, (a, b) in moves.items()]
    return [*lines, "; ".join(told) + "."]


SELECTS = Claim(
    id="selects",
    main="less the start's",
    text="RLVR selects rather than creates",
    source="Yue et al. 2025, arXiv:2504.13837",
    definition=(
        "Held-out pass@1 and pass@k (the largest k) of a plain arm at the end less those of its start, paired by seed "
        "and problem. For the claim: pass@1 rises, and pass@k rises by less than the margin, if at all. k* is the "
        "smallest k at which the start's pass@k is at least the trained policy's. Self-training starts from its base."
    ),
    needs="3 seeds evaluated before and after training, many attempts a problem (solved.jsonl, problems.jsonl, "
    "elicit.json)",
    decides="256 attempts or more a problem of start and end, on problems that the start solves rarely",
    test=selects,
)

BOTTLENECK = Claim(
    id="bottleneck",
    main="gap",
    text="When entropy is held, what is the next bottleneck?",
    source="asked of the data",
    definition=(
        "Of what arms that hold entropy do not solve at the end: the coverage gap 1 − pass@k (no right "
        "attempt in k) and the selection gap pass@k − pass@1 (right attempts that are too rare). "
        "Tested as: the selection gap is the larger one. Both depend on k."
    ),
    needs="the runs of the claim on the ceiling",
    decides="more attempts a problem, and a selector (a vote, a judge) measured on the same attempts",
    test=bottleneck,
)
