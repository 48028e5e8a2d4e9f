"""Files that survive a crash: written whole or not at all; rows of JSON lines, of which a torn one is never used."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from entropy_rl.errors import InputError


def read(path: str | os.PathLike) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Rows of a JSON-lines file, and its broken lines.

    Returns:
      rows: the lines that hold one JSON object each, in file order. `NaN` and `Infinity` are read as floats.
      broken: `(line number from 1, text)` of every other non-empty line; a last line that a killed process left
        without its newline is broken too, even where what is there happens to parse.

    Raises:
      OSError: the file is missing or cannot be read.
    """
    rows: list[dict[str, Any]] = []
    broken: list[tuple[int, str]] = []
    data = Path(path).read_bytes()
    lines = data.split(b"\n")
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        torn = number == len(lines)  # split leaves a last element that no newline closed
        try:
            row = json.loads(raw)
        except (UnicodeDecodeError, ValueError):
            row = None
        if torn or not isinstance(row, dict):
            broken.append((number, raw.decode("utf-8", "replace")))
        else:
            rows.append(row)
    return rows, broken


def contained(path: Path) -> None:
    """InputError for a link that leaves the folder: who made a folder chooses no other files to read.

    Links of the hub's cache (snapshots/X/file -> blobs/Y) are followed.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    if real.parent != folder and real.parent != folder.parent.parent / "blobs":
        raise InputError(f"{path} is a link to {real}, outside of the folder: put the file itself there")


def read_json(path: Path, *, missing: str | None = None) -> Any:
    """The content of a JSON file of a folder; InputError where it is damaged, a link that leaves the folder, or missing
    and `missing` says what to do (without it: {})."""
    contained(path)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        if missing is None:
            return {}
        raise InputError(f"{path} is missing: {missing}") from None
    except NotADirectoryError:
        raise InputError(f"{path.parent} is not a folder: give that of a Hugging Face model") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise InputError(f"{path} is not JSON ({e}): copy it again") from None


def line(row: dict[str, Any]) -> str:
    """One row as text, newline included. Floats keep every bit (`repr`), so that equal runs give equal files."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def rounded(value: Any, digits: int) -> Any:
    """A tree of dicts and lists, its floats, numpy's among them, with so many significant digits."""
    if isinstance(value, dict):
        return {k: rounded(v, digits) for k, v in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which replaces it at the end; missing folders are made.

    Raises:
      InputError: it cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        os.replace(new, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): give another --workdir") from None


def write(path: Path, text: str) -> None:
    """Writes a text, with a new line at its end, in place of what is there; InputError as above."""
    with replacing(path) as new:
        new.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def rewrite(path: str | os.PathLike, rows: list[dict[str, Any]]) -> None:
    """Replaces a JSON-lines file with `rows` at once, flushed to disk before it is renamed; InputError as above."""
    with replacing(Path(path)) as new, open(new, "w", encoding="utf-8") as f:
        f.writelines(line(row) for row in rows)
        f.flush()
        os.fsync(f.fileno())
