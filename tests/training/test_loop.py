"""The training loop with a step that only counts: what it calls when, what it saves, what stops it."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError, Preempted
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.loop import averaged, loop, passes, taught
from tests.training.learning import UnderWay

START = {"count": jnp.zeros((), jnp.int32)}


class Run:
    """A state that counts steps. It logs two updates a step, and notes what it was asked for in `calls`."""

    def __init__(self, folder, bad=None, dead=None, two=False, **how):
        self.calls, self._bad, self._dead = [], bad, dead
        more = {"collect": self.collect} if two else {}
        given = {"steps": 5, "checkpoint_every": 2, "eval_every": 3, "keep": 9} | more | how
        self.go = lambda: loop(folder, self.learn, evaluate=self.evaluate, abstract=START, first=self.first, **given)

    def first(self):
        return {"count": jnp.zeros((), jnp.int32)}

    def collect(self, writer, step, state):
        self.calls.append(f"collect {step}")
        if step == self._dead:
            raise InputError("nothing to learn")
        return step

    def learn(self, writer, step, state, data):
        assert int(state["count"]) == step
        self.calls.append(f"learn {step}")
        finite = jnp.float32(step != self._bad)
        row = {"update/finite": [1.0, finite], "update/loss": [jnp.float32(step), 0.0], "count": step}
        return {"count": state["count"] + 1}, row

    def evaluate(self, writer, step, state, last):
        self.calls.append(f"{'last' if last else 'eval'} {step}")


def rows(folder):
    return [(row["step"], row["update/loss"]) for row in metrics.read(folder).metrics]


def saved(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize("two", [False, True])
def test_what_it_calls_writes_and_saves(tmp_path, two):
    """Mutations: no checkpoint at the end; an evaluation after the step; the sum of a row's list."""
    run = Run(tmp_path, two=two)
    run.go()
    each = [[f"collect {i}"] * two + [f"learn {i}"] for i in range(5)]
    assert run.calls == ["eval 0", *each[0], *each[1], *each[2], "eval 3", *each[3], *each[4], "last 5"]
    assert rows(tmp_path) == [(i, i / 2) for i in range(5)] and saved(tmp_path) == [2, 4, 5]
    again = Run(tmp_path, two=two)
    again.go()
    assert again.calls == [], "it is done"


@pytest.mark.parametrize("two, bad", [(False, 3), (True, 3), (True, 4)])
def test_it_goes_on_and_a_loss_that_is_not_finite_stops_it(tmp_path, two, bad):
    """Mutations: the bad row written; a start at step 0; no save where a step is one update."""
    with pytest.raises(InputError, match=rf"^loss or gradient is not finite at step {bad} \(loss .*\): do this, in a"):
        Run(tmp_path, bad=bad, two=two, remedy="do this").go()
    good = 2 if bad == 3 else 4
    assert [step for step, _ in rows(tmp_path)] == list(range(bad)) and max(saved(tmp_path)) == good
    run = Run(tmp_path, two=two)
    run.go()
    assert f"learn {good - 1}" not in run.calls and f"learn {good}" in run.calls
    assert [step for step, _ in rows(tmp_path)] == list(range(5))


def test_a_step_of_one_update_is_saved_before_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="at step 3"):
        Run(tmp_path, bad=3, single_update=True).go()
    assert 3 in saved(tmp_path)


def test_data_that_are_not_there_cost_no_step(tmp_path):
    """Mutation: no save before the error."""
    with pytest.raises(InputError, match="nothing to learn"):
        Run(tmp_path, dead=3, two=True, eval_every=None).go()
    assert len(rows(tmp_path)) == 3 and max(saved(tmp_path)) == 3


def test_rounds_are_saved_under_their_own_number(tmp_path):
    """Checkpoint t is that after round t, and the last evaluation is of the last round."""
    how = {"steps": 3, "numbered_from": 1, "checkpoint_every": 1, "eval_every": None}
    run = Run(tmp_path, **how)
    run.go()
    assert run.calls == ["learn 0", "learn 1", "learn 2", "last 2"] and saved(tmp_path) == [0, 1, 2]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        step, state, _ = checkpoints.restore_latest(START)
    assert step == 2 and int(state["count"]) == 3
    again = Run(tmp_path, **how | {"steps": 4})
    again.go()
    assert again.calls == ["learn 3", "last 3"]


def test_rows_are_written_now_and_then_and_checked_always(tmp_path):
    seen = []
    Run(tmp_path / "a", log_every=2, observe=lambda step, row: seen.append((step, row["count"]))).go()
    assert [step for step, _ in rows(tmp_path / "a")] == [1, 3, 4] and seen == [(i, i) for i in range(5)]
    with pytest.raises(InputError, match="at step 2"):
        Run(tmp_path / "b", bad=2, log_every=5).go()


@pytest.mark.parametrize("two", [False, True])
def test_at_most_one_update_is_under_way(tmp_path, two):
    """Whatever `log_every` is. Mutations: rows fetched where they are written only; `taught` without its wait."""
    under_way, run = UnderWay(), Run(tmp_path, two=two, steps=9, log_every=5)
    learn = run.learn

    def counted(writer, step, state, data):
        state, row = learn(writer, step, state, data)
        return state, row | {"count": under_way.begun()}

    run.learn = counted
    run.go()
    assert under_way.most == 1 and not under_way.now
    state = SimpleNamespace(step=0)

    def update(state, batch, key, coefs):
        return SimpleNamespace(step=state.step + 1), {"x": under_way.begun()}

    taught(update, state, range(5), None, where="")
    assert under_way.most == 1


