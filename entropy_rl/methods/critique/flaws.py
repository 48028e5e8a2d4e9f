"""Planted mistakes: a solution with one error of a stated type at a stated step (RG3 of arXiv:2411.16579, figure 2)."""

from __future__ import annotations

import numpy as np

from entropy_rl.methods.critique.oracle import reaches, step, steps_from
from entropy_rl.tasks.countdown import MAX_VALUE, VALUE, parse

KINDS = ("arithmetic", "operand", "unreachable")  # of critique/sentences.REASONS


def plant(question: str, solution: str, at: int, kind: str, rng: np.random.Generator) -> str | None:
    """The steps of a Countdown solution before step `at`, and a wrong step in its place.

    arithmetic   the result is another number.
    operand      one operand is a number that is not in the pool; the result is that of the operation.
    unreachable  a correct step after which the target is out of reach.

    Args:
      question: a prompt of tasks/countdown.py. solution: a right response to it.
      at: the step to spoil, from 1.
      rng: draws the wrong step, uniformly over those of the kind.

    Returns:
      Text of `at` steps, to be gone on from; None where the solution has no such step or no such mistake is possible.

    Raises:
      ValueError: an unknown kind, or a solution that is not one.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of mistake {kind!r}: one of {', '.join(KINDS)}")
    numbers, target = parse(question)
    steps = solution.split(" ; ")
    if not 1 <= at <= len(steps):
        return None
    pool = tuple(sorted(numbers))
    for text in steps[: at - 1]:
        wrong, pool, _ = step(pool, text.split())
        if wrong:
            raise ValueError(f"{solution!r} does not solve {question!r}")
    if kind == "unreachable":
        found = [t for t, after, c in steps_from(pool) if c != target and not reaches(after, target)]
    else:
        a, op, b, _, c = steps[at - 1].split()
        if kind == "arithmetic":
            found = [f"{a} {op} {b} = {v}" for v in range(MAX_VALUE + 1) if v != VALUE[c]]
        else:
            missing = [v for v in range(1, MAX_VALUE + 1) if v not in pool]
            results = {v: {"+": v + VALUE[b], "-": v - VALUE[b], "*": v * VALUE[b]}[op] for v in missing}
            found = [f"{v} {op} {b} = {r}" for v, r in results.items() if 0 <= r <= MAX_VALUE]
    if not found:
        return None
    return " ; ".join([*steps[: at - 1], found[rng.integers(len(found))]])
