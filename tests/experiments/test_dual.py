"""Both sides of the dual failure: the matrix by hand, and end to end on checkpoints of an untrained policy."""

import json
import shutil

import jax
import numpy as np
import pytest

from entropy_rl import files
from entropy_rl.errors import InputError
from entropy_rl.training.checkpoints import Checkpoints
from experiments import dual
from experiments.lib import launch
from experiments.studies import dual_matrix, dual_page

MEASURES = ("accuracy", "pass@8", "surprise", "answer_entropy", "within", "token_entropy", "tokens")


def cell(**values):
    return {k: values.get(k, [0.5, 0.5]) for k in MEASURES}


def ways(entropy=0.5, rise=1.0, accuracy=(0.5, 0.5)):
    """Two problems of two chains, a plain response and a round each."""
    accuracy = list(accuracy)
    plain = cell(accuracy=accuracy, surprise=[2.0, 4.0], token_entropy=[entropy] * 2, tokens=[10.0, 10.0])
    after = cell(accuracy=[0.25, 0.5], surprise=[2.0 + rise, 4.0 + rise], tokens=[20.0, 30.0])
    votes = {"1": (accuracy, 10), "2": ([0.5, 1.0], 20), "4": ([1.0, 1.0], 40), "16": ([1.0, 1.0], 160)}
    majority = {n: {"accuracy": a, "tokens": [t, t]} for n, (a, t) in votes.items()}
    return {
        "plain": {"0": plain},
        "wait": {"1": after},
        "retry": {"1": after},
        "repeat": {"1": after},
        "majority": majority,
    }


def row(run, step, entropy, **changes):
    return {"run": run, "step": step, "ways": ways(entropy, **changes), "training_entropy": entropy}


def summary(read):
    return dual_matrix.summary(read, baseline="grpo", level=0.9, draws=200, seed=0, chains=2)


def test_the_matrix_by_hand():
    """Inflation is 1 in the start, 2 in grpo and 1.5 in held, whose entropy stays."""
    read = [row("start", 0, 0.5)]
    for seed in range(3):
        read += [row(f"grpo,seed={seed}", 8, 0.1, rise=2.0, accuracy=(0.5, 1.0))]
        read += [row(f"held,seed={seed}", 8, 0.4, rise=1.5)]
    read += [row("held,seed=3", 8, 0.9)]  # a seed that the baseline has not
    out = summary(read)
    assert [*out["training"]] == ["grpo less the start", "held"] and out["last"] == 8
    value = lambda name, key: out["training"][name][key]["value"]  # noqa: E731
    assert np.isclose(value("grpo less the start", "entropy"), -0.4) and np.isclose(value("held", "entropy"), 0.3)
    assert np.isclose(value("grpo less the start", "inflation"), 1.0) and np.isclose(value("held", "inflation"), -0.5)
    assert np.isclose(value("held", "pass@1"), -0.25) and out["training"]["held"]["entropy"]["seeds"] == 3
    assert np.isclose(value("grpo less the start", "gain"), (0.25 + 0.5) / 2 - 0.75 + 0.125)
    wait = out["test"]["wait 1"]
    assert wait["surprise"]["value"] == 2.0 and wait["accuracy"]["value"] == 0.375 - 0.75 and wait["tokens"] == 25
    # 25 tokens: a quarter of the way from votes of 2 to votes of 4, (.625, 1)
    assert np.isclose(wait["less majority"]["value"], 0.375 - (0.625 + 1.0) / 2)
    assert out["test"]["majority 2"]["accuracy"]["value"] == 0.0 and "majority 1" not in out["test"]
    assert out["test at the start"]["wait 1"]["surprise"]["value"] == 1.0
    # means 1/2 and 1 vary by 1/8; within 1/2, of which each mean of two has a half
    assert np.isclose(out["curves"]["grpo"]["8"]["plain"]["0"]["between"], 1 / 8 - 1 / 4)
    text = dual_page.page(out)
    assert "Training lowers the token entropy, -0.400 [-0.400, -0.400]." in text
    assert "| wait 1 | 25 | 0.375 | 0.500 | 5.000 |" in text.split("Budgets, grpo after 8 steps")[1]
    assert "held, less grpo: raises token entropy, +0.300" in text and "within runs, where time changes both, " in text
    with pytest.raises(InputError, match="no run of baseline 'grpo'"):
        summary([read[0], row("held,seed=0", 8, 0.4)])


