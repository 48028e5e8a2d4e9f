r"""Tasks whose problems are rows: questions with one gold answer, in memory, checked by answers/grade.py.

    examples (question, gold answer, worked answer, level)  ->  build  ->  Records

What `build` does to any of them, whether they come from a file or from TFDS: the same question twice is kept once
(DAPO-Math-17k has every one a hundred times); a split that has no file of its own is a share of train's by a hash of
the question, so that no question is in two; a row whose own answer cannot be checked is refused; `size` keeps the first
of a shuffle by `seed`, so that it is a fair sample of the file whatever its order.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from entropy_rl.answers.extract import FORMS, final_answer
from entropy_rl.answers.grade import Grader, equal
from entropy_rl.data import order, splits
from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError, lookup

WAYS = {"boxed": "\\boxed{%s}", "hash": "#### %s", "tag": "<answer>%s</answer>"}


class Example(NamedTuple):
    """A question, its gold answer, a worked answer ("" for none), a difficulty, and where it stands."""

    prompt: str
    gold: str
    worked: str
    level: int
    where: str


class Verifier(Grader):
    """How responses to questions with one gold answer are checked; the half of a task that needs no problems."""

    def verify(self, problem: Problem, response: str) -> float:
        """1.0 where the final answer of `response` is that of `problem.answer`, else 0.0. Never raises."""
        return self.grade(gold_of(problem.answer, self.form), response)

    def verify_all(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair; what goes to math-verify goes together."""
        return self.grade_all([(gold_of(p.answer, self.form), r) for p, r in zip(problems, responses)])

    def final_answer(self, response: str) -> str:
        """The answer that a response commits to, in canonical form, so that 1/2 and 0.5 are one; "" for none."""
        return self.final(response)

    def solution(self, response: str) -> str:
        """The response with single spaces."""
        return " ".join(response.split())


