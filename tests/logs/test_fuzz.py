"""Logs cut at every byte, shuffled, with cells of any type: one line of refusal, or numbers that are in the file.

Never a traceback; never silence: a run that lacks a row says so, and no number is made up.
"""

import json
import re
import sqlite3

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from entropy_rl.errors import InputError
from entropy_rl.logs import read as logs
from tests.logs import writing

N = 10
STEP = [3 * i + 3 for i in range(N)]
H = [round(0.91 - 0.07 * i, 3) for i in range(N)]
R = [round(0.21 + 0.05 * i, 3) for i in range(N)]
ZIP = list(zip(STEP, H, R))
ROWS = [{"step": s, "entropy": h, "eval_reward": r} for s, h, r in zip(STEP, H, R)]


def _lines(lines):
    return "".join(line + "\n" for line in lines).encode()


def _bars(i, row):
    cells = {key: row[key] for key in ("entropy", "eval_reward")}
    return f" 1%|# | {row['step']}/90 [00:01<00:08, 1.0it/s]\r 1%|# | {row['step']}/90 [00:02<00:08, 1.0it/s]{cells}"


CSV = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]
SIDES = [",".join([name, *map(str, values)]) for name, values in (("metric", STEP), ("entropy", H), ("reward", R))]
LONG = ["step,metric,value", *(f"{row['step']},{k},{row[k]}" for row in ROWS for k in ("entropy", "eval_reward"))]
WANDB = ["Step,a - entropy,a - entropy__MIN,a - entropy__MAX,a - eval/reward",
         *(f"{r['step']},{r['entropy']},{r['entropy']},{r['entropy']},{r['eval_reward']}" for r in ROWS)]  # fmt: skip
SLIME = [f"[08-01] a.py:1 - step {r['step']}: {{'train/entropy_loss': {r['entropy']}, 'eval/aime': {r['eval_reward']}}}"
         for r in ROWS]  # fmt: skip
FILES = {  # name of the file: its bytes
    "log.csv": _lines(CSV),
    "sides.csv": _lines(SIDES),
    "long.csv": _lines(LONG),
    "wandb.csv": _lines(WANDB),
    "log.jsonl": _lines(map(json.dumps, ROWS)),
    "verl.jsonl": _lines(json.dumps({"step": s, "data": {"actor/entropy": h, "val/reward": r}}) for s, h, r in ZIP),
    "wrapped.jsonl": _lines(
        json.dumps({"step": s, "metrics": {"policy/policy_entropy": h, "eval/all/avg_score": r}}) for s, h, r in ZIP
    ),
    "swift.jsonl": _lines(
        json.dumps({"global_step/max_steps": f"{s}/90", "entropy/mean": h, "reward": r}) for s, h, r in ZIP
    ),
    "verl.out": _lines(
        f"(TaskRunner pid=1) step:{s} - actor/entropy:np.float64({h}) - val/reward:{r}" for s, h, r in ZIP
    ),
    "slime.log": _lines(SLIME),
    "trl.log": _lines(_bars(i, row) for i, row in enumerate(ROWS)),
    "pairs.log": _lines(f"step: {s}, loss: 0.1, entropy: {h}, eval_reward: {r}" for s, h, r in ZIP),
    "frame.log": _lines(
        f"Step {s}/90\n\u2502 entropy \u2502 {h} \u2502\n\u2502 reward \u2502 {r} \u2502" for s, h, r in ZIP
    ),
    "spaces.txt": _lines(line.replace(",", "  ") for line in CSV),
    "rows.json": json.dumps(ROWS).encode(),
    "columns.json": json.dumps({"step": STEP, "entropy": H, "eval_reward": R}).encode(),
    "trainer_state.json": json.dumps({"log_history": ROWS, "global_step": 30}).encode(),
}  # fmt: skip


def outcome(path):
    """None where it is refused in one line that names the path; else the points, which are all in the file."""
    try:
        found = logs.read(path, min_points=4)
    except InputError as error:
        assert str(error) and "\n" not in str(error) and str(path) in str(error)
        return None
    for points in found.runs:
        assert np.isfinite([*points.step, *points.H, *points.R]).all() and (np.diff(points.step) > 0).all()
        assert points.source and points.entropy in points.source and points.score in points.source
    return found.runs


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    (points,) = outcome(tmp_path / name)
    np.testing.assert_array_equal([points.step, points.H, points.R], [STEP, H, R])


