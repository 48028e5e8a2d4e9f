"""Rollouts cut to their longest response: the same rows of a run as with all columns, and when it is done."""

import dataclasses

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.data import packing
from entropy_rl.methods.critique import refine
from entropy_rl.models import presets
from entropy_rl.models.rope import Scaling
from entropy_rl.training import collect, step
from experiments import train_rl
from experiments.lib import launch
from experiments.rl import parts
from tests.experiments.test_rl_features import easy, get  # noqa: F401  a fixture

LONGEST = 7  # of 16
FEATURES = ("reference_in_loss", "distillation", "importance", "nucleus", "filtered", "critic", "critique", "smoothing")


def run(monkeypatch, folder, config):
    """Rows of the run, and the widths that the learner got; responses end after LONGEST tokens."""
    seen, sample, learn = [], collect.generate, step.Learner.__call__

    def short(*args, max_new, **how):
        groups = sample(*args, max_new=min(max_new, LONGEST), **how)
        return [[dataclasses.replace(x, truncated=False) for x in group] for group in groups]

    def watched(self, state, rollout, *args, **how):
        seen.append(rollout.tokens.shape[1])
        return learn(self, state, rollout, *args, **how)

    with monkeypatch.context() as m:
        m.setattr(collect, "generate", short)
        m.setattr(refine, "generate", short)
        m.setattr(step.Learner, "__call__", watched)
        train_rl.run(config, str(folder))
    return metrics.read(folder).metrics, seen


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_a_run_has_the_same_rows(tmp_path, monkeypatch, name):
    """Of two steps, the change of entropy included. Mutations: likeliest tokens of all columns; a cut below the longest
    response."""
    # at .02 the filter drops no token, and all that it would pull back is rounding
    more = {"filtered": {"min_p": 0.95}, "critique": {"loss": {"name": "shaped", "args": {}}}}
    more = (more | {"critic": {"critic.warmup": 1}}).get(name, {})
    config = get(name, steps=2, **more, **{"change.every": 1, "eval.every": 9, "checkpoint.every": 9, "samples": 0})
    want, (whole, _) = run(monkeypatch, tmp_path / "whole", config)
    monkeypatch.setattr(packing, "PAYS", 1)
    got, widths = run(monkeypatch, tmp_path / "cut", config)
    assert max(widths) < whole and len(want) == 2 and any(row.get("update/grad_norm", 0) > 0 for row in want)
    for a, b in zip(want, got, strict=True):
        assert a.keys() == b.keys()
        # ranks of numbers that are equal but for their rounding change places
        keys = [key for key in a if not key.startswith("time/") and not key.endswith("rank_correlation")]
        differ = {key: (a[key], b[key]) for key in keys if not np.allclose(b[key], a[key], rtol=2e-4, atol=2e-5)}
        assert not differ


def test_how_many_numbers_of_columns(monkeypatch):
    """By hand, for a model of n parameters. Mutations: those of the whole run; a loss that draws."""
    config = launch.load_config("configs/rl/grpo.py:smoke")
    task = type("Task", (), {"response_length": 10})
    model = presets.make("test", 24)
    n = sum(x.size for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 2), "i4"))))
    each = 6 * n * config.rollout.prompts * config.rollout.samples * 10  # of a step
    assert parts.widths(config, task, model) == 1, "far too small to pay"
    for share, want in ((0.9, 1), (3.5, 3), (100, 8)):
        monkeypatch.setattr(packing, "PAYS", each / share)
        assert parts.widths(config, task, model) == want
    config.rollout.widths = 2
    assert parts.widths(config, task, model) == 2
    longer = presets.make("test", 24, rope_scaling=Scaling("dynamic", 2.0, 6))
    assert parts.widths(config, task, longer) == 1
    config.loss.name = "random_clip"
    assert parts.widths(config, task, model) == 1
