"""lib/workdirs.py: a workdir belongs to one config, and says what it ran with."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import textwrap

import pytest
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from experiments.lib import launch, workdirs


def config(**changes):
    result = ConfigDict({"steps": 3, "lr": 0.1, "shape": (1, 2), "nan": float("nan"), "loss": {"name": "ppo"}, "e": {}})
    result.total = result.get_ref("steps") * 2
    result.update(changes)
    return result


@pytest.fixture(autouse=True)
def no_locks(monkeypatch):
    monkeypatch.setattr(workdirs, "_locks", {})


def test_workdir_of_the_same_config(tmp_path):
    path = workdirs.open_workdir(config(), str(tmp_path / "a" / "b"))
    assert path == tmp_path / "a" / "b"
    text = (path / "config.json").read_text()
    about = json.loads(text)
    assert about["config"]["shape"] == [1, 2] and about["config"]["total"] == 6
    assert set(about) == {"config", "command", "git_commit", "versions", "device", "platform"}
    assert about["versions"].keys() >= {"python", "jax", "flax", "optax", "orbax-checkpoint", "numpy"}
    assert about["device"]["count"] >= 1 and about["device"]["kind"]
    workdirs.open_workdir(config(), path)
    workdirs.open_workdir(config(lr=0.1, shape=(1, 2)).lock(), path)
    assert (path / "config.json").read_text() == text
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "lock"]


def test_git_commit_of_this_checkout():
    commit = workdirs.git_commit()
    if (launch.ROOT / ".git").exists():
        assert len(commit.removesuffix("-dirty")) == 40
    else:
        assert commit is None


def test_workdir_of_another_config(tmp_path):
    workdirs.open_workdir(config(), tmp_path)
    with pytest.raises(InputError, match=r"lr is 0\.1 there and 0\.2 here; give another --workdir, or the old"):
        workdirs.open_workdir(config(lr=0.2), tmp_path)
    with pytest.raises(InputError, match=r'loss\.name is "ppo" there and "gspo" here, steps is 3 there and 4 here'):
        workdirs.open_workdir(config(steps=4, loss={"name": "gspo"}), tmp_path)
    old = config(a=1, b=1, c=1, d=1)
    workdirs.open_workdir(old, tmp_path / "old")
    with pytest.raises(InputError, match=r"a is 1 there and not here, .* \(and 1 more\)"):
        workdirs.open_workdir(config(), tmp_path / "old")


def test_a_workdir_with_old_names_of_values(tmp_path):
    """It goes on under the new ones. Mutation: values compared as they are."""
    workdirs.open_workdir(config(model={"args": {"attention": "blocks", "remat": "linear"}}), tmp_path)
    workdirs.open_workdir(config(model={"args": {"attention": "chunked", "remat": "save_linear"}}), tmp_path)
    with pytest.raises(InputError, match='attention is "chunked" there and "naive" here'):
        workdirs.open_workdir(config(model={"args": {"attention": "own", "remat": "save_linear"}}), tmp_path)


def test_keys_that_may_differ(tmp_path):
    workdirs.open_workdir(config(), tmp_path)
    workdirs.open_workdir(config(lr=0.2, loss={"name": "gspo"}), tmp_path, ignore=["lr", "loss"])
    with pytest.raises(InputError, match="lr is"):
        workdirs.open_workdir(config(lr=0.2, loss={"name": "gspo"}), tmp_path, ignore=["loss", "l"])


def test_knobs_may_change_and_the_history_is_kept(tmp_path, capsys):
    """Mutation: what defines the experiment may change too; a config.json that says the old values."""
    workdirs.open_workdir(config(), tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    workdirs.open_workdir(config(steps=4, lr=0.2), tmp_path, ignore=("lr",), knobs=("steps", "total"))
    assert "steps 3 -> 4, total 6 -> 8" in capsys.readouterr().out
    after = json.loads((tmp_path / "config.json").read_text())
    assert after["config"] == before["config"] | {"steps": 4, "total": 8}
    (row,) = after["history"]
    assert row["changed"] == {"steps": {"was": 3, "is": 4}, "total": {"was": 6, "is": 8}} and row["versions"]
    workdirs.open_workdir(config(steps=4), tmp_path, knobs=("steps",))
    workdirs.open_workdir(config(steps=5), tmp_path, knobs=("steps", "total"))
    assert len(json.loads((tmp_path / "config.json").read_text())["history"]) == 2
    with pytest.raises(InputError, match=r"lr is 0\.1 there and 0\.2 here; give"):
        workdirs.open_workdir(config(steps=6, lr=0.2), tmp_path, knobs=("steps", "total"))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["steps"] == 5


def test_a_key_that_is_new_since_takes_its_default(tmp_path, monkeypatch):
    """But no other value. Mutation: every workdir is lost when a config gets a key."""
    workdirs.open_workdir(config(), tmp_path)
    new = config(e={"x": 2}, loss={"name": "ppo", "cap": 0.5})
    workdirs.open_workdir(new, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["loss"] == {"name": "ppo", "cap": 0.5}
    monkeypatch.setattr(workdirs, "_overridden", lambda config: {"later"})
    with pytest.raises(InputError, match="later.a is not there and 1 here; give"):
        workdirs.open_workdir(config(e={"x": 2}, loss={"name": "ppo", "cap": 0.5}, later={"a": 1}), tmp_path)


def test_workdir_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is not a folder: give another --workdir"):
            workdirs.open_workdir(config(), path)


def test_workdir_that_may_not_be_written(tmp_path, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(workdirs.Path, "mkdir", denied)
    with pytest.raises(InputError, match="Permission denied: give another --workdir"):
        workdirs.open_workdir(config(), tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_config_json(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        workdirs.open_workdir(config(), tmp_path)


def test_workdir_in_use(tmp_path):
    workdirs.open_workdir(config(), tmp_path)
    workdirs.open_workdir(config(), tmp_path)  # this process may open it again
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
            workdirs.open_workdir(config(), tmp_path / "used")
        child.kill()
    workdirs.open_workdir(config(), tmp_path / "used")  # a kill frees it


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def none(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", none)
    workdirs.open_workdir(config(), tmp_path)
    assert "cannot be locked" in capsys.readouterr().err