def cut(path, data, places):
    """Files cut at places: what is read is what was written, but for a last cell that no end of line closes."""
    for at in places:
        path.write_bytes(data[:at])
        runs = outcome(path)
        if runs is None:
            continue
        (points,) = runs
        right = [
            s in STEP and abs(H[STEP.index(s)] - h) < 1e-9 and abs(R[STEP.index(s)] - r) < 1e-9
            for s, h, r in zip(points.step, points.H, points.R)
        ]
        assert all(right[:-1]), at
        if not right[-1] or len(right) < N:
            last = data[:at].rpartition(b"\n")[2]
            begun = path.suffix not in (".log", ".out") or re.search(rb"\{'[^']+': |step:\d+ - ", last)
            whole = not last or last.endswith((b"}", b"]")) or not begun  # cut between two rows nothing shows
            said = "may be cut off" in points.source
            assert right[-1] or said, at
            assert whole or points.broken or said or "before its score" in points.source, at


@pytest.mark.parametrize("name", FILES)
def test_files_cut_at_some_bytes(tmp_path, name):
    data = FILES[name]
    cut(tmp_path / name, data, range(len(data) - 60, len(data), 7))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_files_cut_at_every_byte(tmp_path, name):
    cut(tmp_path / name, FILES[name], range(len(FILES[name])))


def binary(kind, folder):
    """A file of tensorboardX, or a database as trackio has them."""
    if kind == "events":
        return next(writing.tensorboardx(folder / "tb").iterdir())
    path = folder / "trackio.db"
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE metrics (id INTEGER, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)")
    for row in ROWS:
        base.execute("INSERT INTO metrics VALUES (NULL, '', 'a', ?, ?)", (row["step"], json.dumps(row)))
    base.commit()
    base.close()
    return path


@pytest.mark.parametrize("kind", ["events", "sqlite"])
def test_binary_files_cut(tmp_path, kind):
    path = binary(kind, tmp_path)
    data = path.read_bytes()
    for at in range(1, len(data), len(data) // 40):
        path.write_bytes(data[:at])
        outcome(path)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["", "nan", "3/40", "50%", "1e999", "np.float64(0.5)", "{", "}", "step:3 - a:1", "\0", "\r", '"']),
)  # fmt: skip
EDIT = st.tuples(st.integers(0, N - 1), st.sampled_from(["step", "entropy", "eval_reward", "x"]), ODD)


def written(name, rows):
    """Rows with any cells, as each format writes them."""
    if name == "log.csv":
        keys = list(dict.fromkeys(key for row in rows for key in row))
        return _lines([",".join(keys), *(",".join(str(row.get(key, "")) for key in keys) for row in rows)])
    if name == "trl.log":
        return _lines(f" 1%|# | {i}/90 [0{row!r}" for i, row in enumerate(rows))
    if name == "verl.out":
        return _lines(" - ".join(f"{key}:{value}" for key, value in row.items()) for row in rows)
    if name == "log.jsonl":
        return _lines(map(json.dumps, rows))
    return json.dumps(rows if name == "rows.json" else {"log_history": rows}).encode()


@st.composite
def logged(draw):
    """(name, bytes): rows shuffled, repeated, edited, cut, with junk between."""
    name = draw(st.sampled_from(["log.csv", "log.jsonl", "trl.log", "verl.out", "rows.json", "trainer_state.json"]))
    rows = [dict(row) for row in (draw(st.permutations(ROWS)) if draw(st.booleans()) else ROWS)]
    for place, key, value in draw(st.lists(EDIT, max_size=4)):
        rows[place][key] = value
    rows += rows[: draw(st.integers(0, N))]
    data = written(name, rows).replace(b"\r", b"") if draw(st.booleans()) else written(name, rows)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 3)) :]
    return name, data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data


def check(folder, case):
    name, data = case
    path = folder / name
    path.write_bytes(data)
    outcome(path)


QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
@given(logged())
def test_anything_is_read_or_refused(tmp_path, case):
    check(tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_of_anything(tmp_path, part):
    @seed(part)
    @settings(max_examples=500, deadline=None, derandomize=False, database=None, suppress_health_check=QUIET)
    @given(logged())
    def some(case):
        check(tmp_path, case)

    some()
