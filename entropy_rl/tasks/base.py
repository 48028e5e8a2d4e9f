"""What a task is, and how one is found by name. Strings and numpy only."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import types
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from entropy_rl.data.tokenizers import Tokenizer
from entropy_rl.errors import InputError, lookup, nearest


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


def names() -> list[str]:
    """Names that `get` knows: the modules beside this one."""
    folder = str(pathlib.Path(__file__).parent)
    return sorted(m.name for m in pkgutil.iter_modules([folder]) if m.name != "base")


def get(name: str, /, **kwargs: Any) -> Task:
    """The task `name`: `entropy_rl.tasks.<name>.make(**kwargs)`.

    Raises:
      InputError: there is no such task, or its `make` has no such argument, or refuses the value.
    """
    make = getattr(module(name), "make", None)
    if make is None:
        raise InputError(f"entropy_rl/tasks/{name}.py is not a task: it has no make()")
    # Bind before the call: a TypeError from inside `make` is a bug and keeps its traceback.
    signature = inspect.signature(make)
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        unknown = [key for key in kwargs if key not in signature.parameters]
        hint = nearest(unknown[0], signature.parameters) if unknown else ""
        taken = ", ".join(signature.parameters)
        raise InputError(f"task {name!r} {error}{hint}: it takes {taken}") from None
    return make(**kwargs)


def verifier(name: str, /, **kwargs: Any) -> Any:
    """What checks responses to the problems of `get(name, **kwargs)`, for frozen ones, whose data may be gone.

    It has verify, final_answer and solution: what `entropy_rl.tasks.<name>.verifier(**kwargs)` gives, or, where the
    module has no such function, the task itself.

    Raises:
      InputError: as `get`.
    """
    make = getattr(module(name), "verifier", None)
    return get(name, **kwargs) if make is None else make(**kwargs)


def module(name: str) -> types.ModuleType:
    """The module of the task `name`; InputError where there is none."""
    lookup(dict.fromkeys(names()), name, "task")
    return importlib.import_module(f"{__package__}.{name}")
