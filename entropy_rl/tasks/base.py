"""A task by its name: each module of this folder with a function `make` is one."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil
import types
from typing import Any

from entropy_rl.data.problem import Problem, Task, TextTask
from entropy_rl.errors import InputError, lookup, nearest

__all__ = ["Problem", "Task", "TextTask", "get", "module", "names", "verifier"]


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
