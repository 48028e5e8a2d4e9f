"""What a task is: a sequence of problems with checkable answers. Strings only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from entropy_rl.data.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class Problem:
    """One question with a checkable answer.

    Attributes:
      prompt: the text that the policy is given.
      answer: a reference answer in the format of a response; `verify(problem, problem.answer) == 1.0`.
      id: unique within the task and stable between processes, e.g. `countdown/test/17`.
      level: difficulty, one of the task's `levels`.
      demonstration: a worked response to imitate, where there is one: right, and in the format of a response.
    """

    prompt: str
    answer: str
    id: str
    level: int
    demonstration: str = ""


@runtime_checkable
class Task(Protocol):
    """A sequence of problems and the rule that scores a response.

    A module `entropy_rl/tasks/<name>.py` with a function `make(**kwargs) -> Task` is a task.

    Attributes:
      levels: the difficulties that problems have.
      stream: whether problems come in random order already; a finite set (False) is shuffled anew each epoch
        (data/order.py).
      tokenizer: turns prompts and responses into tokens.
    """

    levels: tuple[int, ...]
    stream: bool
    tokenizer: Tokenizer

    def __len__(self) -> int:
        """Number of problems."""

    def __getitem__(self, i: int) -> Problem:
        """Problem `i`: a pure function of `i` and of what the task was made with. IndexError outside."""

    def verify(self, problem: Problem, response: str) -> float:
        """Reward in [0, 1] of any string, in bounded time; never raises."""

    def final_answer(self, response: str) -> str:
        """What a response commits to (for answer-level entropy and majority vote); "" when there is none."""

    def solution(self, response: str) -> str:
        """Canonical form: two responses are the same solution when these strings are equal. Never raises."""


@runtime_checkable
class TextTask(Protocol):
    """A task in natural language: as `Task`, but it leaves tokens to whoever poses its problems to a model.

    Attributes:
      levels, stream: as of a `Task`.
    """

    levels: tuple[int, ...]
    stream: bool

    def __len__(self) -> int:
        """Number of problems."""

    def __getitem__(self, i: int) -> Problem:
        """Problem `i`: a pure function of `i` and of what the task was made with. IndexError outside."""

    def verify(self, problem: Problem, response: str) -> float:
        """Reward in [0, 1] of any string, in bounded time; never raises."""

    def verify_all(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair. What needs another process goes there together."""

    def final_answer(self, response: str) -> str:
        """What a response commits to (for answer-level entropy and majority vote); "" when there is none."""

    def solution(self, response: str) -> str:
        """The response with single spaces: two responses are the same where these are equal. Never raises."""
