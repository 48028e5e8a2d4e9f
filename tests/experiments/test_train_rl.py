"""experiments/train_rl.py in process: what it writes, that the ways to cut a batch agree, and how it says no."""

import itertools
import json
from types import SimpleNamespace
from unittest.mock import ANY

import jax
import numpy as np
import pytest

from entropy_rl import files, metrics
from entropy_rl.errors import InputError
from entropy_rl.tasks import countdown
from entropy_rl.training import learner
from entropy_rl.training import step as rl_step
from entropy_rl.training.checkpoints import Checkpoints, restore_params
from entropy_rl.training.state import saved as saved_tree
from experiments import train_rl, train_sft
from experiments.lib import launch
from experiments.rl import parts, settings

RECORD = {
    *(f"policy/entropy{x}" for x in ("", "_sequence", "_std", "_p10", "_p50", "_p80", "_p90", "_p99", "_low")),
    *("policy/entropy_decisions", "policy/entropy_format"),
    *("policy/cov_state", "policy/cov_state_natural", "policy/cov_sequence", "policy/cov_sequence_natural"),
    *(f"policy/cov_top_{x}" for x in (0.0002, 0.002, 0.02, 0.2, 0.5)),
    *("policy/polarity_positive", "policy/polarity_sharpening", "update/entropy_coef"),
    *("entropy/change_measured_square", "entropy/change_single_token"),
    *(
        f"entropy/change_{x}_{y}"
        for x in ("predicted", "second_order", "single_token")
        for y in ("square", "cross", "rank_correlation")
    ),
    "entropy/change_second_order",
    *("policy/cov", "policy/cov_p50", "policy/cov_p90", "policy/cov_p99", "policy/cov_max"),
    *("entropy/change_measured", "entropy/change_predicted"),
    *("policy/clip_fraction", "policy/clip_entropy", "policy/kl", "policy/logp_gap"),
    *("rollout/reward", "rollout/zero_variance", "rollout/solved", "rollout/answer_entropy"),
    *("rollout/length", "rollout/tokens", "rollout/truncated", "time/rollout", "time/learn", "time/step"),
    "time/change",
    *("update/loss", "update/grad_norm", "update/finite", "update/learning_rate"),
}


def get(**changes):
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.update_from_flattened_dict(changes)
    return config


def make_easy(monkeypatch):
    """A reward that an untrained policy gets now and then, or there would be nothing to learn."""
    monkeypatch.setattr(countdown.Countdown, "verify", lambda self, problem, response: float(len(response) % 3 == 0))


@pytest.fixture
def easy(monkeypatch):
    make_easy(monkeypatch)


def run(folder, **changes):
    train_rl.run(get(**changes), str(folder))
    return metrics.read(folder)


def final(folder, config):
    """Step, state and meta of the latest checkpoint."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.restore_latest(saved_tree(parts.abstract(parts.make(config))))


BASE = {"rollout.prompts": 4, "rollout.samples": 4, "optimizer.learning_rate": 0.02}
THREE = {**BASE, "steps": 3, "eval.every": 2, "change.every": 2, "samples": 3, "alarm.collapse": 0.999}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The workdir of three updates."""
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_easy(monkeypatch)
        run(folder, **THREE)
    return folder


def test_what_it_writes(three):
    """Evaluated at every second step and at the end. Mutation: no evaluation after the last update."""
    out = metrics.read(three)
    assert json.loads((three / "config.json").read_text())["config"]["steps"] == 3
    assert [row["step"] for row in out.metrics] == [0, 1, 2]
    for row in out.metrics:
        changed = {k for k in RECORD if k.startswith(("entropy/", "time/change"))} if row["step"] % 2 else set()
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


def test_what_it_saves(three):
    assert sorted(p.name for p in (three / "checkpoints").iterdir()) == ["2", "3"]
    step, state, meta = final(three, get(**THREE))
    assert step == int(state.step) == 3
    first = metrics.read(three).metrics[0]["policy/entropy_sequence"]
    np.testing.assert_allclose(meta["alarm"]["first"], first)
    assert meta["alarm"]["raised"] == ["collapse"]


def test_clocks_stop_when_what_they_time_is_there(tmp_path, easy, monkeypatch):
    """Every array of a step's result is ready when a clock is read after it. Mutation: no wait in `learn`.

    With clocks that count readings the parts add up to the step without one's being counted twice.
    """
    made, late, readings = [], [], itertools.count()

    def learn(self, *args, **kwargs):
        out = call(self, *args, **kwargs)
        # as long an update as a real model's: the small one's may be there already when it is asked for
        slow = jax.jit(lambda x: jax.lax.fori_loop(0, 400, lambda _, x: x @ x / 500, x))(np.eye(500, dtype=np.float32))
        made.append(slow)
        return (out[0], [row | {"update/slow": slow[0, 0]} for row in out[1]], *out[2:])

    def clock():
        late.extend(x for x in made if not x.is_ready())
        return float(next(readings))

    call = rl_step.Learner.__call__
    monkeypatch.setattr(rl_step.Learner, "__call__", learn)
    monkeypatch.setattr(train_rl, "time", SimpleNamespace(perf_counter=clock))
    rows = run(tmp_path, **BASE, **{"change.every": 2}).metrics
    assert len(made) == 2 and not late
    parts_ = ("time/rollout", "time/learn", "time/change")
    assert all(sum(row.get(k, 0) for k in parts_) <= row["time/step"] for row in rows)


