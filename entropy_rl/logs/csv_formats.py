"""Readers of text tables with a header: CSV with any mark between cells, Markdown, the exports of trackers' web pages.

A table has a metric a column, or lies on its side, or is long, with a cell a row (`shape_of`).
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.logs.columns import is_entropy
from entropy_rl.logs.columns import kind as kind_of_score
from entropy_rl.logs.tables import Column, Run, Table, folder_name, mostly_good, number, one_or_more

DELIMITERS, MARKDOWN = ",;\t", "|"
TENSORBOARD_CSV = ["Wall time", "Step", "Value"]  # what its web page gives, a curve a file
EXCEL = "sep="  # `sep=;` above a table says what stands between its cells
DECIMAL = re.compile(r"^\s*([-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*%?)\s*$")
COMMA = re.compile(r"\s*[-+]?(0,\d+|\d*,(?!\d{3}\s*$)\d+)\s*$")  # 0,5 or 0,958, and not 1,000
RULE = re.compile(r"[\s|:-]*")  # between the header of a table in Markdown and its rows
TABLE_OF_RUNS = {"Name", "State"}  # W&B's, as its web page exports it
VARIANT = "variant"  # ClearML's second part of a name
TAG = re.compile(r"(?:run[-_])?(.*?)[-_]tag-(.+)")
NAMES, VALUES = ("metric", "name", "key", "tag", "variable", "series"), ("value", "val")  # of a long table


def read_csv(path: Path, run: str | None) -> list[Run]:
    """CSV with a header; `,` `;` tab, spaces, or Markdown's `|`.

    A W&B export has its runs in the header and is taken apart by them.
    """
    table, header, shape, sides = Table(path.name, run=run), None, "wide", []
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            above = list(itertools.takewhile(lambda line: not line.strip() or line.startswith(("#", EXCEL)), f))
            f.seek(0)
            rest = itertools.islice(f, len(above), None)
            delimiter = delimiter_of(next(rest, "") or "".join(above))
            commas = delimiter == ";"
            f.seek(0)
            reader = csv.reader(text_lines(f, delimiter, len(above)), delimiter=delimiter)
            for cells in reader:
                # 0,5 is a number where another mark is between columns; behind tabs 1,000 may be a thousand, 0,5 not
                commas = commas or delimiter == "\t" and any(map(COMMA.match, cells))
                if commas and header:
                    cells = [DECIMAL.sub(r"\1.\2", cell) for cell in cells]
                if header is None and cells:
                    header = [name.strip() for name in cells]
                    shape = shape_of(header)
                elif cells == header:
                    table.notes.append(f"the header stands again in {table.place(reader.line_num)}: a restart?")
                elif header and len(cells) == len(header):
                    row = list(map(str.strip, cells))
                    if shape == "on its side":
                        sides.append(row)
                    else:
                        table.add(reader.line_num, long_cells(header, row) if shape == "long" else zip(header, row))
                elif cells:
                    table.spoil(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table ({error}): give one in UTF-8, with a header") from None
    header = header or []
    if header and not _ends_its_line(path):
        table.notes.append(f"the last line of {path.name} has no end: its last cell may be cut off")
    if sides:
        table.notes.append("the table lies on its side, a metric a row: turned")
        for row, step in enumerate(header[1:]):
            table.add(row + 2, [("step", step), *((cells[0], cells[row + 1]) for cells in sides)])
        table.unit = "column"
    elif shape == "long":
        table.notes.append("a long table, a cell a row: each name is a column")
    if TABLE_OF_RUNS <= set(header):
        raise InputError(
            f"{path}: W&B's table of runs, which has the last values of each and no curve: export a chart of the "
            "entropy and one of the score, or write run.history().to_csv()"
        )
    if header and all(math.isfinite(number(name)) for name in header):
        raise InputError(f"{path}: its first line holds numbers: put the names of the columns above it")
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"{path}: column {twice[0]!r} stands twice in the header: rename one")
    mostly_good(path, table, f"{len(header)} cells as the header has", "give one table in a file")
    table.columns.pop("", None)
    if header == TENSORBOARD_CSV:
        return [tensorboard_curve(path, table)]
    if is_wandb_header(header):
        return wandb_runs(path, header, table)
    return one_or_more(path, "csv", table)


def _ends_its_line(path: Path) -> bool:
    with open(path, "rb") as f:
        f.seek(-1, 2)
        return f.read(1) in (b"\n", b"\r")


def shape_of(header: list[str]) -> str:
    """ "wide", a metric a column; "on its side", a metric a row and the steps in the header; "long", a cell a row."""
    steps = [number(name) for name in header[1:]]
    if len(steps) > 2 and math.isnan(number(header[0])) and all(a < b for a, b in itertools.pairwise(steps)):
        return "on its side"
    lower = [name.lower() for name in header]
    wide = not set(lower) & set(NAMES) or not set(lower) & set(VALUES)
    wide |= any(is_entropy(name) or kind_of_score(name) is not None for name in header)
    return "wide" if wide else "long"


def long_cells(header: list[str], cells: list[str]) -> list[tuple[str, str]]:
    """A row of a long table: the value under its name, and all other cells."""
    row = {name.lower(): (name, cell) for name, cell in zip(header, cells)}
    name = next(row.pop(key)[1] for key in NAMES if key in row)
    name = f"{name}/{row.pop(VARIANT)[1]}" if VARIANT in row else name
    value = next(row.pop(key)[1] for key in VALUES if key in row)
    return [*row.values(), (name, value)]


def tensorboard_curve(path: Path, table: Table) -> Run:
    """A curve from TensorBoard's web page: the file is called run-RUN-tag-TAG.csv, or as the tag."""
    stem = re.sub(r" ?\(\d+\)$", "", path.stem)
    found = TAG.fullmatch(stem)
    name, tag = (found[1], found[2]) if found else (folder_name(path.parent), stem)
    table.step = "Step"
    slashed = tag.replace("_", "/", 1)  # the page writes _ for /: eval/aime is a score, eval_aime says nothing
    tag = slashed if kind_of_score(tag) is None and kind_of_score(slashed) is not None else tag
    table.columns[tag] = table.columns.pop("Value", Column(array("q"), array("d")))
    table.columns.pop("Wall time", None)
    return Run(name.strip("._-") or "run", "TensorBoard CSV", str(path), [table])


