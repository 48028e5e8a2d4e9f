r"""Countdown in words: make a target of three to six numbers with + - * /, for models that read English.

    Make 77 from the numbers 19, 36, 7 and 5, each used once, with + - * /. Write one step a line.

    19 + 36 = 55                    <answer>(19 + 36) * 7 / 5</answer>
    55 * 7 = 385
    385 / 5 = 77

The game as TinyZero and its successors pose it: every number is used, values are exact rationals, and an answer is one
expression in <answer> or a box; here also lines, one step each. What is read of a response, and how, is in
answers/countdown.py. Level n is the number of numbers. Reward 1 or 0.

Targets are results of random paths whose values are whole numbers from 1 to `MOST_ON_THE_WAY`, with / where it leaves
no remainder; so every problem has such a solution, and none needs a fraction, though a response may have some. Problems
of the three splits share no multiset of numbers: a split is a hash of the sorted numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence

import numpy as np

from entropy_rl.answers import countdown, trees
from entropy_rl.answers.trees import Tree, combine, number
from entropy_rl.data import splits
from entropy_rl.data.drawn import Drawn, check_levels, check_size, whole
from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError, lookup
from entropy_rl.methods.critique import countdown_words as critique
from entropy_rl.methods.critique.chat import ChatCritique

LEVELS = (3, 4, 5, 6)
SHARES = (0.7, 0.15, 0.15)  # of multisets in train, validation and test
MOST_ON_THE_WAY = 999
TRIES = 1000  # draws for each problem of an evaluation split, until there are enough different ones

# What is asked for, and the answer of a solution: of its steps and of its expression.
FORMS = {
    "lines": (" Write one step a line.", "{steps}", "{steps}"),
    "tag": (" Write the expression in <answer> </answer>.", "<answer>{tree}</answer>", "{steps}\n{answer}"),
    "boxed": ("", "\\boxed{{{tree}}}", "{steps}\n{answer}"),
}
_QUESTIONS = (
    re.compile(r"Make (-?[0-9]{1,12}) from the numbers ((?:[0-9]{1,12}, ){1,10}[0-9]{1,12} and [0-9]{1,12}),"),
    re.compile(r"numbers \[([0-9, ]{1,99})\][^0-9\n]{1,99}equals (-?[0-9]{1,12})"),  # TinyZero's
)


@dataclasses.dataclass(frozen=True)
class CountdownWords(Drawn):
    """Problems of one split; made by `make`, whose `largest` and `form` it has."""

    largest: int
    form: str
    name = "countdown_words"

    def draw(self, id: str, level: int, turn: int) -> Problem:
        """Problem number `turn` of a level of the stream."""
        return _problem(*_draw(self.split, level, self.seed, self.largest, turn), self.form, id)

    def verify(self, problem: Problem, response: str) -> float:
        """1.0 if `response` makes the target of `problem.prompt` of all its numbers, else 0.0; never raises.

        What a tag or box holds counts alone, whatever the lines; without one, or where it holds the target and no
        more, all lines with `=` must be right steps. Lines and expressions are taken whatever the task's form.
        """
        numbers, target = parse(problem.prompt)
        return countdown.verify(numbers, target, response)

    def verify_all(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair."""
        return [self.verify(problem, response) for problem, response in zip(problems, responses)]

    def final_answer(self, response: str) -> str:
        """The value that a response ends at, such as 77 or 7/2; "" for none."""
        return countdown.final_answer(response)

    def solution(self, response: str) -> str:
        """`solution_graph`: a solution is the same as lines, in whatever order, and as an expression."""
        return countdown.graph(response)

    def solution_graph(self, response: str) -> str:
        """Canonical text of the steps behind a response; see `answers.countdown.graph`."""
        return countdown.graph(response)

    def oracle(
        self, problem: Problem, response: str, rng: np.random.Generator | None = None, level: str = "answer"
    ) -> ChatCritique:
        """The truth about a response in English; see `methods.critique.countdown_words.critique`."""
        numbers, target = parse(problem.prompt)
        return critique.critique(numbers, target, response, rng, level=level)


