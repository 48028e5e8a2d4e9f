"""lib/launch.py and what it stands on: a user's mistake is one line."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

CONFIG = """
from ml_collections import ConfigDict, config_dict
from entropy_rl.errors import InputError

def get_config(arg=""):
    if arg not in ("", "smoke"):
        raise InputError(f"no variant {arg!r}: give smoke or nothing")
    config = ConfigDict(dict(steps=3, lr=1e-3, debug=True, shape=(1, 2), loss=dict(name="ppo", clip=0.2)))
    config.total = config.get_ref("steps") * 2
    config.limit = config_dict.placeholder(int)
    return config
"""

SCRIPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started pytest in the background
from entropy_rl.errors import InputError
from experiments.lib import launch

def run(config, workdir):
    how = config.loss.name
    if how == "input":
        raise InputError("loss.name is wrong: give another")
    if how == "lines":
        raise InputError("two\\nlines")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "bug":
        raise ValueError("a bug")
    if how == "other script":
        config["batch"]
    if how == "attribute":
        config.sft
    if how == "no such file":
        open("/nonexistent/file")
    if how == "full":
        with open("/dev/full", "w") as f:
            f.write("x")
    if how == "oserror":
        raise OSError("no file at all")
    if how == "wait":
        print("ready", flush=True)
        sys.stdin.read()
    print(config.to_json(sort_keys=True), workdir)

if __name__ == "__main__":
    launch.main(run)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    (folder / "config.py").write_text(CONFIG)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "other.py").write_text("def get_konfig():\n    return 1\n")
    (folder / "bare.py").write_text("def get_config():\n    return 1\n")
    (folder / "needs.py").write_text("def get_config(arg):\n    return 1\n")
    (folder / "config.txt").write_text(CONFIG)
    return folder


def start(folder, *flags, script="script.py", **kwargs):
    env = {**os.environ, "ENTROPY_RL_CACHE": ""}
    return subprocess.Popen(
        [sys.executable, script, *flags], cwd=folder, env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs,
    )  # fmt: skip


def finish(child):
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


GIVEN = ["--config=config.py", "--workdir=w"]


def test_a_run_gets_its_config(folder):
    flags = ["--config.lr", "2", "--config.shape=(3,4,5)", "--noconfig.debug", "--config.loss.clip=1e-1"]
    status, out, err = finish(start(folder, *GIVEN, *flags, "--config.steps=5", "--config.limit=7"))
    assert (status, err) == (0, "")
    config, workdir = out.rsplit(" ", 1)
    assert json.loads(config) == {
        "steps": 5, "total": 10, "lr": 2.0, "debug": False, "shape": [3, 4, 5], "limit": 7,
        "loss": {"name": "ppo", "clip": 0.1},
    }  # fmt: skip
    assert workdir == "w\n"


MISTAKES = {
    "--workdir is missing": ["--config=config.py"],
    "--config is missing": ["--workdir=w"],
    "no config file confg.py (did you mean 'config.py'?)": ["--config=confg.py", "--workdir=w"],
    "config file other.py has no function get_config": ["--config=other.py", "--workdir=w"],
    "config file config.txt is not a python file": ["--config=config.txt", "--workdir=w"],
    "config file bare.py takes no argument: give --config=bare.py": ["--config=bare.py:smoke", "--workdir=w"],
    "config file needs.py needs one: give --config=needs.py:ARG": ["--config=needs.py", "--workdir=w"],
    "no variant 'smoek': give smoke": ["--config=config.py:smoek", "--workdir=w"],
    "config has no key 'lrr' (did you mean 'lr'?)": [*GIVEN, "--config.lrr=1"],
    "config has no key 'loss.clp' (did you mean 'loss.clip'?)": [*GIVEN, "--config.loss.clp", "1"],
    "config has no key 'loss.clip.x'": [*GIVEN, "--config.loss.clip.x=1"],
    "config.steps=abc: expected an int": [*GIVEN, "--config.steps=abc"],
    "config.steps=1.5: expected an int": [*GIVEN, "--config.steps", "1.5"],
    "config.limit=x: expected an int": [*GIVEN, "--config.limit=x"],
    "config.loss.clip=: expected a float": [*GIVEN, "--config.loss.clip="],
    "config.debug=maybe: expected true or false": [*GIVEN, "--config.debug=maybe"],
    "config.loss=clip_cov: expected a dict, such as \"{'name': 'ppo', ": [*GIVEN, "--config.loss=clip_cov"],
    "shape": [*GIVEN, "--config.shape=(1,"],
    "Unknown command line flag 'wrkdir'. Did you mean: workdir": ["--config=config.py", "--wrkdir=w"],
    "unexpected argument 'steps=3'": [*GIVEN, "steps=3"],
    "loss.name is wrong: give another": [*GIVEN, "--config.loss.name=input"],
    "two lines": [*GIVEN, "--config.loss.name=lines"],
    "/nonexistent/file: No such file": [*GIVEN, "--config.loss.name=no such file"],
    "config config.py has no key 'batch', which script.py reads (": [*GIVEN, "--config.loss.name=other script"],
    "config config.py has no key 'sft', which ": [*GIVEN, "--config.loss.name=attribute"],
    "no space left": [*GIVEN, "--config.loss.name=full"],
}


def test_mistakes_are_one_line(folder):
    children = {}
    for expected, flags in MISTAKES.items():
        children[expected] = start(folder, *flags)
        if len(children) % 4 == 0:  # side by side, and not all at once
            children[expected].wait(60)
    for expected, child in children.items():
        status, out, err = finish(child)
        assert status == 2, (expected, err)
        assert err.startswith("error: ") and expected in err and err.count("\n") == 1, err
        assert out == ""


def test_a_bug_keeps_its_traceback(folder):
    for name, text in (("bug", "ValueError: a bug"), ("oserror", "OSError: no file at all")):
        status, _, err = finish(start(folder, *GIVEN, f"--config.loss.name={name}"))
        assert status == 1 and "Traceback" in err and text in err and "script.py" in err


def test_interrupts(folder):
    status, _, err = finish(start(folder, *GIVEN, "--config.loss.name=interrupt"))
    assert (status, err) == (130, "interrupted: the same command continues\n")
    child = start(folder, *GIVEN, "--config.loss.name=wait")
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    status, _, err = finish(child)
    assert (status, err) == (130, "interrupted: the same command continues\n")


def test_help_lists_the_flags(folder):
    _, out, err = finish(start(folder, "--help"))
    assert "--config" in out and "--workdir" in out and err == ""


def run_python(code, **env):
    env = {k: v for k, v in {**os.environ, **env}.items() if not k.startswith(("JAX_", "MALLOC_"))}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("first", ["import jax", "pass"])
def test_compiled_code_is_cached(tmp_path, first):
    code = f"""
        {first}
        from experiments.lib.process import setup_process
        setup_process()
        import jax
        jax.jit(lambda x: x + 1)(1.0)
        print(jax.config.jax_compilation_cache_dir)
    """
    out = run_python(code, ENTROPY_RL_CACHE=str(tmp_path / "cache"))
    (folder,) = (tmp_path / "cache").iterdir()
    assert out == f"{folder}\n"
    assert list(folder.glob("*-cache"))


def test_a_script_is_set_up_before_jax_is_there(tmp_path):
    """As `python -m experiments.<verb>` begins, and no import does. Mutation: nothing in experiments/__init__.py."""
    code = """
        import os, sys
        sys.argv[:1] = [{argv0!r}]
        import experiments
        print("jax" in sys.modules, "JAX_COMPILATION_CACHE_DIR" in os.environ)
    """
    assert run_python(code.format(argv0="-m"), ENTROPY_RL_CACHE=str(tmp_path)) == "False True\n"
    assert run_python(code.format(argv0="-c"), ENTROPY_RL_CACHE=str(tmp_path)) == "False False\n"


def test_no_cache(tmp_path):
    code = """
        from experiments.lib.process import setup_process
        setup_process()
        import os
        print([k for k in os.environ if "COMPILATION_CACHE" in k])
    """
    assert run_python(code, ENTROPY_RL_CACHE="") == "[]\n"
    (tmp_path / "file").write_text("")
    out = run_python(code, ENTROPY_RL_CACHE=str(tmp_path / "file"))
    assert out.startswith("[]\nno cache of compiled code: ") and "ENTROPY_RL_CACHE" in out


@pytest.mark.parametrize("first", ["import jax", "pass"])
def test_no_cache_where_the_cpu_stands_for_several_devices(tmp_path, first):
    """Programs with collectives can hang when they are fetched. Mutation: nothing of it in setup_process.

    That on one device they are cached is `test_compiled_code_is_cached`.
    """
    code = f"""
        {first}
        from experiments.lib.process import setup_process
        setup_process()
        import jax
        jax.jit(lambda x: x + 1)(1.0)
        print(jax.device_count(), jax.config.jax_enable_compilation_cache)
    """
    here = {"ENTROPY_RL_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    assert run_python(code, XLA_FLAGS="--xla_force_host_platform_device_count=2", **here) == "2 False\n"
    assert not list((tmp_path / "cache").rglob("*-cache"))


def test_cycles_are_looked_for_less_often():
    """309 times in a first step by Python's own settings, for 16. Mutation: nothing of it in setup_process."""
    code = """
        import gc
        from experiments.lib.process import setup_process
        before = gc.get_threshold()
        setup_process()
        print(before[0] < 5_000 < gc.get_threshold()[0], before[1:] == gc.get_threshold()[1:])
    """
    assert run_python(code, ENTROPY_RL_CACHE="") == "True True\n"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="a matter of glibc")
def test_memory_is_kept_for_reuse():
    code = """
        import ctypes
        import numpy as np
        class Info(ctypes.Structure):
            _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd a b c d e".split()]
        info = ctypes.CDLL(None).mallinfo2
        info.restype = Info
        from experiments.lib.process import setup_process
        {setup}
        before = info().hblks
        x = np.ones(100_000_000, np.uint8)
        print(info().hblks - before)
    """
    assert run_python(code.format(setup="pass")) == "1\n"  # by default a block of its own from the kernel
    assert run_python(code.format(setup="setup_process()"), ENTROPY_RL_CACHE="") == "0\n"
