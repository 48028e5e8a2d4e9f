"""The truth about an attempt at Countdown in words, in English: its first wrong line by exact search, and why.

    Step sentence: 19 + 36 = 54
    Correctness of the step: Wrong
    Explanation: 19 + 36 is 55, not 54.
    Correctness of the final answer: Wrong
    Explanation: It ends at 54, not at 68. A solution is: 36 - 19 = 17; 17 * 4 = 68

As critique/oracle.py does for the closed vocabulary, a line is blamed after which the target is out of reach, not only
the one that ends elsewhere. The search is over all expressions in exact rationals: from five numbers it takes
milliseconds, from six up to a second.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from entropy_rl.answers import countdown, trees
from entropy_rl.answers.countdown import Pool
from entropy_rl.answers.trees import Tree, combine, number
from entropy_rl.errors import lookup
from entropy_rl.methods.critique.chat import SOLUTION, ChatCritique, Step
from entropy_rl.methods.critique.chat import hint as say_hint
from entropy_rl.methods.critique.sentences import LEVELS

Values = tuple[Fraction, ...]
MOST = 6  # numbers that the solver looks for a way through; the time grows thirtyfold with each


def critique(
    numbers: Sequence[int],
    target: int,
    attempt: str,
    rng: np.random.Generator | None = None,
    *,
    level: str = "answer",
) -> ChatCritique:
    """What is wrong with an attempt, first wrong line first.

    A line is wrong if it is no step, takes a number that is not there, miscalculates, or leaves numbers from which the
    target cannot be made. Where all lines are good and the attempt is wrong, its last line is: it stops short of the
    target, or leaves numbers unused. In an attempt with a tag or box, the line that holds it is judged as well.

    Args:
      numbers, target: of the question.
      attempt: any text; of a long one `answers.countdown.MAX_CHARACTERS` are read.
      rng: draws the hint and the answer; None: leaves both away.
      level: what is said, one of `sentences.LEVELS`, each with those before: verdict, step (which line is wrong),
        reason, hint (a step that could stand in its place), answer (a solution, which has that step). `chat.limit` of
        a critique of level answer says the same at each level.

    Returns:
      ChatCritique with the lines up to the first wrong one; right if and only if `countdown.verify` gives 1.

    Raises:
      InputError: an unknown level.
    """
    lookup(dict.fromkeys(LEVELS), level, "critique level")
    says = LEVELS[: LEVELS.index(level) + 1]
    said = countdown.read(attempt)
    if countdown.verify(numbers, target, attempt):
        return ChatCritique(True, tuple(Step(line, True) for line in said.lines) if "step" in says else ())
    fault = _fault(tuple(map(number, numbers)), Fraction(target), said)
    hint = answer = ""
    if rng is not None and level in ("hint", "answer") and (tree := solve(fault.pool, target, rng)) is not None:
        rest = trees.steps(tree)
        if level == "answer":
            answer = f"{SOLUTION}{'; '.join([*fault.kept, *rest])}"
        elif rest:
            hint = say_hint(rest[0], fault.good)
    steps: tuple[Step, ...] = ()
    if "step" in says and said.lines:
        why = " ".join(filter(None, (fault.why, hint))) if "reason" in says else ""
        steps = (*(Step(line, True) for line in said.lines[: fault.line]), Step(said.lines[fault.line], False, why))
    if "answer" not in says:
        return ChatCritique(False, steps)
    value = countdown.final_answer(attempt)
    end = f"It ends at {value}, not at {target}." if value else "There is no answer in it."
    if value == str(target):
        end = f"The steps do not lead to {target}."
    return ChatCritique(False, steps, " ".join(filter(None, (end, answer))))


class _Fault(NamedTuple):
    """The first wrong line of an attempt."""

    line: int  # its index; 0 where there is none
    why: str  # a sentence
    kept: list[str]  # the steps that may stay
    pool: Pool  # the numbers after them
    good: bool = False  # whether the line is right in itself and one of those steps


def _fault(start: Pool, target: Fraction, said: countdown.Attempt) -> _Fault:
    """Of an attempt that is wrong."""
    pool, kept, last = start, [], None
    for i, step in enumerate(said.steps):
        if step == "":
            continue
        after, why = _after(pool, target, step)
        if why:
            return _Fault(i, why, kept, pool)
        kept, pool, last = [*kept, f"{step.left} = {step.result}"], after, i
    bottom = max(len(said.lines) - 1, 0)
    if said.cut:
        return _Fault(bottom, "It is too long.", kept, pool, True)
    marked = [i for i, line in enumerate(said.lines) if "</answer>" in line or "\\boxed{" in line]
    if said.final is not None or said.stated not in (None, target):
        return _Fault(marked[-1] if marked else bottom, _final(start, target, said), kept, pool)
    if last is None:
        return _Fault(bottom, "There is no step of the form a op b = c.", [], start)
    reached = said.steps[last].result
    unused = _list([tree for tree in pool if tree.value != reached] or pool[:-1])
    short = f"stops at {reached}, not at {target}, and " if reached != target else ""
    return _Fault(last, f"It {short}leaves {unused} unused.", kept, pool, True)


def _after(pool: Pool, target: Fraction, step: countdown.Step | str) -> tuple[Pool, str]:
    """(the pool after a line, what is wrong with the line: "" for nothing)."""
    if isinstance(step, str):
        return pool, "It is not a step of the form a op b = c."
    taken = countdown.use(pool, step)
    if isinstance(taken, Fraction):
        return pool, f"{taken} is not there: {_there(pool)}."
    tree, left = taken
    if tree.value is None:
        return pool, "It divides by 0."
    if tree.value != step.result:
        return pool, f"{step.left} is {tree.value}, not {step.result}."
    after = (*left, number(tree.value))
    if _found(_sorted(after), target):
        return after, ""
    if len(after) == 1:
        return after, f"It ends at {tree.value}, not at {target}."
    return after, f"{target} cannot be made of the numbers that it leaves, {_list(after)}."


def _final(pool: Pool, target: Fraction, said: countdown.Attempt) -> str:
    """Why what is in a tag or box is wrong."""
    if said.final is None:
        return f"The answer is {said.stated}, not {target}."
    if isinstance(said.final, str):
        return "The answer is not an expression of the numbers with + - * / and brackets."
    taken = countdown.take(pool, said.final)
    if isinstance(taken, Fraction):
        return f"{taken} is not there, or is used twice: {_there(pool)}."
    tree, unused = taken
    if tree.value is None:
        return "It divides by 0."
    if tree.value != target:
        return f"{said.final} is {tree.value}, not {target}."
    return f"It leaves {_list(unused)} unused." if unused else f"{said.final} is {tree.value}, not {said.stated}."


def _list(pool: Sequence[Tree]) -> str:
    words = [str(tree.value) for tree in pool]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _there(pool: Pool) -> str:
    return f"the numbers are {_list(pool)}" if len(pool) > 1 else f"only {_list(pool)} is left"


def _sorted(pool: Pool) -> Values:
    return tuple(sorted(tree.value for tree in pool))


def solve(pool: Pool, target: int | Fraction, rng: np.random.Generator | None = None) -> Tree | None:
    """An expression of all values of a pool that makes `target`; None where there is none, or too many values.

    Args:
      pool: trees, of whose values alone the expression is.
      target: what it makes.
      rng: draws among the ways; None: the first in the order of the search. Not uniform over expressions.
    """
    values = _sorted(pool)
    if not 0 < len(values) <= MOST:
        return None
    return _solve(values, Fraction(target), rng)


@functools.lru_cache(maxsize=1 << 16)
def _found(values: Values, target: Fraction) -> bool:
    return len(values) <= MOST and _solve(values, target, None) is not None


def _solve(values: Values, target: Fraction, rng: np.random.Generator | None) -> Tree | None:
    if len(values) <= 3:
        ways = _values(values).get(target)
        return ways[0 if rng is None else rng.integers(len(ways))] if ways else None
    splits = _splits(values)
    for s in range(len(splits)) if rng is None else rng.permutation(len(splits)):
        small, rest = splits[s]
        there = list(_values(small).items())
        for k in range(len(there)) if rng is None else rng.permutation(len(there)):
            x, ways = there[k]
            for op, first, wanted in _inverses(x, target):
                if len(rest) > 3 and not _found(rest, wanted):
                    continue
                other = _solve(rest, wanted, rng)
                if other is not None:
                    one = ways[0 if rng is None else rng.integers(len(ways))]
                    return combine(op, one, other) if first else combine(op, other, one)
            if x == 0 == target:  # 0 times anything
                other = functools.reduce(functools.partial(combine, "+"), map(Tree, rest))
                return combine("*", ways[0], other)
    return None


def _inverses(x: Fraction, target: Fraction) -> Iterator[tuple[str, bool, Fraction]]:
    """(op, whether x comes first, the other operand) of every operation with x that gives `target`."""
    yield "+", True, target - x
    yield "-", True, x - target
    yield "-", False, target + x
    if x:
        yield "*", True, target / x
        yield "/", False, target * x
        if target:
            yield "/", True, x / target


@functools.lru_cache(maxsize=4096)
def _splits(values: Values) -> tuple[tuple[Values, Values], ...]:
    """The values in two parts, the smaller one first; equal ones once."""
    found: dict[tuple[Values, Values], None] = {}
    everywhere = range(len(values))
    for size in range(1, len(values) // 2 + 1):
        for chosen in itertools.combinations(everywhere, size):
            small = tuple(values[i] for i in chosen)
            found[small, tuple(values[i] for i in everywhere if i not in chosen)] = None
    return tuple(found)


@functools.lru_cache(maxsize=1 << 11)  # with three values 10 KB each
def _values(values: Values) -> dict[Fraction, tuple[Tree, ...]]:
    """What at most three values can make, each with some ways."""
    if len(values) == 1:
        return {values[0]: (Tree(values[0]),)}
    found: dict[Fraction, list[Tree]] = {}
    for small, rest in _splits(values):
        for (_, left), (_, right) in itertools.product(_values(small).items(), _values(rest).items()):
            for op, a, b in (("+", 0, 1), ("-", 0, 1), ("-", 1, 0), ("*", 0, 1), ("/", 0, 1), ("/", 1, 0)):
                pair = (left[0], right[0])
                tree = combine(op, pair[a], pair[b])
                if tree.value is not None:
                    found.setdefault(tree.value, []).append(tree)
    return {value: tuple(trees) for value, trees in found.items()}