def make(
    split: str = "train",
    levels: Iterable[int] = LEVELS,
    size: int | None = None,
    seed: int = 0,
    largest: int = 99,
    form: str = "tag",
) -> CountdownWords:
    """Countdown problems of one split.

    Problem i has level `levels[i % len(levels)]`. Train is a stream in which problems repeat; those of validation and
    test are distinct by (multiset, target). `size` only says where the sequence ends.

    Args:
      split: train, validation or test; about 70, 15 and 15 % of the multisets.
      levels: how many numbers: distinct values out of 3..6.
      size: number of problems. None is 2**20 for train, 1024 for the others.
      seed: which problems of the split.
      largest: of the numbers and of targets, 9 to 99; all are 1 or more.
      form: what is asked for and demonstrated. lines: steps alone; tag: steps, then the expression in <answer>; boxed:
        steps, then the expression in a box, which the question leaves to the style of prompts.

    Raises:
      InputError: an unknown split or form, bad levels, a value out of range, or more problems than can be drawn.
    """
    size, levels = check_size("countdown_words", split, size), check_levels("countdown_words", levels, LEVELS)
    seed, largest = whole("countdown_words seed", seed, 0), whole("countdown_words largest", largest)
    lookup(FORMS, form, "countdown_words form")
    if not 9 <= largest <= 99:
        raise InputError(f"countdown_words largest={largest!r}: give a whole number from 9 to 99")
    if split == "train":
        return CountdownWords(split, levels, size, seed, None, largest, form)
    columns = [_distinct(split, n, seed, largest, -(-size // len(levels))) for n in levels]
    problems = tuple(
        _problem(*columns[i % len(levels)][i // len(levels)], form, f"countdown_words/{split}/{i}") for i in range(size)
    )
    return CountdownWords(split, levels, size, seed, problems, largest, form)


def split_of(numbers: Iterable[int]) -> str:
    """The split that a multiset of numbers belongs to, in whatever order it is given."""
    return splits.split_of("countdown_words " + " ".join(map(str, sorted(numbers))), SHARES)


@functools.lru_cache(maxsize=4096)
def parse(question: str) -> tuple[tuple[int, ...], int]:
    """(numbers, target) of a question, ours or TinyZero's; ((), 0), which no response reaches, for any other text."""
    for style, pattern in enumerate(_QUESTIONS):
        if found := pattern.search(question):
            target, numbers = found.groups() if style == 0 else reversed(found.groups())
            return tuple(map(int, re.findall("[0-9]+", numbers))), int(target)
    return (), 0


def question(numbers: Sequence[int], target: int, form: str = "tag") -> str:
    """What is asked."""
    listed = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    return f"Make {target} from the numbers {listed}, each used once, with + - * /.{FORMS[form][0]}"


def _problem(numbers: Sequence[int], tree: Tree, form: str, name: str) -> Problem:
    _, short, worked = FORMS[form]
    lines = "\n".join(trees.steps(tree))
    answer = short.format(steps=lines, tree=tree)
    prompt = question(numbers, int(tree.value), form)
    return Problem(prompt, answer, name, len(numbers), worked.format(steps=lines, answer=answer))


def _draw(split: str, level: int, seed: int, largest: int, index: int) -> tuple[tuple[int, ...], Tree]:
    """Numbers of the split, and a random expression of all of them; pure in its arguments."""
    rng = np.random.default_rng(splits.digest(f"countdown_words/{split}/{level}/{seed}/{largest}/{index}"))
    while True:
        numbers = tuple(int(n) for n in rng.integers(1, largest + 1, level))
        if split_of(numbers) != split:
            continue
        pool = [number(n) for n in numbers]
        while len(pool) > 1:
            a, b = (pool.pop(rng.integers(len(pool))) for _ in range(2))
            ways = [combine(op, x, y) for op, x, y in (("+", a, b), ("-", a, b), ("-", b, a), ("*", a, b), ("/", a, b))]
            most = largest if not pool else MOST_ON_THE_WAY
            fits = [t for t in ways if t.value.denominator == 1 and 1 <= t.value <= most]
            if not fits:
                break
            pool.append(fits[rng.integers(len(fits))])
        else:
            return numbers, pool[0]


@functools.lru_cache(maxsize=64)
def _distinct(split: str, level: int, seed: int, largest: int, count: int) -> tuple[tuple[tuple[int, ...], Tree], ...]:
    found: dict[tuple, tuple[tuple[int, ...], Tree]] = {}
    for index in range(count + TRIES):
        numbers, tree = _draw(split, level, seed, largest, index)
        found.setdefault((tuple(sorted(numbers)), tree.value), (numbers, tree))
        if len(found) == count:
            return tuple(found.values())
    raise InputError(
        f"countdown_words/{split} has too few problems of level {level} with numbers up to {largest}: {len(found)} of "
        f"{count} were found: lower size, or raise largest"
    )
