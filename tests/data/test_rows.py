"""data/rows.py: files of every kind, which file is which split, and what is said of broken ones."""

import gzip
import json
import re

import pyarrow
import pyarrow.parquet
import pytest

from entropy_rl.data import rows
from entropy_rl.errors import InputError

TABLE = [{"q": "1 + 1?", "a": {"gold": "2"}}, {"q": "2 + 2?", "a": {"gold": "4"}}]
LINES = "".join(json.dumps(row) + "\n" for row in TABLE)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.jsonl", LINES),
        ("a.jsonl", "\n" + LINES.replace("\n", "\r\n\r\n")),
        ("a.ndjson", LINES),
        ("a.json", json.dumps(TABLE)),
        ("a.json", json.dumps({"data": TABLE})),
        ("a.json", LINES),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.json.gz", gzip.compress(json.dumps(TABLE, indent=2).encode(), mtime=0)),
    ],
)
def test_json_in_all_its_forms(tmp_path, name, content):
    found = list(rows.read([write(tmp_path / name, content)]))
    assert [row.data for row in found] == TABLE
    assert re.fullmatch(rf".*{re.escape(name)} (line|row) \d", found[1].where)


def test_parquet(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TABLE * 2000), tmp_path / "a.parquet")
    found = list(rows.read([tmp_path / "a.parquet"]))
    assert [row.data for row in found] == TABLE * 2000
    assert found[-1].where.endswith("a.parquet row 4000")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", '{"q": 1}\n{"q": \n', r"a.jsonl line 2 is not JSON \(.*\): mend or remove that line"),
        ("a.jsonl", b'{"q": "\xff"}\n', "a.jsonl line 1 is not UTF-8: mend"),
        ("a.jsonl", "[1]\n", r"a.jsonl line 1 is no JSON object but list: a row is \{column: value\}"),
        ("a.jsonl", "[" * 100_000 + "\n", "a.jsonl line 1 (is nested too deeply|is not JSON)"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], "a.jsonl.gz is no whole gzip file"),
        ("a.jsonl.gz", LINES, "a.jsonl.gz is no whole gzip file"),
        ("a.parquet", "PAR1 and no more", "a.parquet is no Parquet file .*: get it again"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, name, content, message):
    """Nothing is skipped. Mutation: `continue` on a bad line."""
    with pytest.raises(InputError, match=message) as e:
        list(rows.read([write(tmp_path / name, content)]))
    assert "\n" not in str(e.value)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"Parquet needs the package pyarrow: pip install 'entropy_rl\[parquet\]'"):
        list(rows.read([tmp_path / "a.parquet"]))


FOLDER = ("train.jsonl", "valid-00000-of-00002.jsonl", "valid-00001-of-00002.jsonl", "test.jsonl", "notes.txt")


@pytest.mark.parametrize(
    "path, split, files, shared",
    [
        ("d", "train", ["train.jsonl"], set()),
        ("d", "validation", ["valid-00000-of-00002.jsonl", "valid-00001-of-00002.jsonl"], set()),
        ("d", "test", ["test.jsonl"], set()),
        ("d/{split}.jsonl", "test", ["test.jsonl"], set()),
        ("d/{split}.jsonl", "validation", ["train.jsonl"], {"validation"}),
        ("d/{split}.jsonl", "train", ["train.jsonl"], {"validation"}),
        ("d/train.jsonl", "test", ["train.jsonl"], {"train", "validation", "test"} - {"train"}),
        ("d/valid-*.jsonl", "train", list(FOLDER[1:3]), {"validation", "test"}),
        ("e", "test", ["x.jsonl", "y.jsonl"], {"validation", "test"}),
    ],
)
def test_which_file_is_which_split(tmp_path, monkeypatch, path, split, files, shared):
    """A split without a file is a share of train's, and train then leaves that share out."""
    monkeypatch.chdir(tmp_path)
    for name in FOLDER:
        write(tmp_path / "d" / name, LINES)
    for name in ("x.jsonl", "y.jsonl"):
        write(tmp_path / "e" / name, LINES)
    pool = rows.find(path, split, rows.JSON, "jsonl")
    assert [file.name for file in pool.files] == files and set(pool.shared) == shared


@pytest.mark.parametrize(
    "path, split, message",
    [
        ("", "train", "task 'jsonl' needs path=: a file, a folder, a pattern or data/{split}.jsonl"),
        ("d", "dev", "unknown jsonl split 'dev'"),
        ("nowhere", "train", "path=nowhere has no .jsonl or .ndjson or .json file for train"),
        ("d/notes.txt", "train", "d/notes.txt is not one of .jsonl, "),
        ("d/q.csv", "train", ".json.gz: use the task jsonl or parquet, for .csv after pandas.read_csv(FILE)"),
    ],
)
def test_bad_places_are_named(tmp_path, monkeypatch, path, split, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "d" / "notes.txt", "")
    write(tmp_path / "d" / "q.csv", "")
    with pytest.raises(InputError, match=re.escape(message)) as e:
        rows.find(path, split, rows.JSON, "jsonl")
    assert "\n" not in str(e.value)


def test_columns_within_columns():
    row = rows.Row("f line 1", {"reward_model": {"ground_truth": "4", "style": "rule"}, "a.b": 1, "q": None})
    assert rows.get(row.data, "reward_model.ground_truth") == "4" and rows.get(row.data, "a.b") == 1
    assert rows.get(row.data, "reward_model.none") is rows.get(row.data, "q") is rows.get(row.data, "q.x") is None
    assert rows.column(row, None, ("answer", "reward_model.ground_truth"), "answer_column", "gold answer") == (
        "reward_model.ground_truth"
    )
    with pytest.raises(InputError, match=r"no column 'reward_model.ground'.*it has .*; set answer_column=COLUMN"):
        rows.column(row, "reward_model.ground", (), "answer_column", "gold answer")
    with pytest.raises(InputError, match=r"^f line 1: q is null: mend it$"):
        rows.column(row, None, ("q", "p"), "prompt_column", "question")
    with pytest.raises(InputError, match=r"f line 1: no column with the question \(looked for r, p\): it has"):
        rows.column(row, None, ("r", "p"), "prompt_column", "question")


@pytest.mark.parametrize(
    "value, text",
    [
        ("1?", "1?"),
        (7, "7"),
        ([{"role": "user", "content": "1?"}], "1?"),
        ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1?"}], "Be brief.\n\n1?"),
        ([{"role": "user", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "?"}]}], "1\n?"),
    ],
)
def test_prompts(value, text):
    assert rows.text_of(value, "f line 1") == text


@pytest.mark.parametrize(
    "value",
    [None, True, [], {"role": "user"}, ["a"], [{"role": "assistant", "content": "2"}], [{"role": "user", "content": 3}],
     [{"role": "user", "content": [{"type": "image", "url": "x"}]}]],
)  # fmt: skip
def test_what_is_no_prompt_is_named(value):
    with pytest.raises(InputError, match="^f line 1: ") as e:
        rows.text_of(value, "f line 1")
    assert "\n" not in str(e.value)


def test_responses():
    chat = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "It is 2"}]
    assert rows.response_of(chat, "f") == "It is 2" and rows.response_of("2", "f") == "2"
