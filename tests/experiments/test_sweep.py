"""experiments/sweep.py, on a script that takes no time."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entropy_rl.errors import InputError
from experiments import sweep

# Writes what it sees into its workdir, and does what --config.do says.
SCRIPT = """
import json, os, signal, subprocess, sys, time
flags = dict(arg.lstrip("-").split("=", 1) for arg in sys.argv[1:])
workdir, do = flags["workdir"], flags.get("config.do", "")
with open(os.path.join(workdir, "starts.jsonl"), "a") as f:
    pids = [os.getpid()]
    if do in ("wait", "save"):
        pids.append(subprocess.Popen(["sleep", "1000"]).pid)
    f.write(json.dumps({"pids": pids, "time": time.time(), "cores": sorted(os.sched_getaffinity(0))}) + "\\n")
print("hello from", flags["config"])
if do == "fail once" and not os.path.exists(os.path.join(workdir, "failed")):
    open(os.path.join(workdir, "failed"), "w").close()
    sys.exit("error: the first time")
if do == "fail":
    sys.exit(2)
if do == "save":  # as a run whose step takes longer than one likes to wait
    asked = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    open(os.path.join(workdir, "ready"), "w").close()
    while not (asked and os.path.exists(os.path.join(workdir, "step is over"))):
        time.sleep(0.01)
    os.kill(pids[1], 0)  # what it has started is still there
    open(os.path.join(workdir, "saved"), "w").close()
    sys.exit(143)
if do == "wait":
    time.sleep(1000)
if do == "sleep":
    time.sleep(0.5)
with open(os.path.join(workdir, "end.json"), "w") as f:
    json.dump({"time": time.time(), **flags}, f)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tiny_script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    return tmp_path


def spec(folder, *runs):
    runs = [{"script": "tiny_script", "config": "c.py", **run} for run in runs]
    path = folder / "sweep.py"
    path.write_text(f"def get_runs(arg=''):\n    return {runs!r}\n")
    return str(path)


