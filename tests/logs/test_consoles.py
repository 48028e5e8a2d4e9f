import json

import numpy as np
import pytest

from entropy_rl.logs import consoles
from entropy_rl.logs import read as logs
from tests.logs.writing import H, N, R, one, refused, write_csv


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


BEFORE = ["", "0: ", "[1,0]<stdout>:", "\x1b[36m(Trainer pid=7, ip=10.0.0.1)\x1b[0m ", "INFO 08-01 a.py:7] step {i}: "]


@pytest.mark.parametrize("before", [*BEFORE, "  3%|#  | 1/9 [00:01<00:08, 1.0it/s]"])
@pytest.mark.parametrize("number", ["{!r}", "np.float64({!r})", "'{!r}'", "tensor({!r}, device='cuda:0')"])
def test_objects_behind_what_others_print(tmp_path, before, number):
    """ray, slurm, mpi, clocks, bars; numbers plain, numpy's, texts (transformers 5) and torch's."""
    lines = ["[rank0] starting", "{'model': 'x', 'lr': 1e-6, 'path': 'y', 'flag': True}"]
    for i in range(N):
        h, r = (number.format(float(x)) for x in (H[i], R[i]))
        lines.append(f"{before.format(i=i)}{{'step': {i}, 'loss': nan, 'entropy': {h}, 'eval_reward': {r}}}")
    points = one(write(tmp_path / "log.out", lines))
    assert (points.format, points.entropy, points.score) == ("console", "entropy", "eval_reward")
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)


@pytest.mark.parametrize("kind", ["json", "python"])
def test_objects_over_several_lines(tmp_path, kind):
    """One of them torn: it is counted, and takes no other with it. Mutation: `held` goes on over whatever comes."""
    lines = ["starting {"]
    for i in range(N):
        row = {"step": i, "critic": {"entropy/mean": float(H[i])}, "val_correct/all/mean": float(R[i])}
        text = "metrics: " + json.dumps(row, indent=2) if kind == "json" else f"INFO {row}".replace(", '", ",\n '")
        lines += [text, *[f"{{'loss': 0.1, 'x': {i}}}"] * 5]
    torn = 6 * (N - 2) + 1
    lines[torn] = lines[torn].rpartition(",")[0] + ","
    points = one(write(tmp_path / "log.log", lines))
    assert (points.format, points.entropy, points.score) == ("console", "critic/entropy/mean", "val_correct/all/mean")
    assert len(points.R) == N - 1 and points.broken
    np.testing.assert_allclose(points.R, np.delete(R, N - 2))


PAIRS = {  # trainer: how it prints a step, its entropy, its score, and what it is recognised as
    "MaxText": ("I0922 12:00:00.1 7 metric_logger.py:187] completed step: {i}, seconds: 0.2, TFLOP/s/device: 3.1, "
                "entropy: {h}, eval_reward: {r}", "entropy", "eval_reward", None),
    "logfmt": ("2026-01-01T00:00:00Z level=info msg=train step={i} entropy={h} eval_acc={r}", "entropy", "eval_acc",
               None),
    "torchtitan": ("[rank0]:[titan] 2026-08-01 10:00:00,1 - root - INFO - \x1b[31mstep:  {i}  \x1b[32mloss:  0.1  "
                   "entropy: {h}  reward: {r}\x1b[39m", "entropy", "reward", None),
    "clu": ("I0101 00:00:00.1 1 logging_writer.py:48] [{i}] entropy={h}, eval_accuracy={r}, grad_norm=0.1", "entropy",
            "eval_accuracy", None),
    "OpenRLHF": ("Train epoch [1/1]: 100%|##| 8/8 [00:10<00:00,  1.2s/it, policy_loss=-0.01, actor_lr=1e-6, "
                 "reward={r}, entropy_loss={h}]", "entropy_loss", "reward", "OpenRLHF"),
    "Tinker": ("ml_log:170 [INFO]      Step {i}   \n\u2503 Metric \u2503 Value \u2503\n\u2502 env/all/reward/total "
               "\u2502 0.9 \u2502\n\u2502 optim/entropy  \u2502 {h} \u2502\n\u2502 test/env/all/correct \u2502 {r} "
               "\u2502", "optim/entropy", "test/env/all/correct", "Tinker cookbook"),
    "AReaL": ("INFO: Epoch 1/10 Step 5/140 Train step {i}/1400 done.\n\u2502 ppo_actor/update/entropy/avg "
              "\u2502 {h} \u2502\n\u2502 eval-rollout/reward \u2502 {r} \u2502", "ppo_actor/update/entropy/avg",
              "eval-rollout/reward", "AReaL"),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_names_and_numbers_on_lines(tmp_path, name):
    """Mutations: take the first step of a line; do not close a row where a name comes again."""
    line, entropy, score, trainer = PAIRS[name]
    lines = ["starting, with seed: 3", *(line.format(i=10 * i, h=H[i], r=R[i]) for i in range(N))]
    points = one(write(tmp_path / "log.log", lines))
    assert (points.format, points.entropy, points.score) == ("console of pairs", entropy, score)
    assert points.trainer == trainer
    steps = 10 * np.arange(N) if "{i}" in line else 2 + np.arange(N)
    np.testing.assert_array_equal(points.step, steps)
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)


