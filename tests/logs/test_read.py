import subprocess
import sys

import numpy as np
import pytest

from entropy_rl.logs import formats
from tests.logs.writing import H, N, R, one, refused, write_csv, write_jsonl


def metrics_rows(n=N, every=1):
    return [
        {"step": i * every, "policy/entropy_sequence": float(H[i]), "policy/entropy": 9.0, "rollout/reward": 0.5}
        for i in range(n)
    ]


def eval_row(step, value, metric="pass@1", task="countdown"):
    return {"step": step, "task": task, "metric": metric, "value": float(value), "n": 2048}


@pytest.fixture
def workdir(tmp_path):
    """Updates 0 to 11; evaluations before each and, the last one, after update 11."""
    tmp_path = tmp_path / "work"
    tmp_path.mkdir()
    write_jsonl(tmp_path / "metrics.jsonl", metrics_rows())
    rows = [eval_row(i, 1 - H[min(i, N - 1)]) for i in range(N + 1)]
    write_jsonl(tmp_path / "evals.jsonl", [*rows, *(eval_row(i, 0.99, "pass@8") for i in range(N + 1))])
    return tmp_path


def test_workdir(workdir):
    points = one(workdir)
    np.testing.assert_array_equal(points.step, np.arange(N + 1))
    np.testing.assert_array_equal(points.H, [*H, H[-1]])  # the last evaluation meets the last update's record
    np.testing.assert_array_equal(points.R, 1 - points.H)
    assert (points.entropy, points.score) == ("policy/entropy_sequence", "eval/countdown/pass@1")
    assert points.unit == "fraction" and points.broken == 0
    columns = ("policy/entropy_sequence (metrics.jsonl, nats per token)", "eval/countdown/pass@1 (evals.jsonl)")
    for said in ("workdir", *columns, "13 points", "unit of R: fraction"):
        assert said in points.source
    assert "entropy from up to 1 step(s) before its score" in points.source


def test_join_takes_the_same_step_or_the_nearest_earlier_one(tmp_path):
    write_jsonl(tmp_path / "metrics.jsonl", metrics_rows(every=10))
    steps = [0, 9, 10, 11, 19, 20, 55, 500]
    write_jsonl(tmp_path / "evals.jsonl", [eval_row(s, s / 1000) for s in steps])
    points = one(tmp_path)
    np.testing.assert_array_equal(points.H, H[[0, 0, 1, 1, 1, 2, 5, 11]])
    np.testing.assert_array_equal(points.R, np.array(steps) / 1000)
    assert "up to 390 step(s)" in points.source


def test_scores_before_the_first_entropy_are_reported(workdir):
    write_jsonl(workdir / "metrics.jsonl", metrics_rows()[3:])
    points = one(workdir)
    assert points.step[0] == 3 and len(points.R) == N + 1 - 3
    assert "3 score(s) before the first entropy record left out" in points.source


def test_rows_out_of_order_and_repeated_steps(workdir):
    rows = [eval_row(i, 1 - H[min(i, N - 1)]) for i in range(N + 1)]
    write_jsonl(workdir / "evals.jsonl", [eval_row(2, 0.123), *rows[::-1]])
    write_jsonl(workdir / "metrics.jsonl", metrics_rows()[::-1])
    points = one(workdir)
    np.testing.assert_array_equal(points.step, np.arange(N + 1))
    np.testing.assert_array_equal(points.H, [*H, H[-1]])
    np.testing.assert_array_equal(points.R, 1 - points.H)  # the later row of step 2
    assert "1 row(s) of eval/countdown/pass@1 repeat a step, the last one counts" in points.source


def test_broken_rows_are_counted_and_named(workdir):
    rows = [eval_row(i, 1 - H[min(i, N - 1)]) for i in range(N + 1)]
    rows[4] = '{"step": 4, "task": "countd'
    rows[5] = {"step": 5, "metric": "pass@1", "value": 0.3}  # no task
    rows[6]["value"] = "high"
    write_jsonl(workdir / "evals.jsonl", rows)
    metrics = metrics_rows()
    write_jsonl(workdir / "metrics.jsonl", [metrics[0], "", {"policy/entropy_sequence": 7.0}, *metrics[1:]], end="")
    points = one(workdir)
    assert points.broken == 5 and len(points.R) == N + 1 - 3
    for line in ("evals.jsonl line 5", "evals.jsonl line 6", "evals.jsonl line 7 (eval/countdown/pass@1 is no"):
        assert line in points.source
    # a row without step, and a last line that a kill cut off
    assert "metrics.jsonl line 3 (no step)" in points.source and "metrics.jsonl line 14" in points.source
    assert "5 broken row(s) left out" in points.source


