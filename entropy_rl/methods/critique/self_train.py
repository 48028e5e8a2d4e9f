"""Self-training: a policy is taught its own right answers, round after round, each time from the base model.

    D_t = D_0  U  right attempts of theta_{t-1}  [U  its right refinements  [U  revisions]],   theta_t = SFT(base, D_t)

(AutoMathCritique, arXiv:2411.16579; code: WooooDyy/MathCritique, selfimprove/.) Vanilla self-training throws failed
attempts away. With a critique in the loop they are criticised and refined, so that tokens are spent where the policy
fails, and a refinement that comes right is taught on the question alone, optionally also as a revision: on question,
attempt and critique. Here is what is kept and how narrow it is; experiments/self_train.py has the rounds.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np

from entropy_rl.data.problem import Problem
from entropy_rl.methods.critique.language import Attempt
from entropy_rl.training.collect import Group


@dataclasses.dataclass(frozen=True)
class Item:
    """What the policy is taught: `response` after `prompt`; id and level of the problem; kind, one of KINDS."""

    id: str
    level: int
    prompt: str
    response: str
    kind: str


def right_items(groups: Iterable[Group]) -> list[Item]:
    """The right attempts, on their questions; the same text twice is two items, as in the reference code."""
    return [
        Item(g.problem.id, g.problem.level, g.problem.prompt, text, "right")
        for g in groups
        for text, reward in zip(g.texts, g.rewards)
        if reward >= 1
    ]


def failed(groups: Iterable[Group]) -> list[Attempt]:
    """The wrong attempts, in order."""
    return [
        Attempt(g.problem, text, False) for g in groups for text, reward in zip(g.texts, g.rewards) if not reward >= 1
    ]


def refined_items(
    tried: Sequence[Attempt],
    asked: Sequence[str],
    retries: Sequence[Sequence[tuple[str, float]]],
    *,
    reserved: int,
    slack: int,
    revisions: bool,
) -> tuple[list[Item], dict[str, float]]:
    """Refinements that are kept, and what is logged of them.

    Args:
      asked: for each attempt, the prompt that its retries followed: question, attempt and critique.
      retries: for each, (text, reward) of its retries.
      reserved: at most so many of an attempt's right retries are kept, the first ones.
      slack: of the barrier against shortcuts (`is_shortcut`).
      revisions: whether each is also taught after `asked`, where that is not the question itself.

    Returns:
      items; {"refine/repaired": share of attempts with a right retry, "refine/shortcuts": share of right retries that
      the barrier stops, "refine/kept": retries kept}.
    """
    items, right, shortcuts, kept, repaired = [], 0, 0, 0, 0
    for t, prompt, made in zip(tried, asked, retries, strict=True):
        good = [text for text, reward in made if reward >= 1]
        worked = t.problem.demonstration or t.problem.answer
        passed = [text for text in good if not is_shortcut(worked, t.text, text, slack=slack)]
        right += len(good)
        shortcuts += len(good) - len(passed)
        repaired += bool(good)
        for text in passed[:reserved]:
            kept += 1
            about = t.problem.id, t.problem.level
            items.append(Item(*about, t.problem.prompt, text, "refined"))
            if revisions and prompt != t.problem.prompt:
                items.append(Item(*about, prompt, text, "revision"))
    return items, {
        "refine/repaired": repaired / max(1, len(tried)),
        "refine/shortcuts": shortcuts / max(1, right),
        "refine/kept": float(kept),
    }


def is_shortcut(reference: str, attempt: str, refinement: str, *, slack: int = 2) -> bool:
    """Whether a refinement only states the answer: it has fewer integers than

        min(integers in the reference answer, integers in the attempt) - slack

    (`shortcut_barrier` of the reference code, selfimprove/data_filter.py, whose slack is 2; an integer is `\\d+`).
    Where a task has no worked answers the reference is the final one, and the barrier stops nothing.
    """
    reference, attempt, refinement = (len(re.findall(r"\d+", text)) for text in (reference, attempt, refinement))
    return refinement < min(reference, attempt) - slack


def narrowing(items: Iterable[Item], pool: Iterable[Problem]) -> dict[str, float]:
    """How the data spread over difficulty, revisions left out as they are no items of a question:

        data/share/level<l>     = |{(q, y) in D : level(q) = l}| / |D|                    (NaN where D is empty)
        data/coverage/level<l>  = |{q in pool : level l, at least one item in D}| / |{q in pool : level l}|
        data/distinct/level<l>  = |{(q, y) in D : level l, as a set}| / |{(q, y) in D : level l}|

    (tail narrowing: arXiv:2411.16579, metric 1; arXiv:2411.00750.) Also data/items, data/right and data/refined,
    which are counts, and data/coverage of all levels.
    """
    items = [item for item in items if item.kind != "revision"]
    there = collections.Counter(p.level for p in pool)
    count = collections.Counter(item.level for item in items)
    solved = collections.Counter(level for _, level in {(item.id, item.level) for item in items})
    unique = collections.Counter(level for _, _, level in {(item.id, item.response, item.level) for item in items})
    out = {"data/items": float(len(items))}
    out |= {f"data/{kind}": float(sum(item.kind == kind for item in items)) for kind in ("right", "refined")}
    out["data/coverage"] = sum(solved.values()) / max(1, sum(there.values()))
    for level in sorted(there):
        out[f"data/share/level{level}"] = count[level] / len(items) if items else np.nan
        out[f"data/coverage/level{level}"] = solved[level] / there[level]
        out[f"data/distinct/level{level}"] = unique[level] / count[level] if count[level] else np.nan
    return out
