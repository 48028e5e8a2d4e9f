import json
from pathlib import Path

import pytest

from configs import curate as config
from entropy_rl import metrics
from entropy_rl.errors import InputError
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
    assert sorted(p.parent.name for p in (tmp_path / "out").glob("*/rl")) == ["seed0", "seed1"]
    assert not (tmp_path / "out" / "seed0" / "sft").exists()
    data = metrics.read(tmp_path / "out" / "seed0" / "rl")
    assert data.metrics == [{"step": 0, "policy/entropy": 0.5, "policy/cov": 0.1}]
    assert [row["metric"] for row in data.evals] == ["pass@1"]
    assert json.loads((tmp_path / "out" / "seed1" / "rl" / "config.json").read_text()) == {"command": ["x.py"]}


def test_nothing_there_is_said(tmp_path):
    c = config.get_config()
    with pytest.raises(InputError, match="no runs given: add --config.runs=DIR"):
        curate.run(c, str(tmp_path))
    c.runs = str(tmp_path)
    with pytest.raises(InputError, match="no evals.jsonl below"):
        curate.run(c, str(tmp_path / "out"))