def test_correlations_over_checkpoints_and_within_runs():
    """Runs differ in a level that hides the course: within runs inflation falls with entropy, over all it rises."""
    rows = [
        {k: 0.0 for k in dual_matrix.TRAINING}
        | {"run": f"a,seed={s}", "training_entropy": s + h, "inflation": 2 * s - h}
        for s in range(4)
        for h in (0.0, 0.1, 0.2)
    ]
    out = dual_matrix.correlations(rows, 0.9, 200, 0)
    assert out["inflation"]["all"][0] > 0.9 and np.allclose(out["inflation"]["within"], -1)
    assert (out["inflation"]["n"], out["inflation"]["runs"]) == (12, 4) and np.isnan(out["gain"]["all"][0])
    assert dual_matrix.correlations(rows[:6], 0.9, 200, 0) == {}
    assert np.isclose(dual_matrix.correlation(np.array([1.0, 2, 4]), np.array([1.0, 3, 2])), 0.3273268)


def test_votes_at_equal_tokens():
    votes = ways()["majority"]
    assert np.allclose(dual_matrix.at_equal_tokens(votes, 15), [0.5, 0.75])
    assert np.allclose(dual_matrix.at_equal_tokens(votes, 160), [1, 1])  # 16 after 4, not after 1
    assert dual_matrix.at_equal_tokens(votes, 5) is None and dual_matrix.at_equal_tokens(votes, 161) is None


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs with checkpoints of an untrained policy, and a row of metrics for each step."""
    folder, config = tmp_path_factory.mktemp("runs"), launch.load_config("configs/dual.py:smoke")
    _, start = dual.Meter(config).policy(None)
    for run in ("grpo,seed=0", "grpo,seed=1"):
        with Checkpoints(folder / run / "checkpoints", keep=3) as made:
            for step in (2, 4):
                params = jax.tree.map(lambda x, scale=1 + step: x * scale, start)
                made.save(step, {"params": params}, {})
        rows = [{"step": i, "policy/entropy": 1.0 - 0.1 * i} for i in range(4)]
        files.rewrite(folder / run / "metrics.jsonl", rows)
    return folder


def test_runs_are_measured_once_and_those_that_come_later_too(runs, tmp_path, capsys):
    config = launch.load_config("configs/dual.py:smoke")
    config.update(runs=str(runs), steps=(0, 2, 4, 6))
    out = dual.run(config, str(tmp_path))
    said = capsys.readouterr().out
    assert "grpo,seed=0: no checkpoint 6, left out there" in said
    entropies = {(row["run"], row["step"]): row["training_entropy"] for row in out["checkpoints"]}
    assert np.isclose(entropies["start", 0], 1.0) and np.isclose(entropies["grpo,seed=0", 2], 0.95)
    assert np.isclose(entropies["grpo,seed=1", 4], 0.85)
    assert json.loads((tmp_path / "dual.json").read_text())["last"] == 4
    # the same policy whatever the run, other policies at other steps
    points = {file.stem: json.loads(file.read_text())["ways"] for file in (tmp_path / "points").iterdir()}
    assert points["grpo,seed=0,step=2"] == points["grpo,seed=1,step=2"] != points["grpo,seed=0,step=4"]
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "points").iterdir()}
    shutil.copytree(runs / "grpo,seed=0", runs / "held,seed=0")
    again = dual.run(config, str(tmp_path))
    assert all(file.stat().st_mtime_ns == at for file, at in before.items())
    assert {"held"} == {*again["curves"]} - {*out["curves"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chains": 1}, "config.chains=1"),
        ({"word": ""}, "give a word"),
        ({"word": "wait"}, "'wait' is not in the vocabulary"),
        ({"exact": (0,)}, "budgets above 0"),
        ({"vote": "text"}, "config.vote='text'"),
        ({"interval": 2.0}, "config.interval=2.0"),
        ({"draws": 10}, "config.draws=10"),
        ({"runs": "nowhere"}, "no folder nowhere"),
    ],
)
def test_bad_configs(changes, message, tmp_path):
    config = launch.load_config("configs/dual.py:smoke")
    config.update(changes)
    with pytest.raises(InputError, match=message):
        dual.run(config, str(tmp_path))
