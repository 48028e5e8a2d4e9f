"""Which reader is for which path, found by layout and content, and the runs of all the paths that are given.

A new format is a function `(path, run) -> list[Run]` and a row in READERS; `run` names the column that tells runs
apart, for formats that can have one. The functions are in `csv_formats`, `text_formats`,
`consoles` and `tracker_formats`.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from entropy_rl.errors import InputError, nearest
from entropy_rl.logs import archive, consoles, csv_formats, text_formats, tracker_formats, wire
from entropy_rl.logs.columns import some
from entropy_rl.logs.tables import Run, flatten, number

Logs = str | os.PathLike | Sequence[str | os.PathLike]
CURVES = ("W&B export", "TensorBoard CSV")  # a chart or a curve a file
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".log", ".out", ".txt", ".parquet", ".db", ".sqlite")
LINES = (".jsonl", ".ndjson")
ROTATED = re.compile(r"\.\d+$")  # run.log.1: the part before run.log
MOST_FILES = 200  # of a folder that are looked into
PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
HEAD = 1 << 16  # bytes of a file that are looked at to know its format


class Reader(NamedTuple):
    """`read(path, run)` is for the paths that `matches(path, head)` accepts; `about` names the format."""

    about: str
    matches: Callable[[Path, bytes], bool]
    read: Callable[[Path, str | None], list[Run]]


def find(logs: Logs) -> list[Path]:
    """The paths that are meant: a path, a glob pattern, several of these between commas, or a sequence of such.

    What exists wins over a pattern, and a longer piece over its parts: folders of ours have commas in their names,
    as in `runs/grpo,seed=0,runs/grpo,seed=1`.

    Raises:
      InputError: nothing there.
    """
    if not isinstance(logs, (str, os.PathLike)):
        paths = [path for one in logs for path in find(one)]
    else:
        paths, rest = [], os.path.expanduser(os.fspath(logs)).split(",")
        while rest:
            for n in range(len(rest), 0, -1):
                if there := _existing(",".join(rest[:n]).strip()):
                    break
            else:
                raise InputError(f"{rest[0].strip() or logs}: no such file or directory: check the path given as logs")
            paths, rest = paths + there, rest[n:]
    if not paths:
        raise InputError("no logs given: name a file, a folder or a pattern")
    return list({path.resolve(): path for path in reversed(paths)}.values())[::-1]


def _existing(text: str) -> list[Path]:
    """The path, or those of a pattern; of an archive its runs, unpacked."""
    if not text or "\0" in text:
        return []
    if os.path.exists(text):
        found = [text]
    else:
        found = sorted(glob.glob(str(archive.within(text) or text), recursive=True))
    return [path for one in found for path in (_runs(Path(one)) if archive.is_archive(one) else [Path(one)])]


def _runs(study: Path) -> list[Path]:
    unpacked = archive.unpack(study)
    return [unpacked / row["run"] for row in archive.read(study, archive.CONFIGS)]


def gather(paths: Iterable[Path], run: str | None = None) -> tuple[list[Run], list[InputError]]:
    """The runs at all paths, with names of their own, and the errors of paths that could not be read.

    Charts exported from W&B or TensorBoard are one curve a file: runs of a name are joined across such files.
    """
    runs: list[Run] = []
    errors: list[InputError] = []
    paths = list(paths)
    for path in paths:
        try:
            found = read_path(path, run)
        except InputError as error:
            errors.append(error)
            continue
        if parts := sorted(set(path.parent.glob(f"{glob.escape(path.name)}.*")).difference(paths)):
            if parts := [p.name for p in parts if p.is_file() and ROTATED.search(p.name)]:
                found[0].tables[0].notes.append(f"{some(parts)} beside it not read: '{path}*' gives all as one run")
        for one in found:
            same = [r for r in runs if r.format == one.format and one.format in CURVES and r.name == one.name]
            if same:
                same[0].tables += one.tables
                same[0].path += f",{one.path}"
            else:
                runs.append(one)
    _tell_apart(runs)
    return runs, errors


def _tell_apart(runs: list[Run]) -> None:
    """Runs of the same name are called by their file or folder too, and numbered if that is no help."""
    for i in _twins(runs):
        path = Path(runs[i].path).resolve()
        runs[i].name = f"{path.parent.name if path.stem == runs[i].name or path.is_dir() else path.stem}/{runs[i].name}"
    for n, i in enumerate(_twins(runs), 1):
        runs[i].name += f" ({n})"


def _twins(runs: list[Run]) -> list[int]:
    """Indices of the runs whose name another run has."""
    names = [run.name for run in runs]
    return [i for i, name in enumerate(names) if names.count(name) > 1]


def read_path(path: Path, run: str | None) -> list[Run]:
    """The runs at one path.

    Raises:
      InputError: it cannot be read, is of no known format, or has no rows in it.
    """
    try:
        head = b"" if path.is_dir() else _head(path)
        kind = kind_of(path, head)
        if kind is None and path.is_dir() and (files := _files(path)):
            return _folder(path, files, run)
        if kind is None:
            raise InputError(f"{path}: {_unknown(path)}: give {'; or '.join(r.about for r in READERS.values())}")
        runs = READERS[kind].read(path, run)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read ({reason}): check the disk and its permissions") from None
    except MemoryError:
        raise InputError(f"{path}: too large for the memory: give a file with fewer columns or rows") from None
    if not any(table.columns for one in runs for table in one.tables):
        broken = [text for one in runs for table in one.tables for text in table.broken]
        but = f" but {len(broken)} broken row(s), the first {broken[0]}" if broken else ""
        raise InputError(f"{path}: no rows in it{but}: give {READERS[kind].about}")
    if run is not None and any(one.by is None for one in runs):
        columns = list(runs[0].names())
        lost = next((name for name in run.split(",") if name not in columns), run)
        raise InputError(f"{path}: no column {lost!r} for run{nearest(lost, columns)}: there are {some(columns)}")
    return runs


def kind_of(path: Path, head: bytes) -> str | None:
    """The first of READERS that accepts a path."""
    return next((name for name, reader in READERS.items() if reader.matches(path, head)), None)


def _files(folder: Path) -> dict[Path, str]:
    """The logs in a folder of no known layout, and their formats."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and Path(ROTATED.sub("", p.name)).suffix in SUFFIXES]
    found = {file: kind_of(file, _head(file)) for file in files[:MOST_FILES]}
    return {file: kind for file, kind in found.items() if kind}


