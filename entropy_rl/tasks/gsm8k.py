"""GSM8K: grade-school word problems with worked answers (Cobbe et al. 2021, arXiv:2110.14168).

    make()                      what TFDS has prepared in its folder (~/tensorflow_datasets or $TFDS_DATA_DIR)
    make(path="gsm8k")          train.jsonl and test.jsonl of the original release, prepared once
    make(download=True)         fetched by TFDS from github.com/openai/grade-school-math, prepared once

The answer is the text after `####`, without commas; the demonstration is the worked answer without the calculator's
annotations `<<48/2=24>>`. There are 7473 problems in train and 1319 in test. GSM8K has no validation split: it is a
tenth of train by a hash of the question, and train here is the rest. Every problem is of level 0.

TFDS has no checksums for GSM8K, so a download is not verified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from entropy_rl.data import examples, frozen, records, rows
from entropy_rl.data.splits import SPLITS
from entropy_rl.errors import InputError, lookup

SHARES = (0.9, 0.1, 0.0)  # of train: train and validation
COLUMNS = {"prompt": "question", "answer": "answer", "demonstration": "answer"}
FILES = {"train": "train.jsonl", "test": "test.jsonl"}

verifier = records.verifier  # what checks responses to the problems of make(**args), without its files


def make(
    path: str = "",
    split: str = "train",
    size: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    form: str = "any",
    symbolic: bool = False,
    *,
    data_dir: str | None = None,
    download: bool = False,
    seconds: float = 5.0,
    workers: int = 1,
) -> records.Records:
    """Problems of one split.

    Args:
      path: folder with train.jsonl and test.jsonl of the release; "": what is prepared already.
      split: train, validation (a tenth of GSM8K's train) or test.
      size: how many problems, drawn by `seed`; None: all.
      levels: (0,) or None.
      seed: of the draw.
      form: where responses have their answers: boxed, hash, tag or any; demonstrations end in it.
      symbolic: whether answers that exact values leave open go to math-verify, `seconds` each, in `workers` processes.
      data_dir: TFDS's folder; None: its default.
      download: whether TFDS may fetch it.

    Raises:
      InputError: it is neither prepared nor given; files that are broken; a value out of range.
    """
    lookup(dict.fromkeys(SPLITS), split, "gsm8k split")
    verifier = records.Verifier(form, symbolic, seconds, workers)
    place = _prepare(path, data_dir) if path else _prepared(data_dir, download)
    stored = "test" if split == "test" else "train"
    table = (
        rows.Row(f"{place} {stored} row {i}", {k: v.decode() for k, v in row.items()})
        for i, row in enumerate(frozen.rows(place, stored), 1)
    )
    shared = ("validation",) if stored == "train" else ()
    how: dict[str, Any] = {"shared": shared, "shares": SHARES, "size": size, "levels": levels, "seed": seed}
    return records.build("gsm8k", split, examples.read(table, COLUMNS), verifier, **how)


def _folder(data_dir: str | None) -> Path:
    if data_dir is not None:
        return Path(data_dir)
    from tensorflow_datasets.core import constants

    return Path(constants.DATA_DIR).expanduser()


def _prepared(data_dir: str | None, download: bool) -> Path:
    folder = _folder(data_dir)
    if not list((folder / "gsm8k").glob("*/dataset_info.json")):
        if not download:
            raise InputError(
                f"no gsm8k in {folder}: give path= the folder with train.jsonl and test.jsonl of "
                "github.com/openai/grade-school-math, or download=True"
            )
        from tensorflow_datasets.text.gsm8k import gsm8k

        frozen.prepare(gsm8k.Gsm8k(data_dir=str(folder), file_format="array_record"))
    return frozen.find(folder, "gsm8k")


def _prepare(path: str, data_dir: str | None) -> Path:
    """The dataset of local files, by TFDS's builder; it says which files they were."""
    files = {split: Path(path) / name for split, name in FILES.items()}
    for file in files.values():
        if not file.is_file():
            raise InputError(f"gsm8k path={path}: no file {file.name}: give the folder with train.jsonl and test.jsonl")
    digests = {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in files.items()}

    import tensorflow_datasets as tfds
    from tensorflow_datasets.text.gsm8k import gsm8k

    with tfds.core.registered.skip_registration():

        class Local(gsm8k.Gsm8k):
            name = "gsm8k"

            def _info(self):
                info = super()._info()
                return tfds.core.DatasetInfo(
                    builder=self,
                    description=info.description,
                    features=info.features,
                    homepage=info.homepage,
                    citation=info.citation,
                    metadata=tfds.core.MetadataDict(sha256=digests),
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(file) for split, file in files.items()}

            def _generate_examples(self, path):
                for i, row in enumerate(rows.read([path])):
                    for column in ("question", "answer"):
                        rows.column(row, column, (), f"the {column} column", column)
                    question, answer = str(row.data["question"]), str(row.data["answer"])
                    work, mark, short = answer.rpartition("####")
                    if not mark:
                        raise InputError(f"{row.where}: the answer has no ####: is this the file of the release?")
                    yield i, {"question": question, "answer": answer, "annotation": work, "short_answer": short.strip()}

    builder = Local(data_dir=str(_folder(data_dir)), file_format="array_record")
    place = Path(builder.data_dir)
    if not (place / "dataset_info.json").exists():
        frozen.prepare(builder)
    elif (place / "metadata.json").exists() and json.loads((place / "metadata.json").read_text())["sha256"] == digests:
        pass
    else:
        raise InputError(f"{place} holds gsm8k of other files than {path}: give another data_dir, or no path to use it")
    return place
