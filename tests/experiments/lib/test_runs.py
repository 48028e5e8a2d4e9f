"""experiments/lib/runs.py: folders of a sweep, what a config.json makes of one, and pairs of seeds."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from experiments.lib import runs


def made(path, **config):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"config": config, "git_commit": "abc", "device": None}))
    return path


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"arm": "dpo", "branches": {}, "loss": {}, "rollout": {}}, "self_feedback"),
        ({"loss": {}, "rollout": {}}, "rl"),
        ({"rounds": 5, "pool": 9}, "self_train"),
        ({"optimizer": {}, "batch": 8}, "sft"),
        ({}, "other"),
    ],
)
def test_a_run_is_what_its_config_says(tmp_path, config, kind):
    run = runs.identify(made(tmp_path / "grpo,seed=3", seed=3, task={"name": "toy"}, **config), 3)
    assert (run.kind, run.name, run.seed) == (kind, "grpo", 3)
    assert run.get("task.name") == "toy" and run.get("task.args.x", 7) == 7 == run.get("seed.x", 7)
    assert run.about == {"git_commit": "abc", "device": None} and "config" not in run.about
    assert run.made_by == {"git_commit": "abc", "device": "unknown"}


def test_without_a_seed_it_is_0(tmp_path):
    assert runs.identify(made(tmp_path / "base")).seed == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "run/config.json is not that of a run: remove"),
        ("{", "is not that of a run"),
        ("[]", "is not that of a run"),
        ('{"model_type": "qwen2"}', "is not that of a run"),
        ('{"config": 3}', "is not that of a run"),
        ('{"config": {"seed": true}}', "has the seed True, no whole number"),
        ('{"config": {"seed": 2}}', "run ran with seed 2, as its config.json says"),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path, text, message):
    (tmp_path / "run").mkdir()
    if text is not None:
        (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(InputError, match=message) as e:
        runs.identify(tmp_path / "run", 1)
    assert "\n" not in str(e.value)


def test_folders_of_a_sweep(tmp_path):
    """By arm and by seed as a number. Mutation: the order of names, which has 10 before 2."""
    for name in ("b,seed=10", "b,seed=2", "a=0.1,seed=0", "sft", "calibration,b,seed=1"):
        (tmp_path / name).mkdir()
    (tmp_path / "c,seed=0").touch()
    found, others = runs.find(tmp_path)
    assert [(arm, list(seeds)) for arm, seeds in found.items()] == [
        ("a=0.1", [0]),
        ("b", [2, 10]),
        ("calibration,b", [1]),
    ]
    assert others == ["sft"] and found["b"][10] == tmp_path / "b,seed=10"
    assert list(runs.find(tmp_path, rf"calibration,{runs.ARM}")[0]) == ["b"]
    some = runs.finished(found, lambda path, seed: None if seed in (0, 2) else path.name)
    assert some == {"b": {10: "b,seed=10"}, "calibration,b": {1: "calibration,b,seed=1"}}
    assert runs.first(found, "b") == ["b", "a=0.1", "calibration,b"]


def test_differences_pair_seeds():
    """Seed 1, which both have, alone counts. Mutation: tables by place and not by seed."""
    k = lambda value: {"k": np.full(4, value)}  # noqa: E731
    values = {"x": {0: k(9.0), 1: k(3.0)}, "y": {1: k(1.0), 2: k(0.0)}}
    config = ConfigDict({"seed": 0, "level": 0.9, "draws": 100})
    d = runs.less(values, "x", "y", "k", config)
    assert (d["value"], d["low"], d["high"], d["seeds"], d["problems"]) == (2.0, 2.0, 2.0, 1, 4)
    assert runs.less({"x": values["x"], "y": {5: {"k": np.ones(4)}}}, "x", "y", "k", config) is None
    values["x"][1]["other"] = np.full(4, 8.0)
    assert runs.less(values, "x", "x", "k", config, "k")["value"] == 0.0
