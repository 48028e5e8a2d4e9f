"""experiments/train_rl.py in process: what it writes, that the ways to cut a batch agree, and how it says no."""

import itertools
import json

import jax
import numpy as np
import pytest

from entropy_rl import jsonl, learner, metrics
from entropy_rl.checkpoints import Checkpoints
from entropy_rl.errors import InputError
from entropy_rl.tasks import countdown
from experiments import launch, train_rl, train_sft

RECORD = {
    *(f"policy/entropy{x}" for x in ("", "_sequence", "_std", "_p10", "_p50", "_p80", "_p90", "_p99", "_low")),
    *("policy/entropy_decisions", "policy/entropy_format"),
    *("policy/cov", "policy/cov_p50", "policy/cov_p90", "policy/cov_p99", "policy/cov_max"),
    *("entropy/change_measured", "entropy/change_predicted"),
    *("policy/clip_fraction", "policy/clip_entropy", "policy/kl", "policy/logp_gap"),
    *("rollout/reward", "rollout/zero_variance", "rollout/solved", "rollout/answer_entropy"),
    *("rollout/length", "rollout/truncated", "time/rollout", "time/learn"),
    *("update/loss", "update/grad_norm", "update/finite", "update/learning_rate"),
}


def get(**changes):
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture
def easy(monkeypatch):
    """A reward that an untrained policy gets now and then, or there would be nothing to learn."""
    monkeypatch.setattr(countdown.Countdown, "verify", lambda self, problem, response: float(len(response) % 3 == 0))


def run(folder, **changes):
    train_rl.run(get(**changes), str(folder))
    return metrics.read(folder)


def final(folder, config):
    """Step, state and meta of the latest checkpoint."""
    _, model, mesh, tx, *_ = train_rl.parts(config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore_latest(learner.abstract_state(model, tx, mesh))


BASE = {"rollout.prompts": 4, "rollout.samples": 4, "optimizer.learning_rate": 0.02}


def test_what_it_writes(tmp_path, easy, capsys):
    """Three updates, evaluated at every second step and at the end. Mutation: no evaluation after the last update."""
    changes = {**BASE, "steps": 3, "eval.every": 2, "change.every": 2, "samples": 3, "alarm.collapse": 0.999}
    out = run(tmp_path, **changes)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["steps"] == 3
    assert [row["step"] for row in out.metrics] == [0, 1, 2]
    for row in out.metrics:
        changed = {k for k in RECORD if k.startswith("entropy/")} if row["step"] % 2 else set()
        assert row.keys() == {"step", *RECORD} - changed
        assert all(np.isfinite(v) for v in row.values())
    assert out.metrics[0]["rollout/reward"] > 0 and out.metrics[0]["update/grad_norm"] > 0
    assert abs(out.metrics[0]["policy/logp_gap"]) < 1e-5, "the learner sees what the sampler saw"
    assert out.metrics[2]["entropy/change_measured"] != 0
    assert {row["step"] for row in out.evals} == {0, 2, 3}
    for step in (0, 2, 3):
        rows = {row["metric"]: row for row in out.evals if row["step"] == step}
        assert {"pass@1", "pass@2", "coverage", "distinct", "entropy", "answer_entropy", "time/eval"} <= rows.keys()
        assert {(row["task"], row["n"]) for row in rows.values()} == {("countdown", 4)}
    assert [row["step"] for row in out.samples] == [0, 0, 0, 2, 2, 2]
    assert all(row.keys() == {"step", "prompt", "response", "reward", "entropy"} for row in out.samples)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]
    step, state, meta = final(tmp_path, get(**changes))
    assert step == int(state.step) == 3
    np.testing.assert_allclose(meta["alarm"]["first"], out.metrics[0]["policy/entropy_sequence"])
    assert "collapse" in meta["alarm"]["raised"]
    assert capsys.readouterr().out.count("entropy collapse at step ") == 1


