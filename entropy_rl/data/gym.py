"""The package reasoning-gym: its tasks by name, their settings and levels, and their scorers for a worker process."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import random
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from entropy_rl.data.splits import digest
from entropy_rl.errors import InputError, lookup, nearest

OURS = ("seed", "size")  # fields of every task's settings that follow from a seed and a split
# Most make any problem when it is asked for, whatever they are told of their size. These make or draw all at once,
# refuse more, or have a seed of 32 bits: so many they have.
LIMITED = {
    "acre": 4096,
    "gsm_symbolic": 1 << 20,
    "list_functions": 1 << 20,
    "pool_matrix": 1 << 30,
    "word_ladder": 20_000,
}
SIZE = 1 << 20  # what all others are told; if a later version drew all at once, that would take a second and no more
# These go through sets of words, so that what they make depends on Python's hash seed, which is another one in every
# process: they are asked in a worker, where it is fixed.
HASHED = {"isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder"}
# Where an entry without an answer, of which there are several, has one of them.
EXAMPLES = ("possible_answer", "example_answer", "example_correct_answer")


def module() -> types.ModuleType:
    """The package `reasoning_gym`; it takes seconds to import, so only what needs it asks for it.

    Raises:
      InputError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # cellpylib, which it imports, compares with `is` to a literal: harmless, but said at every first import
            warnings.simplefilter("ignore", SyntaxWarning)
            return importlib.import_module("reasoning_gym")
    except ImportError as error:
        raise InputError(
            f"its tasks need the package reasoning-gym ({error}): pip install 'entropy_rl[tasks]'"
        ) from error


def names() -> list[str]:
    """Names of its tasks, without the one that mixes others.

    Raises:
      InputError: it is not installed.
    """
    module()
    from reasoning_gym.factory import DATASETS

    return sorted(name for name in DATASETS if name != "composite")


def dataset(name: str, seed: int, settings: Mapping[str, Any], level: int | None = None) -> Any:
    """A task of reasoning-gym: `[i]` is problem i, a function of all arguments alone.

    Args:
      name: of the task.
      seed: 0 or more; problems of another seed are other draws.
      settings: fields of the task's own config.
      level: of difficulty: the value number `level` of every attribute of the task's curriculum, the last where it has
        fewer. None: the task's defaults.

    Raises:
      InputError: no such task, setting or level; a value that the task refuses; a setting that the level gives.
    """
    module()
    from reasoning_gym.factory import DATASETS

    lookup(dict.fromkeys(names()), name, "reasoning-gym task")
    make, config = DATASETS[name]
    known = [f.name for f in dataclasses.fields(config) if f.name not in OURS]
    for key in settings:
        if key in OURS:
            raise InputError(
                f"reasoning-gym task {name!r}: {key} is no setting of it: give seed= and size= of the task"
            )
        if key not in known:
            raise InputError(
                f"reasoning-gym task {name!r} has no setting {key!r}{nearest(key, known)}: it has {', '.join(known)}"
            )
    given = dict(settings) if level is None else {**settings, **_of_level(name, level, settings)}
    # Its problem i is seeded with seed + i, so that seeds next to each other share their problems: far apart, none do.
    start = digest(f"reasoning-gym/{name}/{seed}") % (1 << (31 if name == "pool_matrix" else 62))
    try:
        return make(config(**given, seed=start, size=LIMITED.get(name, SIZE)))
    except (AssertionError, TypeError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"reasoning-gym task {name!r} with {given}: {text}") from error


def levels(name: str) -> int:
    """How many levels of difficulty the task's curriculum has: those of the attribute that has most; 0 without one."""
    made = _curriculum(name)
    return 0 if made is None else max(len(attribute.levels) for attribute in made.attributes.values())


def _curriculum(name: str) -> Any:
    module()
    from reasoning_gym.factory import CURRICULA

    return CURRICULA[name]() if name in CURRICULA else None


def _of_level(name: str, level: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    from reasoning_gym.coaching.base_curriculum import DefaultCurriculumContext, RangeAttributeMode

    count = levels(name)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < count:
        what = f"it has levels 0 to {count - 1}" if count else "it has no levels: leave levels= out"
        raise InputError(f"reasoning-gym task {name!r} has no level {level!r}: {what}")
    made = _curriculum(name)
    context = DefaultCurriculumContext(mode=RangeAttributeMode.UPPER_BOUND)  # this difficulty, not also those below
    out: dict[str, Any] = {}
    for attribute in made.attributes.values():
        made.set_attr_level(attribute.name, min(level, len(attribute.levels) - 1))
        value = context.get_attr_value(made, attribute)
        if hasattr(attribute, "field_name"):
            out[attribute.field_name] = value
        else:
            value = value if isinstance(value, Sequence) else [value]
            out |= {attribute.lower_field_name: min(value), attribute.upper_field_name: max(value)}
    if both := sorted(out.keys() & settings.keys()):
        raise InputError(f"reasoning-gym task {name!r}: {both[0]} is given by levels= too: leave one of them out")
    return out


def entry(data: Any, number: int) -> Any:
    """reasoning-gym's own problem. A few generators draw from Python's global generator too: it is seeded for them."""
    state = random.getstate()
    random.seed(number)
    try:
        return data[number]
    finally:
        random.setstate(state)


def pose(data: Any, number: int) -> tuple[str, str]:
    """(question, reference answer) of problem `number`; "" where the task's own scorer does not find its answer right.

    Raises what the generator raises: some give up on some draws.
    """
    made = entry(data, number)
    answer = made["answer"]
    if answer is None:
        answer = next((made["metadata"][k] for k in EXAMPLES if k in made["metadata"]), "")
        answer = answer if isinstance(answer, str) else json.dumps(answer)
    try:
        right = data.score_answer(answer.strip(), made) >= 1
    except Exception:
        right = False
    return made["question"], answer if right else ""


def poser(name: str, seed: int, settings: Mapping[str, Any]) -> Callable[[Sequence[Any]], tuple[str, str]]:
    """(level, number) -> `pose`, for a worker."""
    module()  # here, where no limit counts: it takes seconds
    with_level = functools.cache(lambda level: dataset(name, seed, settings, level))
    return lambda item: pose(with_level(item[0]), item[1])


def scorer(name: str, seed: int, settings: Mapping[str, Any]) -> Callable[[Sequence[Any]], float]:
    """(level, number, answer) -> the task's own score, for a worker: scorers evaluate what models write."""
    module()
    with_level = functools.cache(lambda level: dataset(name, seed, settings, level))
    kept = functools.lru_cache(maxsize=4096)(lambda level, i: entry(with_level(level), i))

    def score(item: Sequence[Any]) -> float:
        level, i, answer = item
        return float(with_level(level).score_answer(answer, kept(level, i)))

    return score
