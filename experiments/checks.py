"""Values of a config that must be in range, named by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from entropy_rl.errors import InputError, lookup, nearest

T = TypeVar("T")


def positive(config: ConfigDict, *keys: str) -> None:
    """Raises an InputError unless the value of every key (`steps`, `batch.prompts`) is a number above 0."""
    for key in keys:
        value = _value(config, key)
        if not (_number(value) and value > 0):
            raise InputError(f"config.{key} is {value!r}: give a number above 0")


def fraction(config: ConfigDict, *keys: str) -> None:
    """Raises an InputError unless the value of every key is a number from 0 to 1."""
    for key in keys:
        value = _value(config, key)
        if not (_number(value) and 0 <= value <= 1):
            raise InputError(f"config.{key} is {value!r}: give a number from 0 to 1")


def choice(config: ConfigDict, key: str, table: Mapping[str, T]) -> T:
    """The entry of `table` that the value of `key` names, or an InputError that says what there is."""
    return lookup(table, _value(config, key), f"config.{key}")


def _value(config: ConfigDict, key: str) -> Any:
    value = config
    for name in key.split("."):
        if not isinstance(value, ConfigDict) or name not in value:
            there = list(value) if isinstance(value, ConfigDict) else []
            raise InputError(f"the config has no key {key!r}{nearest(name, there)}: add it to the file")
        value = value[name]
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
