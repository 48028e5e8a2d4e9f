"""The law in the metrics of the trainers themselves, each in an environment of its own, which `make hooks` makes."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from entropy_rl.logs import read as logs

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LAW = {"law/ceiling", "law/ceiling_low", "law/ceiling_high", "law/left", "law/left_low", "law/left_high",
       "law/left_linear", "law/alarms"}  # fmt: skip
FORECAST = {"law/forecast", "law/forecast_low", "law/forecast_high"}


def run(name, *args):
    """A script in the environment of a trainer; all that it says."""
    python = ROOT / f".venv-{name}" / "bin" / "python"
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(python), str(HERE / f"{name}_run.py"), *map(str, args)], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def needs(name):
    there = (ROOT / f".venv-{name}" / "bin" / "python").exists()
    return pytest.mark.skipif(not there, reason=f"needs .venv-{name}: make hooks")


@pytest.mark.slow
@needs("trl")
def test_trls_own_trainer(tmp_path):
    """30 steps of GRPO with 15 evaluations; the same from a checkpoint; a watch that breaks, and the run does not."""
    printed = run("trl", tmp_path / "run")
    said = json.loads((tmp_path / "run/said.json").read_text())
    first, resumed, broken = (said[name] for name in ("first", "resumed", "broken"))
    with_law = [row["step"] for row in first["rows"] if "law/alarms" in row]
    assert with_law == list(range(16, 31, 2))  # from the eighth evaluation on, and at evaluations only
    assert all("eval_reward" in row for row in first["rows"] if "law/alarms" in row)
    full = [row for row in first["rows"] if "law/ceiling" in row]
    assert full and LAW <= set(full[-1]) and any(set(row) >= LAW | FORECAST for row in full)
    assert first["law"]["score"] == "eval_reward" and first["law"]["entropy"] == "entropy"
    history = json.loads((tmp_path / "run/checkpoint-30/trainer_state.json").read_text())["log_history"]
    assert [row["step"] for row in history if "law/alarms" in row] == with_law
    assert "'law/ceiling'" in printed
    # what is fitted afterwards to what the trainer wrote is fitted to the same points
    (points,) = logs.read(tmp_path / "run/checkpoint-30").runs
    assert (points.score, points.entropy, points.trainer) == ("eval_reward", "entropy", "TRL")
    assert first["law"]["n"] == len(points.R) == 15
    assert resumed["law"]["n"] == 13 and resumed["steps"] == 26
    assert broken["steps"] == 4 and not any(key.startswith("law/") for row in broken["rows"] for key in row)
    assert printed.count("the law of this run is no longer watched: TypeError") == 1


@pytest.mark.slow
@needs("verl")
def test_verls_own_tracking(tmp_path):
    """Asked for by a module that verl imports; on the console and in the file. Mutation: `watch` without a wrap."""
    asked = "verl_hook.watch(horizon=80, draws=100, share=1e9)"
    (tmp_path / "on_import.py").write_text(f"from entropy_rl.logs import verl_hook\n\n{asked}\n")
    printed = run("verl", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "project/run.jsonl").read_text().splitlines()]
    found = {row["step"]: row["data"] for row in rows if "law/ceiling" in row["data"]}
    assert list(found) == list(range(14, 40, 2)) and len(rows) == 40
    assert set(found[38]) >= LAW | FORECAST | {"law/alarm/clipping", "actor/entropy"}
    assert found[38]["law/ceiling"] == pytest.approx(0.6, abs=0.02)
    assert "step:38 - " in printed and " - law/ceiling:0.6" in printed and "ALARM clipping at step" in printed
    (points,) = logs.read(tmp_path / "project/run.jsonl").runs
    assert (len(points.R), points.score, points.trainer) == (20, "val-core/math/acc/mean@8", "verl")
