"""A strict session: rank promotion raises, warnings are errors (pyproject.toml), and compiled programs are kept."""

import os
import pathlib

# A cache of its own: compiling is most of the suite's time, and a second run skips it.
CACHE = pathlib.Path.home() / ".cache" / "entropy_rl" / "tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

if jax.device_count() != 8:
    collect_ignore = ["eight_devices"]  # tests/test_eight_devices.py runs them in a process of their own


@pytest.fixture
def rng():
    """A numpy generator with a fixed seed."""
    import numpy as np

    return np.random.default_rng(0)
