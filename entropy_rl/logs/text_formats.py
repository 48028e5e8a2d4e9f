"""Readers of JSON lines, JSON and trainer_state.json; and of Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.logs.tables import Column, Run, Table, flatten, folder_name, mostly_good, number, one_or_more

WRAPPERS = ("data", "metrics")
AXES = ("step", "global_step", "epoch", "_step")


def read_jsonl(path: Path, run: str | None) -> list[Run]:
    """JSON lines; objects inside a row are flattened with `/`, and verl's {"step": n, "data": {...}} unpacked.

    A last line without its newline was cut off by a kill and is broken, as in `jsonl.read`.
    """
    table, kind = Table(path.name, run=run), "jsonl"
    for line, row in json_lines(path, table):
        if "step" in row and isinstance(row.get("data"), dict):  # verl's FileLogger
            kind = "verl jsonl"
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
    except (ValueError, TypeError, RecursionError):
        return None


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
        rows = [v for v in data.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        data = rows[0] if len(rows) == 1 else data
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
