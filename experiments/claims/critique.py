"""Critiques in the loop: do they preserve entropy, is that worth more than at test time, do they break plateaus?"""

from __future__ import annotations

import math
import re

import numpy as np

from entropy_rl import metrics
from entropy_rl.errors import InputError
from experiments.claims import arms
from experiments.claims.arms import CONTENT, SAME_KIND, WORDLESS, Arm, Study
from experiments.claims.data import Data, Document, Run
from experiments.claims.pairs import common, least_attempts, mean_runs_span, paired_span, table_span
from experiments.claims.verdicts import Claim, How, Verdict, mean_span, spelled

NONE_OF = {
    False: "no arm of as many more samples (critique.source=fresh)",
    True: "no arm of as many retries without such words (critique.source=none or random)",
}
RATIO = 0.1  # of logarithms of entropies and counts: less is no effect worth the name
SMALL = 0.005  # of a share of problems


def critics(study: Study, plain: Arm, how: How) -> tuple[list[Arm], list[Arm], list[Arm]]:
    """Arms of one refinement a group: of critiques that say something, of fresh samples, of retries without them."""
    keys = ("critique", "lessons", "refine")
    one = [arm for arm in study.arms if arm.source and arms.only(arm, plain, keys)]
    one = [arm for arm in one if arm.first.get("critique.refined", 1) == 1 and not arm.first.get("refine.revisions")]
    enough = [arm for arm in one if len(common(arm, plain)) >= how.least]
    content, same, wordless = ([a for a in enough if a.source in of] for of in (CONTENT, SAME_KIND, WORDLESS))
    return content, same, wordless


def with_critiques(studies: list[Study], how: How) -> list[tuple[Study, Arm, tuple[list[Arm], ...]]]:
    """(study, its plain arm, `critics`) of the studies with critiques."""
    found = []
    for study in studies:
        plain = study.plain() if study.kind in ("rl", "self_train") else None
        if plain and plain.first.task:
            of = critics(study, plain, how)
            if of[0]:
                found.append((study, plain, of))
    return found


def _named(some: list[Arm]) -> str:
    return ", ".join(arm.name for arm in some)


def preserves(data: Data, studies: list[Study], how: How) -> Verdict:
    """Entropy and different right solutions at the end, against the plain arm and against more samples."""
    out = Verdict()
    for study, plain, (content, same, wordless) in with_critiques(studies, how):
        out.runs += [run for arm in (plain, *content, *same, *wordless) for run in arm.runs.values()]
        names = _named(content)
        for others in ([plain], same, wordless):
            word = _named(others)
            if not others:
                out.missing.append(f"{study.name}: {NONE_OF[others is wordless]}")
                continue
            seeds = common(*content, *others)
            mean = lambda some, s: np.mean([math.log(arm.runs[s].entropy() or np.nan) for arm in some])  # noqa: E731
            span = mean_span([mean(content, s) - mean(others, s) for s in seeds], how)
            title = f"{study.name}: ln entropy at the end, mean of {names}, less {word}"
            out.add(title, span, how, len(seeds), above=0.0, slack=RATIO)
            span, seeds = mean_runs_span(content, others, "distinct_count", 1, how, log=True)
            title = f"{study.name}: ln different right solutions a problem, mean of {names}, less {word}"
            out.add(title, span, how, len(seeds), above=0.0, slack=RATIO)
        rows = []
        for arm in study.arms:
            pairs = common(arm, plain)
            if arm is plain or not pairs or not arm.source:
                continue
            x, y = ([of.runs[s] for s in pairs] for of in (arm, plain))
            ratios = [math.log(a / b) for a, b in ((p.entropy(), q.entropy()) for p, q in zip(x, y)) if a and b]
            spans = [mean_span(ratios, how), paired_span(x, y, "distinct_count", 1, how, log=True)]
            spans.append(paired_span(x, y, "answer_entropy", 1, how))
            if spans[0] and len(pairs) >= how.least:
                out.plots.append({"study": study.name, "arm": arm.name, "source": arm.source, "span": spans[0]})
            rows.append([arm.name, arm.source, str(len(pairs)), *map(spelled, spans)])
        header = ["arm", "source", "seeds", "ln entropy", "ln different right solutions", "answer entropy (nats)"]
        out.details.append((f"{study.name}: differences to {plain.name} at the end", header, rows))
    if not out.criteria:
        out.missing.append(
            f"no study with a plain arm and critiques ({', '.join(CONTENT)}) of {how.least} common seeds"
        )
    return out


