"""Tables of every shape: what tells rows, steps, runs and units apart, and cells that are no plain numbers."""

import json

import numpy as np
import pytest

from entropy_rl.logs import read as logs
from tests.logs.writing import H, N, R, one, refused, write, write_csv


def test_tables_on_their_side_and_long_ones(tmp_path):
    rows = [["entropy", *H], ["accuracy", *R], ["note", *["x"] * N]]
    path = write_csv(tmp_path / "log.csv", ["metric", *range(N)], rows)
    points = one(path)
    np.testing.assert_allclose(points.R, R)
    assert "the table lies on its side" in points.source and points.step[-1] == N - 1
    rows = [[i, name, x] for i in range(N) for name, x in (("entropy", H[i]), ("accuracy", R[i]))]
    points = one(write_csv(path, ["step", "metric", "value"], rows))
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)


def test_a_file_that_begins_where_another_ends_is_the_same_run(tmp_path):
    def part(name, steps):
        return write_csv(tmp_path / name, ["step", "entropy", "accuracy"], [[i, H[i], R[i]] for i in steps])

    part("slurm-10.csv", range(7)), part("slurm-11.csv", range(6, N))
    points = one(f"{tmp_path}/*.csv", min_points=3)
    np.testing.assert_allclose(points.H, H)
    assert "slurm-11.csv begins at step 6" in points.source and "one run, resumed" in points.source
    part("slurm-11.csv", range(0, N))  # from the beginning: a run of its own
    assert len(logs.read(f"{tmp_path}/*.csv", min_points=3).runs) == 2


