"""Critiques on disk: a versioned TFDS dataset in array_record files, without tensorflow.

A row is an attempt and what was said of it. `read` gives rows back in the order of their keys.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.data import frozen
from entropy_rl.errors import InputError
from entropy_rl.methods.critique.chat import ChatCritique
from entropy_rl.methods.critique.sentences import Critique, parse

VERSION = "1.1.0"


@dataclasses.dataclass(frozen=True)
class Row:
    """One attempt and its critique.

    Attributes:
      id: of the problem; level: its difficulty.
      question, attempt: texts.
      critique: the annotator's sentence, of every level that it knows (critique/sentences.py, or of chat.py where the
        question is in natural language).
      refinement: a right solution, where one is known, else "".
      stage: where the attempt comes from: rg1 (sampled), rg2 (resampled from a known step), rg3 (planted mistake).
      wins, tries: refinements with this critique that came right, of how many (the soft filter); 0, 0: not tried.
      annotator: who criticised: oracle, self or the workdir of a critique model. Version 1.0.0, of the oracle alone,
        does not have it.
    """

    id: str
    level: int
    question: str
    attempt: str
    critique: str
    refinement: str
    stage: str
    wins: int = 0
    tries: int = 0
    annotator: str = "oracle"


FIELDS = {f.name: int if f.type == "int" else str for f in dataclasses.fields(Row)}


def write(folder: str | os.PathLike, rows: Sequence[Row], *, about: str, counts: Mapping[str, int]) -> Path:
    """Writes split "train" of the dataset `critiques/1.1.0` below `folder`, with what it is and the counts per stage.

    Raises:
      InputError: there are no rows.
    """
    if not rows:
        raise InputError(f"no critiques to write to {folder}: raise problems or samples, or lower the filter")
    kinds = {k: np.int32 if t is int else str for k, t in FIELDS.items()}
    splits = {"train": [dataclasses.asdict(row) for row in rows]}
    return frozen.store(folder, "critiques", VERSION, splits, kinds, about=about, metadata={"counts": dict(counts)})


def read(path: str | os.PathLike) -> list[Row]:
    """Rows of a dataset that `write` wrote: its folder, or the one that holds `critiques/`.

    Raises:
      InputError: there is none, it is damaged, or its rows lack a field.
    """
    found = [p.parent for p in sorted(Path(path).glob("**/dataset_info.json"))]
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} critique datasets: give the folder of one (make_critiques)")
    return rows_of(frozen.rows(found[0], "train"), str(path))


def rows_of(examples: Iterable[Mapping[str, Any]], where: str) -> list[Row]:
    """Rows of examples; InputError for one without a field that Row needs."""
    rows = []
    for i, example in enumerate(examples):
        missing = [k for k in FIELDS if k not in example and k != "annotator"]
        if missing:
            raise InputError(f"{where}: row {i} has no field {missing[0]!r}: it has {', '.join(sorted(example))}")
        plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in example.items()}
        rows.append(Row(**{k: t(plain[k]) for k, t in FIELDS.items() if k in plain}))
    return rows


def readable(
    rows: Iterable[Row], read: Callable[[str], Any] = parse
) -> tuple[list[tuple[Row, Critique | ChatCritique]], int]:
    """(rows with their critiques, how many rows have one that `read` cannot: critique/sentences.py's or chat.py's)."""
    pairs = [(row, read(row.critique)) for row in rows]
    good = [(row, c) for row, c in pairs if c is not None]
    return good, len(pairs) - len(good)