def start(folder, path, *flags):
    command = [sys.executable, "-m", "experiments.sweep", f"--config={path}", f"--workdir={folder / 'out'}", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def call(folder, path, *flags):
    child = start(folder, path, *flags)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def starts(folder, name):
    path = folder / "out" / name / "starts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_prints_commands_that_run_as_they_stand(folder):
    path = spec(folder, {"name": "a", "overrides": {"x.y": "two words", "from": "{workdir}/b"}}, {"name": "b"})
    status, out, err = call(folder, path)
    first, second = out.splitlines()
    assert (status, err) == (0, "") and not (folder / "out").exists()
    assert shlex.split(first)[1:] == [
        "-m", "tiny_script", "--config=c.py", "--config.x.y=two words", f"--config.from={folder}/out/b",
        f"--workdir={folder}/out/a",
    ]  # fmt: skip
    (folder / "out" / "b").mkdir(parents=True)
    subprocess.run(second, shell=True, check=True, capture_output=True)
    assert (folder / "out" / "b" / "end.json").exists()


def test_failing_runs_stop_only_those_after_them_and_go_on_next_time(folder):
    path = spec(
        folder,
        {"name": "bad", "overrides": {"do": "fail once"}},
        {"name": "later", "after": ["bad"]},
        {"name": "last", "after": ["later"]},
        {"name": "good"},
    )
    status, out, err = call(folder, path, "--workers=1")
    assert (status, err) == (1, "")
    table = {line.split()[0]: line for line in out.splitlines()[-5:-1]}
    assert "failed" in table["bad"] and "error: the first time" in table["bad"] and "log.txt" in table["bad"]
    assert "skipped" in table["later"] and "skipped" in table["last"] and "done" in table["good"]
    assert "3 of 4 not done: the same command" in out
    log = (folder / "out" / "bad" / "log.txt").read_text()
    assert log.startswith("$ ") and "hello from c.py\nerror: the first time" in log

    status, out, _ = call(folder, path)
    assert [line.endswith("# done") for line in out.splitlines()] == [False, False, False, True]

    status, out, _ = call(folder, path, "--workers=2")
    assert status == 0 and "not done" not in out
    assert [len(starts(folder, name)) for name in ("bad", "later", "last", "good")] == [2, 1, 1, 1]
    done = json.loads((folder / "out" / "good" / "DONE").read_text())
    assert done["command"].endswith(f"-m tiny_script --config=c.py --workdir={folder}/out/good")
    assert (folder / "out" / "bad" / "log.txt").read_text().count("$ ") == 2


def test_after_is_after(folder):
    path = spec(folder, {"name": "a", "overrides": {"do": "sleep"}}, {"name": "b", "after": ["a"]}, {"name": "c"})
    assert call(folder, path, "--workers=3")[0] == 0
    end = {name: json.loads((folder / "out" / name / "end.json").read_text())["time"] for name in "abc"}
    assert starts(folder, "b")[0]["time"] > end["a"] > end["c"]


def test_workers_at_a_time_and_cores_of_their_own(folder):
    path = spec(folder, *({"name": f"r{i}", "overrides": {"do": "sleep"}} for i in range(4)))
    assert call(folder, path, "--workers=2")[0] == 0
    spans = []
    for i in range(4):
        end = json.loads((folder / "out" / f"r{i}" / "end.json").read_text())["time"]
        spans.append((starts(folder, f"r{i}")[0]["time"], end, starts(folder, f"r{i}")[0]["cores"]))
    for start_time, _, _ in spans:
        others = [c for s, e, c in spans if s <= start_time < e]
        assert len(others) <= 2
        if len(others) == 2 and len(os.sched_getaffinity(0)) > 1:
            assert not set(others[0]) & set(others[1])
    assert max(len([1 for s, e, _ in spans if s <= t < e]) for t, _, _ in spans) == 2


def test_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5, 7})
    assert sweep._cores(1) == [None]
    assert sweep._cores(2) == [{0, 1}, {2, 5}]
    assert sweep._cores(5) == [{0}, {1}, {2}, {5}, {7}]
    assert sweep._cores(6) == [None] * 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ending_the_sweep_ends_its_runs_and_it_goes_on_later(folder, number):
    path = spec(folder, {"name": "a"}, {"name": "b", "overrides": {"do": "wait"}}, {"name": "c"})
    child = start(folder, path, "--workers=1")
    wait_for(lambda: starts(folder, "b"))
    (pids,) = [s["pids"] for s in starts(folder, "b")]
    assert all(map(alive, pids))
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    if number == signal.SIGINT:
        assert child.returncode == 130 and err == "interrupted: the same command continues\n"
    if number == signal.SIGKILL:  # nothing runs after that: the kernel ends the run, not what it has started
        os.kill(pids.pop(), signal.SIGKILL)
    wait_for(lambda: not any(map(alive, pids)))
    assert not (folder / "out" / "b" / "DONE").exists() and not starts(folder, "c")
    (folder / "tiny_script.py").write_text(SCRIPT.replace("1000", "0"))
    assert call(folder, path, "--workers=1")[0] == 0
    assert [len(starts(folder, name)) for name in "abc"] == [1, 2, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("again", [False, True])
def test_runs_save_before_the_sweep_ends_and_a_second_signal_kills(folder, number, again):
    """Mutations: SIGTERM to what a run has started, too; no `kill`."""
    child = start(folder, spec(folder, *({"name": name, "overrides": {"do": "save"}} for name in "ab")), "--workers=2")
    runs = [folder / "out" / name for name in "ab"]
    wait_for(lambda: all((run / "ready").exists() for run in runs))
    child.send_signal(number)
    assert [child.stdout.readline() for _ in range(3)][2] == (
        "ending 2 runs once saved; a second Ctrl-C or SIGTERM kills\n"
    )
    pids = [pid for name in "ab" for pid in starts(folder, name)[0]["pids"]]
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.5)
    assert all(map(alive, pids))
    if again:
        child.send_signal(number)
    for run in [] if again else runs:
        (run / "step is over").touch()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 128 + number
    assert err == ("interrupted: the same command continues\n" if number == signal.SIGINT else "")
    wait_for(lambda: not any(map(alive, pids)))
    assert [(run / "saved").exists() for run in runs] == [not again] * 2


