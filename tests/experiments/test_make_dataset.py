"""experiments/make_dataset.py, data/frozen.py and tasks/tfds.py: what is written is read, and nothing else."""

import json
import re
import shutil

import pytest
import tensorflow_datasets as tfds

from entropy_rl.data import frozen
from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError
from entropy_rl.tasks import base
from experiments import make_dataset
from experiments.lib import launch


def get(arg="task=chain_sum,max_terms=3,max_digits=2", **changes):
    config = launch.load_config(f"configs/make_dataset.py:smoke,{arg}")
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """A folder with a dataset of sums."""
    folder = tmp_path_factory.mktemp("data")
    make_dataset.run(get(), str(folder))
    return folder


def read(folder, split="train", **given):
    return base.get("tfds", **({"name": "chain_sum", "data_dir": str(folder), "split": split} | given))


def all_of(task):
    return [task[i] for i in range(len(task))]


@pytest.mark.parametrize(
    "split, count",
    [("validation", 5), *(pytest.param(*x, marks=pytest.mark.slow) for x in (("train", 20), ("test", 5)))],
)
def test_the_same_problems_come_back(sums, split, count):
    """In their order, scored as the task scores. Mutation: TFDS's own shuffle of the rows."""
    task, source = (
        read(sums, split),
        base.get("reasoning_gym", name="chain_sum", split=split, settings={"max_terms": 3, "max_digits": 2}),
    )
    first, seen = [], set()
    for i in range(100):
        if source[i].prompt not in seen:
            first.append(source[i])
        seen.add(source[i].prompt)
    assert all_of(task) == first[:count] and isinstance(task, base.TextTask)
    assert not task.stream and task.levels == (0,) and task.version == "1.0.0"
    assert task.verify_all(all_of(task)[:3], [p.answer for p in all_of(task)[:2]] + ["none"]) == [1.0, 1.0, 0.0]
    assert {"task", "args", "counts", "sha256", "commit", "versions", "levels"} <= task.about.keys()
    assert task.about["versions"]["reasoning-gym"]


def test_it_is_a_dataset_of_tfds(sums):
    """Which others read without this project."""
    rows = list(tfds.data_source("chain_sum:1.0.0", split="test", data_dir=str(sums)))
    assert {row["prompt"].decode() for row in rows} == {p.prompt for p in all_of(read(sums, "test"))}


def test_a_question_is_written_once(tmp_path, capsys):
    """Of a stream in which questions come again. Mutation: the first `count` problems."""
    make_dataset.run(get("task=chain_sum,max_terms=2,max_digits=1"), str(tmp_path))
    assert re.search(r"train +20 problems, [1-9]\d* drawn again", capsys.readouterr().out)
    assert len({p.prompt for p in all_of(read(tmp_path))}) == 20


def test_again_it_changes_nothing(sums, capsys):
    before = {p: p.stat().st_mtime_ns for p in sums.rglob("*")}
    make_dataset.run(get(), str(sums))
    assert "is there already: " in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in sums.rglob("*")} == before


def test_another_content_needs_another_version(sums):
    """Mutation: written over."""
    with pytest.raises(InputError, match=r"1.0.0 holds another dataset \(args, sha256 differ\): raise the version"):
        make_dataset.run(get("task=chain_sum,max_terms=4"), str(sums))
    make_dataset.run(get("task=chain_sum,max_terms=4", version="1.10.0"), str(sums))
    make_dataset.run(get("task=chain_sum,max_terms=5", version="1.9.0"), str(sums))
    assert read(sums).version == "1.10.0" and read(sums, version="1.0.0").about["args"]["settings"]["max_terms"] == 3
    shutil.rmtree(sums / "chain_sum" / "1.10.0")
    shutil.rmtree(sums / "chain_sum" / "1.9.0")


def test_a_frozen_countdown_is_countdown(tmp_path):
    """With its tokenizer and its rule."""
    make_dataset.run(get("task=countdown", **{"task.args.levels": (3,), "name": "three"}), str(tmp_path))
    task = base.get("tfds", name="three", data_dir=str(tmp_path), split="test")
    source = base.get("countdown", levels=(3,), split="test", size=5)
    assert all_of(task) == all_of(source)
    assert task.tokenizer.encode(task[0].prompt) == source.tokenizer.encode(source[0].prompt)
    assert task.verify(task[0], task[0].answer) == 1.0 and task.prompt_length == source.prompt_length


