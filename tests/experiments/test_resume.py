"""Kill and resume: a run that was killed anywhere, started again with the same command, ends as if nothing had been."""

import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.training import learner
from entropy_rl.training.checkpoints import Checkpoints
from experiments import train_rl, train_sft
from experiments.lib import launch
from experiments.rl import parts

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = random.randrange(10**6)  # of the moments of the kills: others every time, and said when a test fails

RL = ("train_rl", "configs/rl/grpo.py:smoke", {
    "steps": 40, "checkpoint.every": 4, "eval.every": 15, "change.every": 5, "rollout.prompts": 4, "updates": 2,
    "entropy_coef.args.value": 0.01,  # without a reward, what moves the policy
})  # fmt: skip
SFT = ("train_sft", "configs/sft/countdown.py:smoke", {
    "steps": 40, "checkpoint.every": 5, "eval.every": 16, "log_every": 2,
})  # fmt: skip


def start(what, workdir):
    script, config, changes = what
    settings = [f"--config.{k}={v}" for k, v in changes.items()]
    command = [sys.executable, "-m", f"experiments.{script}", f"--config={config}", *settings, f"--workdir={workdir}"]
    with open(f"{workdir}.log", "a") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def finish(what, workdir):
    status = start(what, workdir).wait(timeout=300)
    assert status == 0, log(workdir)


def log(workdir):
    return pathlib.Path(f"{workdir}.log").read_text()


def kill(what, workdir, when, delay=0.0):
    """Starts the run and kills it when `when()` holds, `delay` seconds later. Whether it was in time."""
    child = start(what, workdir)
    try:
        while child.poll() is None and not when():
            time.sleep(0.0005)
        time.sleep(delay)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    return child.returncode == -signal.SIGKILL


def rows(workdir, count):
    """Whether metrics.jsonl has so many rows, and was written to since this call."""
    path = workdir / "metrics.jsonl"
    changed = lambda: path.stat().st_mtime_ns if path.exists() else 0  # noqa: E731
    before = changed()
    return lambda: changed() != before and path.read_bytes().count(b"\n") >= count


def saved(workdir):
    """The latest checkpoint that is whole; 0 without one."""
    return max((int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdecimal()), default=0)


def unfinished(workdir):
    return {p.stat().st_ino for p in (workdir / "checkpoints").glob("*") if ".orbax-checkpoint-tmp" in p.name}


def kill_in_a_save(what, workdir, after=0):
    """Kills it in a save that comes after the checkpoint `after`."""
    for _ in range(5):  # a save takes some hundredths of a second
        before = unfinished(workdir)

        def saving():
            try:
                return saved(workdir) >= after and unfinished(workdir) - before  # noqa: B023
            except FileNotFoundError:  # it was there a moment ago
                return False

        assert kill(what, workdir, saving), f"it ended first: {log(workdir)}"
        if saving():
            return
    raise AssertionError("every save was quicker than the kill")


def config(what):
    c = launch.load_config(what[1])
    c.update_from_flattened_dict(what[2])
    return c


def result(what, workdir):
    """All that a run leaves but the time it took: rows, and step, state and meta of the latest checkpoint."""
    said = []
    out = metrics.read(workdir, say=said.append)
    assert not said
    numbers = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in out.metrics]
    evals = [row for row in out.evals if not row["metric"].startswith("time/")]
    if what[0] == "train_rl":
        p = parts.make(config(what))
        model, mesh, tx = p.model, p.mesh, p.tx
    else:
        _, model, mesh, tx, *_ = train_sft.parts(config(what))
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        saved = checkpoints.restore_latest(learner.abstract_state(model, tx, mesh))
    return numbers, evals, out.samples, saved


def assert_same(got, want):
    for a, b in zip(got[:3], want[:3]):
        assert [repr(row) for row in a] == [repr(row) for row in b]  # repr: NaN is NaN, and every bit counts
    (step, state, meta), (want_step, want_state, want_meta) = got[3], want[3]
    assert (step, meta) == (want_step, want_meta)
    jax.tree.map(np.testing.assert_array_equal, state, want_state)


def straight(what, folder):
    workdir = folder / "straight"
    finish(what, workdir)
    return workdir, result(what, workdir)


@pytest.fixture(scope="module")
def rl(tmp_path_factory):
    """A run that nothing disturbed: its workdir and what it left."""
    return straight(RL, tmp_path_factory.mktemp("rl"))


def test_there_is_something_to_lose(rl):
    """The runs below would agree by chance if nothing moved, or if the order of mini-batches did not matter."""
    numbers, evals, samples, (step, state, meta) = rl[1]
    assert step == 40 and int(state.step) == 80 and meta["alarm"]["first"] == numbers[0]["policy/entropy_sequence"]
    assert [row["step"] for row in numbers] == list(range(40))
    assert {row["step"] for row in evals} == {0, 15, 30, 40} and {row["step"] for row in samples} == {0, 15, 30}
    assert all(row["update/grad_norm"] > 0 and row["policy/kl"] > 0 for row in numbers)
    p = parts.make(config(RL))
    fresh = learner.init_state(p.model, p.tx, p.mesh, jax.random.key(0)).params
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), state.params, fresh)))