def test_columns_can_be_named(workdir):
    points = one(workdir, entropy="policy/entropy_sequence", score="eval/countdown/pass@8", min_points=2)
    assert points.score == "eval/countdown/pass@8" and (points.R == 0.99).all()
    assert one(workdir, score="rollout/reward").score == "rollout/reward"


def test_the_task_with_most_evaluations_is_chosen_and_the_other_said(workdir):
    rows = [eval_row(0, 0.1, task="other"), *(eval_row(i, 1 - H[min(i, N - 1)]) for i in range(N + 1))]
    write_jsonl(workdir / "evals.jsonl", rows)
    points = one(workdir)
    assert points.score == "eval/countdown/pass@1"
    assert "score could also be eval/other/pass@1" in points.source


def test_a_workdir_without_evaluations_falls_on_the_training_reward_and_says_so(workdir):
    (workdir / "evals.jsonl").unlink()
    assert "R = rollout/reward (metrics.jsonl" in one(workdir).source


@pytest.mark.parametrize(
    ("step", "entropy", "score"),
    [
        ("training/global_step", "actor/entropy", "val-core/openai/gsm8k/reward/mean@1"),
        ("step", "actor/entropy", "critic/score/mean"),
        ("step", "train_entropy/all", "val/test_score/math"),
        ("train/global_step", "train/entropy", "train/reward"),
        ("_step", "entropy", "reward"),
        ("Step", "H", "accuracy"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_names_of_other_trainers_are_guessed(tmp_path, kind, step, entropy, score):
    header = ["run", step, "lr", score, entropy]
    rows = [["a", 5 * i, 1e-6, float(R[i]), float(H[i])] for i in range(N)]
    if kind == "csv":
        path = write_csv(tmp_path / "log.csv", header, rows)
    else:
        path = write_jsonl(tmp_path / "log.jsonl", [dict(zip(header, row)) for row in rows])
    points = one(path)
    assert (points.entropy, points.score) == (entropy, score)
    np.testing.assert_array_equal(points.step, 5 * np.arange(N))
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)


def test_better_names_win(tmp_path):
    names = ["reward", "critic/score/mean", "val-core/x/acc/mean@8", "entropy", "actor/entropy", "step"]
    rows = [[0.0, 0.0, float(R[i]), 5.0, float(H[i]), i] for i in range(N)]
    points = one(write_csv(tmp_path / "log.csv", names, rows))
    assert (points.entropy, points.score) == ("actor/entropy", "val-core/x/acc/mean@8")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_cells_may_be_empty_where_nothing_was_logged(tmp_path, kind):
    # validation every third step, in rows of its own
    header = ["step", "entropy", "accuracy"]
    rows = []
    for i in range(N):
        rows.append([3 * i, float(H[i]), None])
        rows.append([3 * i + 1, None, float(R[i])])
    if kind == "csv":
        path = write_csv(tmp_path / "log.csv", header, rows)
    else:
        path = write_jsonl(tmp_path / "log.jsonl", [dict(zip(header, row)) for row in rows])
    points = one(path)
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)
    assert points.broken == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_byte_order_mark(tmp_path, delimiter):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], zip(range(N), H, R), delimiter)
    path.write_text("\ufeff" + path.read_text())
    points = one(path)
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_array_equal(points.step, np.arange(N))


def test_csv_rows_that_do_not_fit_are_counted(tmp_path):
    rows = [[i, H[i], R[i]] for i in range(N)]
    rows[3] = [3, H[3]]
    rows[4] = [4, "-", R[4]]
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], rows))
    assert points.broken == 2 and len(points.R) == N - 1
    assert "log.csv line 5" in points.source and "log.csv line 6 (entropy is no" in points.source
    # step 4 has a score and no entropy of its own: that of step 2, as 3 is broken
    assert points.H[points.step == 4] == pytest.approx(H[2])


def test_without_step_column_the_line_counts(tmp_path):
    path = write_csv(tmp_path / "log.tsv", ["entropy", "reward"], zip(H, R), "\t")
    np.testing.assert_array_equal(one(path).step, np.arange(2, N + 2))


