"""The truth about an attempt at Countdown: its first step after which the target is out of reach, by solver, and why.

A checker that looks at steps one by one blames the last one in 95 % of failures, as a model writes `= target` whatever
the sum; what went wrong is an earlier step, each correct in itself, that left numbers from which nothing leads there.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from entropy_rl.data.problem import Problem
from entropy_rl.methods.critique.chat import ChatCritique, Step
from entropy_rl.methods.critique.sentences import REASONS, Critique
from entropy_rl.tasks.countdown import MAX_CHARACTERS, MAX_VALUE, OPS, VALUE, parse

Pool = tuple[int, ...]


def critique(question: str, attempt: str, rng: np.random.Generator | None = None) -> Critique:
    """What is wrong with an attempt, first step first.

    A step is wrong if it is malformed, takes a number that is not in the pool, miscalculates, or leaves a pool from
    which no further steps reach the target while its own result is not it either. A solution whose steps are all good
    and that stops short of the target has its last step named, with reason "target".

    Args:
      question: a prompt of tasks/countdown.py.
      attempt: any text; what is beyond MAX_CHARACTERS is not read.
      rng: draws the hint and the answer, uniformly over next steps that keep the target in reach; None: leaves both
        away.

    Returns:
      Critique of all levels, without a hint where the target was reached before. Right if and only if
      `Countdown.verify` gives 1.
    """
    numbers, target = parse(question)
    steps = [s.split() for s in " ".join(attempt[:MAX_CHARACTERS].split()).split(" ; ")]
    pool, last, trail = tuple(sorted(numbers)), -1, [tuple(sorted(numbers))]
    reason, at = "", len(steps)
    for i, words in enumerate(steps):
        reason, pool, last = step(pool, words)
        if not reason and last != target and not reaches(pool, target):
            reason = "unreachable"
        if reason:
            at = i + 1
            break
        trail.append(pool)
    if not reason and (last != target or len(attempt) > MAX_CHARACTERS or not attempt.isascii()):
        reason = "target" if last != target else "format"
    if not reason:
        return Critique(True)
    hint = answer = ""
    if rng is not None and reaches(trail[0], target):
        good = len(trail) - (2 if reason == "target" and not reaches(trail[-1], target) else 1)
        kept = [" ".join(words) for words in steps[:good]]
        # nothing leads on where the steps before had reached the target already: the solution ends there
        rest = complete(trail[good], target, rng) if reaches(trail[good], target) else []
        hint, answer = "".join(rest[:1]), " ; ".join([*kept, *rest])
    return Critique(False, at, reason, hint, answer)


def in_words(
    problem: Problem, attempt: str, rng: np.random.Generator | None = None, level: str = "answer"
) -> ChatCritique:
    """`critique` in natural language, for Countdown posed to a language model.

    Steps before the first wrong one are right. A solution is told with the final judgement; a hint, which would stand
    with the reason, at the level "hint" alone, so that `chat.limit` to "reason" leaks none.
    """
    found = critique(problem.prompt, attempt, rng)
    if found.right:
        return ChatCritique(True)
    steps = [" ".join(s.split()) for s in " ".join(attempt[:MAX_CHARACTERS].split()).split(" ; ")]
    why = f"{REASONS[found.reason][0].upper()}{REASONS[found.reason][1:]}."
    hint = f" A better step: {found.hint}." if found.hint and level == "hint" else ""
    said = [Step(text or "(nothing)", True) for text in steps[: found.step - 1]]
    said += [Step(text or "(nothing)", False, why + hint) for text in steps[found.step - 1 : found.step]]
    return ChatCritique(False, tuple(said), f"A right solution: {found.answer}." if found.answer else "")


def step(pool: Pool, words: list[str]) -> tuple[str, Pool, int]:
    """(what is wrong with a step in itself, "" for nothing; the pool after it, unchanged if wrong; its result)."""
    if len(words) != 5 or words[1] not in OPS or words[3] != "=":
        return "format", pool, -1
    try:
        a, b, c = (VALUE[words[i]] for i in (0, 2, 4))
    except KeyError:
        return "format", pool, -1
    left = list(pool)
    try:
        left.remove(a)
        left.remove(b)
    except ValueError:
        return "operand", pool, -1
    if OPS[words[1]](a, b) != c:
        return "arithmetic", pool, -1
    return "", tuple(sorted((*left, c))), c


def steps_from(pool: Pool) -> list[tuple[str, Pool, int]]:
    """All steps that a sorted pool allows: (text, the pool after it, its result), the larger operand of - first."""
    found = {}
    for i, j in itertools.combinations(range(len(pool)), 2):
        a, b = pool[i], pool[j]  # a <= b
        rest = pool[:i] + pool[i + 1 : j] + pool[j + 1 :]
        for x, op, y in ((a, "+", b), (b, "+", a), (b, "-", a), (a, "*", b), (b, "*", a)):
            c = OPS[op](x, y)
            if c <= MAX_VALUE:
                found[f"{x} {op} {y} = {c}"] = (tuple(sorted((*rest, c))), c)
    return [(text, after, c) for text, (after, c) in found.items()]


@functools.lru_cache(maxsize=1 << 20)
def _reach(pool: Pool) -> int:
    # Bit v is set when v is the result of one or more steps from the sorted pool; numbers may be left over.
    found = 0
    for i, j in itertools.combinations(range(len(pool)), 2):
        rest = pool[:i] + pool[i + 1 : j] + pool[j + 1 :]
        for c in {pool[i] + pool[j], pool[j] - pool[i], pool[i] * pool[j]}:
            if c <= MAX_VALUE:
                found |= 1 << c | _reach(tuple(sorted((*rest, c))))
    return found


def reaches(pool: Pool, target: int) -> bool:
    """Whether one or more steps from the sorted pool end in `target`."""
    return target >= 0 and bool(_reach(pool) >> target & 1)


def complete(pool: Pool, target: int, rng: np.random.Generator) -> list[str]:
    """Random steps from a sorted pool that end in `target`, each uniform over those that keep it in reach.

    Raises:
      ValueError: it is out of reach.
    """
    steps = []
    while True:
        alive = [s for s in steps_from(pool) if s[2] == target or reaches(s[1], target)]
        if not alive:
            raise ValueError(f"no steps from {pool} reach {target}")
        text, pool, result = alive[rng.integers(len(alive))]
        steps.append(text)
        if result == target:
            return steps