def test_a_bar_that_writes_over_itself(tmp_path):
    """Mutation: lines end at newlines only."""
    bars = [f"\rRL: 1%|# | {i}/9 [00:10<01:00,  1.2it/s, entropy={H[i]:.6f}, acc={R[i]:.6f}]" for i in range(N)]
    points = one(write(tmp_path / "log.log", ["".join(bars)]))
    assert points.format == "console of pairs" and len(points.R) == N
    np.testing.assert_allclose(points.R, R, atol=1e-6)


def test_a_last_pair_that_was_cut_off_is_no_number(tmp_path):
    lines = [f"step={i} entropy={H[i]:.6f} eval_acc={R[i]:.6f}" for i in range(N)]
    (tmp_path / "log.log").write_text("\n".join(lines)[:-3])
    points = one(tmp_path / "log.log")
    assert len(points.R) == N - 1 and f"log.log line {N} (torn)" in points.source


@pytest.mark.parametrize(
    ("line", "there", "where"),
    [
        ("=== Step {i}/9 ===\n \u2022 Generation KL Error: 0.1\n \u2022 Avg Reward: {r}",
         "step, Generation KL Error, Avg Reward", "logger.wandb_enabled"),  # NeMo RL
        ("SUCCESS Step {i} | Time: 3.2s | Reward: {r} | Async Level: 1", "step, Time, Reward, Async Level",
         "RUN/metrics.jsonl"),  # prime-rl's orchestrator
    ],
)  # fmt: skip
def test_a_console_without_entropy_says_where_it_is(tmp_path, line, there, where):
    message = refused(write(tmp_path / "log.log", [line.format(i=i, r=R[i]) for i in range(N)]))
    assert f"there are {there}" in message and where in message


def test_the_bar_of_training_counts_and_not_that_of_evaluation(tmp_path):
    lines = ["Map: 100%|##| 99/99 [00:01<00:00, 99.0 examples/s]"]
    for i in range(N):
        bar = f"  1%|# | {10 * i}/500 [00:01<00:08, 1.0it/s]"
        lines += [bar + "\r" + f"{bar}{{'loss': 0.1, 'entropy': {H[i]}, 'reward': 9.0}}"]
        lines += ["100%|##| 4/4 [00:01<00:00, 4.0it/s]\r" + f"{{'eval_loss': 0.1, 'eval_reward': {R[i]}}}"]
    points = one(write(tmp_path / "log.txt", lines))
    np.testing.assert_array_equal(points.step, 10 * np.arange(N))
    np.testing.assert_allclose(points.R, R)
    assert "steps are those of the progress bar of 500" in points.source


def test_several_training_steps_a_rollout(tmp_path):
    """slime: the axis of training is twice as long as that of rollouts."""
    lines = []
    for i in range(N):
        lines.append(f"[2026-08-01 00:00:00] a.py:1 - rollout {i}: {{'rollout/raw_reward': {R[i]}}}")
        for k in range(2):
            entropy = H[i] + 0.01 * k
            lines.append(f"[2026-08-01 00:00:00] b.py:2 - step {2 * i + k}: {{'train/entropy_loss': {entropy}, "
                         f"'train/step': {2 * i + k}}}")  # fmt: skip
    points = one(write(tmp_path / "log.txt", lines))
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.R, R)
    assert "2 training steps a rollout" in points.source


def test_a_torn_line_is_no_row(tmp_path):
    lines = [f"x {{'step': {i}, 'entropy': {H[i]}, 'eval_reward': {R[i]}}}" for i in range(N)]
    lines[4] = lines[4][:-6]
    (tmp_path / "log.txt").write_text("\n".join(lines)[:-9])
    points = one(tmp_path / "log.txt")
    assert len(points.R) == N - 2 and "log.txt line 5 (torn), log.txt line 12 (torn)" in points.source


def test_no_object_in_it(tmp_path):
    write(tmp_path / "log.txt", ["{x}", "{'a': 'b'}", "{", "}" * 9, "{'a': __import__('os')}"])
    assert "no known format" in refused(tmp_path / "log.txt")
    assert consoles.one_object("{'a': 1} {'b': 2}", 0) == ({"a": 1}, 8)


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