def test_rows_without_a_step_are_broken(tmp_path):
    rows = [[{3: "inf", 5: "", 7: "x"}.get(i, i), H[i], R[i]] for i in range(N)]
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], rows))
    assert points.broken == 3 and "log.csv line 5 (no step), log.csv line 7 (no step)" in points.source
    np.testing.assert_array_equal(points.step, [i for i in range(N) if i not in (3, 5, 7)])
    rows = [[f"global_step_{i}", H[i], R[i]] for i in range(N)]
    message = refused(write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], rows))
    assert f"{N} row(s) have no number for a step: name another column (--config.step=NAME)" in message


def test_the_step_column_can_be_named(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["step", "tokens", "entropy", "reward"], zip(range(N), [7] * N, H, R))
    assert len(one(path).R) == N
    assert "1 point(s)" in refused(path, step="tokens")


def test_percent_is_told_apart_and_kept(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "accuracy"], zip(range(N), H, 100 * R))
    points = one(path)
    assert points.unit == "percent" and "percent" in points.source
    np.testing.assert_allclose(points.R, 100 * R)


# Every refusal names the file, what is wrong in it, and what to do.


def test_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "nowhere.csv")


def test_directory_without_logs(tmp_path):
    message = refused(tmp_path)
    assert "without metrics.jsonl" in message and "give a workdir" in message


def test_a_folder_of_workdirs_says_how_to_give_them(workdir):
    assert f"1 of its folders are runs, '{workdir.parent}/*' would give them" in refused(workdir.parent)


def test_unknown_format(tmp_path):
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    message = refused(tmp_path / "log.xlsx")
    assert "no known format" in message and all(reader.about in message for reader in formats.READERS.values())
    (tmp_path / "log.out").touch()
    assert "an empty file" in refused(tmp_path / "log.out")


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.tsv"])
@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_empty_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "no rows in it" in refused(tmp_path / name)


def test_empty_workdir(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    assert "no rows in it" in refused(tmp_path)


@pytest.mark.parametrize("content", [bytes(range(256)) * 4, b"step,entropy,reward\n1,2,3\0\n", b"\x00" * 64])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_binary_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name)
    said = "not a text table" if name.endswith("csv") or content.startswith(b"step") else "no rows in it but"
    assert said in message and "give" in message


def test_csv_field_without_end(tmp_path):
    (tmp_path / "log.csv").write_text('step,entropy\n1,"' + "x" * 200_000)
    assert "not a text table" in refused(tmp_path / "log.csv")


def test_header_twice(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "entropy", "reward"], zip(range(N), H, H, R))
    assert "'entropy' stands twice" in refused(path)


@pytest.mark.parametrize(
    ("role", "name", "said"),
    [
        ("entropy", "polcy/entropy_sequence", "did you mean 'policy/entropy_sequence'?"),
        ("score", "eval/countdown/pass@2", "did you mean 'eval/countdown/pass@"),
        ("step", "stepp", "did you mean 'step'?"),
    ],
)
def test_unknown_column(workdir, role, name, said):
    message = refused(workdir, **{role: name})
    assert f"no column {name!r} for {role}" in message and said in message and "there are" in message


def test_nothing_to_guess(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["step", "loss"], zip(range(N), H))
    message = refused(path)
    assert "if it was not logged, log it" in message
    assert "looks like entropy" in message and "--config.entropy=NAME" in message and "loss" in message


def test_one_column_for_both(workdir):
    assert "both entropy and score" in refused(workdir, entropy="policy/entropy", score="policy/entropy")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "None"])
def test_a_few_cells_that_are_no_numbers_are_left_out(workdir, bad):
    rows = metrics_rows()
    rows[2]["policy/entropy"] = bad  # a column that is not needed
    rows[4]["policy/entropy_sequence"] = rows[7]["policy/entropy_sequence"] = bad
    write_jsonl(workdir / "metrics.jsonl", ["", *rows])  # an empty line first: lines are those of the file
    points = one(workdir)
    assert points.broken == 2 and "metrics.jsonl line 6 (policy/entropy_sequence is no" in points.source
    assert "line 9 (" in points.source and len(points.entropy_H) == N - 2
    assert points.H[4] == H[3]  # the record before


@pytest.mark.parametrize("bad", ["nan", "-inf", "n/a"])
def test_many_cells_that_are_no_numbers_are_refused(tmp_path, bad):
    rows = [[i, H[i], bad if i in (3, 5, 6) else R[i]] for i in range(N)]  # 3 of 12 are more than a fifth
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], rows)
    message = refused(path)
    assert "'reward' is no finite number in 3 of 12 cells (log.csv line 5, log.csv line 7" in message
    rows[3][2] = R[3]
    assert one(write_csv(path, ["step", "entropy", "reward"], rows)).broken == 2