def test_gone_files_do_not_matter(tmp_path):
    """Rows are frozen with their answers; their file is not needed to check responses."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(300)))
    changes = {"task.args.path": str(path), "name": "mine"}
    make_dataset.run(get("task=jsonl", **changes), str(tmp_path / "data"))
    path.unlink()
    task = base.get("tfds", name="mine", data_dir=str(tmp_path / "data"), split="test")
    assert task.verify(task[0], task[0].answer) == 1.0 and len(task) == 5


def test_parts_of_a_split(sums):
    one, again, other = (all_of(read(sums, size=8, seed=seed)) for seed in (0, 0, 1))
    assert one == again != other and len({p.id for p in one}) == 8
    with pytest.raises(InputError, match="chain_sum/train has 20 problems: size=21 must be 1 to 20"):
        read(sums, size=21)


def damage(folder):
    """A file of a split gets the content of another one."""
    [train], [test] = ([*folder.glob(f"chain_sum/*/*{s}.array_record*")] for s in ("validation", "test"))
    shutil.copy(train, test)


def cut(folder):
    [test] = folder.glob("chain_sum/*/*test.array_record*")
    test.write_bytes(test.read_bytes()[:100])


def other_version(folder):
    """As if reasoning-gym made another problem now."""
    [path] = folder.glob("chain_sum/*/metadata.json")
    about = json.loads(path.read_text())
    about["entropy_rl"]["args"]["seed"] = 1
    path.write_text(json.dumps(about))


def foreign(folder):
    [path] = folder.glob("chain_sum/*/metadata.json")
    path.write_text("{}")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (damage, "the checksum of split test is not what was written: get or make it again"),
        (cut, r"cannot be read \(.*\): make it again"),
        (other_version, "its task makes other problems here than with .*reasoning-gym .*: install these"),
        (foreign, "is no dataset of experiments.make_dataset of this version: give another"),
    ],
)
def test_damage_is_found(sums, tmp_path, spoil, message):
    """Mutation: no checksum; no look at what the installed version makes."""
    shutil.copytree(sums, tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(InputError, match=message) as e:
        read(tmp_path / "data", "test")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"name": "chain_sums"}, r"no dataset 'chain_sums' in .* \(did you mean 'chain_sum'\?\): it has chain_sum"),
        ({"version": "2.0.0"}, "has no version '2.0.0': it has 1.0.0"),
        ({"split": "dev"}, "has no split 'dev'.*: it has train, validation, test"),
        ({"data_dir": "nowhere"}, "no dataset 'chain_sum' in nowhere: give the workdir of experiments.make_dataset"),
        ({"data_dir": ""}, "task 'tfds' needs name= and data_dir="),
    ],
)
def test_what_is_not_there_is_named(sums, given, message):
    with pytest.raises(InputError, match=message) as e:
        read(sums, **given)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "arg, changes, message",
    [
        ("task=chain_sum,max_terms=2,max_digits=1", {"sizes.test": 2000}, r"test has no more than \d+ different"),
        ("task=chain_sum,max_terms=2,max_digits=1", {"sizes.train": 2000}, r"/train has \d+ different questions and"),
        ("task=chain_sum", {"sizes.train": -1}, "config.sizes.train=-1"),
        ("task=chain_sum", {"sizes.train": 0, "sizes.validation": 0, "sizes.test": 0}, "no problems to write"),
        ("task=chain_sum", {"name": "Sums"}, "dataset name 'Sums': give small letters"),
        ("task=chain_sum", {"version": "1"}, "dataset version '1': give three numbers"),
        ("task=chain_summ", {}, "unknown reasoning-gym task 'chain_summ'"),
    ],
)  # fmt: skip
def test_bad_values_are_named(tmp_path, arg, changes, message):
    with pytest.raises(InputError, match=message) as e:
        make_dataset.run(get(arg, **changes), str(tmp_path / "data"))
    assert "\n" not in str(e.value) and not list(tmp_path.glob("data/*/*/dataset_info.json"))


def test_questions_in_two_splits_are_refused(tmp_path):
    """Whatever a task says of itself."""
    problems = [Problem(f"{i}?", str(i), f"x/{i}", 0) for i in range(4)]
    with pytest.raises(InputError, match="x/1 asks what x/1 asks, in train and in test: remove one"):
        frozen.write(tmp_path, "x", "1.0.0", {"train": problems[:2], "test": problems[1:]}, {"task": "x", "args": {}})
    with pytest.raises(InputError, match="x/0 asks what x/0 asks, twice in train"):
        frozen.write(tmp_path, "x", "1.0.0", {"train": problems[:1] * 2}, {"task": "x", "args": {}})
