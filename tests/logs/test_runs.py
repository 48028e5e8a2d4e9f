"""Several runs: in several files, or in one."""

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import formats
from entropy_rl.logs import read as logs
from tests.logs.writing import H, N, R, one, refused, wandb_csv, write_csv


def two(tmp_path, scale=1.0):
    for name in "ab":
        rows = zip(range(N), H, (scale if name == "b" else 1) * R)
        write_csv(tmp_path / f"{name}.csv", ["step", "entropy", "accuracy"], rows)
    return tmp_path


@pytest.mark.parametrize("pattern", ["{0}/*.csv", "{0}/a.csv,{0}/b.csv", "{0}/a.csv, {0}/b.*", "{0}/a.csv,{0}/*.csv"])
def test_several_files_are_several_runs(tmp_path, pattern):
    found = logs.read(pattern.format(two(tmp_path)))
    assert [p.name for p in found.runs] == ["a", "b"] and not found.skipped


def test_a_sequence_of_paths(tmp_path):
    two(tmp_path)
    assert [p.name for p in logs.read([tmp_path / "b.csv", str(tmp_path / "a.csv")]).runs] == ["b", "a"]
    with pytest.raises(InputError, match="no logs given"):
        logs.read([])


def test_folders_with_commas_in_their_names(tmp_path):
    for seed in range(3):
        (tmp_path / f"grpo,seed={seed}").mkdir()  # as a sweep names them

    def names(text):
        return [path.name for path in formats.find(text)]

    assert names(f"{tmp_path}/grpo,seed=1") == ["grpo,seed=1"]
    assert names(f"{tmp_path}/grpo,seed=*") == [f"grpo,seed={i}" for i in range(3)]
    assert names(f"{tmp_path}/grpo,seed=2,{tmp_path}/grpo,seed=0") == ["grpo,seed=2", "grpo,seed=0"]
    (tmp_path / "grpo").mkdir()
    assert names(f"{tmp_path}/grpo,seed=0,{tmp_path}/grpo") == ["grpo,seed=0", "grpo"]
    with pytest.raises(InputError, match=r"seed=7: no such file"):
        formats.find(f"{tmp_path}/grpo,seed=0,{tmp_path}/seed=7")


@pytest.mark.parametrize("text", ["", ",", "nowhere/*.csv", "a\0b"])
def test_patterns_without_a_match(text):
    with pytest.raises(InputError, match="no such file or directory"):
        logs.read(text)


def test_a_run_that_cannot_be_used_is_left_out_and_said(tmp_path):
    two(tmp_path)
    write_csv(tmp_path / "c.csv", ["step", "loss"], zip(range(N), H))
    (tmp_path / "d.csv").touch()
    found = logs.read(f"{tmp_path}/*.csv")
    assert [p.name for p in found.runs] == ["a", "b"]
    assert len(found.skipped) == 2 and all("\n" not in line for line in found.skipped)
    assert "d.csv: no rows" in found.skipped[0] and "c.csv: no column looks like entropy" in found.skipped[1]
    assert "c.csv" in refused(tmp_path / "c.csv")
    with pytest.raises(InputError, match=r"d\.csv: no rows.*; nor can 1 other"):
        logs.read([tmp_path / "c.csv", tmp_path / "d.csv"])


def test_runs_of_one_name_are_told_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        two(tmp_path / folder)
    assert [p.name for p in logs.read(f"{tmp_path}/*/a.csv").runs] == ["x/a", "y/a"]


def test_a_column_tells_runs_apart(tmp_path):
    rows = [[seed, i, H[i], R[i] - 0.01 * j] for i in range(N) for j, seed in enumerate(("s1", "s0"))]
    header = ["seed", "step", "entropy", "accuracy"]
    path = write_csv(tmp_path / "log.csv", header, [*rows, [None, 5, 1, 1]])
    found = logs.read(path, run="seed")
    assert [p.name for p in found.runs] == ["s1", "s0"]
    for j, p in enumerate(found.runs):
        np.testing.assert_allclose(p.R, R - 0.01 * j)
        np.testing.assert_allclose(p.H, H)
        assert p.broken == 1 and f"log.csv line {2 * N + 2} (no run)" in p.source
    mixed = one(write_csv(path, header, rows))
    assert "12 row(s) of entropy repeat the row before and are left out" in mixed.source
    assert "accuracy has several rows in 12 step(s), averaged" in mixed.source
    np.testing.assert_allclose(mixed.R, R - 0.005)
    assert "no column 'sed' for run (did you mean 'seed'?)" in refused(path, run="sed")
    rows = [[k, *row[1:]] for row in rows for k in range(3)]
    assert "several runs in it? name the column" in one(write_csv(path, header, rows)).source


def test_one_unit_for_all_runs(tmp_path):
    two(tmp_path, scale=100)
    rows = zip(range(N), H, 0.5 * R)  # 0.35 to 0.49 of a hundred
    write_csv(tmp_path / "low.csv", ["step", "entropy", "accuracy"], rows)
    a, b, low = logs.read(f"{tmp_path}/*.csv").runs
    assert {p.unit for p in (a, b, low)} == {"percent"}
    assert b.source.endswith("unit of R: percent")
    assert low.source.endswith("unit of R: percent (as in run b; here alone it would be fraction)")
    assert one(tmp_path / "low.csv").unit == "fraction"


