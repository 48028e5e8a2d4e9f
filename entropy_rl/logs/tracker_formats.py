"""Runs as TensorBoard, Weights & Biases, Trackio and MLflow keep them on disk.

The first two are parsed here, from their bytes; see `wire` for why.

TensorBoard: `Event{step=2, summary=5}`, `Summary{value=1}`, `Value{tag=1, simple_value=2, tensor=8}`
(tensorboard/compat/proto/{event,summary,tensor}.proto). W&B: `Record{history=2, run=17}`,
`History{item=1, step=2}`, `Item{key=1, nested_key=2, ..., value_json=16}` (wandb/proto/wandb_internal.proto).
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from entropy_rl.errors import InputError
from entropy_rl.logs import wire
from entropy_rl.logs.tables import Run, Table, flatten, folder_name
from entropy_rl.logs.text_formats import parse

# Scalar tensors: dtype of types.proto -> (struct format of tensor_content, field of the number kept apart).
DTYPES = {1: ("<f", 5), 2: ("<d", 6), 3: ("<i", 7), 9: ("<q", 10), 19: ("<e", 13)}


def find_events(path: Path) -> list[Path]:
    """The event files at or below a path, oldest first: their names have the time. An empty one has its name only."""
    files = [path] if path.is_file() else path.rglob("*.tfevents.*")
    return sorted(file for file in files if ".tfevents." in file.name and file.is_file())


def read_events(path: Path) -> list[Run]:
    """A run for each folder with event files at or below `path`, called by the folder; or the one of a file.

    Several files in a folder are of one run that was restarted.
    """
    if path.is_file():
        return [Run(path.name, "TensorBoard", str(path), [_event_table(path)])]
    runs: dict[Path, Run] = {}
    for file in find_events(path):
        folder = file.parent
        if folder not in runs:
            name = str(folder.relative_to(path)) if folder != path else folder_name(path)
            runs[folder] = Run(name, "TensorBoard", str(folder), [])
        runs[folder].tables.append(_event_table(file))
    return list(runs.values())


def _event_table(file: Path) -> Table:
    table = Table(file.name, step="step", unit="record")
    _fill(table, wire.tfrecords(file), _event)
    return table


def _fill(table: Table, records: Iterator[wire.Record], parse: Callable[[bytes], dict[str, Any] | None]) -> None:
    """Rows of the records that hold some; the broken ones are counted."""
    for number, data, problem, checksum in records:
        try:
            row = parse(data) if data is not None else None
        except (ValueError, TypeError, struct.error, RecursionError):  # TypeError: a number where bytes belong
            row, problem = None, "it cannot be parsed"
        if row and checksum is not None and wire.masked_crc(data) != checksum:
            row, problem = None, "its checksum is wrong"
        if row:
            table.add(number, row.items())
        elif problem:
            table.spoil(number, problem)


def _event(data: bytes) -> dict[str, Any] | None:
    """{tag: value, "step": step} of an event, or None where it holds no scalar."""
    step, row = 0, {}
    for field, kind, value in wire.fields(data):
        if field == 2 and kind == wire.VARINT:
            step = wire.signed(value)
        elif field == 5 and kind == wire.BYTES:
            for inner, kind_inner, item in wire.fields(value):
                if inner == 1 and kind_inner == wire.BYTES:
                    row |= _scalar(item)
    return row | {"step": step} if row else None


def _scalar(data: bytes) -> dict[str, float]:
    """{tag: value} of a `Summary.Value`; nothing for images, texts and histograms."""
    tag, number = "", None
    for field, kind, value in wire.fields(data):
        if field == 1 and kind == wire.BYTES:
            tag = value.decode("utf-8")
        elif field == 2 and kind == wire.FIXED32:
            number = struct.unpack("<f", value)[0]
        elif field == 8 and kind == wire.BYTES:
            number = _tensor(value)
    return {} if number is None or not tag else {tag: number}


def _tensor(data: bytes) -> float | None:
    """The number in a tensor without dimensions, or None.

    It is in `tensor_content`, or in the field of its type, packed or not; halves are kept there as int32 bits.
    """
    parts = {field: (kind, value) for field, kind, value in wire.fields(data)}
    dtype = parts.get(1, (wire.VARINT, 0))[1]
    if dtype not in DTYPES or parts.get(2, (wire.BYTES, b""))[1]:  # a shape of no dimensions takes no bytes
        return None
    form, apart = DTYPES[dtype]
    content = parts.get(4, (wire.BYTES, b""))[1]
    if content:
        return float(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None
    if apart not in parts:
        return None
    kind, value = parts[apart]
    if kind == wire.BYTES and form in ("<i", "<q", "<e"):  # packed varints
        value, end = wire.varint(value, 0)
        if end != len(parts[apart][1]):
            return None
    if isinstance(value, int):
        return struct.unpack("<e", struct.pack("<H", value & 0xFFFF))[0] if form == "<e" else float(wire.signed(value))
    return struct.unpack(form, value)[0] if len(value) == struct.calcsize(form) else None


def find_wandb(path: Path) -> list[Path]:
    """The `.wandb` files of a run's folder, or of a `wandb` folder or the one above it, oldest first.

    The folders are called run-TIME-ID or offline-run-TIME-ID; the link latest-run is not among them.
    """
    files = [p for pattern in ("*.wandb", "*run-*/*.wandb", "wandb/*run-*/*.wandb") for p in path.glob(pattern)]
    return sorted(files, key=lambda file: (file.parent.name.removeprefix("offline-"), file.name))


def read_wandb(path: Path) -> list[Run]:
    """A run for each run id, from one file or from all below a folder; a resumed run has several files."""
    runs: dict[str, Run] = {}
    for file in [path] if path.is_file() else find_wandb(path):
        if file.read_bytes()[: wire.HEADER] != wire.WANDB:
            raise InputError(f"{file}: no W&B run file of a known version: export the run as CSV, and give that")
        found: dict[int, str] = {}
        table = Table(file.name, step="_step", unit="record")
        _fill(table, wire.wandb_records(file), lambda data, found=found: _wandb_row(data, found))
        run_id, name = found.get(1, file.stem), found.get(8) or found.get(1, file.stem)
        run = runs.setdefault(run_id, Run(name, "W&B run", str(path if path.is_file() else file.parent), []))
        run.tables.append(table)
    return list(runs.values())


def _wandb_row(data: bytes, found: dict[int, str]) -> dict[str, Any] | None:
    """The cells of a history record; from the run's own record its id (1) and name (8) go to `found`."""
    for field, kind, value in wire.fields(data):
        if kind == wire.BYTES and field == 2:
            return _history(value)
        if kind == wire.BYTES and field == 17:
            for inner, kind_inner, text in wire.fields(value):
                if inner in (1, 8) and kind_inner == wire.BYTES:
                    found[inner] = text.decode("utf-8")
    return None


