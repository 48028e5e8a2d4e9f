"""Trackio's and MLflow's metrics, in SQLite and in folders, and curves from TensorBoard's web page."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from entropy_rl.logs import read as logs
from tests.logs import writing
from tests.logs.writing import H, N, R


def trackio(path, runs):
    """As trackio's sqlite_storage writes: a row of JSON a step."""
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, "
                     "metrics TEXT)")  # fmt: skip
        for i in range(N):
            for name, scale in runs.items():
                row = {"train/entropy": H[i], "eval/reward": scale * R[i]}
                base.execute("INSERT INTO metrics VALUES (NULL, '', ?, ?, ?)", (name, i, json.dumps(row)))
    return path


def test_trackio(tmp_path):
    path = trackio(tmp_path / "project.db", {"a": 1.0, "b": 0.5})
    found = logs.read(path)
    assert [(run.name, run.format, run.score) for run in found.runs] == [(n, "Trackio", "eval/reward") for n in "ab"]
    for run, scale in zip(found.runs, (1.0, 0.5)):
        np.testing.assert_allclose(run.H, H)
        np.testing.assert_allclose(run.R, scale * R)
    path.write_bytes(path.read_bytes()[:3000])
    assert "not a whole SQLite file" in writing.refused(path)


def test_sqlite_of_mlflow_and_of_others(tmp_path):
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE runs (run_uuid TEXT, name TEXT)")
        base.execute("CREATE TABLE metrics (key TEXT, value REAL, timestamp INTEGER, run_uuid TEXT, step INTEGER)")
        base.execute("INSERT INTO runs VALUES ('0a1', 'calm-hen')")
        for i in range(N):
            for key, value in (("actor/entropy", H[i]), ("val/accuracy", R[i])):
                base.execute("INSERT INTO metrics VALUES (?, ?, ?, '0a1', ?)", (key, value, i, i))
    points = writing.one(path)
    assert (points.name, points.format, points.score) == ("calm-hen", "MLflow", "val/accuracy")
    np.testing.assert_allclose(points.R, R)
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as base, base:
        base.execute("CREATE TABLE metrics (a TEXT)")
    assert "without Trackio's or MLflow's metrics" in writing.refused(other)


def test_mlflows_folders(tmp_path):
    run = tmp_path / "mlruns" / "0" / "0a1b"
    for key, values in (("actor/entropy", H), ("val/accuracy", R)):
        file = run / "metrics" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"1700000000{i:03d} {value} {i}\n" for i, value in enumerate(values)))
    (run / "meta.yaml").write_text("run_name: x\n")
    (run / "tags").mkdir()
    (run / "tags" / "mlflow.runName").write_text("calm-hen")
    for path in (run, run.parent, run.parent.parent):
        points = writing.one(path)
        assert (points.name, points.format, points.entropy) == ("calm-hen", "MLflow", "actor/entropy")
        np.testing.assert_allclose(points.R, R)
    (run / "metrics" / "val" / "accuracy").write_text("1 2\n")
    assert "no column looks like score" in writing.refused(run)


@pytest.mark.slow
def test_what_trackio_itself_wrote(tmp_path):
    """Two runs of one name."""
    pytest.importorskip("trackio")
    code = """
import sys, trackio
for scale in (1.0, 0.5):
    trackio.init(project="p", name="grpo", auto_log_cpu=False, auto_log_gpu=False)
    for i in range(12):
        trackio.log({"train/entropy": 0.9 - 0.05 * i, "eval/reward": scale * i / 20}, step=i)
    trackio.finish()
"""
    env = os.environ | {"TRACKIO_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=120, capture_output=True)
    found = logs.read(tmp_path / "p.db")
    assert [run.format for run in found.runs] == ["Trackio"] * 2
    for run, scale in zip(found.runs, (1.0, 0.5)):
        np.testing.assert_allclose(run.R, scale * np.arange(12) / 20)


def test_curves_from_tensorboards_web_page(tmp_path):
    """One file a curve; the tag is in its name, with `_` for `/`."""
    for tag, values in (("-tag-train_entropy", H), ("_tag-eval_accuracy", R)):
        rows = "".join(f"17000{i:02d}.5,{i},{value}\n" for i, value in enumerate(values))
        (tmp_path / f"run-grpo{tag}.csv").write_text(f"Wall time,Step,Value\n{rows}")
    for path in (tmp_path, f"{tmp_path}/*.csv"):
        points = writing.one(path)
        assert (points.name, points.entropy, points.score) == ("grpo", "train_entropy", "eval_accuracy")
        np.testing.assert_allclose(points.R, R)
    for old, new in (("-tag-train_entropy", "entropy.csv"), ("_tag-eval_accuracy", "eval_accuracy (1).csv")):
        (tmp_path / f"run-grpo{old}.csv").rename(tmp_path / new)
    assert writing.one(tmp_path).score == "eval_accuracy"
    (tmp_path / "eval_accuracy (1).csv").rename(tmp_path / "eval_aime.csv")  # slime's eval/aime
    (tmp_path / "entropy.csv").rename(tmp_path / "ppo_actor_update_entropy_avg.csv")  # AReaL's
    points = writing.one(tmp_path)
    assert (points.entropy, points.score) == ("ppo_actor_update_entropy_avg", "eval/aime")