class WithVerifier:
    """The half of a task that its verifier does."""

    verifier: Any

    def verify(self, problem: Problem, response: str) -> float:
        """Reward of any string; never raises."""
        return self.verifier.verify(problem, response)

    def verify_all(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair."""
        return self.verifier.verify_all(problems, responses)

    def final_answer(self, response: str) -> str:
        """What a response commits to; "" for none."""
        return self.verifier.final_answer(response)

    def solution(self, response: str) -> str:
        """The response in the form in which equal ones are the same."""
        return self.verifier.solution(response)


@dataclasses.dataclass(frozen=True)
class Records(WithVerifier):
    """Problems of one split; made by `build`.

    Attributes:
      levels: those that there are.
      duplicates: rows that were left out because their question had been there before.
      unchecked: rows that were left out (`skip`) because their own answer cannot be checked.
    """

    name: str
    split: str
    problems: tuple[Problem, ...] = dataclasses.field(repr=False)
    verifier: Any = dataclasses.field(repr=False)
    levels: tuple[int, ...]
    duplicates: int = 0
    unchecked: int = 0
    stream = False  # a finite set, shuffled anew each epoch

    def __len__(self) -> int:
        """Number of problems."""
        return len(self.problems)

    def __getitem__(self, i: int) -> Problem:
        """Problem `i`; IndexError outside 0..len-1."""
        return self.problems[order.within(i, len(self), f"{self.name}/{self.split}")]


def build(
    name: str,
    split: str,
    examples: Iterable[Example],
    verifier: Verifier,
    *,
    shared: Iterable[str] = (),
    shares: Sequence[float] = splits.SHARES,
    size: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    skip: bool = False,
) -> Records:
    """The task of some examples.

    Args:
      name, split: of the task; problem ids are `name/split/number of the row`.
      examples: in the order of the file.
      verifier: checks answers.
      shared: the splits that have no examples of their own: they take their share of these, and train has the rest.
      shares: of train, validation and test.
      size: how many problems are kept, drawn by `seed`; None: all, in the order of the file.
      levels: those that are kept; None: all.
      seed: of the draw.
      skip: leave out rows whose own answer cannot be checked, where otherwise they are an error.

    Raises:
      InputError: such a row; an empty question; nothing is left; a level that is not there; a size that is too large.
    """
    shared, shares = set(shared), splits.check_shares(shares, name)
    seen, duplicates, problems, unchecked = set(), 0, [], 0
    for number, example in enumerate(examples):
        key = " ".join(example.prompt.split())
        if not key:
            raise InputError(f"{example.where}: the question is empty: mend or remove it")
        if shared:
            own = splits.split_of(key, shares)
            if (own if own in shared else "train") != split:
                continue
        if key in seen:
            duplicates += 1
            continue
        answer = commit(example.gold, verifier.form)
        if not answer:
            unchecked += 1
            if not skip:
                raise InputError(
                    f"{example.where}: the answer {example.gold[:60]!r} cannot be checked in form {verifier.form!r}: "
                    "give another form, mend it, or set skip=True to leave such rows out"
                )
            continue
        seen.add(key)
        worked = finish(example.worked, example.gold, verifier.form)
        problems.append(Problem(example.prompt, answer, f"{name}/{split}/{number}", example.level, worked))
    problems = select(name, split, problems, size=size, levels=levels, seed=seed)
    return Records(name, split, problems, verifier, tuple(sorted({p.level for p in problems})), duplicates, unchecked)


def select(
    name: str, split: str, problems: Sequence[Problem], *, size: int | None, levels: Iterable[int] | None, seed: int
) -> tuple[Problem, ...]:
    """The problems of some levels, and `size` of them.

    Raises:
      InputError: there are none, or fewer.
    """
    if not problems:
        raise InputError(f"{name}/{split} has no problems: give other files, another split or other shares")
    if levels is not None:
        wanted = set(levels) if isinstance(levels, Iterable) else {levels}
        there = sorted({p.level for p in problems})
        if not wanted or not wanted <= set(there):
            raise InputError(f"{name}/{split} levels={levels!r}: it has problems of levels {there}")
        problems = [p for p in problems if p.level in wanted]
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= len(problems):
            raise InputError(f"{name}/{split} has {len(problems)} problems: size={size!r} must be 1 to {len(problems)}")
        problems = [problems[order.index(len(problems), seed, i)] for i in range(size)]
    return tuple(problems)


def commit(gold: str, form: str) -> str:
    r"""A response that says no more than `gold`: `\boxed{72}`, `#### 72`; in form any `72` where that will do.

    "" where no such response would be found right, because the answer has no reading or spoils the mark around it.
    """
    lookup(FORMS, form, "answer form")
    gold = gold.strip()
    for text in [WAYS[form] % gold] if form in WAYS else [gold, WAYS["boxed"] % gold, WAYS["tag"] % gold]:
        found = final_answer(text, form)
        if found and found == gold and equal(gold, found):
            return text
    return ""


def finish(worked: str, gold: str, form: str) -> str:
    """A worked answer that ends in this form: as it is where it does, else with another last line.

    "" where there is none, or where it would still not be found right.
    """
    if not worked.strip():
        return ""
    if right(gold, worked, form):
        return worked
    body = re.sub(r"\s*####[^\n]*\s*\Z", "", worked)
    ending = WAYS[form if form in WAYS else "boxed"] % gold.strip()
    text = f"{body}\n{ending}"
    return text if right(gold, text, form) else ""


def right(gold: str, response: str, form: str) -> bool:
    """Whether exact values find the response right."""
    found = final_answer(response, form)
    return bool(found) and bool(equal(gold, found))


def gold_of(answer: str, form: str) -> str:
    """The gold answer in `Problem.answer`, which is written as a response."""
    return final_answer(answer, form) or answer


def verifier(**args: Any) -> Verifier:
    """The verifier of a task's arguments, of which it takes its own: for frozen data, whose files may be gone."""
    return Verifier(**{k: v for k, v in args.items() if k in ("form", "symbolic", "seconds", "workers")})