def test_passes_have_each_row_once():
    """Mutation: rows drawn with replacement; a pass's rest thrown away."""
    picks = list(passes(5, count=4, size=3, rng=np.random.default_rng(0)))
    every = np.concatenate(picks)
    assert [len(p) for p in picks] == [3] * 4 and sorted(every[:5]) == sorted(every[5:10]) == list(range(5))


class Signalled(Run):
    """A run that gets a signal in one of its calls, such as "collect 3"."""

    def __init__(self, folder, at, number, **how):
        self.at, self.number = at, number
        super().__init__(folder, two=True, **how)

    def met(self, call):
        if call == self.at:
            os.kill(os.getpid(), self.number)
            time.sleep(0)  # python runs handlers between two of its instructions

    def collect(self, writer, step, state):
        self.met(f"collect {step}")
        return super().collect(writer, step, state)

    def learn(self, writer, step, state, data):
        self.met(f"learn {step}")
        return super().learn(writer, step, state, data)

    def evaluate(self, writer, step, state, last):
        super().evaluate(writer, step, state, last)
        writer.evals(step, "x", {"last": float(last)}, 1)
        self.met(f"{'last' if last else 'eval'} {step}")


# signal at, steps that are then done
NOTICES = {"collect 1": 1, "learn 2": 3, "eval 3": 3, "learn 4": 5, "last 5": 5, "eval 0": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("at", NOTICES)
def test_a_notice_saves_and_the_run_goes_on_from_there(tmp_path, at, number):
    """Mutations: no save; the row of the step before is lost; an evaluation that is never made."""
    before = signal.getsignal(number)
    with pytest.raises(Preempted, match=f"ended by {number.name}: {NOTICES[at]} steps are done and saved") as e:
        Signalled(tmp_path, at, number, checkpoint_every=100).go()
    assert e.value.number == number and signal.getsignal(number) is before
    assert (saved(tmp_path)[-1:] or [0]) == [NOTICES[at]]
    run = Signalled(tmp_path, "", number, checkpoint_every=100)
    run.go()
    assert rows(tmp_path) == [(i, i / 2) for i in range(5)] and saved(tmp_path)[-1] == 5
    assert [(row["step"], row["value"]) for row in metrics.read(tmp_path).evals] == [(0, 0), (3, 0), (5, 1)]
    assert run.calls.count("last 5") == 1 and f"learn {NOTICES[at] - 1}" not in run.calls
    again = Signalled(tmp_path, "", number, checkpoint_every=100)
    again.go()
    assert again.calls == []


def two(folder):
    """Two processes of one run; what they print goes to files."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    out = []
    for index in (0, 1):
        env = os.environ | {"JAX_PLATFORMS": "cpu", "NOTICING": f"{folder}:{port}:{index}"}
        with open(f"{folder}.{index}", "w") as said:
            command = [sys.executable, "-m", "tests.training.noticing"]
            out.append(subprocess.Popen(command, env=env, stdout=said, stderr=said))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("victim, number", [(1, signal.SIGTERM), (0, signal.SIGUSR1)])
def test_a_notice_to_one_process_saves_in_both(tmp_path, victim, number):
    """Before the same step, and the same commands go on from there. Mutation: the preemption service is off."""
    children, said = two(tmp_path / "run"), [tmp_path / f"run.{i}" for i in (0, 1)]
    deadline = time.monotonic() + 120
    while "\n5\n" not in said[0].read_text():
        assert time.monotonic() < deadline and children[0].poll() is None, said[0].read_text()
        time.sleep(0.02)
    children[victim].send_signal(number)
    assert [child.wait(timeout=60) for child in children] == [128 + signal.SIGTERM] * 2, said[0].read_text()
    (step,) = saved(tmp_path / "run")
    for text in said:
        assert f"ended by SIGTERM: {step} steps are done and saved, the same command continues" in text.read_text()
    assert [row["step"] for row in metrics.read(tmp_path / "run").metrics] == list(range(step)) and 5 < step < 60
    assert [child.wait(timeout=120) for child in two(tmp_path / "run")] == [0, 0], said[0].read_text()
    assert f"\n{step}\n" in said[0].read_text() and f"\n{step - 1}\n" not in said[0].read_text()
    assert [row["count"] for row in metrics.read(tmp_path / "run").metrics] == list(range(60))


def test_more_steps_and_fewer(tmp_path):
    """A run that is done goes on when it is asked for more."""
    Run(tmp_path).go()
    with pytest.raises(InputError, match="has done 5 steps, more than the 3 that are asked for: give more"):
        Run(tmp_path, steps=3).go()
    more = Run(tmp_path, steps=7)
    more.go()
    assert more.calls == ["learn 5", "eval 6", "learn 6", "last 7"]
    assert rows(tmp_path) == [(i, i / 2) for i in range(7)]


def test_updates_that_were_not_applied_are_an_error():
    """Mutation: the number of updates not compared."""

    class Counted:
        step = 7

    def update(state, batch, key, coefs):
        new = Counted()
        new.step = state.step + batch
        return new, {"x": np.float32(batch)}

    state, logged = taught(update, Counted(), [1, 1, 1], None, where="in round 2")
    assert state.step == 10 and averaged([*logged, {"x": np.float32(3)}]) == {"x": 1.5}
    with pytest.raises(
        InputError, match=r"not finite in round 2 \(1 of 3 updates\): lower optimizer.learning_rate, in"
    ):
        taught(update, Counted(), [1, 0, 1], None, where="in round 2")
