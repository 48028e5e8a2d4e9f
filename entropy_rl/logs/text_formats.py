"""Readers of text tables: CSV, JSON lines, JSON, trainer_state.json; and of Parquet.

Each turns a path into runs with their tables (`tables.Run`); what these have in common is at the foot.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.logs.columns import is_entropy
from entropy_rl.logs.columns import kind as kind_of_score
from entropy_rl.logs.tables import Column, Run, Table, by_split, flatten, folder_name, number, split

DELIMITERS, MARKDOWN = ",;\t", "|"
WRAPPERS = ("data", "metrics")
TENSORBOARD_CSV = ["Wall time", "Step", "Value"]  # what its web page gives, a curve a file
EXCEL = "sep="  # `sep=;` above a table says what stands between its cells
DECIMAL = re.compile(r"^\s*([-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*%?)\s*$")
RULE = re.compile(r"[\s|:-]*")  # between the header of a table in Markdown and its rows
TABLE_OF_RUNS = {"Name", "State"}  # W&B's, as its web page exports it
AXES = ("step", "global_step", "epoch", "_step")
VARIANT = "variant"  # ClearML's second part of a name
TAG = re.compile(r"(?:run[-_])?(.*?)[-_]tag-(.+)")
NAMES, VALUES = ("metric", "name", "key", "tag", "variable", "series"), ("value", "val")  # of a long table


def read_jsonl(path: Path, run: str | None) -> list[Run]:
    """JSON lines; objects inside a row are flattened with `/`, and verl's {"step": n, "data": {...}} unpacked.

    A last line without its newline was cut off by a kill and is broken, as in `jsonl.read`.
    """
    table, kind = Table(path.name, run=run), "jsonl"
    for line, row in json_lines(path, table):
        kind = "verl jsonl" if is_verl(row) else kind
        table.add(line, cells_of(row))
    mostly_good(path, table, "a JSON object", "keep only those that do (grep '^{')")
    return one_or_more(path, kind, table)


def json_lines(path: Path, table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects, one at a time: a million rows at once take a gigabyte. Others go to `table.broken`."""
    with open(path, "rb") as f:
        for line, raw in enumerate(f, 1):
            if not raw.strip():
                continue
            row = parse(raw) if raw.endswith(b"\n") else None
            if isinstance(row, dict):
                yield line, row
            else:
                table.spoil(line)


def parse(raw: bytes | str) -> Any:
    """JSON, or None for what is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def is_verl(row: Any) -> bool:
    """Whether a JSON line is one of verl's FileLogger."""
    return isinstance(row, dict) and "step" in row and isinstance(row.get("data"), dict)


