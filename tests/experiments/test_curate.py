import json
from pathlib import Path

import pytest

from configs import curate as config
from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.logs import archive
from experiments import curate


def test_keeps_the_chosen_keys_of_the_chosen_runs(tmp_path):
    for name in ("seed0/rl", "seed0/sft", "seed1/rl"):
        with metrics.Writer(tmp_path / "runs" / name) as writer:
            writer.scalars(0, {"policy/entropy": 0.5, "policy/cov": 0.1, "time/rollout": 3.0})
            writer.evals(0, "countdown", {"pass@1": 0.25, "length": 18.0}, 8)
        (tmp_path / "runs" / name / "config.json").write_text(json.dumps({"command": [f"{Path.cwd()}/x.py"]}))
    c = config.get_config()
    c.runs = str(tmp_path / "runs")
    curate.run(c, str(tmp_path / "out"))
    out = archive.unpack(tmp_path / "out")
    assert sorted(p.parent.name for p in out.glob("*/rl")) == ["seed0", "seed1"]
    assert not (out / "seed0" / "sft").exists()
    data = metrics.read(out / "seed0" / "rl")
    assert data.metrics == [{"step": 0, "policy/entropy": 0.5, "policy/cov": 0.1}]
    assert [row["metric"] for row in data.evals] == ["pass@1"]
    assert json.loads((out / "seed1" / "rl" / "config.json").read_text()) == {"command": ["x.py"]}


def test_nothing_there_is_said(tmp_path):
    c = config.get_config()
    with pytest.raises(InputError, match="no runs given: add --config.runs=DIR"):
        curate.run(c, str(tmp_path))
    c.runs = str(tmp_path)
    with pytest.raises(InputError, match="no evals.jsonl or tokens.json below"):
        curate.run(c, str(tmp_path / "out"))


def study(folder):
    """Two seeds of a control, and the imitation that they start from."""
    for name in ("start", "kl_cov,seed=0", "kl_cov,seed=1"):
        with metrics.Writer(folder / name) as writer:
            for step in range(40):
                row = {"policy/entropy_sequence": 1 / 3 + step, "entropy/change_measured": 0.1, "policy/entropy": 0.5}
                writer.scalars(step, row)
            writer.evals(20, "countdown", {"pass@1": 1 / 3, "pass@8": 0.5, "pass@1/level3": 0.5, "length": 18.0}, 8)
        command = ["/x/python", "/other/tree/experiments/train_rl.py", f"--workdir={Path.cwd()}/runs/a"]
        made = {"config": {"steps": 40}, "command": command, "history": [{"command": command}]}
        (folder / name / "config.json").write_text(json.dumps(made))
    return folder


def curated(folder, variant, out):
    c = config.get_config(variant)
    c.runs = str(folder)
    curate.run(c, str(out))
    out = archive.unpack(out)
    return {path.name: metrics.read(path) for path in out.iterdir() if (path / metrics.METRICS).exists()}


def test_a_study_becomes_thin_curves(tmp_path):
    """Every tenth step, five digits. Mutation: rows by place and not by step, or no rounding."""
    runs = curated(study(tmp_path / "runs"), "controls", tmp_path / "out")
    assert sorted(runs) == ["kl_cov,seed=0", "kl_cov,seed=1"]
    data = runs["kl_cov,seed=1"]
    assert data.metrics == [
        {"step": 0, "policy/entropy_sequence": 0.33333},
        {"step": 10, "policy/entropy_sequence": 10.333},
        {"step": 20, "policy/entropy_sequence": 20.333},
        {"step": 30, "policy/entropy_sequence": 30.333},
    ]
    assert [(row["metric"], row["value"], row["step"]) for row in data.evals] == [
        ("pass@1", 0.33333, 20),
        ("pass@8", 0.5, 20),
    ]
    about, _ = archive.read(tmp_path / "out", "configs")
    # as one would type it, whatever tree and interpreter it ran with
    assert about["command"] == ["python", "-m", "experiments.train_rl", "--workdir=runs/a"]
    assert about["history"] == [{"command": about["command"]}]
    assert about["config"] == {"steps": 40}


def test_entropy_changes_are_kept_for_seed_0(tmp_path):
    runs = curated(study(tmp_path / "runs"), "changes", tmp_path / "out")
    assert sorted(runs) == ["kl_cov,seed=0"]
    assert runs["kl_cov,seed=0"].metrics == [{"step": s, "entropy/change_measured": 0.1} for s in (0, 20)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["configs.jsonl.gz", "metrics.jsonl.gz"]


@pytest.mark.parametrize(("variant", "kept"), [("critique", "solved"), ("self_train", "problems"), ("cft", "problems")])
def test_what_became_of_each_problem_is_kept(tmp_path, variant, kept):
    with metrics.Writer(tmp_path / "runs" / "vanilla,seed=0") as writer:
        writer.evals(1, "countdown", {"pass@1": 0.25}, 8)
        writer.solved(1, "countdown", 8, [0, 3])
        writer.problems(1, "countdown", [{"id": "p", "level": 3, "n": 8, "right": 2, "distinct": 1}])
    (tmp_path / "runs" / "vanilla,seed=0" / "config.json").write_text("{}")
    run = curated(tmp_path / "runs", variant, tmp_path / "out")["vanilla,seed=0"]
    there = {"solved": [row["right"] for row in run.solved], "problems": [row["right"] for row in run.problems]}
    assert there == {"solved": [], "problems": [], kept: {"solved": [[0, 3]], "problems": [2]}[kept]}


def test_the_default_keeps_every_bit(tmp_path):
    c = config.get_config()
    c.update(runs=str(study(tmp_path / "runs")), match="start")
    curate.run(c, str(tmp_path / "out"))
    data = metrics.read(archive.unpack(tmp_path / "out") / "start")
    assert [row["policy/entropy_sequence"] for row in data.metrics] == [1 / 3 + step for step in range(40)]


def test_a_microscope_is_kept_as_it_is(tmp_path):
    """Mutation: only folders with evaluations are found."""
    folder = tmp_path / "runs" / "start"
    folder.mkdir(parents=True)
    (folder / "tokens.json").write_text('{"reward": 0.123456789}\n')
    (folder / "config.json").write_text(json.dumps({"command": ["a"]}))
    assert not curated(tmp_path / "runs", "tokens", tmp_path / "out")
    (row,) = archive.read(tmp_path / "out", "documents")
    assert row == {"file": "start/tokens.json", "content": {"reward": 0.123456789}}
    assert archive.read(tmp_path / "out", "configs") == [{"run": "start", "command": ["a"]}]


@pytest.mark.parametrize("key, value", [("every", 0), ("digits", 2.5)])
def test_bad_values_are_said(tmp_path, key, value):
    c = config.get_config()
    with c.ignore_type():
        c.update({"runs": str(tmp_path), key: value})
    with pytest.raises(InputError, match=f"config.{key}={value}: must be a whole number of 1 or more"):
        curate.run(c, str(tmp_path / "out"))
