"""Archives of studies: what goes in comes out, from the tables, from the unpacked tree and from a live folder."""

import gzip
import json
from pathlib import Path

import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import archive
from entropy_rl.logs import read as logs

DATA = Path(__file__).parents[2] / "notebooks" / "data"
ROWS = [{"step": 0, "a": 0.1 + 0.2, "b": float("nan")}, {"step": 1, "a": 5e-324, "c": [1, {"d": "é"}]}]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def study(folder):
    """Two runs, one of them deeper and with an empty log; documents; and files that are no part of a table."""
    write(folder / "a,seed=0/metrics.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))
    write(folder / "a,seed=0/config.json", json.dumps({"config": {"seed": 0}, "command": ["x", "é"]}, indent=2) + "\n")
    write(folder / "b/rl/metrics.jsonl", "")
    write(folder / "b/rl/evals.jsonl", '{"step": 1, "value": 1}\n')
    write(folder / "b/rl/config.json", "{}\n")
    write(folder / "b/rl/tokens.json", '{"x": 1e-05}')
    write(folder / "parts/one,seed=1.json", "[1.0, 2]")
    write(folder / "table.json", '{"own": true}')
    write(folder / "b/note.md", "words")
    return folder


def contents(folder):
    """{path: what it holds}, with JSON by value and bits, as `repr` gives them."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8")
        parts = text.splitlines() if path.suffix == ".jsonl" else [text]
        found[str(path.relative_to(folder))] = [p if path.suffix == ".md" else repr(json.loads(p)) for p in parts]
    return found


def test_a_folder_with_packed_logs_of_others_is_no_archive(tmp_path):
    """Its other logs are read, and a file that is not there is said to be so. Mutation: any .jsonl.gz is a table."""
    for name, content in (("old.jsonl.gz", gzip.compress(b'{"step": 1}\n')), ("cut.jsonl.gz", b"\x1f\x8b\x08")):
        (tmp_path / name).write_bytes(content)
    assert not archive.is_archive(tmp_path) and archive.unpack(tmp_path) == tmp_path
    write(tmp_path / "a.csv", "step,entropy,acc\n" + "".join(f"{i},{1 / (i + 1)},{i}\n" for i in range(9)))
    assert len(logs.read(f"{tmp_path}/*.csv").runs) == 1
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        logs.read(tmp_path / "nowhere.csv")


def test_nothing_is_lost_and_nothing_added(tmp_path):
    """Mutations: an empty log gives no row; documents by name without their folder; floats with 15 digits."""
    archive.pack(study(tmp_path / "live"), tmp_path / "packed")
    files = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert files == [
        "b",  # with its note
        *(f"{kind}.jsonl.gz" for kind in ("configs", "documents", "evals", "metrics")),
        "table.json",
    ]
    assert contents(archive.unpack(tmp_path / "packed")) == contents(tmp_path / "live")
    assert contents(archive.unpack(tmp_path) / "packed") == contents(tmp_path / "live")  # of a folder of archives


@pytest.mark.parametrize("kind", ["configs", "documents", "evals", "metrics"])
def test_a_table_reads_as_its_live_folder_does(tmp_path, kind):
    archive.pack(study(tmp_path / "live"), tmp_path / "packed")
    rows = archive.read(tmp_path / "packed", kind)
    assert rows and repr(rows) == repr(archive.read(tmp_path / "live", kind))
    if kind == "metrics":
        assert repr(rows) == repr([{"run": "a,seed=0", **row} for row in ROWS])
    if kind == "documents":
        assert [row["file"] for row in rows] == ["b/rl/tokens.json", "parts/one,seed=1.json"]


def test_a_live_folder_is_given_back_as_it_is(tmp_path):
    live = study(tmp_path / "live")
    assert archive.unpack(live) == live and not archive.is_archive(live)


def test_equal_studies_are_equal_bytes(tmp_path, monkeypatch):
    """Mutation: the time of day, or the temporary name, in gzip's header."""
    archive.pack(study(tmp_path / "live"), tmp_path / "one")
    monkeypatch.setattr("time.time", lambda: 1e9)
    archive.pack(tmp_path / "one", tmp_path / "two")  # from an archive as well
    for path in (tmp_path / "one").glob("*.gz"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_runs_are_added_and_replaced(tmp_path):
    """Mutation: old rows of a run that is packed again stay, or those of other runs go."""
    archive.pack(study(tmp_path / "live"), tmp_path / "packed")
    write(tmp_path / "more/a,seed=0/evals.jsonl", '{"step": 7}\n')
    write(tmp_path / "more/a,seed=1/evals.jsonl", '{"step": 8}\n')
    archive.pack(tmp_path / "more", tmp_path / "packed")
    found = [(row["run"], row["step"]) for row in archive.read(tmp_path / "packed", "evals")]
    assert found == [("a,seed=0", 7), ("a,seed=1", 8), ("b/rl", 1)]
    assert archive.read(tmp_path / "packed", "metrics") == []
    assert [row["run"] for row in archive.read(tmp_path / "packed", "configs")] == ["b/rl"]


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("r/metrics.jsonl", '{"step": 1}\n{"step"', "line 2 is broken"),
        ("r/metrics.jsonl", '{"run": 1}\n', "a key `run` of its own"),
        ("r/metrics.jsonl", "{}\n", "an empty row"),
        ("r/configs.jsonl", '{"a": 1}\n', "the name of another table"),
        ("r/config.json", "[1]", "it is no object"),
        ("r/x.json", "{", "no JSON"),
    ],
)
def test_what_would_be_lost_is_refused(tmp_path, name, text, why):
    write(tmp_path / "live" / name, text)
    with pytest.raises(InputError, match=f"{name}: cannot be archived: .*{why}"):
        archive.pack(tmp_path / "live", tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_what_is_not_there_is_said(tmp_path):
    archive.pack(study(tmp_path / "live"), tmp_path / "packed")
    there = r"holds no eval \(did you mean 'evals'\?\): there is configs, documents, evals, metrics"
    for folder in ("live", "packed"):
        with pytest.raises(InputError, match=there):
            archive.read(tmp_path / folder, "eval")
    path = tmp_path / "packed" / "evals.jsonl.gz"
    for bad in (path.read_bytes()[:-9], b"no gzip", gzip.compress(b"{")):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="evals.jsonl.gz: damaged"):
            archive.read(tmp_path / "packed", "evals")


def test_logs_are_found_in_archives():
    """Patterns, a study, a run of it. Mutation: a pattern finds the tables that stand where runs stood."""
    names = lambda path: [run.name for run in logs.read(path, score="eval/countdown/pass@1").runs]  # noqa: E731
    heated = names(f"{DATA}/laws/heated*")
    assert len(heated) == 3 and all(name.startswith("heated") for name in heated)
    assert len(names(DATA / "laws")) == 23
    assert names(f"{DATA}/laws/{heated[0]}") == heated[:1]
    assert len(names(f"{DATA}/laws/*")) == len(names(f"{DATA}/law[s]")) == 23
    assert len(names(f"{DATA}/laws/heated*,{DATA}/seeds/*/rl")) == 6
    with pytest.raises(InputError, match="no such file or directory"):
        names(f"{DATA}/laws/cooled*")


def test_the_folder_stays_small():
    """Curated runs belong into tables."""
    assert sum(path.is_file() for path in DATA.parent.rglob("*") if ".ipynb_checkpoints" not in path.parts) < 120
    assert not list(DATA.rglob("config.json"))