def test_too_few_points(workdir):
    assert len(one(workdir, min_points=13).R) == 13
    message = refused(workdir, min_points=14)
    assert "13 point(s)" in message and "14 needed" in message and "evaluate more often" in message


def test_constant_entropy(tmp_path):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], zip(range(N), [0.25] * N, R))
    message = refused(path)
    assert "'entropy'" in message and "constant" in message


@pytest.mark.parametrize("scale", [-1.0, 1000.0])
def test_what_is_no_entropy_per_token(tmp_path, scale):
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "reward"], zip(range(N), scale * H, R))
    assert "no entropy in nats per token" in refused(path)


def test_too_few_evaluations_name_the_training_reward(workdir):
    write_jsonl(workdir / "evals.jsonl", [eval_row(i, 0.5) for i in range(3)])
    message = refused(workdir)
    assert "3 point(s)" in message and "(there is 'rollout/reward')" in message


def test_the_whole_entropy_record_is_kept(workdir):
    write_jsonl(workdir / "evals.jsonl", [eval_row(i, 0.1 * i) for i in range(2, N, 3)])
    points = one(workdir, min_points=4)
    np.testing.assert_array_equal(points.step, [2, 5, 8, 11])
    np.testing.assert_array_equal(points.entropy_step, np.arange(N))
    np.testing.assert_array_equal(points.entropy_H, H)


def test_weights_of_a_workdir_are_its_sample_counts(workdir):
    assert (one(workdir).weight == 2048).all()
    rows = [eval_row(i, i / 20) | {"n": 100 + i} for i in range(N)]
    write_jsonl(workdir / "evals.jsonl", [*rows, eval_row(3, 0.9) | {"n": 7}])
    points = one(workdir)
    np.testing.assert_array_equal(points.weight, [*range(100, 103), 7, *range(104, 112)])  # the last row of step 3
    del rows[5]["n"]
    write_jsonl(workdir / "evals.jsonl", rows)
    points = one(workdir)
    assert points.weight is None and "weight 'eval/countdown/pass@1/n' is missing" in points.source
    assert "at step 5: no weights used" in points.source


def test_weight_and_compute_can_be_named(tmp_path):
    header = ["step", "entropy", "accuracy", "samples", "tokens"]
    rows = [[i, H[i], R[i], 64 + i, 1e6 * i if i % 2 else None] for i in range(N)]
    path = write_csv(tmp_path / "log.csv", header, rows)
    points = one(path, weight="samples", compute="tokens")
    np.testing.assert_array_equal(points.weight, 64 + np.arange(1, N))
    np.testing.assert_array_equal(points.compute, 1e6 * np.array([1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11]))
    assert "1 score(s) before the first tokens left out" in points.source
    assert one(path).weight is None and one(path).compute is None
    assert "no column 'sample' for weight (did you mean 'samples'?)" in refused(path, weight="sample")
    assert "no column 'tokns' for compute (did you mean 'tokens'?)" in refused(path, compute="tokns")
    rows[7][3] = 0
    write_csv(path, header, rows)
    assert "weight 'samples' is missing or not positive at step 7: mend it" in refused(path, weight="samples")


def test_a_small_table_loads_nothing_heavy(tmp_path):
    """Nine tenths of the time of a small fit are imports. Mutation: `from scipy import optimize` in laws/fit.py."""
    path = write_csv(tmp_path / "log.csv", ["step", "entropy", "accuracy"], [[i, H[i], R[i]] for i in range(N)])
    heavy = ("jax", "scipy", "pandas", "pyarrow", "matplotlib.pyplot", "bokeh", "tensorboard", "wandb", "IPython")
    code = (
        "import sys; from configs.laws.fit import get_config; from experiments import fit_laws;"
        f"config = get_config('smoke'); config.logs = {str(path)!r}; fit_laws.run(config, {str(tmp_path)!r});"
        f"print('loaded', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["loaded []"], done.stdout + done.stderr
    assert (tmp_path / "law.png").stat().st_size > 10_000


def test_laws_and_figures_need_no_flags():
    """Beside a trainer, where neither absl nor jax need be there."""
    code = (
        "import sys, entropy_rl.figures, entropy_rl.laws.compare, entropy_rl.logs.read;"
        "sys.exit(any(m in sys.modules for m in ('jax', 'ml_collections', 'absl', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
