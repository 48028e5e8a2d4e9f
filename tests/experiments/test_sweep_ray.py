"""experiments/lib/ray_cluster.py, on a cluster of a head without slots and nodes of one slot, all on this machine.

Only the processes that these tests start import Ray.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Counts to --config.n in its workdir, which it locks, and goes on from where it was; with --config.hold=FILE it waits
# at 10 until that file is there.
SCRIPT = """
import fcntl, json, os, signal, subprocess, sys, time
flags = dict(arg.lstrip("-").split("=", 1) for arg in sys.argv[1:])
workdir, do = flags["workdir"], flags.get("config.do", "")
lock = open(os.path.join(workdir, "lock"), "a")
fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
path = os.path.join(workdir, "steps.jsonl")
done = len(open(path).readlines()) if os.path.exists(path) else 0
print("from", done)
def ended(*_):
    time.sleep({"child": 7, "never": 1000}.get(do, 0))  # as one that saves
    sys.exit("asked to end")
signal.signal(signal.SIGTERM, ended)
if do == "fail":
    sys.exit("error: of its own")
if do == "kill the worker":
    os.kill(os.getppid(), signal.SIGKILL)
pids = [os.getpid()]
if do == "child":
    pids.append(subprocess.Popen(["sleep", "1000"]).pid)
hold = flags.get("config.hold")
for i in range(done, int(flags["config.n"])):
    while hold and i == 10 and not os.path.exists(hold):
        time.sleep(0.05)
    time.sleep(0.1)
    with open(path, "a") as f:
        f.write(json.dumps({"i": i, "pids": pids}) + "\\n")
"""
ROOT = Path(__file__).resolve().parents[2]


def session(leader):
    """Processes that are alive in the session of a leader, as {pid: name}."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, rest = path.read_text().split("(", 1)[1].rsplit(") ", 1)
            state, _, _, sid = rest.split()[:4]
            if int(sid) == leader and state != "Z":
                found[int(path.parent.name)] = name
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


# Seconds, of what hangs, not of what is slow: beside six busy processes a node takes over a minute to start.
BOUND = 300