def inside(paths: Iterable[Path]) -> list[Path]:
    """The paths, with the logs of a folder of no known layout in its place."""
    found = []
    for path in paths:
        bare = path.is_dir() and kind_of(path, b"") is None
        found += list(_files(path)) or [path] if bare else [path]
    return found


def _folder(folder: Path, files: dict[Path, str], run: str | None) -> list[Run]:
    """The one log of a folder, or the curves of one run; of several logs it takes a word which are meant."""
    if len(files) == 1:
        return read_path(next(iter(files)), run)
    found, errors = gather(files, run)
    if found and not errors and all(one.format in CURVES for one in found):
        return found
    if found and not errors and len({ROTATED.sub("", file.name) for file in files}) == 1:
        return found
    names = some((file.name for file in files), 4)
    raise InputError(
        f"{folder}: a folder with {len(files)} logs ({names}): give one of them, or '{folder}/*' for all as several "
        "runs, or with --config.join=True as one run whose entropy is in one and whose score is in another"
    )


def _unknown(path: Path) -> str:
    """What is wrong with a path of no known format, and for a folder of runs that these can be given.

    Raises:
      InputError: a file that is packed or in UTF-16.
    """
    if not path.is_dir():
        packed = next((name for magic, name in PACKED.items() if _head(path).startswith(magic)), None)
        if packed:
            raise InputError(f"{path}: packed by {packed}: unpack it, and give what was in it")
        if _head(path)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{path}: in UTF-16, as PowerShell's > writes: convert it (iconv -f UTF-16 -t UTF-8)")
        return "a file of no known format" if path.stat().st_size else "an empty file"
    inner = [p for p in path.iterdir() if p.is_dir() and any(reader.matches(p, b"") for reader in READERS.values())]
    hint = f" (but {len(inner)} of its folders are runs, '{path}/*' would give them)" if inner else ""
    return f"a folder without metrics.jsonl, trainer_state.json, .wandb or event files{hint}"


def _head(path: Path) -> bytes:
    with open(path, "rb") as f:
        return f.read(HEAD).removeprefix(b"\xef\xbb\xbf")


def _is_jsonl(path: Path, head: bytes) -> bool:
    """Objects on lines of their own, also among other output; or nothing to tell by but the suffix."""
    first = head.lstrip()[:1]
    if not path.is_file() or first == b"[" or (first != b"{" and path.suffix in (".csv", ".tsv")):
        return False
    if len(head) < HEAD and isinstance(whole := text_formats.parse(head), dict):  # one row, or a table in JSON
        return path.suffix != ".json" and not any(isinstance(value, list) for _, value in flatten(whole))
    if any(isinstance(text_formats.parse(line), dict) for line in head.split(b"\n")[:50]):
        return True
    return path.suffix in LINES and not _has_header(head) and not consoles.is_objects(path, head)


