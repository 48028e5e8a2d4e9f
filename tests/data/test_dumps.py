"""data/dumps.py: rollouts as verl and TRL write them down, and others."""

import json
import re

import pytest

from entropy_rl.data import dumps
from entropy_rl.errors import InputError


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_verl(tmp_path):
    """Steps in order of their numbers; a group is a prompt in a step. Mutation: 10 before 9; groups over steps."""
    for step in (9, 10):
        rows = [{"input": q, "output": f"{q}!", "gts": "4", "score": s, "step": step} for q in "ab" for s in (0, 1.0)]
        jsonl(tmp_path / f"{step}.jsonl", rows)
    found = dumps.read(str(tmp_path))
    assert [(s.prompt, s.response, s.reward, s.advantage) for s in found[:2]] == [
        ("a", "a!", 0.0, None),
        ("a", "a!", 1.0, None),
    ]
    assert [s.group[0] for s in found] == [9] * 4 + [10] * 4 and len({s.group for s in found}) == 4


def test_trl(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table

    columns = {
        "step": [3, 3],
        "prompt": [[{"role": "user", "content": "1+1?"}]] * 2,
        "completion": [[{"role": "assistant", "content": "2"}], [{"role": "assistant", "content": "3"}]],
        "accuracy_reward": [1.0, 0.0],
        "advantage": [0.7, -0.7],
    }
    (tmp_path / "completions").mkdir()
    parquet.write_table(table(columns), tmp_path / "completions" / "completions_00003.parquet")
    a, b = dumps.read(str(tmp_path / "completions"))
    assert (a.response, a.reward, a.advantage, b.response, b.advantage) == ("2", None, 0.7, "3", -0.7)
    assert a.prompt == [{"role": "user", "content": "1+1?"}] and a.group == b.group


def test_others(tmp_path):
    """A group column counts, whatever the prompts; log-probabilities and tokens come along."""
    rows = [
        {"question": "q", "response": "r", "reward": 1, "uid": i, "logprobs": [-1.0], "response_ids": [5]} for i in "xy"
    ]
    a, b = dumps.read(jsonl(tmp_path / "dump.jsonl", rows))
    assert a.group != b.group and a.logp == (-1.0,) and a.tokens == (5,)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"input": "a", "score": 1}, "dump.jsonl line 1: no column with the response (looked for response, output"),
        ({"prompt": "a", "output": "b"}, "line 1: no column with a reward or an advantage"),
        ({"prompt": "a", "output": "b", "reward": "NaN"}, "line 1: reward is NaN, not a finite number"),
    ],
)
def test_what_is_missing(tmp_path, row, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        dumps.read(jsonl(tmp_path / "dump.jsonl", [row]))
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="has no rollouts: give a file, folder or pattern"):
        dumps.read(str(tmp_path / "none" / "*.jsonl"))
