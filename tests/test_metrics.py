"""entropy_rl/metrics.py: a run that is killed and goes on leaves the files of a run that was not."""

import errno
import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError

FILES = ("metrics.jsonl", "evals.jsonl", "samples.jsonl", "problems.jsonl", "solved.jsonl")


def work(writer, start, stop, every=2):
    """What a training loop writes from checkpoint `start` on: the evaluation at s is made before update s."""
    for step in range(start, stop):
        if step % every == 0:
            writer.evals(step, "countdown", {"pass@1": step / 3, "pass@8": step / 2}, n=16)
            writer.samples(step, [{"text": f"é {step}", "reward": np.float32(step / 3)}])
            writer.problems(step, "countdown", [{"id": f"{i}", "n": 4, "right": np.int64(i + step)} for i in range(3)])
            writer.solved(step, "countdown", 4, np.arange(3) + step)
        writer.scalars(step, {"policy/entropy": 1 / (step + 3), "rollout/reward": jnp.float32(step) / 7})


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_values_become_floats(tmp_path):
    with metrics.Writer(tmp_path) as writer:
        values = {"a": np.float32(0.1), "b": jnp.int32(3), "c": jnp.bfloat16(0.5), "d": 7, "e": jnp.nan}
        writer.scalars(np.int64(4), values)
    (row,) = metrics.read(tmp_path).metrics
    assert math.isnan(row.pop("e"))
    assert row == {"step": 4, "a": float(np.float32(0.1)), "b": 3.0, "c": 0.5, "d": 7.0}
    assert "NaN" in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("value", [np.zeros(1), "0.5", [1.0]])
def test_what_is_no_scalar_is_named(tmp_path, value):
    with metrics.Writer(tmp_path) as writer, pytest.raises(TypeError, match="policy/kl"):
        writer.scalars(0, {"policy/kl": value})


def test_rows_of_all_files(tmp_path):
    with metrics.Writer(tmp_path / "new" / "folder") as writer:
        work(writer, 0, 1)
        run = metrics.read(tmp_path / "new" / "folder")  # before the file is closed: nothing waits in memory
    assert run.metrics == [{"step": 0, "policy/entropy": 1 / 3, "rollout/reward": 0.0}]
    assert run.evals == [
        {"step": 0, "task": "countdown", "metric": "pass@1", "value": 0.0, "n": 16},
        {"step": 0, "task": "countdown", "metric": "pass@8", "value": 0.0, "n": 16},
    ]
    assert run.samples == [{"step": 0, "text": "é 0", "reward": 0.0}]
    assert run.problems == [{"step": 0, "task": "countdown", "id": f"{i}", "n": 4, "right": i} for i in range(3)]
    assert run.solved == [{"step": 0, "task": "countdown", "n": 4, "right": [0, 1, 2]}]


def test_persistent_failures():
    rows = [
        {"step": 0, "task": "a", "n": 2, "right": [0, 1, 0, 0]},
        {"step": 0, "task": "b", "n": 2, "right": [2, 2, 2, 2]},
        {"step": 5, "task": "a", "n": 2, "right": [0, 0, 2, 0]},
        {"step": 9, "task": "a", "n": 2, "right": [1, 0, 0, 0]},
    ]
    never = metrics.persistent(rows, "a")
    assert never.tolist() == [[True, False, True, True], [True, False, False, True], [False, False, False, True]]
    with pytest.raises(InputError, match="no row of solved.jsonl is of task 'c'"):
        metrics.persistent(rows, "c")


@pytest.mark.parametrize("checkpoint", [0, 3, 4])
@pytest.mark.parametrize("killed", [4, 5, 6])
def test_a_killed_and_continued_run_leaves_the_same_bytes(tmp_path, checkpoint, killed):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with metrics.Writer.resume(whole, 0) as writer:
        work(writer, 0, 8)
    with metrics.Writer.resume(cut, 0) as writer:
        work(writer, 0, killed)
    with metrics.Writer.resume(cut, checkpoint) as writer:
        work(writer, checkpoint, 8)
    assert contents(cut) == contents(whole)


def test_a_kill_at_any_byte_leaves_the_same_bytes(tmp_path):
    with metrics.Writer(tmp_path / "whole") as writer:
        work(writer, 0, 4)
    whole = contents(tmp_path / "whole")
    data = whole["metrics.jsonl"]
    for length in range(data.index(b'{"step": 2'), len(data)):
        cut = tmp_path / str(length)
        cut.mkdir()
        (cut / "metrics.jsonl").write_bytes(data[:length])
        for name in FILES[1:]:
            (cut / name).write_bytes(whole[name])
        said = []
        with metrics.Writer.resume(cut, 2, say=said.append) as writer:
            work(writer, 2, 4)
        assert contents(cut) == whole
        torn = data[:length].rpartition(b"\n")[2]
        aside = list(cut.glob("set_aside/*"))
        assert [p.read_bytes() for p in aside] == ([torn + b"\n"] if torn else [])
        assert bool(said) == bool(torn)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, 1.0])