def cells_of(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Cells of a JSON line; where one object has them all, verl's `data`, others' `metrics`, without its name."""
    for wrapper in WRAPPERS:
        if isinstance(row.get(wrapper), dict):
            return flatten(row[wrapper] | {**row, wrapper: None})
    return flatten(row)


def read_workdir(path: Path, run: str | None) -> list[Run]:
    """This project's: a column for each key of metrics.jsonl, and for evals.jsonl eval/<task>/<metric>.

    The `n` of an evaluation makes a column of its own, eval/<task>/<metric>/n.
    """
    metrics = Table("metrics.jsonl", run=run)
    for line, row in json_lines(path / metrics.file, metrics):
        metrics.add(line, cells_of(row))
    evals = Table("evals.jsonl", step="step")
    for line, row in json_lines(path / evals.file, evals) if (path / evals.file).exists() else []:
        if math.isfinite(number(row.get("step"))) and {"task", "metric", "value"} <= row.keys():
            name = f"eval/{row['task']}/{row['metric']}"
            evals.add(line, [("step", row["step"]), (name, row["value"]), (f"{name}/n", row.get("n"))])
        else:
            evals.spoil(line)
    return [Run(folder_name(path), "workdir", str(path), [metrics, evals])]


def read_trainer_state(path: Path, run: str | None) -> list[Run]:
    """TRL's or transformers' trainer_state.json, in its folder or in that of the last checkpoint."""
    file = trainer_state(path)
    state = read_json(file)
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise InputError(f"{file}: no log_history in it: give the trainer_state.json that the trainer wrote")
    # best checkpoints and restarts keep the whole history in each file, so the last one has it all
    folder = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
    return one_or_more(path, "trainer_state", rows_table(file, state["log_history"], run), folder_name(folder))


def trainer_state(path: Path) -> Path | None:
    """The trainer_state.json that `path` is, has, or has in its checkpoint of the highest step."""
    if path.is_file() or (path / "trainer_state.json").is_file():
        return path if path.is_file() else path / "trainer_state.json"
    files = [p for p in path.glob("checkpoint-*/trainer_state.json") if p.parent.name[11:].isdigit()]
    return max(files, key=lambda p: int(p.parent.name[11:]), default=None)


def read_json_table(path: Path, run: str | None) -> list[Run]:
    """JSON: a list of objects, also as a value in an object, or an object of lists of equal length."""
    data = read_json(path)
    if isinstance(data, dict):
        data = next((v for v in data.values() if isinstance(v, list) and v and isinstance(v[0], dict)), data)
    if isinstance(data, list) and data and all(map(is_curve, data)):
        table = Table(path.name, run=run, unit="point", step="step")
        points = ((x, str(one["name"]), y) for one in data for x, y in zip(one["x"], one["y"]))
        for line, (x, name, y) in enumerate(points, 1):
            table.add(line, [("step", x), (name, y)])
        return one_or_more(path, "json", table)
    if isinstance(data, dict) and (lists := {k: v for k, v in flatten(data) if is_rows(v)}):
        tables = [rows_table(path, v, run) for v in lists.values()]
        names = [name.rpartition("/")[2] for name in lists]
        for name, table in zip(names, tables):  # {"train": [...], "eval": [...]}
            if len(lists) > 1:
                table.columns = {k if k in AXES else f"{name}/{k}": cells for k, cells in table.columns.items()}
        one = one_or_more(path, "json", tables[0])
        one[0].tables += tables[1:]
        return one
    if isinstance(data, dict):
        data = of_pandas(data)
    if isinstance(data, list):
        return one_or_more(path, "json", rows_table(path, data, run))
    cells = flatten(data) if isinstance(data, dict) else ()
    columns = {name: value for name, value in cells if isinstance(value, list)}
    if not columns:
        raise InputError(f"{path}: neither rows nor columns in it: give a list of objects, or an object of lists")
    first, *others = columns
    if odd := [name for name in others if len(columns[name]) != len(columns[first])]:
        sizes = f"{first!r} has {len(columns[first])} values and {odd[0]!r} {len(columns[odd[0]])}"
        raise InputError(f"{path}: {sizes}: columns must be equally long")
    rows = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
    return one_or_more(path, "json", rows_table(path, rows, run))


def is_rows(value: Any) -> bool:
    """Whether it is a list of objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def is_curve(row: Any) -> bool:
    """ClearML's, Comet's and Plotly's {"name": ..., "x": [...], "y": [...]}."""
    return isinstance(row, dict) and "name" in row and isinstance(row.get("x"), list) and isinstance(row.get("y"), list)


def of_pandas(data: dict[str, Any]) -> Any:
    """DataFrame.to_json: rows of {column: {index: value}}, or of {columns, index, data}; anything else as it is."""
    if {"columns", "data"} <= data.keys() and all(isinstance(row, list) for row in data["data"]):
        return [dict(zip(map(str, data["columns"]), row)) for row in data["data"]]
    columns = list(data.values())
    if columns and all(isinstance(row, dict) for row in columns) and all(key.isdigit() for key in data):
        return [{"step": int(key)} | row for key, row in data.items()]  # a row under each step
    if not columns or not all(isinstance(column, dict) and column for column in columns):
        return data
    if any(column.keys() != columns[0].keys() or not all(key.isdigit() for key in column) for column in columns):
        return data
    return [{"step": int(key)} | {name: column[key] for name, column in data.items()} for key in columns[0]]


def read_json(path: Path) -> Any:
    """The file as one JSON value; InputError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        known = isinstance(error, json.JSONDecodeError)
        what = f"line {error.lineno}: {error.msg}" if known else "not text, or too deep"
        raise InputError(f"{path}: no whole JSON ({what}): was it cut off? copy or write it again") from None


def rows_table(path: Path, rows: list[Any], run: str | None) -> Table:
    """A table of objects."""
    table = Table(path.name, run=run, unit="row")
    for line, row in enumerate(rows, 1):
        if isinstance(row, dict):
            table.add(line, flatten(row))
        else:
            table.spoil(line, "no object")
    return table


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
            f.seek(0)
            reader = csv.reader(text_lines(f, delimiter, len(above)), delimiter=delimiter)
            for cells in reader:
                if delimiter == ";" and header:  # 0,5 is a number where columns have another mark between them
                    cells = [DECIMAL.sub(r"\1.\2", cell) for cell in cells]
                if header is None and cells:
                    header = [name.strip() for name in cells]
                    shape = shape_of(header)
                elif cells == header:
                    table.notes.append(f"the header stands again in {table.place(reader.line_num)}: a restart?")
                elif shape == "on its side" and len(cells) == len(header):
                    sides.append((reader.line_num, list(map(str.strip, cells))))
                elif shape == "long" and len(cells) == len(header):
                    table.add(reader.line_num, long_cells(header, list(map(str.strip, cells))))
                elif header and len(cells) == len(header):
                    table.add(reader.line_num, zip(header, map(str.strip, cells)))
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
            table.add(row + 2, [("step", step), *((cells[0], cells[row + 1]) for _, cells in sides)])
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


def read_parquet(path: Path, run: str | None) -> list[Run]:
    """Parquet, by pyarrow; structs are flattened with `/`, nulls are empty cells."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"{path}: Parquet needs pyarrow: pip install pyarrow, or give a .csv") from None
    try:
        data = pq.ParquetFile(path).read()
        table = Table(path.name, run=run, unit="row")
        table.lines = np.arange(1, data.num_rows + 1)
        for name, column in zip(data.column_names, data.columns):
            for leaf, cells in leaves(name, column):
                table.columns[leaf] = parquet_column(cells)
                if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
                    table.said[leaf] = set(cells.drop_null().unique()[:2].to_pylist())
                if leaf in table.by:
                    said = map(str, cells.drop_null().to_pylist())
                    table.texts[leaf] = dict(zip(table.columns[leaf].row.tolist(), said))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: no whole Parquet file ({reason}): write it again, or give a .csv") from None
    return one_or_more(path, "parquet", table)


def leaves(name: str, column: Any) -> Iterator[tuple[str, Any]]:
    """A pyarrow column, or those inside it as name/inner where it is of structs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(column.type):
        yield name, column
        return
    for i, field in enumerate(column.type):
        yield from leaves(f"{name}/{field.name}", pc.struct_field(column, [i]))


def parquet_column(column: Any) -> Column:
    """The cells of a pyarrow column that are not null."""
    import pyarrow as pa

    row = np.flatnonzero(column.is_valid().to_numpy())
    cells = column.drop_null()
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return Column(row, cells.cast("float64").to_numpy())
    return Column(row, np.array([number(cell) for cell in cells.to_pylist()], float))


def one_or_more(path: Path, kind: str, table: Table, name: str | None = None) -> list[Run]:
    """The run of a table, or if its columns `run` were asked for and are there, the runs."""
    table = by_split(table)
    if table.by and table.columns.keys() >= set(table.by):
        parts = split(table).items()
        return [Run(", ".join(said), kind, str(path), [part], table.run, said[0]) for said, part in parts]
    return [Run(name or path.stem, kind, str(path), [table])]


def mostly_good(path: Path, table: Table, what: str, remedy: str) -> None:
    """InputError where most lines are no rows: two formats in a file, and what can be read is not the log."""
    bad, good = len(table.broken), len(table.lines)
    if good and bad > good:
        raise InputError(f"{path}: {bad} of {bad + good} lines do not hold {what}, as {table.broken[0]}: {remedy}")
