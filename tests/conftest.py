"""A strict session: rank promotion raises, warnings are errors (pyproject.toml), and compiled programs are kept."""

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import pathlib
import signal
import sys
import threading

# A cache of its own: compiling is most of the suite's time, and a second run skips it.
CACHE = pathlib.Path.home() / ".cache" / "entropy_rl" / "tests"
if sys.dont_write_bytecode:
    # Many containers ask for that; each process that a test starts would then compile all that it imports.
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(CACHE.with_name("bytecode"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# Without LLVM's optimiser and XLA's own emitters of fused loops, programs compile three to four times as fast, and no
# law is about the speed of the code. What `make test-slow` runs alone is compiled as users' runs are, and so are all
# tests with XLA_FLAGS=--xla_backend_optimization_level=3.
QUICK = {"--xla_backend_optimization_level": "0", "--xla_cpu_use_fusion_emitters": "false"}
# A flag that XLA does not know ends the process, and since 0.11.1 jaxlib has the emitters alone.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:3])) >= (0, 11, 1):
    del QUICK["--xla_cpu_use_fusion_emitters"]
# Tracing makes many objects: of three files that trace much, Python's collector took a fifth at its own thresholds.
COLLECT = (100_000, 50, 100)
# Begun first, as what takes longest must not be left to one worker at the end.
LONG = ("test_eight_devices", "test_configs", "test_rl_features", "test_learner", "test_hf", "test_evaluation")
# Compiled programs are dropped between two tests where a process has grown by so much since the last time.
FEWEST, GROWTH = 1_400_000_000, 600_000_000
# glibc's M_MXFAST and M_TRIM_THRESHOLD: loading programs frees much in small parts, which it would join and give back
# each time.
MALLOC = ((1, 0), (-1, 1 << 30))

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_configure(config):
    """Settings that jax reads when it starts; workers and the processes that tests start have them too."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    flags = os.environ.get("XLA_FLAGS", "")
    if config.option.markexpr != "slow" and "--xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = " ".join([flags, *(f"{name}={value}" for name, value in QUICK.items())]).strip()
    if threading.current_thread() is threading.main_thread():
        # In the background of a script SIGINT is ignored, and so it would be in what tests start to be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    gc.set_threshold(*COLLECT)
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        for option, value in MALLOC:
            ctypes.CDLL(None).mallopt(option, value)
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    with contextlib.suppress(ImportError, AttributeError):  # nothing that jax promises
        from jax._src.interpreters import mlir

        mlir.make_ir_context = _kept(mlir.make_ir_context)


def _kept(make, times=100):
    """`make` once for so many calls of a thread. Of the 8 ms that a small program takes from the cache 3 are a context
    of MLIR, and it may serve many programs; it holds their constants, so not all."""
    there = threading.local()

    def context():
        if not getattr(there, "left", 0):
            there.context, there.left = make(), times
        there.left -= 1
        return there.context

    return context


def pytest_collection_modifyitems(items):
    """LONG first, all else as it was (with --no-loadscope-reorder; xdist's own order is by number of tests)."""
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


def _resident():
    """Bytes of this process in memory; 0 where Linux's /proc is not there."""
    with contextlib.suppress(OSError):
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


_after = 0  # what was left the last time


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown():
    """Gives memory back between two tests. Compiled programs are in the cache's folder, so this costs little."""
    global _after
    result = yield
    if "jax" in sys.modules and _resident() > max(FEWEST, _after + GROWTH):
        sys.modules["jax"].clear_caches()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        _after = _resident()
    return result


def pytest_ignore_collect(collection_path):
    """tests/test_eight_devices.py runs the tests in eight_devices/, in a process that has as many."""
    import jax

    return True if collection_path.name == "eight_devices" and jax.device_count() != 8 else None


@pytest.fixture
def rng():
    """A numpy generator with a fixed seed."""
    import numpy as np

    return np.random.default_rng(0)
