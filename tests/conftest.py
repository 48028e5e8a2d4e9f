"""A strict session: rank promotion raises, warnings are errors (pyproject.toml), and compiled programs are kept."""

import os
import pathlib

import pytest

# A cache of its own: compiling is most of the suite's time, and a second run skips it.
CACHE = pathlib.Path.home() / ".cache" / "entropy_rl" / "tests"
# Without LLVM's optimiser XLA compiles two to three times as fast, and no law is about the speed of the code. The slow
# suite is compiled as users' runs are, and so are all tests with XLA_FLAGS=--xla_backend_optimization_level=3.
QUICK = "--xla_backend_optimization_level"


def pytest_configure(config):
    """Settings that jax reads when it starts; workers and the processes that tests start have them too."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    flags = os.environ.get("XLA_FLAGS", "")
    if config.option.markexpr != "slow" and QUICK not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {QUICK}=0".strip()

    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_ignore_collect(collection_path):
    """tests/test_eight_devices.py runs the tests in eight_devices/, in a process that has as many."""
    import jax

    return True if collection_path.name == "eight_devices" and jax.device_count() != 8 else None


@pytest.fixture
def rng():
    """A numpy generator with a fixed seed."""
    import numpy as np

    return np.random.default_rng(0)
