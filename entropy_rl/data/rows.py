"""Rows of files: JSON lines, JSON lists (both also .gz) and Parquet; and which file holds which split.

A broken line stops the run. Half of a data set that is silently skipped is worse than a data set that must be mended.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from entropy_rl.data.splits import SPLITS
from entropy_rl.errors import InputError, lookup, nearest

JSON = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")
PARQUET = (".parquet",)
CONVERT = "use the task jsonl or parquet, for .csv after pandas.read_csv(FILE).to_json('new.json', orient='records')"
# train.jsonl, test-00000-of-00002.parquet; train_socratic.jsonl is something else
_NAMED = re.compile(r"(train|validation|valid|val|dev|test)(?:[-_.]?\d+(?:-of-\d+)?)?")
_ALIASES = {"valid": "validation", "val": "validation", "dev": "validation"}


class Row(NamedTuple):
    """One row: where it stands (`train.jsonl line 3`) and what it holds."""

    where: str
    data: dict[str, Any]


class Pool(NamedTuple):
    """Files that a split is read from, and the splits that share them by a hash because they have none of their own."""

    files: tuple[Path, ...]
    shared: frozenset[str]


def find(path: str, split: str, suffixes: Sequence[str], task: str) -> Pool:
    """The files of a split.

    `path` is a file, a pattern (`data/*.jsonl`), a folder, or has `{split}` in it (`data/{split}.jsonl`). Splits are
    told by `{split}`, or by the names of the files in a folder: train, validation (valid, val, dev), test, also with
    numbers (`train-00000-of-00002.parquet`). A split without a file takes its share of train's; so does every split of
    a file, a pattern, or a folder without such names.

    Raises:
      InputError: there are no such files.
    """
    if not path:
        raise InputError(f"task {task!r} needs path=: a file, a folder, a pattern or data/{{split}}{suffixes[0]}")
    lookup(dict.fromkeys(SPLITS), split, f"{task} split")
    if "{split}" in path:
        named = {name: files(path.replace("{split}", name), suffixes) for name in SPLITS}
    else:
        every = files(path, suffixes)
        named = {name: [] for name in SPLITS}
        for file in every if Path(path).is_dir() else ():
            if match := _NAMED.fullmatch(_stem(file, suffixes)):
                named[_ALIASES.get(match[1], match[1])].append(file)
        if not any(named.values()):
            named["train"] = every
    shared = frozenset(name for name in SPLITS if not named[name])
    found = named[split] or named["train"]
    if not found:
        kinds = " or ".join(suffixes[:3])
        raise InputError(f"task {task!r}: path={path} has no {kinds} file for {split}: give a file, folder or pattern")
    return Pool(tuple(found), shared if not named[split] or split == "train" else frozenset())


def files(path: str, suffixes: Sequence[str], remedy: str = CONVERT) -> list[Path]:
    """The files of these kinds that a path means: a file, a folder or a pattern; InputError for a file of another."""
    place = Path(path)
    if place.is_dir():
        found = sorted(place.iterdir())
    elif place.is_file():
        if not place.name.endswith(tuple(suffixes)):
            raise InputError(f"{path} is not one of {', '.join(suffixes)}: {remedy}")
        return [place]
    else:
        parts = place.parts
        wild = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
        root = Path(*parts[:wild]) if wild else Path()
        found = sorted(root.glob("/".join(parts[wild:]))) if wild < len(parts) and root.is_dir() else []
    return [file for file in found if file.is_file() and file.name.endswith(tuple(suffixes))]


def _stem(file: Path, suffixes: Sequence[str]) -> str:
    return file.name[: -max(len(s) for s in suffixes if file.name.endswith(s))]


def read(files: Sequence[Path]) -> Iterator[Row]:
    """The rows of the files, one after the other.

    Raises:
      InputError: a line that is no JSON object, a file that is no Parquet, or pyarrow is not installed.
      OSError: a file cannot be read.
    """
    for file in files:
        yield from _read_parquet(file) if file.name.endswith(".parquet") else _read_json(file)


def _read_json(file: Path) -> Iterator[Row]:
    name = file.name.removesuffix(".gz")
    opened = gzip.open(file, "rb") if file.name.endswith(".gz") else open(file, "rb")
    with opened as lines:
        try:
            if name.endswith(".json") and (rows := _as_list(lines.read())) is not None:
                for i, data in enumerate(rows, 1):
                    yield _row(f"{file} row {i}", data)
                return
            lines.seek(0)
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(f"{file} line {number}", _parse(f"{file} line {number}", line))
        except (gzip.BadGzipFile, EOFError) as error:
            raise InputError(f"{file} is no whole gzip file ({error}): get it again") from error


def _as_list(data: bytes) -> list | None:
    # A file .json may hold one list, {"data": [...]}, or JSON lines under a wrong name.
    try:
        whole = json.loads(data)
    except ValueError:
        return None
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        return lists[0] if len(lists) == 1 == len(whole) else None
    return whole if isinstance(whole, list) else None


def _parse(where: str, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:  # UnicodeDecodeError is one
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"is not JSON ({error})"
        raise InputError(f"{where} {reason}: mend or remove that line") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply: mend or remove that line") from error


def _row(where: str, data: Any) -> Row:
    if not isinstance(data, dict):
        raise InputError(f"{where} is no JSON object but {type(data).__name__}: a row is {{column: value}}")
    return Row(where, data)


def _read_parquet(file: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{file}: Parquet needs the package pyarrow: pip install 'entropy_rl[parquet]'") from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=1000):
                for data in batch.to_pylist():
                    number += 1
                    yield Row(f"{file} row {number}", data)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file} is no Parquet file ({str(error).splitlines()[0]}): get it again") from error


def get(data: Mapping[str, Any], column: str) -> Any:
    """The value of a column; `reward_model.ground_truth` is a field of one. None where there is none, or NaN."""
    if column in data:
        value = data[column]
        return None if isinstance(value, float) and math.isnan(value) else value
    head, dot, rest = column.partition(".")
    inner = data.get(head)
    return get(inner, rest) if dot and isinstance(inner, Mapping) else None


def columns(data: Mapping[str, Any]) -> list[str]:
    """Names that `get` knows, fields of columns included."""
    names = []
    for key, value in data.items():
        names += [f"{key}.{name}" for name in columns(value)] if isinstance(value, Mapping) and value else [key]
    return names


def column(row: Row, given: str | None, known: Sequence[str], knob: str, what: str) -> str:
    """The column that holds `what`: the one that was `given`, or the first of the `known` that the row has.

    Raises:
      InputError: the row has none of them, or it is null.
    """
    for name in [given] if given is not None else known:
        if get(row.data, name) is not None:
            return name
    there = columns(row.data)
    null = [name for name in ([given] if given is not None else known) if name in row.data]
    if null:
        remedy = ", or set skip=True to leave such rows out" if "answer" in what else ""
        raise InputError(f"{row.where}: {null[0]} is null: mend it{remedy}")
    if given is not None:
        hint = f"{nearest(given, there)}: it has {', '.join(there)}"
        raise InputError(f"{row.where}: no column {given!r}{hint}; set {knob}=COLUMN")
    raise InputError(
        f"{row.where}: no column with the {what} (looked for {', '.join(known)}): it has {', '.join(there)}; "
        f"set {knob}=COLUMN"
    )


def text_of(value: Any, where: str) -> str:
    r"""A prompt as text: a string as it is; of a list of messages the system and user turns, a blank line between them.

    A system turn stays, in front, since it may hold what the question needs. Turns of an assistant have no place in one
    question.

    Raises:
      InputError: it is neither, it has turns of an assistant, or parts that are no text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, list) or not value or not all(isinstance(m, Mapping) and "role" in m for m in value):
        raise InputError(f"{where}: {_short(value)} is neither text nor a list of messages with role and content")
    turns = []
    for message in value:
        if message["role"] not in ("system", "user"):
            raise InputError(f"{where}: a turn of {message['role']!r} in a prompt: a task's prompt is one question")
        turns.append(_content(message.get("content"), where))
    return "\n\n".join(turns)


def response_of(value: Any, where: str) -> str:
    """A response as text: a string as it is, or the last turn of a list of messages."""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):
        return _content(value[-1].get("content"), where)
    return text_of(value, where)


def _content(content: Any, where: str) -> str:
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise InputError(f"{where}: the content of a message is {_short(content)}: only text can be asked")
    return content


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