def test_micro_batches_change_nothing(tmp_path, easy):
    """Mutation: a mean over micro-batches instead of a sum, or weights made for each of them."""
    one, two = (run(tmp_path / str(n), **BASE, microbatches=n) for n in (1, 2))
    assert one.metrics[1]["update/grad_norm"] > 0
    for a, b in zip(one.metrics + one.samples, two.metrics + two.samples, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            if isinstance(a[key], str):
                assert a[key] == b[key]
            elif not key.startswith("time/"):
                np.testing.assert_allclose(a[key], b[key], atol=1e-4, rtol=1e-4, err_msg=key)


def test_several_updates_a_rollout(tmp_path, easy):
    """Two mini-batches in each of two passes: four updates a step, the later ones off-policy."""
    changes = {**BASE, "updates": 2, "epochs": 2, "optimizer.warmup": 4, "checkpoint.every": 5}
    out = run(tmp_path, **changes)
    step, state, _ = final(tmp_path, get(**changes))
    assert (step, int(state.step)) == (2, 8)
    assert out.metrics[1]["policy/kl"] > 1e-7 and out.metrics[1]["policy/logp_gap"] > 1e-4
    np.testing.assert_allclose([row["update/learning_rate"] for row in out.metrics], [0, 0.02], atol=1e-9)


def test_the_entropy_bonus_holds_the_entropy(tmp_path):
    """No reward, so nothing but the bonus moves the policy. Mutation: its sign."""
    changes = {**BASE, "optimizer.learning_rate": 1e-3}
    up, down = (run(tmp_path / str(c), **changes, entropy_coef=c).metrics for c in (1.0, -1.0))
    assert up[0]["policy/entropy"] == down[0]["policy/entropy"]
    for key in ("entropy/change_measured", "entropy/change_predicted"):
        assert up[0][key] > 0 > down[0][key]


@pytest.fixture(scope="module")
def imitated(tmp_path_factory):
    """The workdir of a short imitation run with the same model."""
    config = launch.load_config("configs/sft/countdown.py:smoke")
    folder = tmp_path_factory.mktemp("sft")
    train_sft.run(config, str(folder))
    return folder


def test_it_starts_from_another_runs_policy(tmp_path, imitated):
    """Mutation: `init` read and not used. No reward, so no update changes what it started from."""
    run(tmp_path / "a", init=str(imitated))
    run(tmp_path / "b")
    a, b = (final(tmp_path / x, get())[1].params for x in "ab")
    _, model, mesh, tx, *_ = train_sft.parts(launch.load_config("configs/sft/countdown.py:smoke"))
    with Checkpoints(imitated / "checkpoints") as checkpoints:
        want = checkpoints.restore_latest(learner.abstract_state(model, tx, mesh))[1].params
    jax.tree.map(np.testing.assert_array_equal, a, want)
    assert any(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x != y).any()), b, want)))


def poisoned(monkeypatch, at):
    """An infinite advantage in the mini-batch number `at` of the run."""
    count, split = itertools.count(), train_rl.minibatches

    def minibatches(*args, **kwargs):
        for batch in split(*args, **kwargs):
            yield batch.replace(advantage=batch.advantage + np.inf) if next(count) == at else batch

    monkeypatch.setattr(train_rl, "minibatches", minibatches)


@pytest.mark.parametrize("updates, at, saved", [(1, 3, 3), (1, 0, 0), (2, 7, 2)])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, easy, monkeypatch, updates, at, saved):
    """Rows and state are those before it. Mutations: its row written, or the state after it saved."""
    changes = {**BASE, "steps": 6, "updates": updates, "checkpoint.every": 2, "eval.every": 4}
    bad = at // updates
    poisoned(monkeypatch, at)
    with pytest.raises(InputError, match=f"not finite at step {bad} .*: the last checkpoint .* is good; lower") as e:
        train_rl.run(get(**changes), str(tmp_path))
    assert "\n" not in str(e.value)
    rows, broken = jsonl.read(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(bad)) and not broken
    assert all(np.isfinite(v) for row in rows for v in row.values())
    step, state, meta = final(tmp_path, get(**changes))
    assert (step, int(state.step)) == (saved, saved * updates)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    if updates == 1 and at:  # what was saved is what a good run has there
        monkeypatch.undo()
        monkeypatch.setattr(countdown.Countdown, "verify", lambda self, p, response: float(len(response) % 3 == 0))
        good = {**changes, "steps": bad}
        train_rl.run(get(**good), str(tmp_path / "good"))
        want = final(tmp_path / "good", get(**good))
        assert want[0] == step and want[2] == meta
        jax.tree.map(np.testing.assert_array_equal, state, want[1])
