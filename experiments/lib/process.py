"""What a process sets before it computes: a cache of compiled code, memory that is reused, quiet logs."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from pathlib import Path

from absl import flags, logging

from entropy_rl.errors import InputError

# M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD, M_ARENA_MAX of <malloc.h>, and their values. XLA on CPU allocates
# large buffers in every step; by default glibc takes each from the kernel and gives it back, so that a good
# part of a small training step is fresh pages. So: no mmap, nothing given back, growth by 256 MiB, one arena.
_MALLOPT = ((-4, 0), (-1, -1), (-2, 256 << 20), (-8, 1))

# New objects after which Python looks for cycles of them. Its own 700 is a good tenth of a first step from the cache:
# tracing makes objects by the million, and few are cycles.
_COLLECT = 10_000


def setup_process() -> None:
    """Sets up this process for a run, before jax computes anything.

    Compiled code is cached in `~/.cache/entropy_rl/xla`, or the folder in the environment variable
    ENTROPY_RL_CACHE (empty: no cache); jax's own JAX_COMPILATION_CACHE_DIR comes first where it is set. Where the CPU
    stands for several devices nothing is cached. On a CPU under glibc, freed memory is kept for reuse. Logs below
    warnings are silenced.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.WARNING)
    gc.set_threshold(_COLLECT, *gc.get_threshold()[1:])
    _cache()
    if not _accelerator():
        _keep_memory()
        if _host_devices() > 1:
            _no_cache()


def _cache() -> None:
    folder = os.environ.get("ENTROPY_RL_CACHE", "~/.cache/entropy_rl/xla")
    if not folder or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # code compiled for one CPU may not run on another, and homes are shared between machines
    path = Path(folder).expanduser() / _cpu()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, os.strerror(13), str(path))
    except OSError as e:
        print(f"no cache of compiled code: {path}: {e.strerror}; set ENTROPY_RL_CACHE", file=sys.stderr)
        return
    settings = {
        "jax_compilation_cache_dir": str(path),
        # a run compiles many small programs, which jax would not store by itself
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        os.environ.setdefault(name.upper(), str(value))  # jax reads these when it is imported
        if "jax" in sys.modules:
            sys.modules["jax"].config.update(name, value)


def _no_cache() -> None:
    """Programs that move data between devices of the CPU may wait for each other forever when they come from the cache
    (jaxlib 0.10.2; tests/eight_devices find such ones), and jax ends the process after a minute of that."""
    os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(
            "jax_enable_compilation_cache", os.environ["JAX_ENABLE_COMPILATION_CACHE"].lower() in ("true", "1")
        )


def _host_devices() -> int:
    """How many devices the CPU stands for."""
    asked = re.findall(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int((asked or [os.environ.get("JAX_NUM_CPU_DEVICES", "1")])[-1])


def _cpu() -> str:
    lines = []
    if Path("/proc/cpuinfo").exists():
        kept = ("model name", "flags", "Features")
        text = Path("/proc/cpuinfo").read_text()
        lines = sorted({line for line in text.splitlines() if line.startswith(kept)})
    about = "\n".join([platform.machine(), platform.processor(), *lines])
    return f"{platform.machine()}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"


def _accelerator() -> bool:
    """Whether jax will look for something other than the CPU; asked without importing it."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms != "cpu"
    return bool(
        importlib.util.find_spec("libtpu")
        or importlib.util.find_spec("jax_plugins")
        or importlib.metadata.entry_points(group="jax_plugins")
    )


def _keep_memory() -> None:
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return  # another C library has no mallopt; and what the user has set is kept
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in _MALLOPT:
        mallopt(option, value)


def define_flags() -> None:
    """Flags of a script that runs in several processes too, one a host."""
    flags.DEFINE_string(
        "distributed",
        None,
        "several processes: HOST:PORT of process 0, or auto where SLURM, Cloud TPU, Kubernetes or Open MPI tell",
    )
    flags.DEFINE_integer("processes", None, "how many, with --distributed=HOST:PORT", lower_bound=1)
    flags.DEFINE_integer("process", None, "number of this one, from 0", lower_bound=0)


def join() -> None:
    """Joins the other processes, if the flags say that there are any.

    Raises:
      InputError: flags that do not go together, or no others.
    """
    where, count, index = (flags.FLAGS[name].value for name in ("distributed", "processes", "process"))
    if where is None or where == "auto":
        if count is not None or index is not None:
            raise InputError("--processes and --process go with --distributed=HOST:PORT: give all three")
        where = where and ""
    elif not re.fullmatch(r".+:\d+", where):
        raise InputError(f"--distributed={where}: give HOST:PORT of process 0, or auto")
    elif count is None or index is None or index >= count:
        raise InputError(
            f"--distributed={where} with --processes={count} and --process={index}: give both, a process from 0 to "
            "processes - 1"
        )
    if where is not None:
        if not _accelerator():
            _no_cache()
        from entropy_rl.parallel import processes

        processes.initialize(where or None, count, index)


def left_alone(error: Exception) -> bool:
    """Whether it says that another process of this run has gone; jax is asked only if it is there already."""
    if "jax" not in sys.modules or "entropy_rl.parallel.processes" not in sys.modules:
        return False
    return sys.modules["entropy_rl.parallel.processes"].is_peer_failure(error)