@pytest.mark.slow
def test_micro_batches_change_nothing(three, tmp_path, easy):
    """Mutation: a mean over micro-batches instead of a sum, or weights made for each of them."""
    one, two = metrics.read(three), run(tmp_path, **THREE, microbatches=2)
    assert max(row["update/grad_norm"] for row in one.metrics) > 0  # which groups differ is the machine's to draw
    for a, b in zip(one.metrics + one.samples, two.metrics + two.samples, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            if isinstance(a[key], str):
                assert a[key] == b[key]
            elif not key.startswith("time/"):
                # rounding may swap two ranks that nearly tie, which moves their correlation by a step
                step = 1e-2 if key.endswith("rank_correlation") else 1e-4
                np.testing.assert_allclose(a[key], b[key], atol=step, rtol=1e-4, err_msg=key)


def test_several_updates_a_rollout(tmp_path, easy):
    """Two mini-batches in each of two passes: four updates a step, the later ones off-policy."""
    changes = {**BASE, "updates": 2, "epochs": 2, "optimizer.warmup": 4, "checkpoint.every": 5}
    out = run(tmp_path, **changes)
    step, state, _ = final(tmp_path, get(**changes))
    assert (step, int(state.step)) == (2, 8)
    assert out.metrics[1]["policy/kl"] > 1e-7 and out.metrics[1]["policy/logp_gap"] > 1e-4
    np.testing.assert_allclose([row["update/learning_rate"] for row in out.metrics], [0, 0.02], atol=1e-9)


@pytest.mark.slow
def test_the_entropy_bonus_holds_the_entropy(tmp_path):
    """No reward, so nothing but the bonus moves the policy. Mutation: its sign."""
    changes = {**BASE, "optimizer.learning_rate": 1e-3}
    up, down = (run(tmp_path / str(c), **changes, **{"entropy_coef.args.value": c}).metrics for c in (1.0, -1.0))
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


def params(folder, config):
    p = parts.make(config)
    return restore_params(folder, learner.abstract_state(p.model, p.tx, p.mesh).params)


def test_it_starts_from_another_runs_policy(tmp_path, imitated, capsys, monkeypatch):
    """There is no reward, so no update changes what it started from, and that is said, as is a setting that nothing
    reads. Mutations: `init` read and not used; `observe` without the alarm, or one that no checkpoint keeps.
    """
    config = get(init=str(imitated), **BASE, **{"kl.reset_every": 5})
    monkeypatch.setattr("entropy_rl.training.alarms.LATE", 2)
    train_rl.run(config, str(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "kl." in line] == [settings.odd(config, 20)[0]]
    assert [line[:35] for line in lines if "learnt" in line] == ["nothing is learnt in steps 0 to 1: "]
    assert final(tmp_path, config)[2]["learning"] == {"counts": ANY, "raised": ["alike"]}
    want = params(imitated, config)
    jax.tree.map(np.testing.assert_array_equal, params(tmp_path, config), want)
    p = parts.make(config)
    fresh = learner.init_state(p.model, p.tx, p.mesh, jax.random.key(config.seed)).params
    assert not np.array_equal(fresh["params"]["embed"]["embedding"], want["params"]["embed"]["embedding"])


def poisoned(monkeypatch, at):
    """An infinite advantage in the mini-batch number `at` of the run."""
    count, split = itertools.count(), rl_step.minibatches

    def minibatches(*args, **kwargs):
        for batch in split(*args, **kwargs):
            yield batch.replace(advantage=batch.advantage + np.inf) if next(count) == at else batch

    monkeypatch.setattr(rl_step, "minibatches", minibatches)


@pytest.mark.parametrize("updates, at, saved", [(1, 3, 3), (1, 0, 0), pytest.param(2, 7, 2, marks=pytest.mark.slow)])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, easy, monkeypatch, updates, at, saved):
    """Rows and state are those before it. Mutations: its row written, or the state after it saved."""
    changes = {**BASE, "steps": 6, "updates": updates, "checkpoint.every": 2, "eval.every": 4}
    bad = at // updates
    poisoned(monkeypatch, at)
    with pytest.raises(InputError, match=f"not finite at step {bad} .*: the last checkpoint .* is good; lower") as e:
        train_rl.run(get(**changes), str(tmp_path))
    assert "\n" not in str(e.value)
    rows, broken = files.read(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(bad)) and not broken
    assert all(np.isfinite(v) for row in rows for v in row.values())
    step, state, meta = final(tmp_path, get(**changes))
    assert (step, int(state.step)) == (saved, saved * updates)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, r"config\.steps=0: must be a number above 0"),
        ({"steps": -1}, r"config\.steps=-1"),
        ({"eval.every": 0}, r"config\.eval\.every=0"),
        ({"checkpoint.every": 0}, r"config\.checkpoint\.every=0"),
        ({"checkpoint.keep": 0}, r"config\.checkpoint\.keep=0"),
        ({"epochs": 0}, r"config\.epochs=0"),
        ({"rollout.samples": 0}, r"config\.rollout\.samples=0"),
        ({"rollout.temperature": 0.0}, r"config\.rollout\.temperature=0\.0: must be a number above 0"),
        ({"rollout.prompts": 4, "updates": 3}, r"config\.updates=3 does not divide rollout\.prompts=4: choose a"),
        ({"microbatches": 3}, r"config\.microbatches=3 does not divide the 8 responses of a mini-batch .*: choose"),
        ({"updates": 2, "microbatches": 8}, "microbatches=8 does not divide the 4 responses"),
        ({"change.rows": 0}, r"config\.change\.rows=0: must be a number above 0"),
        ({"change.every": -1}, r"config\.change\.every=-1: must be a number of 0 or more"),
        ({"samples": -1}, r"config\.samples=-1"),
        ({"entropy_coef.args.value": float("nan")}, r"config\.entropy_coef: value=nan must be a finite number"),
        ({"alarm.collapse": 1.5}, r"config\.alarm\.collapse=1\.5: must be a share .* below 1"),
        ({"alarm.explosion": 0.5}, r"config\.alarm\.explosion=0\.5: must be a multiple .* above 1"),
        ({"seed": -1}, r"config\.seed=-1"),
        ({"optimizer.warmup": 2}, r"config\.optimizer\.warmup=2: must be 0 or more and below the run's 2 updates"),
        ({"optimizer.learning_rate": 0.0}, r"config\.optimizer\.learning_rate=0\.0: must be a number above 0"),
        ({"eval.temperature": 0.0}, r"config\.eval\.temperature=0\.0: .* above 0; eval\.top_k=1 is greedy"),
        ({"optimizer.clip": 0.0}, r"config\.optimizer\.clip=0\.0: must be a number above 0"),
        ({"eval.split": "tset"}, r"unknown countdown split 'tset' \(did you mean 'test'\?\)"),
        ({"eval.problems": 10**6}, "countdown/test has .* problems .*: lower size"),
        ({"eval.problems": 0}, r"config\.eval\.problems=0"),
        ({"eval.ks": (1, 3)}, r"config\.eval\.ks has 3: pass@k needs 1 <= k <= eval\.samples=2"),
        ({"mesh.data": 3}, "mesh data=3 .* needs 3 devices"),
        ({"model.name": "embeded"}, r"unknown model preset 'embeded' \(did you mean 'embedded'\?\)"),
        ({"task.name": "countdwn"}, r"unknown task 'countdwn' \(did you mean 'countdown'\?\)"),
        ({"task.args.levels": (7,)}, r"countdown levels=\(7,\): give"),
        ({"loss.name": "pppo"}, r"unknown policy loss 'pppo' \(did you mean 'ppo'\?\)"),
        ({"loss.args.clip_low": -0.2}, "clip_low=-0.2: give a finite number of 0 or more"),
        ({"advantage.name": "gripo"}, r"unknown advantage 'gripo' \(did you mean 'grpo'\?\)"),
        ({"advantage.name": "rloo"}, "advantage 'rloo' has no hyper-parameter 'eps'"),
        ({"weight.name": "token_men"}, r"unknown weight 'token_men' \(did you mean 'token_mean'\?\)"),
        ({"init": "/nonexistent"}, "config.init=/nonexistent holds no checkpoints: give the --workdir"),
    ],
    ids=lambda x: "-".join(f"{k}={v}" for k, v in x.items()) if isinstance(x, dict) else "",
)
def test_a_bad_value_is_one_line_before_anything_is_made(tmp_path, changes, message):
    """Mutation: a check after open_workdir, whose config.json would then refuse the right value."""
    with pytest.raises(InputError, match=message) as e:
        train_rl.run(get(**changes), str(tmp_path / "run"))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()


def test_an_init_that_does_not_fit_leaves_no_workdir(tmp_path, imitated):
    with pytest.raises(InputError, match=r"^config\.init=.* has shape \(\d+, \d+\) in it and \(\d+, \d+\) here") as e:
        train_rl.run(get(init=str(imitated), **{"model.name": "embedded"}), str(tmp_path / "run"))
    assert "\n" not in str(e.value)
    empty = tmp_path / "empty"
    (empty / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match=r"^config\.init=.* holds no good checkpoint"):
        train_rl.run(get(init=str(empty)), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_config_is_left_alone(three):
    before = {p: p.stat().st_mtime_ns for p in three.rglob("*")}
    with pytest.raises(
        InputError, match="belongs to another config: entropy_coef.args.value is 0.0 there and 0.1 here"
    ):
        train_rl.run(get(**THREE, **{"entropy_coef.args.value": 0.1}), str(three))
    assert {p: p.stat().st_mtime_ns for p in three.rglob("*")} == before