def _is_json(path: Path, head: bytes) -> bool:
    """A list of objects or an object; a console may begin with `[` or `{` too, `[2026-08-01 ...` or `{'loss': 0.1}`."""
    first, second = head.lstrip()[:1], head.lstrip()[1:].lstrip()[:1]
    lines = path.suffix in LINES and first == b"{" and text_formats.parse(head) is None
    if lines and consoles.is_objects(path, head):  # over several lines each, or with commas between them
        return False
    return path.is_file() and (path.suffix == ".json" or first + second in (b"[{", b"[[", b'{"', b"{}", b"[]"))


def _is_trainer_state(path: Path, head: bytes) -> bool:
    """One object with log_history; ms-swift writes one as the last of its JSON lines."""
    if path.is_dir() or not text_formats.trainer_state(path):
        return bool(text_formats.trainer_state(path))
    first, _, rest = head.lstrip().partition(b"\n")
    return b'"log_history"' in head and (not rest.strip() or not isinstance(text_formats.parse(first), dict))


def _has_header(head: bytes) -> bool:
    """Whether the first line is text of several cells."""
    try:
        first = head.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8").strip()
    except UnicodeDecodeError:
        return False
    if not first or first[0] in "{[" or not first.replace("\t", "").isprintable():
        return False
    if any(d in first for d in csv_formats.DELIMITERS) or first[0] == csv_formats.MARKDOWN:
        return True
    lines = [*head.strip().lstrip(b"#").split(b"\n"), b""][:2]
    names, cells = (line.decode("utf-8", "replace").split() for line in lines)
    # names between spaces, and below them as many cells that are numbers
    return 1 < len(names) == len(cells) and not any(map(_is_number, names)) and any(map(_is_number, cells))


def _is_number(text: str) -> bool:
    return math.isfinite(number(text))


# The first row whose `matches` accepts a path reads it: folders first, then what is known by its first bytes.
READERS: dict[str, Reader] = {
    "workdir": Reader(
        "a workdir (metrics.jsonl, evals.jsonl)",
        lambda path, head: (path / "metrics.jsonl").is_file(),
        text_formats.read_workdir,
    ),
    "trainer_state": Reader(
        "TRL's trainer_state.json or its folder",
        _is_trainer_state,
        text_formats.read_trainer_state,
    ),
    "W&B run": Reader(
        "a W&B run-ID.wandb or its folder",
        lambda path, head: bool(tracker_formats.find_wandb(path)) if path.is_dir() else head.startswith(wire.WANDB[:4]),
        lambda path, run: tracker_formats.read_wandb(path),
    ),
    "TensorBoard": Reader(
        "TensorBoard's event files or their folder",
        lambda path, head: wire.is_tfrecord(head) or bool(tracker_formats.find_events(path)),
        lambda path, run: tracker_formats.read_events(path),
    ),
    "parquet": Reader("a Parquet file", lambda path, head: head[:4] == b"PAR1", text_formats.read_parquet),
    "SQLite": Reader(
        "Trackio's or MLflow's SQLite file",
        lambda path, head: head.startswith(tracker_formats.SQLITE),
        lambda path, run: tracker_formats.read_sqlite(path),
    ),
    "MLflow": Reader(
        "a run, an experiment or all of MLflow's mlruns",
        lambda path, head: bool(tracker_formats.find_mlflow(path)),
        lambda path, run: tracker_formats.read_mlflow(path),
    ),
    "verl console": Reader("the console output of verl", consoles.is_verl, consoles.read_verl),
    "jsonl": Reader("JSON lines", _is_jsonl, text_formats.read_jsonl),
    "json": Reader("JSON (a list of objects, or an object of lists)", _is_json, text_formats.read_json_table),
    "console": Reader(
        "a console that prints its metrics as objects (TRL, ms-swift, slime, ROLL)",
        consoles.is_objects,
        consoles.read_objects,
    ),
    "console of pairs": Reader(
        "a console that prints names and numbers, `step: 3, entropy: 0.5`", consoles.is_pairs, consoles.read_pairs
    ),
    "csv": Reader(
        "a .csv or .tsv with a header, as W&B exports",
        lambda path, head: path.is_file() and (path.suffix in (".csv", ".tsv") or _has_header(head)),
        csv_formats.read_csv,
    ),
}
