"""JSON-lines files that survive a crash: whole rows are kept, a torn or broken one is reported, never used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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


def line(row: dict[str, Any]) -> str:
    """One row as text, newline included. Floats keep every bit (`repr`), so that equal runs give equal files."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def rewrite(path: str | os.PathLike, rows: list[dict[str, Any]]) -> None:
    """Replaces the file with `rows` at once: written beside it, flushed to disk, renamed over it."""
    path = Path(path)
    new = path.with_name(path.name + ".new")
    with open(new, "w", encoding="utf-8") as f:
        f.writelines(line(row) for row in rows)
        f.flush()
        os.fsync(f.fileno())
    os.replace(new, path)
