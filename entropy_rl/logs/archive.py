"""Studies as compressed tables: all runs of a study in a few files of JSON lines (gzip), and back into run folders.

A study is a folder with runs below it, at any depth. Its archive holds, in place of the run folders,

    configs.jsonl.gz     a row for each config.json: {"run": folder, **content}
    <kind>.jsonl.gz      the rows of every <kind>.jsonl (metrics, evals, problems, solved): {"run": folder, **row}
    documents.jsonl.gz   a row for every other .json in a folder of its own: {"file": path, "content": content}

where `folder` and `path` are relative to the study. Files of the study's top level, and those that are no JSON, stay
files. Floats are written as `repr` gives them, so every bit returns; equal runs give equal bytes (gzip without time
and name). What cannot be represented is refused and not left out.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from entropy_rl import files
from entropy_rl.errors import InputError, nearest

SUFFIX = ".jsonl.gz"
CONFIG = "config.json"
CONFIGS, DOCUMENTS = "configs", "documents"  # kinds; the others are the stems of JSON-lines files

Rows = list[dict[str, Any]]


def read(study: str | os.PathLike, kind: str) -> Rows:
    """All rows of one kind, by run in the order of folders, each with `run` (of `documents`: `file`) first.

    study: an archive, or a folder with run folders, which gives the same rows.

    Raises:
      InputError: there is no table of that kind, or it is damaged.
    """
    study = Path(study)
    tables = {name: _rows(path) for name, path in _tables(study).items() if name == kind} or _collect(study)
    if kind not in tables:
        there = sorted(tables.keys() | _tables(study).keys())
        raise InputError(f"{study} holds no {kind}{nearest(kind, there)}: there is {', '.join(there) or 'nothing'}")
    # elsewhere a row with `run` alone stands for an empty file
    return [row for row in tables[kind] if len(row) > 1 or kind == CONFIGS]


def is_archive(folder: str | os.PathLike) -> bool:
    """Whether the folder itself holds tables."""
    return bool(_tables(Path(folder)))


def pack(source: str | os.PathLike, study: str | os.PathLike) -> None:
    """Adds the runs below `source` to the archive `study`, which is made where it is not there.

    Runs and documents of the same names are replaced, others stay; files that are no part of a table are copied.

    Raises:
      InputError: a file is no JSON or has broken lines, or a row cannot be told from its run, or cannot be written.
    """
    source, study = unpack(source), Path(study)
    new = _collect(source)
    names = {_name(row) for rows in new.values() for row in rows}
    old = {kind: [row for row in _rows(path) if _name(row) not in names] for kind, path in _tables(study).items()}
    for kind in sorted(new.keys() | old.keys()):
        rows = sorted(old.get(kind, []) + new.get(kind, []), key=_name)  # stable: a run's rows keep their order
        text = "".join(files.line(row) for row in rows).encode()
        with files.replacing(study / f"{kind}{SUFFIX}") as path, open(path, "wb") as raw:
            with gzip.GzipFile("", "wb", 9, raw, mtime=0) as f:
                f.write(text)
    for path in (path for path in _files(source) if not _is_row_of_a_table(path)):
        (study / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, study / path)


def unpack(folder: str | os.PathLike) -> Path:
    """The same tree with run folders in place of tables, in a temporary folder that lives as long as the process.

    folder: an archive, or a folder with archives below it; one without any is returned itself, so that a caller
    need not know which it has.

    Raises:
      InputError: a table is damaged.
    """
    folder = Path(folder)
    studies = sorted({path.parent for path in folder.rglob(f"*{SUFFIX}") if _is_table(path)})
    if not studies:
        return folder
    out = Path(_temporary().name) / f"{next(_number):03d}" / (folder.resolve().name or "study")
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns(f"*{SUFFIX}"))
    for study in studies:
        to = out / study.relative_to(folder)
        for kind, path in _tables(study).items():
            texts: dict[str, list[str]] = {}
            for row in _rows(path):
                name, content = row.pop("file" if kind == DOCUMENTS else "run"), row
                if kind == DOCUMENTS:
                    texts[name] = [json.dumps(content["content"], indent=1, ensure_ascii=False) + "\n"]
                elif kind == CONFIGS:
                    texts[f"{name}/{CONFIG}"] = [json.dumps(content, indent=2, ensure_ascii=False) + "\n"]
                else:
                    texts.setdefault(f"{name}/{kind}.jsonl", []).extend([files.line(content)] if content else [])
            for name, lines in texts.items():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                (to / name).write_text("".join(lines), encoding="utf-8")
    return out


def within(path: str | os.PathLike) -> Path | None:
    """Where a path or pattern of run folders in an archive (`data/laws/seed=*`) is unpacked; None for any other."""
    path = Path(path)
    for study in path.parents:
        if os.path.isdir(study):
            return unpack(study) / path.relative_to(study) if is_archive(study) else None
    return None


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="entropy_rl_")  # removed when the process ends


_number = itertools.count()  # folders in it, in the order in which they were asked for


def _tables(study: Path) -> dict[str, Path]:
    return {path.name.removesuffix(SUFFIX): path for path in sorted(study.glob(f"*{SUFFIX}")) if _is_table(path)}


def _is_table(path: Path) -> bool:
    """Whether a file is a table of ours, and not some log that was packed; a damaged one is where it has configs."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as f:
            row = json.loads(f.readline())
    except (OSError, EOFError, ValueError):
        return (path.parent / f"{CONFIGS}{SUFFIX}").exists()
    return isinstance(row, dict) and isinstance(row.get("file" if path.name == DOCUMENTS + SUFFIX else "run"), str)


def _name(row: dict[str, Any]) -> str:
    return row["run"] if "run" in row else row["file"]


def _rows(path: Path) -> Rows:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as f:
            return [json.loads(line) for line in f]
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}): restore it, or make it again with experiments.curate") from None


def _files(source: Path) -> list[Path]:
    return sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())


def _is_row_of_a_table(path: Path) -> bool:
    own_folder = len(path.parts) > 1 or path.name == CONFIG
    return path.suffix == ".jsonl" or (path.suffix == ".json" and own_folder)


def _collect(source: Path) -> dict[str, Rows]:
    """The tables of the run folders below `source`."""
    tables: dict[str, Rows] = {}
    for path in filter(_is_row_of_a_table, _files(source)):
        if path.suffix == ".jsonl":
            kind = path.stem
            rows, broken = files.read(source / path)
            if broken or kind in (CONFIGS, DOCUMENTS) or not all(rows):
                what = f"line {broken[0][0]} is broken" if broken else "an empty row, or the name of another table"
                raise InputError(f"{source / path}: cannot be archived: {what}")
            rows = rows or [{}]
        else:
            kind = CONFIGS if path.name == CONFIG else DOCUMENTS
            try:
                content = json.loads((source / path).read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{source / path}: cannot be archived: no JSON ({error})") from None
            rows = [content if kind == CONFIGS else {"file": path.as_posix(), "content": content}]
        if kind != DOCUMENTS:
            if not all(isinstance(row, dict) and "run" not in row for row in rows):
                raise InputError(f"{source / path}: cannot be archived: it is no object, or has a key `run` of its own")
            rows = [{"run": path.parent.as_posix(), **row} for row in rows]
        tables.setdefault(kind, []).extend(rows)
    return {kind: sorted(rows, key=_name) for kind, rows in tables.items()}
