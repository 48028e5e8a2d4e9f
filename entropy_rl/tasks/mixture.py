"""Several text tasks as one: what a small model is taught on before it is trained on one of them.

    make(parts=(("countdown_words", {"levels": (3,), "form": "lines"}, 2), ("reasoning_gym", {"name": "gcd"}, 1)))

A part is a task, what its `make` is given, and its turns: of the parts above problems come as 0, 0, 1, 0, 0, 1, and so
on. The level of a problem is its part's number, so that evaluations tell the parts apart. An id is `PART:ID`, with the
part's number and the problem's own id; each response is scored by the part that its problem is of.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from entropy_rl.data.drawn import check_size
from entropy_rl.data.order import problem_at, within
from entropy_rl.data.problem import Problem, TextTask
from entropy_rl.errors import InputError
from entropy_rl.methods.critique.chat import ChatCritique
from entropy_rl.tasks import base


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Problems of one split; made by `make`.

    Attributes:
      split, size: as given to `make`.
      tasks: the parts.
      turns: (part, its how manieth problem within a round) of each place of a round.
      levels: the numbers of the parts.
    """

    split: str
    size: int
    tasks: tuple[TextTask, ...] = dataclasses.field(repr=False)
    turns: tuple[tuple[int, int], ...]
    stream = True  # a part that is a finite set is shuffled

    @property
    def levels(self) -> tuple[int, ...]:
        """The numbers of the parts."""
        return tuple(range(len(self.tasks)))

    def __len__(self) -> int:
        """Number of problems."""
        return self.size

    def __getitem__(self, i: int) -> Problem:
        """Problem `i`, of the part whose turn it is; IndexError outside 0..size-1."""
        rounds, place = divmod(within(i, self.size, f"mixture/{self.split}"), len(self.turns))
        part, nth = self.turns[place]
        each = sum(other == part for other, _ in self.turns)
        problem = problem_at(self.tasks[part], 0, rounds * each + nth)
        return dataclasses.replace(problem, id=f"{part}:{problem.id}", level=part)

    def verify(self, problem: Problem, response: str) -> float:
        """The score by the part that the problem is of; never raises."""
        return self.verify_all([problem], [response])[0]

    def verify_all(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair, those of a part together."""
        of = collections.defaultdict(list)
        for i, problem in enumerate(problems):
            of[_part(problem)].append(i)
        out = [0.0] * len(problems)
        for part, places in of.items():
            own = [_own(problems[i]) for i in places]
            for i, score in zip(places, self.tasks[part].verify_all(own, [responses[i] for i in places])):
                out[i] = score
        return out

    def final_answer(self, response: str) -> str:
        """By the first part that finds one; "" for none."""
        return next(filter(None, (task.final_answer(response) for task in self.tasks)), "")

    def solution(self, response: str) -> str:
        """The response with single spaces."""
        return " ".join(response.split())

    def oracle(
        self, problem: Problem, response: str, rng: np.random.Generator | None = None, level: str = "answer"
    ) -> ChatCritique:
        """The truth about a response: by the part's own oracle, or the verdict alone where it has none."""
        if (truth := getattr(self.tasks[_part(problem)], "oracle", None)) is None:
            return ChatCritique(self.verify(problem, response) >= 1)
        how = {"level": level} if "level" in inspect.signature(truth).parameters else {}
        return truth(_own(problem), response, rng, **how)


def make(split: str = "train", parts: Sequence = (), size: int | None = None) -> Mixture:
    """Problems of one split of all parts.

    Args:
      split: train, validation or test.
      parts: (name of a text task, arguments of its `make` without split and size, turns in a round, 1 or more).
      size: number of problems. None is 2**20 for train, 1024 for the others.

    Raises:
      InputError: no parts, one that is no such triple, that its task refuses, is no text task, or has too few problems.
    """
    size = check_size("mixture", split, size)
    parts = [_checked(part) for part in parts]
    if not parts:
        raise InputError("mixture has no parts: give (name, arguments, turns) of each task")
    count = [turns for _, _, turns in parts]
    turns = tuple((part, nth) for part, most in enumerate(count) for nth in range(most))
    tasks = []
    for name, args, each in parts:
        wanted = -(-size // len(turns)) * each
        task = base.get(name, **args, split=split, size=wanted)
        if hasattr(task, "tokenizer"):
            raise InputError(f"mixture part {name!r} is no text task: it has a vocabulary of its own")
        if split != "train" and len(task) < wanted:
            raise InputError(f"mixture part {name!r} has {len(task)} problems in {split}, and {wanted} are wanted")
        tasks.append(task)
    return Mixture(split, size, tuple(tasks), turns)


def _part(problem: Problem) -> int:
    """The number of the part that a problem is of."""
    return int(problem.id.partition(":")[0])


def _own(problem: Problem) -> Problem:
    """A problem as its part has it, but for the level."""
    return dataclasses.replace(problem, id=problem.id.partition(":")[2])


def _checked(part: Any) -> tuple[str, dict[str, Any], int]:
    """A part, or InputError."""
    shaped = isinstance(part, Sequence) and not isinstance(part, str) and len(part) == 3
    if not shaped or not isinstance(part[0], str) or not isinstance(part[1], Mapping):
        raise InputError(f"mixture part {part!r}: give (name, arguments, turns)")
    name, args, turns = part
    if isinstance(turns, bool) or not isinstance(turns, int) or turns < 1:
        raise InputError(f"mixture part {name!r} has {turns!r} turns: give a whole number above 0")
    return name, dict(args), turns
