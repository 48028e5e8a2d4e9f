"""experiments/train_sft.py in process: what it writes, that it learns, and how it says no."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.tasks import countdown
from entropy_rl.training import learner
from entropy_rl.training.checkpoints import Checkpoints
from experiments import train_sft
from experiments.lib import launch
from tests.training.learning import UnderWay


def get(**changes):
    config = launch.load_config("configs/sft/countdown.py:smoke")
    config.update_from_flattened_dict(changes)
    return config


def run(folder, **changes):
    train_sft.run(get(**changes), str(folder))
    return metrics.read(folder)


def final(folder, config):
    _, model, mesh, tx, *_ = train_sft.parts(config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore_latest(learner.abstract_state(model, tx, mesh))


THIRTY = {"steps": 30, "batch": 16, "log_every": 7, "eval.every": 20, "checkpoint.every": 50}


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thirty")
    return folder, run(folder, **THIRTY)


def test_what_it_writes(thirty):
    """A row now and then, and one at the end. Mutation: no row, or no evaluation, after the last step."""
    folder, out = thirty
    assert [row["step"] for row in out.metrics] == [6, 13, 20, 27, 29]
    keys = {"sft/nll", "policy/entropy", "time/log_interval"}
    updates = {f"update/{k}" for k in ("loss", "grad_norm", "finite", "learning_rate")}
    for row in out.metrics:
        assert row.keys() == {"step"} | keys | updates
        assert all(np.isfinite(v) for v in row.values())
    assert {row["step"] for row in out.evals} == {0, 20, 30}
    assert {"pass@1", "pass@2", "entropy", "time/eval"} <= {row["metric"] for row in out.evals if row["step"] == 30}
    step, state, meta = final(folder, get(**THIRTY))
    assert (step, int(state.step), meta) == (30, 30, {})


def test_at_most_one_update_is_under_way(tmp_path, monkeypatch):
    """However rare the rows. Mutation: `learn` without `collect` that fetches only the rows that are written."""
    under_way, real = UnderWay(), learner.make_update

    def make_update(*args, **how):
        update = real(*args, **how)

        def counted(*args):
            state, row = update(*args)
            return state, row | {"sft/nll": under_way.begun(row["sft/nll"])}

        return counted

    monkeypatch.setattr(learner, "make_update", make_update)
    run(tmp_path, steps=7, log_every=6)
    assert under_way.most == 1 and not under_way.now


def test_it_learns(thirty):
    """From ln 40 for 40 words to less. Mutation: the gradient's sign, or demonstrations under a wrong mask."""
    nll = [row["sft/nll"] for row in thirty[1].metrics]
    assert nll[0] < np.log(40) + 0.1 and nll[-1] < nll[0] - 0.5


@pytest.mark.slow
def test_micro_batches_change_nothing(thirty, tmp_path):
    out = run(tmp_path, **THIRTY, microbatches=4)
    for a, b in zip(thirty[1].metrics[:2], out.metrics[:2], strict=True):
        for key in a.keys() - {"time/log_interval"}:
            np.testing.assert_allclose(a[key], b[key], atol=1e-4, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize("log_every", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch, log_every):
    """At step 4, whose update is left out, and not at the steps after. Mutation: only the last update looked at."""
    whole = countdown.Countdown.demonstrations

    def demonstrations(self, seed, step, count):
        tokens, mask = whole(self, seed, step, count)
        return tokens + 10**6 * (step == 4), mask  # no such token: its embedding is NaN

    monkeypatch.setattr(countdown.Countdown, "demonstrations", demonstrations)
    changes = {"steps": 20, "log_every": log_every, "checkpoint.every": 2}
    with pytest.raises(InputError, match=r"not finite at step \d+ .*: lower optimizer.learning_rate") as e:
        train_sft.run(get(**changes), str(tmp_path))
    assert "\n" not in str(e.value)
    rows = metrics.read(tmp_path).metrics
    assert [row["step"] for row in rows] == {1: [0, 1, 2, 3], 3: [2]}[log_every]
    assert all(np.isfinite(v) for row in rows for v in row.values())
    step, state, _ = final(tmp_path, get(**changes))
    assert (step, int(state.step)) == (4, 4)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, r"config\.steps=0: must be a number above 0"),
        ({"batch": -4}, r"config\.batch=-4"),
        ({"log_every": 0}, r"config\.log_every=0"),
        ({"checkpoint.every": 0}, r"config\.checkpoint\.every=0"),
        ({"checkpoint.keep": 0}, r"config\.checkpoint\.keep=0"),
        ({"eval.every": -1}, r"config\.eval\.every=-1"),
        ({"microbatches": 3}, r"config\.microbatches=3 does not divide batch=4: choose a divisor"),
        ({"optimizer.warmup": 2}, r"config\.optimizer\.warmup=2: must be 0 or more and below the run's 2 updates"),
        ({"optimizer.learning_rate": -1.0}, r"config\.optimizer\.learning_rate=-1\.0"),
        ({"rollout.slots": 0}, r"config\.rollout\.slots=0"),
        ({"eval.ks": (4,)}, r"config\.eval\.ks has 4"),
        ({"eval.split": "valdation"}, r"unknown countdown split 'valdation' \(did you mean 'validation'\?\)"),
        ({"model.name": "smal"}, r"unknown model preset 'smal' \(did you mean 'small'\?\)"),
        ({"mesh.fsdp": 5}, "mesh data=1 fsdp=5 tensor=1 needs 5 devices"),
        ({"seed": -1}, r"config\.seed=-1"),
    ],
    ids=lambda x: "-".join(f"{k}={v}" for k, v in x.items()) if isinstance(x, dict) else "",
)
def test_a_bad_value_is_one_line_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as e:
        train_sft.run(get(**changes), str(tmp_path / "run"))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_left_alone(thirty):
    before = {p: p.stat().st_mtime_ns for p in thirty[0].rglob("*")}
    train_sft.run(get(**THIRTY), str(thirty[0]))
    assert {p: p.stat().st_mtime_ns for p in thirty[0].rglob("*")} == before