def delimiter_of(first: str) -> str:
    """What stands most often between the names of a header; a space where none of the usual marks does."""
    if first.lstrip().startswith(MARKDOWN):
        return MARKDOWN
    return max(DELIMITERS, key=first.count) if any(mark in first for mark in DELIMITERS) else " "


def text_lines(f: Iterator[str], delimiter: str, above: int) -> Iterator[str]:
    """Lines of a file that is text: csv itself lets zero bytes pass. One mark between cells, and none outside.

    Of the first `above` lines, which are comments, the last may be the header; the others are empty.
    """
    comment = [line for line in itertools.islice(f, above) if not line.startswith(EXCEL)]
    first = next(f, "")
    cells = [line.lstrip("# ").split(None if delimiter == " " else delimiter) for line in (*comment[-1:], first)]
    header = comment[-1:] if len(cells) == 2 and 1 < len(cells[0]) == len(cells[1]) else ["\n"] * min(above, 1)
    for line in itertools.chain(["\n"] * (above - 1), header, [first], f):
        if "\0" in line:
            raise csv.Error("zero bytes")
        if delimiter == " ":
            line = " ".join(line.lstrip("#").split()) + "\n"
        elif delimiter == MARKDOWN:
            line = "\n" if RULE.fullmatch(line) else line.strip().strip(MARKDOWN) + "\n"
        yield line


def is_wandb_header(header: list[str]) -> bool:
    """Whether these are the columns of a chart exported from W&B: `Step`, then `RUN - KEY`, ..`__MIN`, ..`__MAX`."""
    return len(header) > 1 and " - " not in header[0] and all(" - " in name for name in header[1:])


def wandb_runs(path: Path, header: list[str], table: Table) -> list[Run]:
    """The runs of a W&B export. Where it thinned a curve out, cells are means of steps with a MIN and a MAX: said."""
    runs: dict[str, Run] = {}
    for full in header[1:]:
        column = table.columns.get(full)
        name, _, key = full.rpartition(" - ")
        if name not in runs:
            part = Table(table.file, step=header[0], lines=table.lines, broken=table.broken, notes=list(table.notes))
            part.columns = {header[0]: table.columns.get(header[0], Column(array("q"), array("d")))}
            runs[name] = Run(name, "W&B export", str(path), [part])
        part = runs[name].tables[0]
        if column is None or key.endswith(("__MIN", "__MAX")):
            continue
        part.columns[key] = column
        low, high = (table.columns.get(f"{full}__{end}") for end in ("MIN", "MAX"))
        if low and high and len(low.value) == len(high.value):
            if thinned := int((np.asarray(low.value) != np.asarray(high.value)).sum()):
                part.notes.append(f"{thinned} cell(s) of {key} are W&B's means over several steps")
    return list(runs.values())