def test_runs_that_a_column_tells_apart_are_never_one(tmp_path):
    """Nor are files without steps. Mutation: spans of line numbers, as of the five models of the paper's figure."""
    half, rest = range(N // 2), range(N // 2, N)
    rows = [[name, i, H[i], R[i]] for name, part in (("a", half), ("b", rest)) for i in part]
    path = write_csv(tmp_path / "log.csv", ["model", "step", "entropy", "accuracy"], rows)
    assert [p.name for p in logs.read(path, run="model", min_points=3).runs] == ["a", "b"]
    path = write_csv(tmp_path / "log.csv", ["model", "entropy", "accuracy"], [[m, h, r] for m, _, h, r in rows])
    assert [p.name for p in logs.read(path, run="model", min_points=3).runs] == ["a", "b"]
    for name, lines in (("x", N), ("y", 2 * N)):
        write_csv(tmp_path / f"{name}.csv", ["entropy", "accuracy"], [[H[i % N], R[i % N]] for i in range(lines)])
    assert [len(p.H) for p in logs.read([tmp_path / "x.csv", tmp_path / "y.csv"]).runs] == [N, 2 * N]


def test_several_rows_a_step(tmp_path):
    rows = [[i, H[i] + d, R[i]] for i in range(N) for d in (-0.01, 0.01)]
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy", "accuracy"], rows))
    np.testing.assert_allclose(points.H, H)
    assert "entropy has several rows in 12 step(s), averaged" in points.source
    assert "12 row(s) of accuracy repeat the row before and are left out" in points.source


@pytest.mark.parametrize(
    ("score", "values", "unit"),
    [
        ("val/accuracy", 100 * R, "percent"),
        ("val/accuracy", R, "fraction"),
        ("val/accuracy", 200 * R, "reward"),  # no percentage is above 100
        ("eval/scores", 10 * R, "reward"),  # open-instruct's go to 10
        ("val/score", 90 * R, "percent"),
        ("reward", 2 * R, "reward"),
        ("reward", R - 1, "reward"),
        ("reward_percent", 90 * R, "percent"),
        ("rewards/correctness/mean", 2 * R, "reward"),  # a reward of 2 for a right answer
        ("accuracy", [f"{100 * r}%" for r in R], "percent"),
    ],
)
def test_units(tmp_path, score, values, unit):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", score], zip(range(N), H, values))
    assert one(path).unit == unit


def test_a_sum_of_reward_functions_has_no_unit(tmp_path):
    names = ["step", "entropy", "reward", "rewards/a/mean", "rewards/b/mean"]
    path = write_csv(tmp_path / "log.csv", names, zip(range(N), H, R, R / 2, R / 2))
    assert one(path).unit == "reward"


def test_episodes_are_named_so(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["episode", "entropy", "accuracy"], zip(range(N), H, R))
    assert "the x axis is episode, not optimizer steps" in one(path).source
    path = write_csv(path, ["global_step", "policy/entropy_avg", "eval/scores"], zip(range(N), H, R))
    assert "the x axis is global_step, which in open-instruct counts episodes" in one(path).source


@pytest.mark.parametrize("name", ["train_steps", "num_updates", "Iterations", "total_episodes", "epoch"])
def test_a_step_by_a_name_of_no_list(tmp_path, name):
    """A column of that name that does not rise is none. Mutation: without `_rises`."""
    rows = [[3 * i, h, r] for i, h, r in zip(range(N), H, R)]
    path = write_csv(tmp_path / "log.csv", [name, "entropy", "accuracy"], rows)
    points = one(path)
    np.testing.assert_array_equal(points.step, 3 * np.arange(N))
    assert ("not optimizer steps" in points.source) == (name in ("total_episodes", "epoch"))
    path = write_csv(path, [name, "entropy", "accuracy"], [[7, *row[1:]] for row in rows])
    assert len(one(path).R) == N


def test_nan_in_place_of_empty_cells(tmp_path):
    """As pandas writes them; other texts, and values that end, stay missing. Mutation: `_empty` without its gaps."""
    header, n = ["step", "entropy", "eval_acc"], range(N)
    apart = [row for i in n for row in ([i, H[i], "nan"], [i, H[i], R[i]])[: 2 if i % 3 == 0 else 1]]
    for rows in ([[i, H[i], R[i] if i % 3 == 0 else "NaN"] for i in n], apart):
        points = one(write_csv(tmp_path / "log.csv", header, rows), min_points=4)
        np.testing.assert_allclose(points.R, R[::3])
        assert not points.broken and "NaN of eval_acc between its values, which come evenly" in points.source
    ended = [[i, H[i], R[i] if i < 6 else "NaN"] for i in n]
    for rows in ([[i, H[i], R[i] if i % 3 == 0 else "inf"] for i in n], ended):
        assert "is no finite number in" in refused(write_csv(tmp_path / "log.csv", header, rows), min_points=4)
    for rows in ([], [["x", H[0], R[0]]], [[7, H[i], R[i] if i % 3 == 0 else "NaN"] for i in n]):  # no step, one step
        refused(write_csv(tmp_path / "log.csv", header, rows), min_points=4)


def test_rows_of_training_and_of_evaluations_that_a_column_tells_apart(tmp_path):
    """They are not averaged. Mutation: the table as it is."""
    train = [["train", i, H[i], R[i] + 0.2, "x"] for i in range(N)]
    rows = [row for i in range(N) for row in (train[i], ["eval", i, H[i], R[i], "y"])]
    for name in ("split", "phase"):
        points = one(write_csv(tmp_path / "log.csv", [name, "step", "entropy", "reward", "note"], rows))
        assert (points.entropy, points.score, points.held_out) == ("entropy", "eval/reward", True)
        np.testing.assert_allclose(points.R, R)
        np.testing.assert_allclose(points.signals["training"][1].value, R + 0.2)
        assert f"{name} tells rows of training from others" in points.source
    found = logs.read(tmp_path / "log.csv", run="phase")
    assert [run.name for run in found.runs] == ["train", "eval"]
    points = one(write_csv(tmp_path / "log.csv", ["split", "step", "entropy", "reward", "note"], train))
    assert points.score == "reward"


def test_steps_that_begin_anew_with_each_epoch(tmp_path):
    """One run, and not a try an epoch; a run that was begun anew goes back in both."""
    rows = [[i // 4, i % 4, H[i], R[i]] for i in range(N)]
    path = write_csv(tmp_path / "log.csv", ["epoch", "step", "entropy", "accuracy"], rows)
    points = one(path)
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.R, R)
    assert "step begins anew with each epoch: added up" in points.source
    rows = [[i / 5, i, H[i], R[i]] for i in [*range(9), *range(N)]]
    assert len(logs.read(write_csv(path, ["epoch", "step", "entropy", "accuracy"], rows)).runs) == 2


@pytest.mark.parametrize("cell", ["{:.4f} ± 0.01", "{:.4f}±0.01", "{:.4f} +/- 0.01", "{:.4f} (0.01)"])
def test_numbers_with_a_spread(tmp_path, cell):
    rows = [[i, cell.format(H[i]), cell.format(R[i])] for i in range(N)]
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy", "accuracy"], rows))
    np.testing.assert_allclose([points.H, points.R], [H, R], atol=1e-4)


def test_what_excel_puts_above_a_table(tmp_path):
    text = "".join(f"{i};{H[i]};{R[i]}\r\n" for i in range(N))
    (tmp_path / "log.csv").write_bytes(f"\ufeffsep=;\r\nstep;entropy;accuracy\r\n{text}".encode())
    np.testing.assert_allclose(one(tmp_path / "log.csv").R, R)


def test_a_file_that_was_rotated(tmp_path):
    """Mutation: `.1` is no suffix of a log."""
    for name, steps in (("run.log.1", range(7)), ("run.log", range(7, N))):
        write(tmp_path / name, [f"step={i} entropy={H[i]} eval_acc={R[i]}" for i in steps])
    for path in (tmp_path, f"{tmp_path}/run.log*"):
        np.testing.assert_allclose(one(path, min_points=3).R, R)
    points = one(tmp_path / "run.log", min_points=3)
    assert len(points.R) == N - 7 and "run.log.1 beside it not read" in points.source


def test_what_pandas_writes(tmp_path):
    """to_json, by columns and split; the transposed to_csv; and a table with decimal commas."""
    split = {"columns": ["step", "entropy", "accuracy"], "index": [*range(N)], "data": [*zip(range(N), H, R)]}
    columns = {name: {str(i): x for i, x in enumerate(v)} for name, v in (("entropy", H), ("accuracy", R))}
    for data in (split, columns):
        (tmp_path / "log.json").write_text(json.dumps(data))
        np.testing.assert_allclose(one(tmp_path / "log.json").R, R)
    path = write_csv(tmp_path / "log.csv", ["", *range(N)], [["entropy", *H], ["accuracy", *R]])
    np.testing.assert_allclose(one(path).R, R)
    rows = [[i, str(h).replace(".", ","), str(r).replace(".", ",")] for i, h, r in zip(range(N), H, R)]
    path = write_csv(path, ["step", "entropy", "accuracy"], rows, ";")
    np.testing.assert_allclose(one(path).R, R)
    path = write_csv(tmp_path / "log.tsv", ["step", "entropy", "accuracy"], rows, "\t")
    np.testing.assert_allclose(one(path).R, R)
    thousands = [[f"{1000 + i:,}", H[i], R[i]] for i in range(N)]
    points = one(write_csv(path, ["step", "entropy", "accuracy"], thousands, "\t"))
    np.testing.assert_array_equal(points.step, np.arange(1000, 1000 + N))
    path = tmp_path / "log.csv"
    points = one(write_csv(path, ["step", "entropy", "accuracy"], [[*row[:2], f"{row[2]} %"] for row in rows], ";"))
    np.testing.assert_allclose(points.R, R)
    assert points.unit == "percent"
    path = write_csv(path, ["step", "entropy", "accuracy"], [[*row[:2], "1/2"] for row in rows], ";")
    assert "'accuracy' holds no number but '1/2'" in refused(path)


def test_a_cell_a_row_with_more_columns_and_curves_as_objects(tmp_path):
    """MLflow's table of metrics; ClearML's and Plotly's curves."""
    curves = {"train/entropy": H, "eval/accuracy": R}
    rows = [[name, x[i], 1700 + i, "abc", i, 0] for i in range(N) for name, x in curves.items()]
    points = one(write_csv(tmp_path / "log.csv", ["key", "value", "timestamp", "run_uuid", "step", "is_nan"], rows))
    np.testing.assert_allclose([points.step, points.H, points.R], [range(N), H, R])
    rows = [[i, *name.split("/"), x[i]] for i in range(N) for name, x in curves.items()]
    points = one(write_csv(tmp_path / "log.csv", ["iteration", "metric", "variant", "value"], rows))
    assert (points.entropy, points.score) == tuple(curves)
    data = [{"name": name, "x": list(range(N)), "y": list(x)} for name, x in curves.items()]
    for content in (data, {"data": data, "layout": {}}):
        (tmp_path / "log.json").write_text(json.dumps(content))
        points = one(tmp_path / "log.json")
        np.testing.assert_allclose([points.step, points.H, points.R], [range(N), H, R])


def test_json_of_other_shapes(tmp_path):
    """Several lists of rows in an object or at its top, and a row under each step. Mutation: the first list alone."""
    lists = {"train": [{"step": i, "entropy": h} for i, h in enumerate(H)],
             "eval": [{"step": i, "accuracy": R[i]} for i in range(0, N, 3)]}  # fmt: skip
    for content in ({"config": {"lr": 1}, "metrics": lists}, lists):
        (tmp_path / "log.json").write_text(json.dumps(content))
        points = one(tmp_path / "log.json", min_points=3)
        assert (points.entropy, points.score) == ("train/entropy", "eval/accuracy")
        np.testing.assert_allclose(points.R, R[::3])
    rows = {str(5 * i): {"entropy": h, "accuracy": r} for i, (h, r) in enumerate(zip(H, R))}
    (tmp_path / "log.json").write_text(json.dumps(rows))
    points = one(tmp_path / "log.json")
    np.testing.assert_allclose([points.step, points.R], [5 * np.arange(N), R])


@pytest.mark.parametrize("shape", ["python", "commas", "one line", "pretty"])
def test_lines_that_are_not_quite_json(tmp_path, shape):
    rows = [{"step": i, "entropy": float(h), "accuracy": float(r)} for i, (h, r) in enumerate(zip(H, R))] * 5
    rows = [row | {"step": i} for i, row in enumerate(rows)]
    text = {"python": "\n".join(map(str, rows)), "commas": ",\n".join(map(json.dumps, rows)),
            "one line": "".join(map(json.dumps, rows)), "pretty": "\n".join(json.dumps(row, indent=1) for row in rows)}
    (tmp_path / "log.jsonl").write_text(text[shape] + "\n")
    np.testing.assert_allclose(one(tmp_path / "log.jsonl").R, np.tile(R, 5))


def test_scores_that_stand_in_rows_between_evaluations(tmp_path):
    """The last evaluation over again, or -1 for none. Mutation: every row counts."""
    header, n = ["step", "entropy", "eval_acc"], 3 * N
    long = np.repeat(H, 3) * np.tile([1, 0.99, 0.98], N)
    for name, between in (("repeats", lambda i: R[i // 3]), ("-1", lambda i: R[i // 3] if i % 3 == 0 else -1)):
        points = one(write_csv(tmp_path / "log.csv", header, [[i, long[i], between(i)] for i in range(n)]))
        np.testing.assert_allclose([points.step, points.H, points.R], [range(0, n, 3), H, R])
        assert name in points.source and f"{2 * N} " in points.source


def test_a_loss_term_gives_way_to_an_entropy(tmp_path):
    rows = zip(range(N), -H / 100, H, R)
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy_loss", "rollout/entropy", "accuracy"], rows))
    assert points.entropy == "rollout/entropy" and "entropy_loss never above 0: a loss term" in points.source


def test_an_entropy_in_bits_and_one_with_its_sign_turned(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy_bits", "acc"], zip(range(N), H / np.log(2), R))
    points = one(path)
    np.testing.assert_allclose([points.H, points.entropy_H], [H, H])
    assert "entropy_bits is in bits: times ln 2" in points.source
    path = write_csv(path, ["step", "train/entropy_loss", "acc"], zip(range(N), -H, R))
    assert "a loss term, minus the entropy" in refused(path)


def test_a_step_by_another_name(tmp_path):
    rows = [[i, 2 * i, H[i], R[i]] for i in range(N)]
    points = one(write_csv(tmp_path / "log.csv", ["_step", "system/step", "entropy", "accuracy"], rows))
    np.testing.assert_array_equal(points.step, 2 * np.arange(N))  # ROLL
