"""entropy_rl/files.py: whole rows survive, broken ones are named."""

import math

import numpy as np
import pytest

from entropy_rl import files
from entropy_rl.errors import InputError


def test_rows_come_back_bit_for_bit(tmp_path):
    rows = [{"step": 1, "x": 0.1 + 0.2, "text": 'ä\n"\u2028'}, {"x": math.inf}, {}]
    path = tmp_path / "a.jsonl"
    files.rewrite(path, rows)
    assert files.read(path) == (rows, [])
    assert path.read_text().count("\n") == 3  # a newline in a text does not split its row


def test_floats_are_rounded_wherever_they_are():
    """Mutations: decimals in place of digits; numpy's float32 left as it is; whole numbers rounded."""
    tree = {"a": [123.456, {"b": np.float32(1 / 3)}], "c": (123456, "x", None), "d": np.array([2 / 3, 1e9])}
    assert files.rounded(tree, 3) == {"a": [123.0, {"b": 0.333}], "c": [123456, "x", None], "d": [0.667, 1e9]}


def test_nan_is_kept(tmp_path):
    files.rewrite(tmp_path / "a.jsonl", [{"x": math.nan}])
    (row,), broken = files.read(tmp_path / "a.jsonl")
    assert math.isnan(row["x"]) and not broken


@pytest.mark.parametrize(
    ("text", "whole", "broken"),
    [
        (b'{"a": 1}\n{"a": 2', [1], [(2, '{"a": 2')]),
        # what is there parses, but the newline is missing: digits may be too
        (b'{"a": 1}\n{"a": 2}', [1], [(2, '{"a": 2}')]),
        (b'{"a": 1}\n12\n{"a": 3}\n', [1, 3], [(2, "12")]),
        (b'\n{"a": 1}\n\n\xff\n', [1], [(4, "\ufffd")]),
        (b'{"a": 1}{"a": 2}\n{"a": 3}\n', [3], [(1, '{"a": 1}{"a": 2}')]),
        (b"", [], []),
    ],
)
def test_broken_lines_are_named_and_not_used(tmp_path, text, whole, broken):
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    rows, found = files.read(path)
    assert [row["a"] for row in rows] == whole
    assert found == broken


def test_every_torn_end_leaves_the_rows_before_it(tmp_path):
    data = "".join(files.line({"step": n, "x": n / 7}) for n in range(3)).encode()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for length in range(len(data) + 1):
        (tmp_path / "a.jsonl").write_bytes(data[:length])
        rows, broken = files.read(tmp_path / "a.jsonl")
        assert len(rows) == sum(end <= length for end in ends)
        assert bool(broken) == (length not in (0, *ends))


def test_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "none.jsonl")


def test_rewrite_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.jsonl"
    files.rewrite(path, [{"a": 1}])
    with pytest.raises(TypeError):
        files.rewrite(path, [{"a": 2}, {"a": object()}])
    assert files.read(path)[0] == [{"a": 1}]


def test_what_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "table.md"
    files.write(path, "old")
    assert path.read_text() == "old\n" and [p.name for p in path.parent.iterdir()] == ["table.md"]
    with pytest.raises(ZeroDivisionError), files.replacing(path) as new:
        new.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old\n"
    files.write(path, "one\n\n")
    assert path.read_text() == "one\n"


def test_no_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/x.json: cannot be written \(.+\): give another --workdir"):
        files.write(tmp_path / "file" / "x.json", "{}")
