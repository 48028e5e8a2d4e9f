import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_on_eight_devices(marked):
    """The tests in eight_devices/, in a process that has as many (fake): the number is fixed when jax starts."""
    folder = pathlib.Path(__file__).parent / "eight_devices"
    # nothing here comes from the cache: a program in one part is compiled in 3/4 of the time of one cut for threads
    flags = "--xla_force_host_platform_device_count=8 --xla_cpu_parallel_codegen_split_count=1"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    env["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # experiments/lib/process.py says why
    command = [sys.executable, "-m", "pytest", str(folder), "-m", marked, "-p", "no:cacheprovider"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout
