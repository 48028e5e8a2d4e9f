"""entropy_rl/trackers.py with the real libraries: what a run sends, also after a restart; none ends it."""

import contextlib
import json
import sqlite3

import numpy as np
import pytest

from entropy_rl import metrics, trackers
from entropy_rl.errors import InputError
from entropy_rl.logs import formats

CONFIG = {"seed": 3, "loss": {"name": "ppo"}}


def work(workdir, name, start, end):
    """Steps of a run that `name` tracks; an evaluation and samples before each."""
    track = lambda first: trackers.Trackers(name, workdir, config=CONFIG, start=first)  # noqa: E731
    with metrics.Writer.resume(workdir, start, track=track) as writer:
        for step in range(start, end):
            writer.evals(step, "countdown", {"pass@8": 0.5 + step / 10}, n=4)
            writer.samples(step, [{"prompt": "1 + 1", "response": "2\n<b>", "reward": np.float32(1)}])
            writer.scalars(step, {"policy/entropy": 2.0 - step / 10, "rollout/reward": 0.25})


def test_tensorboard(tmp_path):
    """A run that was killed after step 2 and goes on from step 1. Mutation: no `purge_step`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    work(tmp_path / "run", "tensorboard", 0, 3)
    work(tmp_path / "run", "tensorboard", 1, 4)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(x.step, round(x.value, 4)) for x in events.Scalars("policy/entropy")] == [
        *((0, 2.0), (1, 1.9), (2, 1.8), (3, 1.7))
    ]
    assert len(events.Scalars("eval/countdown/pass_8")) == 4  # it knows no @
    assert set(events.Tags()["tensors"]) == {"samples/text_summary", "config/text_summary"}


def test_trackio(tmp_path, monkeypatch):
    """One run after two processes. Mutation: `resume="never"`, or a name without the id."""
    trackio = pytest.importorskip("trackio")
    monkeypatch.setattr(trackio.sqlite_storage, "TRACKIO_DIR", tmp_path / "io")
    monkeypatch.setenv("TRACKIO_PROJECT", "mine")
    for start, end in ((0, 2), (2, 3)):
        work(tmp_path / "run", "trackio", start, end)
    (name,) = trackio.Api().runs("mine")
    with contextlib.closing(sqlite3.connect(tmp_path / "io" / "mine.db")) as db:
        rows = [json.loads(x) for (x,) in db.execute("SELECT metrics FROM metrics ORDER BY step, id")]
    assert name.name.startswith("run-")
    assert [row["policy/entropy"] for row in rows if "policy/entropy" in row] == [2.0, 1.9, 1.8]
    assert sum("samples" in row for row in rows) == 3


@pytest.mark.slow
def test_wandb_without_key_or_network(tmp_path, monkeypatch):
    """An offline run, which our own reader reads; the next process has its id. Mutation: `id` left out."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for start, end in ((0, 2), (2, 3)):
        work(tmp_path / "run", "wandb", start, end)
    found = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert {path.name.rsplit("-", 1)[1] for path in found} == {(tmp_path / "run" / trackers.ID).read_text().strip()}
    (run,) = formats.read_path(tmp_path / "run" / "wandb", None)
    columns = [table.columns for table in run.tables]
    assert [list(c["policy/entropy"].value) for c in columns] == [[2.0, 1.9], [1.8]]
    assert [list(c["_step"].value) for c in columns] == [[0, 1], [2]]
    assert all("samples/nrows" in c and "eval/countdown/pass@8" in c for c in columns)


def test_a_tracker_that_fails_is_left_out(tmp_path, monkeypatch):
    """The run's own files are whole. Mutation: an exception that is not caught, or a tracker asked again."""
    asked, said = [], []

    class Broken(trackers.Tracker):
        module = "json"

        def __init__(self, library, workdir, config, start):
            asked.append(start)

        def scalars(self, step, values):
            asked.append(step)
            raise OSError("no\nserver")

    monkeypatch.setitem(trackers.TRACKERS, "broken", Broken)
    track = lambda start: trackers.Trackers("broken", tmp_path, config={}, start=start, say=said.append)  # noqa: E731
    with metrics.Writer(tmp_path, track=track, start=5) as writer:
        for step in (5, 6):
            writer.scalars(step, {"x": 1.0})
    assert asked == [5, 5] and said == ["broken failed and is left out from here on (OSError: no server)"]
    assert [row["step"] for row in metrics.read(tmp_path).metrics] == [5, 6]


@pytest.mark.parametrize("names, said", [("wandbb", "did you mean 'wandb'"), ("gone", r"pip install 'entropy_rl\[")])
def test_what_cannot_be_tracked_is_said_before_the_run(names, said, monkeypatch):
    """A misspelt name; a library that is not there."""
    gone = type("Gone", (trackers.Tracker,), {"module": "entropy_rl_has_no_such_module"})
    monkeypatch.setitem(trackers.TRACKERS, "gone", gone)
    with pytest.raises(InputError, match=said):
        trackers.libraries(f"tensorboard, {names}")
