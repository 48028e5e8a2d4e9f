"""Formats in text, and what is made of bad files. Those of trackers are in test_tracker_*.py."""

import json
import pathlib
import random
import warnings

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import formats
from tests.logs import writing
from tests.logs.writing import H, N, R, one, refused, verl_line, write_csv, write_jsonl

WRITTEN = pathlib.Path(__file__).parent / "written"
ROWS = [{"step": i, "entropy": float(H[i]), "accuracy": float(R[i])} for i in range(N)]


def check(points, kind, entropy, score, step=range(N)):
    """The planted run, read from a file of a format."""
    assert (points.format, points.entropy, points.score, points.broken) == (kind, entropy, score, 0)
    assert points.source.startswith(kind)
    np.testing.assert_array_equal(points.step, list(step))
    np.testing.assert_allclose(points.H, H[-len(points.H) :], rtol=1e-6)
    np.testing.assert_allclose(points.R, R[-len(points.R) :], rtol=1e-6)


def test_verl_file_logger(tmp_path):
    rows = [{"step": 0, "data": {"val-core/math/acc/mean@8": 0.1}}]
    for i in range(N):
        data = {"actor/entropy": H[i], "val-core/math/acc/mean@8": R[i], "training/global_step": i + 1}
        rows.append({"step": i + 1, "elapsed_seconds": 5.5, "data": data})
    points = one(write_jsonl(tmp_path / "log.jsonl", rows))
    check(points, "verl jsonl", "actor/entropy", "val-core/math/acc/mean@8", range(1, N + 1))
    assert "1 score(s) before the first entropy record left out" in points.source  # validation before training


@pytest.mark.parametrize(("ending", "kind"), [("jsonl", "verl jsonl"), ("out", "verl console")])
def test_what_verls_own_code_wrote(ending, kind):
    """tests/logs/written/make_verl.py says how."""
    points = one(WRITTEN / f"verl-0.9.1.{ending}")
    steps = np.arange(0, 60, 5)
    entropy = 0.6 * 0.95**steps
    assert (points.format, points.entropy, points.score) == (kind, "actor/entropy", "val-core/openai/gsm8k/acc/mean@8")
    np.testing.assert_array_equal(points.step, steps)
    np.testing.assert_allclose(points.H, entropy, rtol=1e-6)
    np.testing.assert_allclose(points.R, 0.9 - 0.3 * np.exp(entropy), rtol=1e-6)
    assert len(points.entropy_step) == 60 and points.broken == 0


def test_verl_console(tmp_path):
    points = one(writing.verl_console(tmp_path / "slurm-7.out"))
    check(points, "verl console", "actor/entropy", "val-core/openai/gsm8k/acc/mean@8", range(1, N))
    assert "critic/score/mean" in refused(tmp_path / "slurm-7.out", score="nothing")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("-1.5e-05", -1.5e-5),
        ("np.float64(0.25)", 0.25),
        ("np.int64(3)", 3),
        ("tensor(0.5, device='cuda:0')", 0.5),
        ("nan", np.nan),
        ("None", np.nan),
        ("'text'", np.nan),
        ("[1, 2]", np.nan),
    ],
)
def test_values_in_verls_console(tmp_path, text, value):
    path = tmp_path / "log.txt"
    path.write_text("".join(verl_line(i, {"a:b/c": text, "d": i}) + "\r\n" for i in range(3)))
    (run,) = formats.read_path(path, None)
    np.testing.assert_array_equal(run.tables[0].columns["a:b/c"].value, [value] * 3)
    assert len(run.tables[0].columns["d"].row) == 3 and not run.tables[0].broken


def test_torn_lines_of_verls_console(tmp_path):
    lines = [verl_line(i, {"actor/entropy": H[i], "critic/score/mean": R[i]}) for i in range(N)]
    lines[3] = lines[3][: lines[3].index(" - critic") + 12]
    lines[5] = lines[5].replace(" - critic", "(WorkerDict pid=3) INFO - critic")
    path = tmp_path / "log.txt"
    path.write_text("\n".join([*lines, "step:99 - actor/entropy:0.1"]))  # and cut off in a number
    points = one(path)
    assert points.broken == 3 and len(points.entropy_H) == N - 1 and points.entropy_step.max() == N - 1
    for line in ("log.txt line 4 (torn)", "log.txt line 6 (torn)", f"log.txt line {N + 1} (torn)"):
        assert line in points.source