def beside_test_time(data: Data, studies: list[Study], how: How) -> Verdict:
    """What critiques add to pass@1 in training less what they add to it at test time, source by source."""
    out = Verdict()
    gains = [(doc, found) for doc in data.documents if (found := test_time_gain(doc))]
    if not gains:
        out.missing.append("no test_time.json with a way `parallel` and its gain over voting (experiments.test_time)")
    rows = []
    for study, plain, (content, _, _) in with_critiques(studies, how):
        if study.kind != "rl":
            continue
        for arm in content:
            about = (arm.first.get("task.name"), arm.source, arm.first.get("critique.level"))
            matching = [(doc, gain) for doc, (of, gain) in gains if of == about]
            pairs = common(arm, plain)
            x, y = ([of.runs[s] for s in pairs] for of in (arm, plain))
            train = paired_span(x, y, "pass@1", 1, how)
            if not matching or train is None:
                why = f"{study.name}: {arm.name} (source {about[1]}, level {about[2]}) has no test-time counterpart"
                out.missing += [] if matching else [why]
                continue
            doc, gain = matching[0]
            out.runs += [*x, *y]
            out.files.append(doc.path)
            value = train[0] - gain[0]
            low = value - math.hypot(train[0] - train[1], gain[2] - gain[0])
            high = value + math.hypot(train[2] - train[0], gain[0] - gain[1])
            what = f"{study.name}: pass@1 gained by {arm.name} in training, less what it gains at test time"
            out.add(what, (value, low, high), how, len(pairs), above=0.0)
            rows.append([arm.name, str(about[2]), plain.name, spelled(train), spelled(gain)])
    if rows:
        header = ["arm", "level", "less", "in training", "at test time, one sample refined, less none"]
        out.details.append(("gains of pass@1", header, rows))
    if gains and not rows:
        out.missing.append("no study with critiques in training beside the test-time results")
    return out


def test_time_gain(doc: Document) -> tuple[tuple[str, str, str], tuple[float, float, float]] | None:
    """((task, source, level), gain of refining one sample over answering with it) of a test_time.json; None of another.

    The task is the command's, behind its config's colon; without one Countdown, the config's own.
    """
    try:
        row = doc.content["ways"]["parallel"]["1"]["less majority"]
        command = doc.content["command"]
        source = re.search(r"critique\.source=(\w+)", command)
        level = re.search(r"critique\.level=(\w+)", command)
        task = re.search(r"--config=\S*[:,]task=(\w+)", command)
        value, low, high = map(float, row)
    except (KeyError, TypeError, ValueError):
        return None
    if not source or not all(map(math.isfinite, (value, low, high))):
        return None
    return (task[1] if task else "countdown", source[1], level[1] if level else "reason"), (value, low, high)


