"""RL from self-feedback end to end with a tiny model: both arms, no gold answer, killed and gone on."""

import dataclasses
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.tasks import countdown
from entropy_rl.training.checkpoints import Checkpoints, restore_params
from experiments import calibrate, compare, self_feedback
from experiments.lib import build, launch
from experiments.studies import pairs, reward_model


def config(variant="smoke", **changes):
    c = launch.load_config(f"configs/rlsf.py:{variant}")
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def parameters(workdir, c):
    """The last policy of a run."""
    task = build.task(c, split="train")
    model = build.model(c, task.tokenizer.vocab_size)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2), np.int32))
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return restore_params(workdir, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes))


@pytest.fixture
def poisoned(monkeypatch):
    """Training problems with junk for an answer, which nobody may verify; held-out ones are as they were."""
    verify, problem = countdown.Countdown.verify, countdown.Countdown.__getitem__

    def refuse(self, problem, response):
        assert self.split != "train", "a training answer was verified"
        return verify(self, problem, response)

    def junk(self, i):
        found = problem(self, i)
        return dataclasses.replace(found, answer="poison") if self.split == "train" else found

    def poison():
        monkeypatch.setattr(countdown.Countdown, "verify", refuse)
        monkeypatch.setattr(countdown.Countdown, "__getitem__", junk)

    return poison


@pytest.mark.parametrize("variant", ["smoke", pytest.param("reward_model_smoke", marks=pytest.mark.slow)])
def test_no_gold_answer_is_read_in_training(variant, poisoned, tmp_path):
    """With poisoned answers and a verify that raises the parameters are the same, bit for bit, and not the first ones.
    Mutation: methods.collect.attempt, which verifies, in place of branch or generate."""
    c = config(variant)
    self_feedback.run(c, tmp_path / "clean")
    poisoned()
    self_feedback.run(c, tmp_path / "poisoned")
    clean, dirty = (parameters(tmp_path / name, c) for name in ("clean", "poisoned"))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    task = build.task(c, split="train")
    first = build.model(c, task.tokenizer.vocab_size).init(jax.random.key(c.seed), np.zeros((1, 2), np.int32))
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), clean, first))
    assert max(moved) > 0
    assert metrics.read(tmp_path / "clean").metrics[-1]["update/finite"] == 1


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same(tmp_path, monkeypatch):
    """Rounds of DPO of one update each, before which policy and reference are the same: loss log 2. Mutations: the
    first policy as the reference of all rounds; the same questions in all rounds."""
    c, asked, problem_at = config(updates=1), [], pairs.problem_at
    monkeypatch.setattr(pairs, "problem_at", lambda *args: asked.append(args[-1]) or problem_at(*args))
    self_feedback.run(c, tmp_path / "whole")
    assert asked == list(range(16))
    save = Checkpoints.save

    def killed(self, step, state, meta):
        if step == 2:
            raise KeyboardInterrupt
        save(self, step, state, meta)

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        self_feedback.run(c, tmp_path / "cut")
    monkeypatch.setattr(Checkpoints, "save", save)
    self_feedback.run(c, tmp_path / "cut")
    assert asked[-8:] == list(range(8, 16))
    first, second = (metrics.read(tmp_path / name) for name in ("whole", "cut"))
    assert [row["step"] for row in first.metrics] == [1, 2] and {row["step"] for row in first.evals} == {0, 1, 2}
    assert [row["update/loss"] for row in first.metrics] == pytest.approx([math.log(2)] * 2, rel=1e-6)
    for a, b in zip(first.metrics, second.metrics, strict=True):
        assert {k: v for k, v in a.items() if "time/" not in k} == {k: v for k, v in b.items() if "time/" not in k}
    jax.tree.map(np.testing.assert_array_equal, *(parameters(tmp_path / name, c) for name in ("whole", "cut")))


def test_a_judged_rollout_is_of_the_sampler(monkeypatch):
    """Of rollout.dtype, that is. Mutation: the learner's model."""
    c = config("reward_model_smoke")
    judge, asked = object.__new__(reward_model.Judge), []
    judge._config, judge._key, judge._sampling = c, jax.random.key(0), {}
    judge._p = SimpleNamespace(model="learner", sampling={"model": "sampler"}, task=build.task(c, split="train"))

    def generate(model, *args, **how):
        asked.append(model)
        raise StopIteration

    monkeypatch.setattr(reward_model, "generate", generate)
    with pytest.raises(StopIteration):
        judge(None, 0)
    assert asked == ["sampler"]


@pytest.mark.slow
def test_the_reward_model_is_made_once(tmp_path, monkeypatch):
    """A run that is killed in PPO goes on with the reward model that was made, to the same rows."""
    c = config("reward_model_smoke", steps=3)
    self_feedback.run(c, tmp_path / "whole")
    save, made = Checkpoints.save, []

    def killed(self, step, state, meta):
        if self._directory.name == "checkpoints" and step == 2:
            raise KeyboardInterrupt
        made.append(self._directory.name)
        save(self, step, state, meta)

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        self_feedback.run(c, tmp_path / "cut")
    monkeypatch.setattr(Checkpoints, "save", save)
    monkeypatch.setattr(reward_model, "questions", None)  # nothing branches any more
    self_feedback.run(c, tmp_path / "cut")
    assert made.count("reward_model") == 1
    first, second = (metrics.read(tmp_path / name).metrics for name in ("whole", "cut"))
    assert [row["rollout/reward"] for row in first] == [row["rollout/reward"] for row in second]
    assert len({row["rollout/reward"] for row in first}) == 3


def test_calibrations_are_compared(tmp_path):
    """calibrate writes what compare reads; one policy against itself differs nowhere."""
    c = launch.load_config("configs/calibrate.py:smoke")
    out = calibrate.run(c, str(tmp_path / "calibration,base,seed=0"))
    assert out["spans"] == ["answer", "solution"] and len(out["reliability/answer"]) == 10
    other = tmp_path / "calibration,same,seed=0"
    other.mkdir()
    for name in (calibrate.ROWS, calibrate.SUMMARY, "config.json"):
        (other / name).write_bytes((tmp_path / "calibration,base,seed=0" / name).read_bytes())
    (tmp_path / "calibration,late,seed=0").mkdir()
    t = launch.load_config("configs/compare.py:calibration")
    t.update(runs=str(tmp_path), draws=100)
    table = compare.run(t, tmp_path / "table")
    same = table["arms"]["same"]["difference"]
    assert {same[key]["value"] for key in ("greedy", "pass@1", "entropy", "ece/answer")} == {0.0}
    assert table["notes"] == ["calibration,late,seed=0: not finished"]
    assert (tmp_path / "table/reliability.png").exists() and "Less base" in (tmp_path / "table/table.md").read_text()
    t.baseline = "bass"
    with pytest.raises(InputError, match="baseline 'bass'.*did you mean 'base'"):
        compare.run(t, tmp_path / "table")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": "ppo"}, "config.arm='ppo'"),
        ({"branches__span": "answers"}, "branches.span"),
        ({"branches__threshold": 1.5}, "branches.threshold=1.5"),
        ({"loss__args__beta": -1.0}, "beta=-1.0"),
        ({"microbatches": 3}, "config.microbatches=3: a micro-batch has 1.333 of 4 rows"),
        ({"init": "/nowhere"}, "config.init=/nowhere holds no checkpoints"),
    ],
)
def test_bad_input(tmp_path, changes, message):
    c = config(**changes)
    with pytest.raises(InputError, match=message):
        self_feedback.run(c, tmp_path / "run")
    assert not (tmp_path / "run").exists()
