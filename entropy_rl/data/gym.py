"""The package reasoning-gym, with an error that says how to get it, and none of its dependencies' warnings."""

from __future__ import annotations

import importlib
import types
import warnings

from entropy_rl.errors import InputError


def library() -> types.ModuleType:
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
    library()
    from reasoning_gym.factory import DATASETS

    return sorted(name for name in DATASETS if name != "composite")