def plateau(data: Data, studies: list[Study], how: How) -> Verdict:
    """pass@1, pass@k and persistent failures at the end: critiques less as many more samples."""
    out = Verdict()
    for study, plain, (content, same, wordless) in with_critiques(studies, how):
        out.runs += [run for arm in (plain, *content, *same, *wordless) for run in arm.runs.values()]
        for others in (same, wordless):
            if not others:
                out.missing.append(f"{study.name}: {NONE_OF[others is wordless]}")
                continue
            seeds = common(*content, *others)
            k = least_attempts(arm.runs[s] for arm in (*content, *others) for s in seeds)
            names, word = _named(content), _named(others)
            for what, title in (("pass@1", "pass@1"), ("pass@k", f"pass@{k}")):
                span, both = mean_runs_span(content, others, what, k, how)
                title = f"{study.name}: {title} at the end, mean of {names}, less {word}"
                out.add(title, span, how, len(both), above=0.0, slack=how.margin)
        if study.kind == "rl" and same:
            seeds, names, word = common(*content, *same), _named(content), _named(same)
            x, y = (_never(some, seeds) for some in (content, same))
            span = table_span(x, y, how) if x is not None and y is not None and x.shape == y.shape else None
            if span is None:
                out.missing.append(f"{study.name}: no solved.jsonl, which says who was never solved in training")
            else:
                what = "share of problems that no evaluation has seen solved"
                out.add(
                    f"{study.name}: {what}, mean of {names}, less {word}", span, how, len(seeds), below=0.0, slack=SMALL
                )
            late = [_late(run) for run in plain.runs.values()]
            span = mean_span([x for x in late if x is not None], how)
            if span:
                out.remarks.append(
                    f"{study.name}: is {plain.name} on a plateau? Its pass@1 moves by {spelled(span)} over "
                    "the last third of its evaluations."
                )
    if not out.criteria:
        out.missing.append("no study with critiques, as many fresh samples, and 3 common seeds")
    return out


def _never(some: list[Arm], seeds: list[int]) -> np.ndarray | None:
    """[S, P] mean over arms: problems that no evaluation has seen solved."""
    try:
        found = [[metrics.persistent(arm.runs[s].solved, arm.runs[s].task)[-1] for s in seeds] for arm in some]
        return np.array(found, float).mean(axis=0)
    except (InputError, ValueError, IndexError):
        return None


def _late(run: Run) -> float | None:
    """How much pass@1 moves over the last third: the mean of its second half less that of its first."""
    values = run.curve("pass@1")[1]
    part = values[-(len(values) // 3) :]
    return float(part[len(part) // 2 :].mean() - part[: len(part) // 2].mean()) if len(values) >= 12 else None


PRESERVES = Claim(
    id="critique_entropy",
    main="ln entropy",
    text="Critique in the loop preserves entropy and diversity",
    source="a synthesis note on arXiv:2411.16579 and 2506.03106; no measurement of its own",
    definition=(
        f"Arms whose critiques say something ({', '.join(CONTENT)}; one refinement a group, to the end) against the "
        "plain arm, against as many fresh samples, and against as many retries with no words or another attempt's "
        "(none, random): logarithm of policy entropy at the end, and of the number of different right solutions a "
        f"problem; mean over arms, paired by seed. For the claim: all higher; less than {RATIO:g} counts as none."
    ),
    needs="a study with a plain arm, critiques and fresh samples, 3 common seeds",
    decides="a model that can use a critique in words it was not taught, and runs long enough to collapse further",
    test=preserves,
)

TEST_TIME = Claim(
    id="critique_test_time",
    main="pass@1",
    text="A critique adds more in training than at test time",
    source="the same note, on arXiv:2411.16579",
    definition=(
        "In units of pass@1: what a critique in the loop adds at the end of training (its arm less the plain "
        "one, both answering alone), less what the same source and level adds to the policy "
        "before that training when it criticises one sample at test time and the sample is refined. For the "
        "claim: above 0. Intervals of the two are put together as independent."
    ),
    needs="RL arms with critiques, 3 seeds, and test_time.json of the same task, source and level",
    decides="both at equal compute, and test-time critiques after training with them",
    test=beside_test_time,
)

PLATEAU = Claim(
    id="plateau",
    main="pass@1",
    text="Language feedback breaks plateaus that more data of the same kind does not",
    source="Zhang et al. 2025, arXiv:2506.03106, sections 1 and 3",
    definition=(
        f"Critiques that say something ({', '.join(CONTENT)}) against as many fresh samples of the same "
        "questions, and against as many retries with no words or another attempt's: pass@1 and pass@k at the "
        "end, and the share of problems that no evaluation has ever seen solved. "
        "For the claim: more, more, and fewer; below the margin counts as none."
    ),
    needs="a study with critiques, fresh samples, 3 common seeds; solved.jsonl for persistent failures",
    decides="problems that stay unsolved for want of an idea and not of luck, and a critic that knows more than the "
    "policy can sample",
    test=plateau,
)