def test_a_kill_in_the_last_evaluation_leaves_one_set_of_rows(tmp_path, share):
    """It comes after the last update, before the checkpoint: rows of a step from the checkpoint on are cut."""
    rows = [{"id": f"{i}", "right": i} for i in range(20)]

    def end(start):
        with metrics.Writer.resume(tmp_path, start, say=lambda _: None) as writer:
            work(writer, start, 4)
            writer.problems(4, "countdown", rows)

    end(0)
    whole = contents(tmp_path)
    data = whole["problems.jsonl"]
    last = data.index(b'{"step": 4')
    (tmp_path / "problems.jsonl").write_bytes(data[: last + round(share * (len(data) - last))])
    end(2)
    assert contents(tmp_path) == whole
    assert len([row for row in metrics.read(tmp_path).problems if row["step"] == 4]) == 20


def test_broken_lines_are_set_aside_and_added_to(tmp_path):
    said = []
    for text in ("first", "second"):
        (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n' + text + '\n{"step": 1}\n')
        metrics.Writer.resume(tmp_path, 2, say=said.append).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0}\n{"step": 1}\n'
    assert (tmp_path / "set_aside" / "metrics.jsonl.2").read_text() == "first\nsecond\n"
    assert len(said) == 2 and "line 2" in said[0] and "set_aside" in said[0]


def test_a_file_that_needs_no_cut_is_left_alone(tmp_path):
    with metrics.Writer(tmp_path) as writer:
        work(writer, 0, 2)
    before = os.stat(tmp_path / "metrics.jsonl")
    metrics.Writer.resume(tmp_path, 2).close()
    assert os.stat(tmp_path / "metrics.jsonl").st_ino == before.st_ino


def test_full_disk_names_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with metrics.Writer(tmp_path) as writer:
        with pytest.raises(InputError, match=r"no space left.*metrics\.jsonl.*same command"):
            writer.scalars(0, {"x": 1.0})
        writer.evals(0, "t", {"x": 1.0}, n=1)
    assert (tmp_path / "evals.jsonl").read_text().count("\n") == 1


def test_full_disk_leaves_whole_rows(tmp_path):
    class Full:
        """A disk with room for 5 bytes more."""

        def __init__(self, file):
            self.file, self.room = file, 5

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = self.file.write(data[: self.room])
            self.room -= count
            return count

        def __getattr__(self, name):
            return getattr(self.file, name)

    with metrics.Writer(tmp_path) as writer:
        writer.scalars(0, {"x": 1.0})
        writer._files["metrics.jsonl"]._file = Full(writer._files["metrics.jsonl"]._file)
        with pytest.raises(InputError, match="no space left"):
            writer.scalars(1, {"x": 2.0})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0, "x": 1.0}\n'


def test_only_process_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    (tmp_path / "metrics.jsonl").write_text("torn")
    with metrics.Writer.resume(tmp_path, 0) as writer:
        work(writer, 0, 2)
        writer.flush()
    assert (tmp_path / "metrics.jsonl").read_text() == "torn"
    assert not (tmp_path / "evals.jsonl").exists()


def test_workdir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="another workdir"):
        metrics.Writer(tmp_path / "file")


def test_flush_and_closing_twice(tmp_path):
    writer = metrics.Writer(tmp_path)
    writer.scalars(0, {"x": 1.0})
    writer.flush()
    writer.close()
    writer.close()


def test_reading_reports_broken_lines(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "x": 1}\n{"step')
    said = []
    assert metrics.read(tmp_path, say=said.append).metrics == [{"step": 0, "x": 1}]
    assert said == [f"{tmp_path / 'metrics.jsonl'}: line 2 is broken and left out"]


def test_reading_what_is_no_workdir(tmp_path):
    with pytest.raises(InputError, match="holds no metrics.jsonl"):
        metrics.read(tmp_path)


def test_series(tmp_path):
    rows = [{"step": 0, "a": 1.0}, {"step": 1, "b": 2}, {"step": 5, "a": math.nan}]
    steps, values = metrics.series(rows, "a")
    assert steps.dtype == np.int64 and values.dtype == np.float64
    np.testing.assert_array_equal(steps, [0, 5])
    np.testing.assert_array_equal(values, [1.0, math.nan])
    with pytest.raises(InputError, match=r"'policy/entropi' \(did you mean 'policy/entropy'\?\)"):
        metrics.series([{"step": 0, "policy/entropy": 1.0}], "policy/entropi")
    with pytest.raises(InputError, match="there is nothing"):
        metrics.series([], "a")


def test_series_of_evaluations(tmp_path):
    with metrics.Writer(tmp_path) as writer:
        work(writer, 0, 6)
        writer.evals(2, "other", {"pass@1": 9.0}, n=1)
    steps, values = metrics.eval_series(metrics.read(tmp_path).evals, "countdown", "pass@1")
    np.testing.assert_array_equal(steps, [0, 2, 4])
    np.testing.assert_allclose(values, [0, 2 / 3, 4 / 3])
    with pytest.raises(InputError, match="countdown/pass@8"):
        metrics.eval_series(metrics.read(tmp_path).evals, "countdown", "pass@9")


def test_reading_needs_no_jax(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 0, "x": 1.0}) + "\n")
    code = "import sys; from entropy_rl import metrics; metrics.read(sys.argv[1]); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
