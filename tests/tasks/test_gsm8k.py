"""tasks/gsm8k.py: local files of the release through TFDS's own builder, and what TFDS has prepared. No download."""

import json
import re

import pytest
import tensorflow_datasets as tfds

from entropy_rl.errors import InputError
from entropy_rl.tasks import base

WORK = "Half is {0}/2 = <<{0}/2={1}>>{1}.\nTogether <<{0}+{1}={2}>>{2}.\n#### {2}"
ROWS = {
    name: [
        {
            "question": f"{name}: Natalia sold {i} clips and half as many more. How many?",
            "answer": WORK.format(i, i // 2, i + i // 2),
        }
        for i in range(2, 2 * count, 2)
    ]
    for name, count in (("train", 100), ("test", 20))
}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The files, as openai/grade-school-math has them."""
    folder = tmp_path_factory.mktemp("gsm8k")
    for name, table in ROWS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return folder


@pytest.fixture(scope="module")
def prepared(release, tmp_path_factory):
    """TFDS's folder after a first use."""
    folder = tmp_path_factory.mktemp("tfds")
    base.get("gsm8k", path=str(release), data_dir=str(folder))
    return folder


def get(prepared, release=None, **given):
    return base.get("gsm8k", data_dir=str(prepared), **({"path": str(release)} if release else {}) | given)


def test_problems(prepared, release):
    """Mutation: annotations in the demonstrations; #### in the gold answer."""
    task = get(prepared, release, split="test")
    assert isinstance(task, base.TextTask) and len(task) == len(ROWS["test"])
    by_question = {p.prompt: p for p in (task[i] for i in range(len(task)))}  # TFDS has an order of its own
    assert by_question.keys() == {row["question"] for row in ROWS["test"]}
    problem = by_question[ROWS["test"][4]["question"]]
    assert (problem.answer, problem.level) == ("15", 0)
    assert problem.demonstration == "Half is 10/2 = 5.\nTogether 15.\n#### 15"
    assert task.verify(problem, "So \\boxed{15.0}") == task.verify(problem, problem.demonstration) == 1.0
    assert task.verify(problem, "So \\boxed{5}") == 0.0


def test_it_is_tfds_own_dataset(prepared):
    """Prepared once, under its name, features and all; what TFDS reads is what was in the files."""
    source = tfds.data_source("gsm8k", split="train", data_dir=str(prepared))
    assert sorted(row["question"].decode() for row in source) == sorted(row["question"] for row in ROWS["train"])
    assert source[0]["short_answer"].decode().isdigit()


def test_validation_is_a_tenth_of_train(prepared):
    """Without the files: they are prepared already. Mutation: validation drawn from test."""
    parts = {s: get(prepared, split=s) for s in ("train", "validation", "test")}
    prompts = {s: {task[i].prompt for i in range(len(task))} for s, task in parts.items()}
    assert prompts["train"] | prompts["validation"] == {row["question"] for row in ROWS["train"]}
    assert not prompts["train"] & prompts["validation"] and 2 < len(prompts["validation"]) < 25
    assert prompts["test"] == {row["question"] for row in ROWS["test"]}
    assert len(get(prepared, size=7)) == 7


def test_a_verifier_needs_no_files(prepared):
    problem = get(prepared, split="test", form="hash")[0]
    verifier = base.verifier("gsm8k", path="gone", form="hash")
    assert verifier.verify(problem, problem.answer) == 1.0 and verifier.verify(problem, "\\boxed{3}") == 0.0


def test_other_files_than_those_that_were_prepared(prepared, release, tmp_path):
    """Mutation: the old ones are used in silence."""
    for name in ROWS:
        text = (release / f"{name}.jsonl").read_text()
        (tmp_path / f"{name}.jsonl").write_text(text + text.splitlines()[0].replace("Natalia", "Weng") + "\n")
    with pytest.raises(InputError, match="holds gsm8k of other files than .*: give another data_dir"):
        get(prepared, tmp_path)


@pytest.mark.parametrize(
    "files, message",
    [
        ({}, "no file train.jsonl: give the folder with train.jsonl and test.jsonl"),
        ({"train": '{"question": "1?", "answer": "2"}\n'}, "line 1: the answer has no ####: is this the file of the"),
        ({"train": '{"question": "1?"}\n'}, "line 1: no column 'answer'"),
        ({"train": "{\n"}, "train.jsonl line 1 is not JSON"),
    ],
)
def test_bad_files_are_named(release, tmp_path, files, message):
    """And nothing half prepared stays behind."""
    for name, text in files.items():
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{name}.jsonl").write_text(text)
        (tmp_path / "raw" / "test.jsonl").write_text((release / "test.jsonl").read_text())
    with pytest.raises(InputError, match=re.escape(message)) as e:
        get(tmp_path / "tfds", tmp_path / "raw")
    assert "\n" not in str(e.value)
    assert not list((tmp_path / "tfds").glob("gsm8k/*/dataset_info.json"))
    for name in ROWS:
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{name}.jsonl").write_text((release / f"{name}.jsonl").read_text())
    assert len(get(tmp_path / "tfds", tmp_path / "raw", split="test")) == len(ROWS["test"])


def test_nothing_is_fetched_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda *args: pytest.fail("a download"))
    with pytest.raises(InputError, match="no gsm8k in .*: give path= the folder with .*, or download=True"):
        get(tmp_path)
    with pytest.raises(InputError, match="unknown gsm8k split 'valid'"):
        get(tmp_path, split="valid")