def test_curves_of_wandb_in_two_files_are_joined_by_run(tmp_path):
    runs = ["grpo - seed 0", "ppo"]
    wandb_csv(tmp_path / "entropy.csv", runs, "actor/entropy", {run: H for run in runs})
    wandb_csv(tmp_path / "score.csv", runs[::-1], "val-core/x/acc/mean@8", {runs[0]: R, runs[1]: R / 2})
    found = logs.read(f"{tmp_path}/*.csv")
    assert [p.name for p in found.runs] == runs
    for p, scale in zip(found.runs, (1, 2)):
        np.testing.assert_allclose(p.R, R / scale)
        np.testing.assert_allclose(p.H, H)
        assert "actor/entropy (entropy.csv" in p.source and "mean@8 (score.csv" in p.source
    assert "no column looks like score" in refused(tmp_path / "entropy.csv")


def test_a_log_that_was_resumed(tmp_path):
    again = [*zip(range(8), H, R), *zip(range(5, N), H[5:] / 2, R[5:])]
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], again))
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.H, [*H[:5], *H[5:] / 2])
    assert "steps of entropy go back in log.csv line 10, 7 to 5: sorted" in points.source
    assert "3 row(s) of entropy repeat a step, the last one counts;" in points.source


def stage(path, steps, level, names=("step", "entropy", "accuracy")):
    """Evaluations of a run whose entropy falls from `level` to a third of it in 40 steps."""
    return write_csv(path, list(names), [[i, level * np.exp(-i / 36), 0.5 + i / 100] for i in steps])


def test_two_runs_that_were_resumed_stay_two(tmp_path):
    """Mutation: no look at the entropies of the joint, or the first run that ends there is taken."""
    for name, level in (("a", 1.0), ("b", 0.5)):
        stage(tmp_path / f"{name}0.csv", range(20), level), stage(tmp_path / f"{name}1.csv", range(20, 40), level)
    found = {p.name: p for p in logs.read(f"{tmp_path}/*.csv").runs}
    assert {name: len(p.R) for name, p in found.items()} == {"a0": 40, "b0": 40}
    np.testing.assert_allclose(found["b0"].H, 0.5 * np.exp(-np.arange(40) / 36))
    stage(tmp_path / "b0.csv", range(20), 1.0), stage(tmp_path / "b1.csv", range(20, 40), 1.0)  # which of them?
    found = logs.read(f"{tmp_path}/*.csv").runs
    assert [len(p.R) for p in found] == [20] * 4 and "it is not clear which of them goes on in it" in found[1].source


@pytest.mark.parametrize(
    ("level", "names"),
    [
        (3.0, ("step", "entropy", "accuracy")),
        (1.0, ("step", "actor/entropy", "accuracy")),
        (1.0, ("step", "entropy", "eval/aime/accuracy")),
    ],
)
def test_another_entropy_or_other_columns_are_another_run(tmp_path, level, names):
    stage(tmp_path / "a.csv", range(20), 1.0), stage(tmp_path / "b.csv", range(20, 40), level, names)
    assert [len(p.R) for p in logs.read(f"{tmp_path}/*.csv").runs] == [20, 20]


def test_runs_of_one_chart_are_never_one(tmp_path):
    runs = ["one", "two"]
    rows = [
        [i, *([np.exp(-i / 36), i / 40] if (i < 20) == (run == "one") else ["", ""] for run in runs)] for i in range(40)
    ]
    rows = [[i, *one, *two] for i, one, two in rows]
    header = ["Step", *(f"{run} - {key}" for run in runs for key in ("entropy", "accuracy"))]
    assert [len(p.R) for p in logs.read(write_csv(tmp_path / "chart.csv", header, rows)).runs] == [20, 20]


def test_several_tasks_in_one_column_are_said_first(tmp_path):
    rows = [[i, task, H[i], R[i] - 0.1 * k] for i in range(N) for k, task in enumerate(("aime", "gsm8k"))]
    points = one(write_csv(tmp_path / "log.csv", ["step", "dataset", "entropy", "accuracy"], rows))
    assert "SEVERAL TASKS AS ONE? column dataset" in points.warnings[0]
    rows = [row for row in rows if row[1] == "aime"]
    assert not one(write_csv(tmp_path / "log.csv", ["step", "dataset", "entropy", "accuracy"], rows)).warnings


@pytest.mark.parametrize("seeds", [(0, 1), ("one", "two")])
def test_several_seeds_read_as_one_run_are_said_first(tmp_path, seeds):
    """Row by row or one behind the other. Mutations: numbers only, or texts only."""
    header = ["seed", "step", "entropy", "accuracy"]
    rows = [[seed, i, H[i] * (1 + k), R[i]] for i in range(N) for k, seed in enumerate(seeds)]
    path = write_csv(tmp_path / "log.csv", header, rows)
    said = "SEVERAL RUNS AS ONE? column seed has more than one value"
    assert any(said in text for text in one(path).warnings)
    rows.sort(key=lambda row: str(row[0]))
    path = write_csv(path, header, [row for row in rows if row[0] == seeds[0] or row[1] > 4])  # as if it were resumed
    assert any(said in text for text in one(path).warnings)
    assert not any("SEVERAL" in text for run in logs.read(path, run="seed", min_points=3).runs for text in run.warnings)
    for k, seed in enumerate(seeds):  # the second begins where the first ends
        part = [[seed, i, np.exp(-i / 36), i / 40] for i in range(20 * k, 20 * k + 20)]
        write_csv(tmp_path / f"seed{k}.csv", header, part)
    assert [len(p.R) for p in logs.read(f"{tmp_path}/seed?.csv").runs] == [20, 20]
