"""Problems on disk for good: versioned TFDS datasets in array_record files, without tensorflow.

A dataset is `folder/name/version` with splits of `FIELDS`. Its metadata holds the task that its problems come from, for
whoever checks responses to them, and for every split the count and the checksum: a sha256 over its rows as `line`
writes them, so that what is read is what was written, whatever happened to the files in between.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError, nearest

FORMAT = 1  # of the metadata
FIELDS = ("id", "prompt", "answer", "demonstration", "level")


def line(problem: Problem) -> bytes:
    """A problem as one line of JSON; its fields in order, UTF-8.

    Raises:
      InputError: it has half a surrogate pair, which no file can hold.
    """
    text = json.dumps([getattr(problem, name) for name in FIELDS], ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InputError(f"{problem.id} has a lone surrogate, which cannot be stored: mend its row") from error


def checksum(problems: Sequence[Problem]) -> str:
    """The sha256 of the lines of some problems."""
    return hashlib.sha256(b"".join(map(line, problems))).hexdigest()


def write(
    folder: str | os.PathLike, name: str, version: str, splits: Mapping[str, Sequence[Problem]], about: dict[str, Any]
) -> tuple[Path, bool]:
    """Writes a dataset.

    Args:
      folder: that datasets stand in.
      name, version: of this one; `1.0.0`.
      splits: problems by split, in order.
      about: what is said of them: `task`, `args`, and anything else that JSON can hold.

    Returns:
      (its folder, whether it was written: False where the same is there already).

    Raises:
      InputError: a bad name or version; no problems; a question twice in a split or in two; another content under this
        version.
    """
    _check_name(name, version)
    _check_questions(splits)
    about = {
        **about,
        "format": FORMAT,
        "counts": {split: len(problems) for split, problems in splits.items()},
        "sha256": {split: checksum(problems) for split, problems in splits.items()},
    }
    there = Path(folder) / name / version
    if there.exists():
        old = _metadata(there)
        same = ("task", "args", "sha256")
        differ = [key for key in same if old.get(key) != json.loads(json.dumps(about[key]))]
        if differ:
            raise InputError(f"{there} holds another dataset ({', '.join(differ)} differ): raise the version")
        read(folder, name, version, next(iter(splits)))  # not only said to be the same
        return there, False
    kinds = {**dict.fromkeys(FIELDS, str), "level": np.int32, "number": np.int64}
    stored = {
        split: [{**{k: getattr(problem, k) for k in FIELDS}, "number": i} for i, problem in enumerate(problems)]
        for split, problems in splits.items()
    }
    what = f"Problems of the task {about['task']!r}, frozen by experiments.make_dataset of entropy_rl."
    return store(folder, name, version, stored, kinds, about=what, metadata={"entropy_rl": about}), True


def _check_name(name: str, version: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"dataset name {name!r}: give small letters, digits and _, such as 'sums'")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise InputError(f"dataset version {version!r}: give three numbers, such as '1.0.0'")


def _check_questions(splits: Mapping[str, Sequence[Problem]]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    if not any(splits.values()):
        raise InputError("no problems to write: raise the sizes of splits")
    for split, problems in splits.items():
        for problem in problems:
            key = " ".join(problem.prompt.split())
            if key in seen:
                other, first = seen[key]
                where = f"twice in {split}" if other == split else f"in {other} and in {split}"
                raise InputError(f"{problem.id} asks what {first} asks, {where}: remove one, or give data without it")
            seen[key] = (split, problem.id)


def store(
    folder: str | os.PathLike,
    name_: str,
    version: str,
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    kinds: Mapping[str, type],
    *,
    about: str,
    metadata: Mapping[str, Any],
) -> Path:
    """The folder of a new TFDS dataset of any rows; splits without rows are left out.

    Args:
      kinds: type of each column, str or a numpy integer.
      about, metadata: what is said of it, in words and in JSON.
    """
    import tensorflow_datasets as tfds  # here and not above: three seconds, and only data needs it

    features = {k: tfds.features.Text() if kind is str else tfds.features.Scalar(kind) for k, kind in kinds.items()}

    with tfds.core.registered.skip_registration():

        class Stored(tfds.core.GeneratorBasedBuilder):
            name = name_
            VERSION = tfds.core.Version(version)

            def _info(self):
                described = tfds.core.MetadataDict(metadata)
                return tfds.core.DatasetInfo(
                    builder=self, description=about, features=tfds.features.FeaturesDict(features), metadata=described
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(rows) for split, rows in splits.items() if rows}

            def _generate_examples(self, rows):
                yield from enumerate(rows)

    return prepare(Stored(data_dir=str(folder), file_format="array_record"))


def prepare(builder: Any) -> Path:
    """The folder of a TFDS builder's dataset, which is made."""
    import tensorflow_datasets as tfds

    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return Path(builder.data_dir)


