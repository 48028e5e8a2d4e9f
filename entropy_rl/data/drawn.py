"""Tasks whose problems are drawn at random: a stream to train on, distinct ones to evaluate on, levels taking turns."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable
from numbers import Integral
from typing import Any, ClassVar

from entropy_rl.data.order import within
from entropy_rl.data.problem import Problem
from entropy_rl.data.splits import SPLITS
from entropy_rl.errors import InputError, lookup


@dataclasses.dataclass(frozen=True)
class Drawn(abc.ABC):
    """Problems of one split; made by the task's `make`.

    Attributes:
      split, levels, size, seed: as given to `make`.
      problems: the distinct problems of an evaluation split; None for train, which is a stream.
    """

    split: str
    levels: tuple[int, ...]
    size: int
    seed: int
    problems: tuple[Problem, ...] | None = dataclasses.field(repr=False)
    stream = True  # all splits: problems are drawn at random
    name: ClassVar[str]

    def __len__(self) -> int:
        """Number of problems."""
        return self.size

    def __getitem__(self, i: int) -> Problem:
        """Problem `i`, of level `levels[i % len(levels)]`; IndexError outside 0..size-1."""
        i = within(i, self.size, f"{self.name}/{self.split}")
        if self.problems is not None:
            return self.problems[i]
        turn, place = divmod(i, len(self.levels))
        return self.draw(f"{self.name}/{self.split}/{i}", self.levels[place], turn)

    @abc.abstractmethod
    def draw(self, id: str, level: int, turn: int) -> Problem:
        """Problem number `turn` of a level of the stream."""


def check_size(task: str, split: str, size: Any) -> int:
    """How many problems `make` is asked for: for None 2**20 of train, and 1024 of the others.

    Raises:
      InputError: an unknown split; a size that is no whole number above 0.
    """
    lookup(dict.fromkeys(SPLITS), split, f"{task} split")
    return whole(f"{task} size", (1 << 20 if split == "train" else 1024) if size is None else size, 1)


def check_levels(task: str, levels: Any, known: tuple[int, ...]) -> tuple[int, ...]:
    """Levels of a task, one or several, as a tuple; InputError unless they are distinct ones that are known."""
    given = tuple(levels) if isinstance(levels, Iterable) else (levels,)
    fit = all(isinstance(n, Integral) and not isinstance(n, bool) and n in known for n in given)
    if not fit or not 0 < len(given) == len(set(given)):
        raise InputError(f"{task} levels={given!r}: give distinct whole numbers out of {known}")
    return tuple(map(int, given))


def whole(what: str, value: Any, least: int | None = None) -> int:
    """A whole number; InputError for anything else, for a bool, and for less than `least`, 0 or 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or (least is not None and value < least):
        bound = {None: "", 0: " of 0 or more", 1: " above 0"}[least]
        raise InputError(f"{what}={value!r}: give a whole number{bound}")
    return int(value)