def test_a_killed_rl_run_goes_on_bitwise(rl, tmp_path):
    """Killed before the first checkpoint, in a save that is not the first, and between two, with a torn line besides.

    Mutations: rows or evaluations of a repeated step kept; the optimiser's state, the alarm or the order of
    mini-batches not restored; noise from a running key.
    """
    print("seed", SEED)
    rng, workdir = random.Random(SEED), tmp_path / "killed"
    assert kill(RL, workdir, rows(workdir, 2)), log(workdir)
    assert saved(workdir) == 0
    kill_in_a_save(RL, workdir, after=4)
    assert 4 <= saved(workdir) < 16
    assert kill(RL, workdir, lambda: saved(workdir) >= 16, rng.uniform(0, 0.05)), log(workdir)
    assert saved(workdir) < 40
    with open(workdir / "metrics.jsonl", "a") as f:
        f.write('{"step": 7, "policy/ent')
    finish(RL, workdir)
    assert_same(result(RL, workdir), rl[1])
    assert "was still being written when the run stopped: set aside in" in log(workdir)
    aside = sorted(p.name for p in (workdir / "set_aside").iterdir())
    assert any(name.startswith("metrics.jsonl.") for name in aside)
    assert "metrics.jsonl: line " in log(workdir) and "is broken, set aside in" in log(workdir)


def test_a_run_that_a_scheduler_ends_loses_nothing(rl, tmp_path):
    """SIGTERM before the first checkpoint, then SIGUSR1, between checkpoints, and more steps with another mesh's keys,
    micro-batches, slots and evaluations. Mutation: no save; a knob that changes what is learned."""
    script, path, changes = RL
    short = script, path, changes | {"steps": 13, "checkpoint.every": 100}
    workdir = tmp_path / "ended"
    for number, count, steps in ((signal.SIGTERM, 2, range(1, 12)), (signal.SIGUSR1, 1, range(2, 13))):
        child = start(short, workdir)
        there = rows(workdir, saved(workdir) + count)
        while child.poll() is None and not there():
            time.sleep(0.0005)
        child.send_signal(number)
        assert child.wait(timeout=60) == 128 + number, log(workdir)
        assert f"ended by {number.name}: {saved(workdir)} steps are done and saved" in log(workdir)
        assert saved(workdir) in steps
    finish(short, workdir)
    knobs = {"checkpoint.every": 20, "rollout.slots": 8, "mesh.fsdp": 1, "model.args.remat": "block", "change.every": 5}
    finish((script, path, changes | knobs), workdir)
    got, want = result(RL, workdir), rl[1]
    assert [row["step"] for row in got[0]] == list(range(40))
    assert [repr(row) for row in got[0][:13]] == [repr(row) for row in want[0][:13]]
    for row, other in zip(got[0], want[0]):
        for key in ("policy/entropy_sequence", "update/loss", "rollout/length"):
            np.testing.assert_allclose(row[key], other[key], rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), got[3][1].params, want[3][1].params)


@pytest.mark.slow
def test_a_killed_imitation_run_goes_on_bitwise(tmp_path):
    _, want = straight(SFT, tmp_path)
    assert [row["step"] for row in want[0]] == list(range(1, 40, 2)) and want[3][0] == 40
    workdir = tmp_path / "killed"
    assert kill(SFT, workdir, lambda: saved(workdir) >= 5, random.Random(SEED).uniform(0, 0.05)), log(workdir)
    assert 0 < saved(workdir) < 40
    finish(SFT, workdir)
    assert_same(result(SFT, workdir), want)


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in folder.rglob("*")}


def test_a_finished_run_is_left_alone(rl, capfd):
    """Mutation: a Writer, whose resume cuts the last evaluation, before the look whether there is anything to do."""
    before = snapshot(rl[0])
    train_rl.run(config(RL), str(rl[0]))
    assert snapshot(rl[0]) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("what", [RL, SFT], ids=["rl", "sft"])
def test_killed_at_any_time(what, tmp_path):
    """Eight kills, spread over the whole life of a process, its start included, and two more in saves."""
    print("seed", SEED)
    rng = random.Random(SEED)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    _, want = straight(what, tmp_path / "first")  # which compiles: its life is longer than that of the others
    begin = time.monotonic()
    straight(what, tmp_path / "second")
    life = time.monotonic() - begin
    for chain in range(2):
        workdir, killed = tmp_path / f"killed{chain}", 0
        kill_in_a_save(what, workdir)
        for _ in range(4):
            killed += kill(what, workdir, lambda: True, rng.uniform(0, life))
        assert killed
        finish(what, workdir)
        assert_same(result(what, workdir), want)