def test_pairs_between_bars(tmp_path):
    """prime-rl's."""
    lines = [f"12:00:00 SUCCESS Step {i} | Time: 30.1s | Entropy: {H[i]} | Reward: {R[i]}" for i in range(N)]
    points = one(write(tmp_path / "log.txt", lines))
    assert (points.entropy, points.score) == ("Entropy", "Reward")
    np.testing.assert_allclose(points.R, R)
    np.testing.assert_array_equal(points.step, np.arange(N))


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


@pytest.mark.parametrize("digits", [3, 1])
def test_a_console_without_steps_that_was_begun_anew(tmp_path, digits):
    """TRL's where bars went to stderr: epochs tell, also where they are rounded. Mutation: line numbers only."""
    lines = [f"{{'loss': 0.1, 'entropy': {H[i]}, 'reward': {R[i]}, 'epoch': {round(i / N, digits)}}}"
             for i in [*range(9), *range(N)]]  # fmt: skip
    found = logs.read(write(tmp_path / "log.log", lines))
    assert [len(run.R) for run in found.runs] == [9, N]
    np.testing.assert_allclose(found.runs[1].R, R)


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


def test_lines_that_ray_saw_twice_and_lines_that_were_wrapped(tmp_path):
    lines = [f"(TaskRunner pid=1) step:{i} - actor/entropy:{H[i]} - val/acc:{R[i]}" for i in range(N)]
    again = [f"{line} [repeated 2x across cluster] (Ray deduplicates logs by default)" for line in lines]
    points = one(write(tmp_path / "log.out", again))
    np.testing.assert_allclose(points.R, R)
    assert not points.broken
    wrapped = [part for line in lines for part in (line[: line.index("val") + 2], line[line.index("val") :])]
    assert f"{N} row(s) are broken" in refused(write(tmp_path / "log.out", wrapped))


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


@pytest.mark.parametrize("number", ["array({!r}, dtype=float32)", "jnp.bfloat16({!r})", "Decimal('{!r}')"])
def test_a_step_above_an_object_and_numbers_of_any_type(tmp_path, number):
    """Mutations: names of types in a list; without `above`."""
    lines = []
    for i in range(N):
        h, r = (number.format(float(x)) for x in (H[i], R[i]))
        row = f"{{'actor': {{'entropy': {h},\n           'lr': 1e-6}},\n 'eval': {{'acc': {r}}}}}"
        lines += [f"Step {5 * i}:", row]
    points = one(write(tmp_path / "log.log", lines))
    assert (points.entropy, points.score) == ("actor/entropy", "eval/acc")
    np.testing.assert_array_equal(points.step, 5 * np.arange(N))
    np.testing.assert_allclose(points.R, R)


def test_the_count_of_a_bar_with_names_and_numbers(tmp_path):
    """Drawn again and again, and begun anew. Mutation: a line is a step."""
    bars = [f"\rRL: 1%|# | {i}/{N} [00:10<01:00,  1.2it/s, ent={H[i]:.6f}, rew={R[i]:.6f}]" for i in range(N)]
    points = one(write(tmp_path / "log.log", ["".join(bar for bar in bars for _ in range(3))]))
    assert (points.entropy, points.score) == ("ent", "rew") and f"the progress bar of {N}" in points.source
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.R, R, atol=1e-6)
    again = [bar for part in (bars[:9], bars) for bar in part for _ in range(3)]
    assert [len(run.R) for run in logs.read(write(tmp_path / "log.log", again)).runs] == [9, N]


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
    """Several lists of rows in an object, and a row under each step."""
    lists = {"train": [{"step": i, "entropy": h} for i, h in enumerate(H)],
             "eval": [{"step": i, "accuracy": R[i]} for i in range(0, N, 3)]}  # fmt: skip
    (tmp_path / "log.json").write_text(json.dumps({"config": {"lr": 1}, "metrics": lists}))
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


@pytest.mark.parametrize(
    "line", ["iter {i:4d} | entropy {h:.6f} | acc {r:.6f}", "update {i}: entropy {h:.6f}, acc {r:.6f}"]
)
def test_names_and_numbers_without_a_mark(tmp_path, line):
    points = one(write(tmp_path / "log.log", [line.format(i=3 * i, h=H[i], r=R[i]) for i in range(N)]))
    assert (points.format, points.entropy, points.score) == ("console of pairs", "entropy", "acc")
    np.testing.assert_allclose([points.step, points.R], [3 * np.arange(N), R], atol=1e-6)


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