def _history(data: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {}
    step = 0  # protobuf leaves a zero out
    for field, kind, value in wire.fields(data):
        if field == 1 and kind == wire.BYTES:
            name, cell = _item(value)
            if isinstance(cell, dict):  # an object in one piece; `_type` marks images and tables
                row.update({} if "_type" in cell else flatten({name: cell}))
            else:
                row[name] = cell
        elif field == 2 and kind == wire.BYTES:
            step = next((wire.signed(v) for f, k, v in wire.fields(value) if f == 1 and k == wire.VARINT), 0)
    row.setdefault("_step", step)
    return row


def _item(data: bytes) -> tuple[str, Any]:
    """Name and value of a history item: JSON text, or in newer versions a field for each type."""
    keys, cell = [], None
    for field, kind, value in wire.fields(data):
        if field in (1, 2) and kind == wire.BYTES and value:
            keys.append(value.decode("utf-8"))
        elif field in (8, 16) and kind == wire.BYTES:
            cell = json.loads(value)
        elif field == 4:
            cell = bool(value)
        elif field == 5 and kind == wire.VARINT:
            cell = float(wire.zigzag(value))
        elif field == 6 and kind == wire.FIXED64:
            cell = struct.unpack("<d", value)[0]
        elif field == 7 and kind == wire.BYTES:
            cell = value.decode("utf-8")
    return "/".join(keys), math.nan if isinstance(cell, list) else cell


SQLITE = b"SQLite format 3\0"


def read_sqlite(path: Path) -> list[Run]:
    """Trackio's database (a row of JSON a step) or MLflow's (a row a value): a run for each that it holds.

    Raises:
      InputError: it holds neither, or is damaged or locked.
    """
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as base:
            there = {row[1] for row in base.execute("PRAGMA table_info(metrics)")}
            if {"run_name", "step", "metrics"} <= there:
                own = "run_id" if "run_id" in there else "run_name"  # newer versions have several runs of a name
                kind = "Trackio"
                rows = base.execute(f"SELECT {own}, run_name, step, metrics FROM metrics ORDER BY rowid")
                found = [(run, name, step, parse(text)) for run, name, step, text in rows]
            elif {"key", "value", "step", "run_uuid"} <= there:
                kind = "MLflow"
                names = dict(base.execute("SELECT run_uuid, name FROM runs"))
                rows = base.execute("SELECT run_uuid, step, key, value FROM metrics ORDER BY timestamp, rowid")
                found = [(run, names.get(run) or run, step, {key: value}) for run, step, key, value in rows]
            else:
                raise InputError(f"{path}: an SQLite file without Trackio's or MLflow's metrics: give another")
    except sqlite3.Error as error:
        raise InputError(f"{path}: not a whole SQLite file ({error}): copy it again, or export it as CSV") from None
    runs: dict[str, Run] = {}
    for row, (run, name, step, cells) in enumerate(found, 1):
        if run not in runs:
            runs[run] = Run(str(name), kind, str(path), [Table(path.name, step="step", unit="row")])
        table = runs[run].tables[0]
        if isinstance(cells, dict):
            table.add(row, [("step", step), *((k, v) for k, v in flatten(cells) if k != "step")])
        else:
            table.spoil(row, "no object")
    return list(runs.values())


def find_mlflow(path: Path) -> list[Path]:
    """The run folders of an MLflow file store: a run, an experiment or all of mlruns."""
    if not path.is_dir():
        return []
    found = [p.parent for pattern in ("", "*/", "*/*/") for p in path.glob(f"{pattern}metrics") if p.is_dir()]
    return sorted(folder for folder in found if (folder / "meta.yaml").is_file())


def read_mlflow(path: Path) -> list[Run]:
    """MLflow's file store: RUN/metrics/KEY has lines `timestamp value step`; a key may have `/` in it."""
    runs = []
    for folder in find_mlflow(path):
        tables = []
        for file in sorted(p for p in (folder / "metrics").rglob("*") if p.is_file()):
            key = file.relative_to(folder / "metrics").as_posix()
            table = Table(f"metrics/{key}", step="step")
            for line, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                parts = text.split()
                if len(parts) == 3:
                    table.add(line, [("step", parts[2]), (key, parts[1])])
                elif parts:
                    table.spoil(line, "no `time value step`")
            tables.append(table)
        named = folder / "tags" / "mlflow.runName"
        name = named.read_text(encoding="utf-8", errors="replace").strip() if named.is_file() else ""
        runs.append(Run(name or folder.name, "MLflow", str(folder), tables))
    return runs
