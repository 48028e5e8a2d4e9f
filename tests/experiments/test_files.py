"""A file is whole or the one before."""

import pytest

from entropy_rl.errors import InputError
from experiments import files


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
