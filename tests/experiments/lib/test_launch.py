"""lib/launch.py and what it stands on: a user's mistake is one line, and a workdir belongs to one config."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from experiments.lib import launch

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
    launch.main(run, DEFAULT)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    (folder / "config.py").write_text(CONFIG)
    (folder / "script.py").write_text(SCRIPT.replace("DEFAULT", "None"))
    (folder / "default.py").write_text(SCRIPT.replace("DEFAULT", "'config.py'"))
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


def test_the_default_config(folder):
    status, out, _ = finish(start(folder, "--workdir=w", "--config.steps=9", script="default.py"))
    assert status == 0 and json.loads(out.rsplit(" ", 1)[0])["total"] == 18


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
    "shape": [*GIVEN, "--config.shape=(1,"],
    "Unknown command line flag 'wrkdir'. Did you mean: workdir": ["--config=config.py", "--wrkdir=w"],
    "unexpected argument 'steps=3'": [*GIVEN, "steps=3"],
    "loss.name is wrong: give another": [*GIVEN, "--config.loss.name=input"],
    "two lines": [*GIVEN, "--config.loss.name=lines"],
    "/nonexistent/file: No such file": [*GIVEN, "--config.loss.name=no such file"],
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


def config(**changes):
    result = ConfigDict({"steps": 3, "lr": 0.1, "shape": (1, 2), "nan": float("nan"), "loss": {"name": "ppo"}, "e": {}})
    result.total = result.get_ref("steps") * 2
    result.update(changes)
    return result


@pytest.fixture(autouse=True)
def no_locks(monkeypatch):
    monkeypatch.setattr(launch, "_locks", {})


def test_workdir_of_the_same_config(tmp_path):
    path = launch.open_workdir(config(), str(tmp_path / "a" / "b"))
    assert path == tmp_path / "a" / "b"
    text = (path / "config.json").read_text()
    about = json.loads(text)
    assert about["config"]["shape"] == [1, 2] and about["config"]["total"] == 6
    assert set(about) == {"config", "command", "git_commit", "versions", "device", "platform"}
    assert about["versions"].keys() >= {"python", "jax", "flax", "optax", "orbax-checkpoint", "numpy"}
    assert about["device"]["count"] >= 1 and about["device"]["kind"]
    launch.open_workdir(config(), path)
    launch.open_workdir(config(lr=0.1, shape=(1, 2)).lock(), path)
    assert (path / "config.json").read_text() == text
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "lock"]


def test_git_commit_of_this_checkout():
    commit = launch.git_commit()
    if (launch.ROOT / ".git").exists():
        assert len(commit.removesuffix("-dirty")) == 40
    else:
        assert commit is None


def test_workdir_of_another_config(tmp_path):
    launch.open_workdir(config(), tmp_path)
    with pytest.raises(InputError, match=r"lr is 0\.1 there and 0\.2 here; give another --workdir, or the old"):
        launch.open_workdir(config(lr=0.2), tmp_path)
    with pytest.raises(InputError, match=r'loss\.name is "ppo" there and "gspo" here, steps is 3 there and 4 here'):
        launch.open_workdir(config(steps=4, loss={"name": "gspo"}), tmp_path)
    old = config(a=1, b=1, c=1, d=1)
    launch.open_workdir(old, tmp_path / "old")
    with pytest.raises(InputError, match=r"a is 1 there and not here, .* \(and 1 more\)"):
        launch.open_workdir(config(), tmp_path / "old")


def test_a_workdir_with_old_names_of_values(tmp_path):
    """It goes on under the new ones. Mutation: values compared as they are."""
    launch.open_workdir(config(model={"args": {"attention": "blocks", "remat": "linear"}}), tmp_path)
    launch.open_workdir(config(model={"args": {"attention": "chunked", "remat": "save_linear"}}), tmp_path)
    with pytest.raises(InputError, match='attention is "chunked" there and "naive" here'):
        launch.open_workdir(config(model={"args": {"attention": "own", "remat": "save_linear"}}), tmp_path)


def test_keys_that_may_differ(tmp_path):
    launch.open_workdir(config(), tmp_path)
    launch.open_workdir(config(lr=0.2, loss={"name": "gspo"}), tmp_path, ignore=["lr", "loss"])
    with pytest.raises(InputError, match="lr is"):
        launch.open_workdir(config(lr=0.2, loss={"name": "gspo"}), tmp_path, ignore=["loss", "l"])


def test_knobs_may_change_and_the_history_is_kept(tmp_path, capsys):
    """Mutation: what defines the experiment may change too; a config.json that says the old values."""
    launch.open_workdir(config(), tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    launch.open_workdir(config(steps=4, lr=0.2), tmp_path, ignore=("lr",), knobs=("steps", "total"))
    assert "steps 3 -> 4, total 6 -> 8" in capsys.readouterr().out
    after = json.loads((tmp_path / "config.json").read_text())
    assert after["config"] == before["config"] | {"steps": 4, "total": 8}
    (row,) = after["history"]
    assert row["changed"] == {"steps": {"was": 3, "is": 4}, "total": {"was": 6, "is": 8}} and row["versions"]
    launch.open_workdir(config(steps=4), tmp_path, knobs=("steps",))
    launch.open_workdir(config(steps=5), tmp_path, knobs=("steps", "total"))
    assert len(json.loads((tmp_path / "config.json").read_text())["history"]) == 2
    with pytest.raises(InputError, match=r"lr is 0\.1 there and 0\.2 here; give"):
        launch.open_workdir(config(steps=6, lr=0.2), tmp_path, knobs=("steps", "total"))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["steps"] == 5


def test_a_key_that_is_new_since_takes_its_default(tmp_path, monkeypatch):
    """But no other value. Mutation: every workdir is lost when a config gets a key."""
    launch.open_workdir(config(), tmp_path)
    new = config(e={"x": 2}, loss={"name": "ppo", "cap": 0.5})
    launch.open_workdir(new, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["loss"] == {"name": "ppo", "cap": 0.5}
    monkeypatch.setattr(launch, "_overridden", lambda config: {"later"})
    with pytest.raises(InputError, match="later.a is not there and 1 here; give"):
        launch.open_workdir(config(e={"x": 2}, loss={"name": "ppo", "cap": 0.5}, later={"a": 1}), tmp_path)


def test_workdir_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is not a folder: give another --workdir"):
            launch.open_workdir(config(), path)


def test_workdir_that_may_not_be_written(tmp_path, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(launch.Path, "mkdir", denied)
    with pytest.raises(InputError, match="Permission denied: give another --workdir"):
        launch.open_workdir(config(), tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_config_json(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        launch.open_workdir(config(), tmp_path)


def test_workdir_in_use(tmp_path):
    launch.open_workdir(config(), tmp_path)
    launch.open_workdir(config(), tmp_path)  # this process may open it again
    code = f"import fcntl; fcntl.lockf(open({str(tmp_path / 'lock')!r}, 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert "BlockingIOError" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    code = f"""
        import fcntl, sys
        f = open({str(tmp_path / "other")!r}, "w")
        fcntl.lockf(f, fcntl.LOCK_EX)
        print("locked", flush=True)
        sys.stdin.read()
    """
    (tmp_path / "used").mkdir()
    code = textwrap.dedent(code).replace("/other", "/used/lock")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another process is running in"):
            launch.open_workdir(config(), tmp_path / "used")
        child.kill()
    launch.open_workdir(config(), tmp_path / "used")  # a kill frees it


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def none(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", none)
    launch.open_workdir(config(), tmp_path)
    assert "cannot be locked" in capsys.readouterr().err