def wait_for(condition):
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end(process):
    """SIGKILL to a node: to `ray start`, its raylet, its agents and its workers, not to the runs."""
    for pid in session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(timeout=BOUND)
    wait_for(lambda: not session(process.pid))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """`address`; `client`, its address for Ray's client; `nodes()`, which are two, started where they are not there."""
    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_AUTH_MODE", "disabled")  # the token that a ray.init leaves in ~/.ray is another cluster's
    scripts = tmp_path_factory.mktemp("scripts")
    (scripts / "tiny_steps.py").write_text(SCRIPT)
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets' paths must be short
    port, client = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words],
            env={**os.environ, "PYTHONPATH": str(scripts), "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        wait_for(lambda: "raylet" in session(process.pid).values())
        return process

    def nodes():
        alive = [node for node in started[1:] if node.poll() is None]
        return alive + [start(f"--address={address}", "--num-cpus=1") for _ in range(2 - len(alive))]

    try:
        ports = [f"--port={port}", f"--ray-client-server-port={client}"]
        start("--head", *ports, "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}")
        yield types.SimpleNamespace(address=address, client=f"ray://127.0.0.1:{client}", nodes=nodes)
    finally:
        for process in reversed(started):
            end(process)
        shutil.rmtree(folder, ignore_errors=True)
        environment.undo()


@pytest.fixture
def start(tmp_path):
    """Starts a sweep in tmp_path / "out". One that a failed test leaves is killed, or its runs would keep the slots."""
    with contextlib.ExitStack() as started:

        def start(address, *runs, code=None):
            runs = [{"script": "tiny_steps", "config": "c.py", **run} for run in runs]
            (tmp_path / "sweep.py").write_text(f"def get_runs(arg=''):\n    return {runs!r}\n")
            program = ["-c", code] if code else ["-m", "experiments.sweep"]
            flags = [f"--config={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / 'out'}", f"--ray={address}"]
            command = [sys.executable, *program, *flags]
            child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            started.enter_context(child)  # which closes its pipes and waits for it
            started.callback(child.kill)
            return child

        yield start


def finish(child):
    out, err = child.communicate(timeout=BOUND)
    return child.returncode, out, err


def steps(folder, name):
    path = folder / "out" / name / "steps.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def log(folder, name):
    return (folder / "out" / name / "log.txt").read_text()


def test_runs_of_a_killed_node_go_on_elsewhere_from_where_they_were(cluster, start, tmp_path):
    nodes = cluster.nodes()
    names = [f"r{i}" for i in range(4)]
    hold = tmp_path / "hold"
    runs = [{"name": name, "overrides": {"n": 30, "hold": str(hold)}} for name in names]
    child = start(cluster.address, *runs)
    wait_for(lambda: sum(len(steps(tmp_path, name)) == 10 for name in names) == 2)  # one a slot
    assert sum(bool(steps(tmp_path, name)) for name in names) == 2
    (killed, other) = [name for name in names if steps(tmp_path, name)]
    pid = steps(tmp_path, killed)[0]["pids"][0]
    worker = int(re.search(r"PPid:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
    (node,) = [node for node in nodes if node.pid == os.getsid(worker)]
    end(node)
    wait_for(lambda: not alive(pid))
    hold.touch()
    status, out, err = finish(child)
    assert (status, err) == (0, ""), out + err

    for name in names:
        assert (tmp_path / "out" / name / "DONE").exists()
        assert [step["i"] for step in steps(tmp_path, name)] == list(range(30))
        assert len({step["pids"][0] for step in steps(tmp_path, name)}) == (2 if name == killed else 1)
        assert log(tmp_path, name).count("from 0\n") == 1
    assert [step["pids"][0] == pid for step in steps(tmp_path, killed)] == [True] * 10 + [False] * 20
    assert "from 10\n" in log(tmp_path, killed)
    first, second = re.findall(r"# on node \S+ (\w+)", log(tmp_path, killed))
    (stayed,) = re.findall(r"# on node \S+ (\w+)", log(tmp_path, other))
    assert first != second == stayed
    assert re.findall(r"(\w+): its worker died \(.*\), started again \((\d of 5)\)\n", out) == [(killed, "1 of 5")]


def test_failures_are_final_and_workers_that_always_die_are_given_up(cluster, start, tmp_path):
    cluster.nodes()
    child = start(
        cluster.client,
        {"name": "bad", "overrides": {"n": 1, "do": "fail"}},
        {"name": "later", "overrides": {"n": 1}, "after": ["bad"]},
        {"name": "deadly", "overrides": {"n": 1, "do": "kill the worker"}},
        {"name": "good", "overrides": {"n": 1}},
    )
    status, out, err = finish(child)
    assert (status, err) == (1, ""), out + err
    table = {line.split()[0]: line for line in out.splitlines()[-5:-1]}
    assert "failed" in table["bad"] and "error: of its own" in table["bad"] and "status 1" in table["bad"]
    assert "skipped" in table["later"] and "done" in table["good"] and not (tmp_path / "out" / "later").exists()
    assert "failed" in table["deadly"] and "its worker died" in table["deadly"]
    assert "as 5 did before" in log(tmp_path, "deadly")
    assert [log(tmp_path, name).count("from 0") for name in ("bad", "deadly", "good")] == [1, 6, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ending_the_sweep_ends_its_runs_and_it_goes_on_later(cluster, start, tmp_path, number):
    cluster.nodes()
    runs = [{"name": f"r{i}", "overrides": {"n": 40, "do": "child"}} for i in range(6)]
    child = start(cluster.address, *runs)
    wait_for(lambda: steps(tmp_path, "r0"))
    child.send_signal(number)
    status, _, err = finish(child)
    if number == signal.SIGINT:
        assert (status, err) == (130, "interrupted: the same command continues\n")
    begun = [steps(tmp_path, run["name"]) for run in runs]
    pids = [pid for found in begun if found for pid in found[0]["pids"]]
    assert pids and not all(begun)
    if number != signal.SIGKILL:
        assert not any(map(alive, pids)) and "asked to end" in log(tmp_path, "r0")
    wait_for(lambda: not any(map(alive, pids)))  # else Ray ends them
    before = [len(steps(tmp_path, run["name"])) for run in runs]
    time.sleep(1)
    assert before == [len(steps(tmp_path, run["name"])) for run in runs]  # what had waited does not begin

    runs = [{**run, "overrides": {"n": 40}} for run in runs[:2]]
    assert finish(start(cluster.address, *runs))[0] == 0
    assert [step["i"] for step in steps(tmp_path, "r0")] == list(range(40))


def test_a_second_signal_kills_runs_that_do_not_end(cluster, start, tmp_path):
    cluster.nodes()
    runs = [{"name": f"r{i}", "overrides": {"n": 400, "do": "never"}} for i in range(3)]
    child = start(cluster.address, *runs)
    wait_for(lambda: steps(tmp_path, "r0"))
    child.send_signal(signal.SIGINT)
    while "kills" not in child.stdout.readline():
        assert child.poll() is None
    pid = steps(tmp_path, "r0")[0]["pids"][0]
    time.sleep(3)
    assert alive(pid) and child.poll() is None
    child.send_signal(signal.SIGINT)
    status, _, err = finish(child)
    assert (status, err) == (130, "interrupted: the same command continues\n")
    wait_for(lambda: not alive(pid))


def test_a_run_waits_until_nothing_else_runs_in_its_workdir(cluster, start, tmp_path):
    cluster.nodes()
    (tmp_path / "out" / "a").mkdir(parents=True)
    with open(tmp_path / "out" / "a" / "lock", "a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        child = start(cluster.address, {"name": "a", "overrides": {"n": 1}})
        wait_for(lambda: (tmp_path / "out" / "a" / "log.txt").exists() and "# on node" in log(tmp_path, "a"))
        time.sleep(2)
        assert "from" not in log(tmp_path, "a")
    assert finish(child)[0] == 0


def test_a_node_without_the_checkout(cluster, start):
    cluster.nodes()
    code = "from experiments import sweep; from experiments.lib import launch; launch.ROOT = '/nowhere/checkout'"
    code += "; sweep.main()"
    status, out, err = finish(start(cluster.address, {"name": "a", "overrides": {"n": 1}}, code=code))
    assert (status, err) == (1, "")
    assert re.search(r"a: failed, .*: error: node .* has no /nowhere/checkout: this checkout must be at", out)


def test_no_cluster_there(start):
    status, _, err = finish(start("nonsense", {"name": "a"}))
    assert status == 2 and err.startswith("error: no Ray cluster at --ray=nonsense: ") and err.count("\n") == 1
