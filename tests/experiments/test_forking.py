"""experiments/forking.py: overlap, mass and places by hand, the table's groups, and runs of a tiny policy."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from configs import forking as config_file
from configs.rl import high_entropy_tokens
from entropy_rl.errors import InputError
from entropy_rl.training import learner
from entropy_rl.training.checkpoints import Checkpoints
from experiments import forking
from experiments.lib import build
from experiments.studies import compare_attempts as compare

# Row 0 has three tokens, row 1 two; the last column is padding, whatever stands there.
MASK = np.array([[0, 1, 1, 1, 0], [0, 1, 1, 0, 0]], bool)
H = np.array([[9, 0.6, 0.1, 0.2, 9], [9, 0.9, 0.0, 9, 9]], np.float32)
BASE = np.array([[9, 0.6, 0.1, 0.8, 9], [9, 0.7, 0.3, 9, 9]], np.float32)


def get(**changes):
    config = config_file.get_config("smoke")
    config.update_from_flattened_dict(changes)
    return config


def run_of(right, levels, entropy=0.1, attempts=4):
    """A finished run as compare reads it."""
    problems = tuple((f"p{i}", n) for i, n in enumerate(levels))
    course = {"peak": 0.0, "area": 0.0, "entropy": entropy, "ms": 1.0}
    right = np.array(right)
    made_by = {"git_commit": "c", "device": "d"}
    curve = np.zeros((2, 1))
    return compare.Run(Path("x"), "t", 9, attempts, problems, right, right, None, course, curve, {}, made_by)


def test_forks_by_hand():
    """Of five tokens ceil(.4 * 5) = 2 are forks: .9 and .6 here, .8 and .7 there, so that one of two is shared.

    Mutation: forks row by row; the base's share of the policy's mask; entropies outside of the mask.
    """
    decisions = np.array([[0, 1, 1, 0, 1], [0, 1, 0, 1, 1]], bool)
    out = forking.describe(MASK, H, BASE, decisions, np.array([3, 4]), (0.2, 0.4, 1.0), 0.4)
    assert out["overlap"] == {"0.2": 0.0, "0.4": 0.5, "1": 1.0}
    assert out["entropy"] == pytest.approx(1.8 / 5)
    assert out["mass"] == pytest.approx({"0.2": 0.9 / 1.8, "0.4": 1.5 / 1.8, "1": 1.0})
    assert out["effective"] == pytest.approx(1.8**2 / (5 * (0.36 + 0.01 + 0.04 + 0.81)))
    assert out["levels"]["3"] == {
        "forks": pytest.approx(1 / 3), "entropy": pytest.approx(0.3), "decision": 0.5, "format": 0.0,
        "places": [1.0, 0.0, 0.0],
    }  # fmt: skip
    assert out["levels"]["4"]["places"] == [1.0, 0.0] and out["levels"]["4"]["decision"] == 1.0


def test_equally_uncertain_tokens_are_all_effective_and_kinds_may_be_unknown():
    out = forking.describe(MASK, np.where(MASK, 0.5, 0.0), BASE, None, np.array([3, 3]), (0.2,), 0.2)
    assert out["effective"] == pytest.approx(1.0) and set(out["levels"]["3"]) == {"forks", "entropy", "places"}


def test_the_table_is_paired_by_level():
    """Mutation: levels of the arm's runs in another order; a difference to itself."""
    levels = [3, 4, 3, 4]
    runs = {
        "share=1": {0: run_of([4, 0, 2, 0], levels, 0.1), 1: run_of([4, 0, 2, 0], levels, 0.2)},
        "share=0.2": {0: run_of([4, 4, 2, 0], levels, 0.3), 1: run_of([4, 4, 2, 0], levels, 0.4)},
    }
    out = forking.table(runs, "share=1", k=8, seed=0, level=0.9, draws=200)
    assert list(out) == ["share=1", "share=0.2"] and list(out["share=1"]) == ["all", "level3", "level4"]
    assert "difference" not in out["share=1"]["all"]["pass@1"]
    assert out["share=1"]["level3"]["pass@1"]["mean"] == 0.75 and out["share=0.2"]["level4"]["pass@1"]["mean"] == 0.5
    assert out["share=0.2"]["level3"]["pass@1"]["difference"]["value"] == 0.0
    assert out["share=0.2"]["level4"]["pass@4"]["difference"]["value"] == 0.5  # k is at most the attempts
    moved = out["share=0.2"]["all"]["entropy"]["difference"]
    assert (moved["value"], moved["seeds"]) == (pytest.approx(0.2), 2)
    assert moved["low"] == pytest.approx(0.2) == moved["high"]  # both seeds moved by as much


def test_means_over_runs():
    got = forking.mean([{"a": {"x": 1}, "p": [1, 2, 3]}, {"a": {"x": 2}, "p": [3, 4]}])
    assert got == {"a": {"x": 1.5}, "p": [2.0, 3.0]}


def test_checkpoints_of_a_run(tmp_path):
    """The start is nearly uniform; the run's first checkpoint is the start, its second one nearly certain.

    Mutation: the latest checkpoint at every step; the start's entropies where the policy's own belong.
    """
    config = high_entropy_tokens.get_config("smoke")
    config.update_from_flattened_dict({"init": str(tmp_path / "start"), "task.args.levels": (3, 4)})
    model = build.model(config, 40)
    start = learner.init_state(model, optax.adam(1e-3), build.mesh(config), jax.random.key(1))
    certain = learner.with_params(start, jax.tree.map(lambda x: 100 * x if x.ndim > 1 else x, start.params))
    path = tmp_path / "share=1,seed=0"
    for folder, saved in ((tmp_path / "start", {9: start}), (path, {1: start, 2: certain})):
        with Checkpoints(folder / "checkpoints", keep=3) as checkpoints:
            for step, state in saved.items():
                checkpoints.save(step, state, {})
    (path / "config.json").write_text(json.dumps({"config": config.to_dict()}))
    look = partial(forking.policy, split="test", problems=6, samples=2, shares=(0.2,), top=0.2, seed=0)
    out = forking.policies([path, path], look)
    assert list(out) == ["0", "1", "2"]
    assert out["0"] == forking.mean([look(path, 0)]) and out["0"]["overlap"] == {"0.2": 1.0}
    assert out["0"]["entropy"] == pytest.approx(np.log(40), rel=0.01) == out["1"]["entropy"] > 3 * out["2"]["entropy"]
    assert out["1"]["overlap"]["0.2"] > 0.9 > out["2"]["overlap"]["0.2"]
    assert set(out["2"]["levels"]) == {"3", "4"} and forking.policies([tmp_path / "none"], look) == {}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({}, "no runs given"),
        ({"runs": "/nonexistent"}, "no folder /nonexistent"),
        ({"runs": "x", "top": 1.5}, "give shares from 0.0001 to 1"),
        ({"runs": "x", "shares": (0.0,)}, "give shares from 0.0001 to 1"),
        ({"runs": "x", "problems": 0}, "config.problems=0"),
        ({"runs": "x", "k": 0}, "config.k=0"),
    ],
)
def test_bad_values_are_one_line_and_leave_no_workdir(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as e:
        forking.run(get(**changes), tmp_path / "out")
    assert "\n" not in str(e.value) and not (tmp_path / "out").exists()