@dataclasses.dataclass(frozen=True)
class Read:
    """A split as it was frozen, what was said of it, and the version that it has."""

    problems: tuple[Problem, ...]
    about: dict[str, Any]
    version: str


def read(folder: str | os.PathLike, name: str, version: str | None, split: str) -> Read:
    """A split of a dataset that `write` wrote; `version` None is the highest.

    Raises:
      InputError: there is no such dataset, version or split; it is of another kind; its checksum is not what was
        written.
    """
    place = find(folder, name, version)
    about = _metadata(place)
    counts = {s: n for s, n in about["counts"].items() if n}
    if split not in counts:
        raise InputError(f"{place} has no split {split!r}{nearest(split, counts)}: it has {', '.join(counts)}")
    problems = []
    for row in sorted(rows(place, split), key=lambda row: int(row["number"])):
        values = {k: row[k] if k == "level" else row[k].decode() for k in FIELDS}
        problems.append(Problem(**{**values, "level": int(values["level"])}))
    if checksum(problems) != about["sha256"][split]:
        raise InputError(f"{place}: the checksum of split {split} is not what was written: get or make it again")
    return Read(tuple(problems), about, place.name)


def find(folder: str | os.PathLike, name: str, version: str | None = None) -> Path:
    """The folder of a dataset; of its highest version for None.

    Raises:
      InputError: there is none.
    """
    root = Path(folder) / name
    versions = {p.parent.name for p in root.glob("*/dataset_info.json")}
    if not versions:
        there = sorted({p.parent.parent.name for p in Path(folder).glob("*/*/dataset_info.json")})
        what = f"it has {', '.join(there)}" if there else "give the workdir of experiments.make_dataset"
        raise InputError(f"no dataset {name!r} in {folder}{nearest(name, there)}: {what}")
    if version is None:
        version = max(versions, key=lambda v: [int(x) if x.isdigit() else -1 for x in v.split(".")])
    if version not in versions:
        raise InputError(
            f"dataset {name!r} in {folder} has no version {version!r}: it has {', '.join(sorted(versions))}"
        )
    return root / version


def rows(place: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split of any TFDS dataset that can be read without tensorflow; texts are bytes.

    Raises:
      InputError: it is kept in another format than array_record, or a file is damaged.
    """
    import tensorflow_datasets as tfds

    try:
        source = tfds.builder_from_directory(str(place)).as_data_source(split)
        return list(source.__getitems__(range(len(source))))
    except NotImplementedError as error:
        raise InputError(f"{place} is in no format for random access: prepare it with array_record") from error
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        text = str(error).strip().splitlines()
        raise InputError(
            f"{place} cannot be read ({text[0] if text else type(error).__name__}): make it again"
        ) from error


def _metadata(place: Path) -> dict[str, Any]:
    try:
        about = json.loads((place / "metadata.json").read_text())["entropy_rl"]
    except (OSError, ValueError, KeyError, TypeError):
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{place} is no dataset of experiments.make_dataset of this version: give another")
    return about