def test_done_with_other_settings(folder):
    assert call(folder, spec(folder, {"name": "a", "overrides": {"x": 1}}), "--workers=1")[0] == 0
    path = spec(folder, {"name": "a", "overrides": {"x": 2}})
    with pytest.raises(InputError, match=r"run a was done with another overrides.*'x': 1.*'x': 2.*another --workdir"):
        sweep.load_runs(path, folder / "out")
    os.rename(folder / "out", folder / "moved")  # results may be moved
    (run,) = sweep.load_runs(spec(folder, {"name": "a", "overrides": {"x": 1}}), folder / "moved")
    assert run.state == "done"
    (folder / "moved" / "a" / "DONE").write_text("{")
    with pytest.raises(InputError, match=r"DONE is damaged: remove it"):
        sweep.load_runs(path, folder / "moved")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "run a: give a name"),
        ([{"name": "a/b"}], "run a/b: give a name"),
        ([{"name": ".."}], "run ..: give a name"),
        ([{"name": ""}], "has name ''"),
        ([{"script": "s", "config": "c"}], "run 0 has name None"),
        ([{"name": "a", "script": None}], "has script None"),
        ([{"name": "a", "overides": {}}], "field 'overides' (did you mean 'overrides'?)"),
        ([{"name": "a", "state": "done"}], "field 'state'"),
        ([{"name": "a", "after": ["b"]}, {"name": "b"}], "is to come after 'b'"),
    ],
)
def test_mistakes_in_a_sweep_file(folder, runs, message):
    with pytest.raises(InputError) as e:
        sweep.load_runs(spec(folder, *runs), folder / "out")
    assert message in str(e.value)


def test_mistakes_on_the_command_line(folder):
    path = spec(folder, {"name": "a"})
    (folder / "out").write_text("")
    for flags, message in [
        (["--workers=-1"], "--workers=-1"),
        (["--config="], "--config is missing"),
        (["--config=none.py"], "no config file none.py"),
        (["--workdir="], "--workdir is missing"),
        (["--workers=1"], "cannot start a in"),
        (["--ray=auto", "--workers=1"], "--workers runs on this machine and --ray on a cluster: give one"),
        (["--ray="], "--ray is empty"),
        (["--ray_slot=GPU=1"], "--ray_slot is of no use without --ray"),
        (["--ray=auto", "--ray_slot=GPU"], "--ray_slot=GPU: give NAME=NUMBER"),
        (["--ray=auto", "--ray_slot=CPU=1,GPU=1.5"], "--ray_slot=CPU=1,GPU=1.5: give NAME=NUMBER, whole or below 1"),
        (["--ray=auto", "--ray_slot="], "--ray_slot=: give NAME=NUMBER"),
    ]:
        status, _, err = call(folder, path, *flags)
        assert status == 2 and err.startswith("error: ") and message in err and err.count("\n") == 1, err


def test_a_cluster_needs_ray_and_workers_do_not(folder):
    (folder / "ray.py").write_text("raise ModuleNotFoundError('No module named ray', name='ray')")
    path = spec(folder, {"name": "a"})
    status, out, err = call(folder, path, "--ray=auto", "--ray_slot=slot=1,GPU=.5")
    assert (status, out, err) == (2, "", "error: --ray needs the package ray: pip install 'entropy_rl[ray]'\n")
    assert call(folder, path, "--workers=1")[0] == 0


def test_the_example(tmp_path):
    path = Path(sweep.launch.ROOT / "configs" / "sweeps" / "seeds.py")
    runs = sweep.load_runs(f"{path}:2", tmp_path)
    assert [run.overrides for run in runs] == [{"seed": 0}, {"seed": 1}]
    assert len(sweep.load_runs(str(path), tmp_path)) == 3
    with pytest.raises(InputError, match="give a number of seeds"):
        sweep.load_runs(f"{path}:x", tmp_path)