def save_trainer_state(path, history):
    """By transformers itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that transformers imports
        from transformers.trainer_callback import TrainerState

    path.parent.mkdir(exist_ok=True)
    TrainerState(log_history=history, global_step=len(history)).save_to_json(str(path))


def test_trainer_state_of_transformers(tmp_path):
    history = []
    for i in range(N):
        history.append({"step": 10 * i, "epoch": 0.1 * i, "entropy": H[i], "reward": 0.5, "kl": 0.0})
        history.append({"step": 10 * i, "epoch": 0.1 * i, "eval_reward": R[i], "eval_entropy": 9.0, "eval_runtime": 1})
    history.append({"step": 10 * N, "train_runtime": 5.0, "total_flos": 0.0})
    run = tmp_path / "grpo"
    save_trainer_state(run / "trainer_state.json", history)
    for path in (run, run / "trainer_state.json"):
        points = one(path)
        check(points, "trainer_state", "entropy", "eval_reward", range(0, 10 * N, 10))
        assert points.name == "grpo"
    (run / "trainer_state.json").rename(tmp_path / "trainer_state.json")
    (run / "trainer_state.json").unlink(missing_ok=True)
    for step, rows in ((9, history[:4]), (10, history)):  # the last checkpoint is not the last by name
        save_trainer_state(run / f"checkpoint-{step}" / "trainer_state.json", rows)
    points = one(run)
    assert len(points.R) == N and points.name == "grpo"
    path = run / "checkpoint-10" / "trainer_state.json"
    path.write_text(path.read_text()[:-200])
    assert "trainer_state.json: no whole JSON (line" in refused(run)


def test_exported_chart_of_wandb(tmp_path):
    header = ["Step", *(f"a - b - {key}{end}" for key in ("entropy", "eval/reward") for end in ("", "__MIN", "__MAX"))]
    rows = [[i, H[i], H[i], H[i], None, None, None] for i in range(N)]
    rows += [[i, None, None, None, R[i], R[i] - 0.1 * (i == 3), R[i]] for i in range(N)]
    points = one(write_csv(tmp_path / "wandb_export_2026-11-22.csv", header, rows))
    check(points, "W&B export", "entropy", "eval/reward")
    assert points.name == "a - b" and "1 cell(s) of eval/reward are W&B's means over several steps" in points.source


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", ["rows", "columns", "inside", "one by one"])
def test_json(tmp_path, shape, indent):
    nested = [{"step": i, "train": {"entropy": float(H[i])}, "eval": {"reward": float(R[i])}} for i in range(N)]
    columns = {"step": list(range(N)), "train": {"entropy": list(H)}, "eval": {"reward": list(R)}, "name": "x"}
    data = {"rows": nested, "columns": columns, "inside": {"config": {"lr": 1}, "history": nested}}.get(shape)
    text = json.dumps(data, indent=indent)
    if data is None:
        text = "[" + ",\n".join(map(json.dumps, nested)) + "]"
    (tmp_path / "log.dat").write_text("\ufeff" + text)
    check(one(tmp_path / "log.dat"), "json", "train/entropy", "eval/reward")


def test_nested_jsonl(tmp_path):
    rows = [{"step": i, "train": {"entropy": float(H[i]), "x": [1]}, "eval/reward": float(R[i])} for i in range(N)]
    check(one(write_jsonl(tmp_path / "log", rows)), "jsonl", "train/entropy", "eval/reward")
    check(one(write_jsonl(tmp_path / "log", rows), score="eval/reward"), "jsonl", "train/entropy", "eval/reward")


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    some = [float(x) if i % 2 else None for i, x in enumerate(R)]
    columns = {"step": list(range(N)), "train": [{"entropy": h, "s": "x"} for h in H], "eval/reward": some}
    columns |= {"seed": ["a"] * N, "n": np.arange(N, dtype=np.int8)}
    path = tmp_path / "log.bin"
    pa.parquet.write_table(pa.table(columns), path)
    points = one(path, min_points=5, run="seed", weight="n")
    assert (points.format, points.name) == ("parquet", "a")
    np.testing.assert_allclose(points.R, R[1::2])
    np.testing.assert_allclose(points.H, H[1::2])
    np.testing.assert_allclose(points.weight, np.arange(1, N, 2))
    path.write_bytes(path.read_bytes()[:-30])
    assert "no whole Parquet file" in refused(path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "log.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "pip install pyarrow" in refused(tmp_path / "log.parquet")


TABLES = {  # how people keep tables: header and row
    "spaces": ("step   entropy     reward", "{i:4d}   {h:.6f}  {r:.6f}"),
    "numpy.savetxt": ("# step entropy reward", "{i} {h:.6e} {r:.6e}"),
    "comments": ("# written 2026-01-01\n# grpo\nstep,entropy,reward", "{i},{h:.6f},{r:.6f}"),
    "comments and savetxt": ("# grpo\n# step,entropy,reward", "{i},{h:.6f},{r:.6f}"),
    "Markdown": ("| step | entropy | reward |\n|---|:-:|--:|", "| {i} | {h:.6f} | {r:.6f} |"),
    "thousands": ("step,entropy,reward", '"{i:,}",{h:.6f},{r:.6f}'),
    "commas in numbers": ("step;entropy;reward", "{i};{h:.6f};{r:.6f}"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_no_plain_csv(tmp_path, name):
    header, row = TABLES[name]
    rows = [row.format(i=500 * i, h=H[i], r=R[i]) for i in range(N)]
    rows = [line.replace(".", ",") for line in rows] if name == "commas in numbers" else rows
    path = tmp_path / ("log.csv" if "comments" in name else "log.txt")
    path.write_text("\n".join([header, *rows]) + "\n")
    points = one(path)
    assert (points.format, points.entropy, points.score) == ("csv", "entropy", "reward") and not points.broken
    np.testing.assert_array_equal(points.step, 500 * np.arange(N))
    np.testing.assert_allclose(points.H, H, atol=1e-6)
    np.testing.assert_allclose(points.R, R, atol=1e-6)


@pytest.mark.parametrize("suffix", ["", ".txt", ".csv", ".jsonl", ".json"])
def test_the_content_counts_and_not_the_suffix(tmp_path, suffix):
    path = tmp_path / f"log{suffix}"
    write_jsonl(path, ROWS)
    assert one(path).format == "jsonl"
    if suffix != ".json":
        write_csv(path, list(ROWS[0]), [row.values() for row in ROWS])
        assert one(path).format == "csv"
    path.write_text(json.dumps(ROWS, indent=2))
    assert one(path).format == "json"
    if suffix != ".csv":
        writing.verl_console(path)
        assert one(path).format == "verl console"


NAMES = [  # trainer, step, entropy, score, as each logs them
    ("Tunix", "step", "actor/train/entropy", "rewards/eval/score/mean"),
    ("OpenRLHF", "train/global_step", "train/entropy_loss", "eval/eval_math500_pass1"),
    ("SkyRL", "trainer/global_step", "policy/policy_entropy", "eval/all/pass_at_1"),
    ("NeMo RL", "step", "train/approx_entropy", "validation/accuracy"),
    ("prime-rl", "step", "entropy/all/mean", "eval/aime24/avg@16"),
    ("open-instruct", "training_step", "policy/entropy_avg", "eval/scores"),
    ("TRL", "train/global_step", "train/entropy", "eval/reward"),
    ("slime", "step", "rollout/entropy", "rollout/raw_reward"),
]
NOISE = ["loss", "kl", "entropy_coef", "train/reward_std", "objective/entropy", "grad_norm", "rewards/format/mean"]


@pytest.mark.parametrize(("trainer", "step", "entropy", "score"), NAMES)
def test_names_of_trainers(tmp_path, trainer, step, entropy, score):
    rows = [{name: 77.0 for name in NOISE} | {step: i, entropy: H[i], score: R[i]} for i in range(N)]
    check(one(write_jsonl(tmp_path / "log.jsonl", rows)), "jsonl", entropy, score)


COUNTED = [  # the axis of steps, and another that the log has beside it
    ("training_step", "global_step"),  # open-instruct, which counts episodes there
    ("train/global_step", "Step"),  # W&B's own count
]


@pytest.mark.parametrize(("step", "other"), COUNTED)
def test_of_two_axes_that_of_steps(tmp_path, step, other):
    rows = [{other: 64 * i + 64, "entropy": H[i], "eval/reward": R[i], step: i} for i in range(N)]
    check(one(write_jsonl(tmp_path / "log.jsonl", rows)), "jsonl", "entropy", "eval/reward")


def test_tunix_without_entropy_names_its_columns(tmp_path):
    rows = [{"step": i, "rewards/train/score/mean": R[i], "actor/train/kl": 0.1} for i in range(N)]
    message = refused(write_jsonl(tmp_path / "log.jsonl", rows))
    assert "if it was not logged, log it: there are step, rewards/train/score/mean, actor/train/kl" in message


def test_a_step_column_of_some_rows_gives_way_to_one_of_all(tmp_path):
    rows = [{"_step": 2 * i, "train/global_step": i, "train/entropy": H[i]} for i in range(N)]
    rows += [{"_step": 2 * i, "eval/reward": R[i]} for i in range(N)]  # evaluations have another counter
    check(one(write_jsonl(tmp_path / "log.jsonl", rows)), "jsonl", "train/entropy", "eval/reward", range(0, 2 * N, 2))


def test_a_header_in_the_middle_is_a_restart(tmp_path):
    rows = [[i, H[i], R[i]] for i in range(N)]
    header = ["step", "entropy", "reward"]
    points = one(write_csv(tmp_path / "log.csv", header, [*rows[:5], header, *rows[5:]]))
    assert points.broken == 0 and "the header stands again in log.csv line 7" in points.source


def test_mixed_formats(tmp_path):
    write_csv(tmp_path / "log.csv", list(ROWS[0]), [row.values() for row in ROWS])
    with open(tmp_path / "log.csv", "a") as f:
        f.writelines(json.dumps({"a": 1, "b": 2, "c": 3, "d": 4}) + "\n" for _ in range(N))
    assert f"{N} broken row(s) left out: log.csv line 14" in one(tmp_path / "log.csv").source
    with open(tmp_path / "log.csv", "a") as f:
        f.write('{"a": 1}\n')
    message = refused(tmp_path / "log.csv")
    assert f"{N + 1} of {2 * N + 1} lines do not hold 3 cells as the header has, as log.csv line 14" in message
    write_jsonl(tmp_path / "log.out", ["INFO starting", *ROWS, "WARNING: done, or not"])
    assert one(tmp_path / "log.out").broken == 2
    write_jsonl(tmp_path / "log.out", [*ROWS, *["INFO: x, y"] * (N + 1)])
    assert "keep only those that do (grep '^{')" in refused(tmp_path / "log.out")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("log.csv", "1,2,3\n4,5,6\n", "its first line holds numbers"),
        ("log.csv", "step,entropy,reward\n", "no rows in it"),
        ("log.csv", b"step,entr\xf6pie\n1,2\n", "not a text table"),
        ("log.json", "{}", "neither rows nor columns"),
        ("log.json", '{"step": [1, 2], "entropy": [1]}', "'step' has 2 values and 'entropy' 1"),
        ("log.json", "[1, 2]", "no rows in it but 2 broken row(s), the first log.json row 1 (no object)"),
        ("log.json", "[" * 100_000, "not text, or too deep"),
        ("log.json", "", "no whole JSON (line 1"),
        ("log.jsonl", '{"a":' * 100_000 + "\n", "no rows in it but 1 broken row(s)"),
        ("log.md", "# A title\n\nNo log\n", "no known format"),
        ("log.txt", "some words here\nand three more\n", "no known format"),
        ("log.jsonl.gz", b"\x1f\x8b\x08\x00", "packed by gzip: unpack it"),
        ("log.txt", "step: 1, entropy: 0.5".encode("utf-16"), "in UTF-16"),
        ("runs.csv", "Name,State,Runtime,entropy,accuracy\na,finished,3,0.5,0.5\n", "W&B's table of runs"),
        ("log.csv", "step,entropy,accuracy\n1,0.5,0.5\n", "1 point(s)"),
    ],
)
def test_bad_files(tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert said in refused(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "log.jsonl", ROWS)
    monkeypatch.setattr(pathlib.Path, "is_file", lambda self: True)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    assert "cannot be read (Permission denied)" in refused(path)


def spoiled(data, rng):
    """Bytes as crashes and copies leave them: cut off, overwritten, something between."""
    at = rng.randrange(len(data) + 1)
    noise = bytes(rng.randrange(256) for _ in range(9))
    junk = rng.choice([noise, b"\0" * 40, b"NaN,", b'{"', b"1e999", b"\n", b"\xff"])
    return rng.choice([data[:at], data[:at] + junk + data[at + len(junk) :], data[:at] + junk + data[at:], data[at:]])


KINDS = ["csv", "W&B", "jsonl", "verl jsonl", "console", "json", "columns", "trainer_state", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_files_are_read_or_refused(tmp_path, kind):
    """Nothing but InputError, whatever is in the file; and numbers that are read are finite."""
    path = tmp_path / "log.txt"
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    if kind in ("csv", "W&B"):
        header = list(columns) if kind == "csv" else ["Step", "a - entropy", "a - accuracy"]
        write_csv(path, header, zip(*columns.values()))
    elif kind == "jsonl":
        write_jsonl(path, ROWS)
    elif kind == "verl jsonl":
        write_jsonl(path, [{"step": row["step"], "data": row} for row in ROWS])
    elif kind == "console":
        writing.verl_console(path)
    elif kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), path)
    else:
        path.write_text(json.dumps({"json": ROWS, "columns": columns, "trainer_state": {"log_history": ROWS}}[kind]))
    whole, rng = path.read_bytes(), random.Random(kind)
    assert len(one(path, min_points=2).R) >= N - 1
    outcomes = []
    for _ in range(150):
        path.write_bytes(spoiled(whole, rng))
        try:
            points = one(path, min_points=2)
        except InputError as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
            continue
        assert np.isfinite([*points.H, *points.R, *points.step]).all()
        outcomes.append("read")
    assert set(outcomes) == {"refused", "read"}
