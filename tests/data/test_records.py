"""data/records.py: what is kept of examples, in which split, and how answers are checked."""

import re

import pytest

from entropy_rl.data import records
from entropy_rl.data.problem import TextTask
from entropy_rl.errors import InputError


def examples(count=200, **fields):
    return [records.Example(**({"prompt": f"What is {i} + 1?", "gold": str(i + 1), "worked": "", "level": i % 3,
                                "where": f"f line {i + 1}"} | fields)) for i in range(count)]  # fmt: skip


def build(found=None, split="train", **given):
    return records.build("mine", split, examples() if found is None else found, records.Verifier(), **given)


def test_problems_as_they_stand_in_the_file():
    task = build()
    assert isinstance(task, TextTask) and len(task) == 200 and task.levels == (0, 1, 2) and not task.stream
    problem = task[7]
    assert (problem.prompt, problem.answer, problem.id, problem.level) == ("What is 7 + 1?", "8", "mine/train/7", 1)
    assert task.verify(problem, "So it is \\boxed{8}") == 1.0 and task.verify(problem, "9") == 0.0
    assert task.verify_all([problem, task[0]], ["8.0", "2"]) == [1.0, 0.0]
    assert task.final_answer("\\boxed{\\frac{1}{2}}") == task.final_answer("0.5") != ""
    for i in (200, -1):
        with pytest.raises(IndexError, match="mine/train has problems 0..199"):
            task[i]


def test_splits_of_one_file_share_no_question():
    """Train is what no other split takes. Mutation: `shared` left out of train."""
    shared = ("validation", "test")
    parts = {split: build(split=split, shared=shared) for split in ("train", *shared)}
    prompts = {split: {task[i].prompt for i in range(len(task))} for split, task in parts.items()}
    assert sum(map(len, prompts.values())) == 200 == len(set.union(*prompts.values()))
    assert all(len(p) > 5 for p in prompts.values()) and len(prompts["train"]) > 130


def test_a_question_is_kept_once():
    """DAPO-Math-17k has each a hundred times; other white space is no other question."""
    twice = examples(10) + examples(10, prompt="What is  0 +\n1?", gold="1")
    task = build(twice)
    assert len(task) == 10 and task.duplicates == 10


def test_a_part_is_a_fair_sample():
    """Not the head of the file; the same for the same seed. Mutation: the first `size` rows."""
    numbers = lambda task: [int(task[i].id.rpartition("/")[2]) for i in range(len(task))]  # noqa: E731
    one, again, other = (numbers(build(size=50, seed=seed)) for seed in (0, 0, 1))
    assert one == again != other and len(set(one)) == 50
    assert 60 < sum(one) / 50 < 140 and max(one) > 150
    assert {build(levels=(2,))[i].level for i in range(60)} == {2}


@pytest.mark.parametrize(
    "form, answer, worked",
    [
        ("any", "8", "7 and 1.\n#### 8"),
        ("boxed", "\\boxed{8}", "7 and 1.\n\\boxed{8}"),
        ("hash", "#### 8", "7 and 1.\n#### 8"),
        ("tag", "<answer>8</answer>", "7 and 1.\n<answer>8</answer>"),
    ],
)
def test_answers_and_demonstrations_are_in_the_form(form, answer, worked):
    """A demonstration that ends otherwise gets another last line."""
    found = [records.Example("7 + 1?", "8", "7 and 1.\n#### 8", 0, "f line 1")]
    task = records.build("mine", "train", found, records.Verifier(form))
    assert (task[0].answer, task[0].demonstration) == (answer, worked)
    assert task.verify(task[0], answer) == task.verify(task[0], worked) == 1.0


def test_a_demonstration_that_is_wrong_is_left_out():
    found = [records.Example("7 + 1?", "8", "", 0, "f"), records.Example("7 + 2?", "9", "It is \\boxed{8}.", 0, "f")]
    task = build(found)
    assert task[0].demonstration == ""
    assert (
        task[1].demonstration in ("", "It is \\boxed{8}.\n\\boxed{9}") and task.verify(task[1], task[1].answer) == 1.0
    )


@pytest.mark.parametrize(
    "found, given, message",
    [
        ([], {}, "mine/train has no problems: give other files"),
        (examples(3, prompt=" \n"), {}, "f line 1: the question is empty: mend or remove it"),
        (examples(3, gold=""), {}, "f line 1: the answer '' cannot be checked in form 'any'"),
        (examples(3, gold=""), {"skip": True}, "mine/train has no problems"),
        (None, {"size": 201}, "mine/train has 200 problems: size=201 must be 1 to 200"),
        (None, {"size": True}, "size=True must be"),
        (None, {"levels": (3,)}, "mine/train levels=(3,): it has problems of levels [0, 1, 2]"),
        (None, {"shares": (1, 1, 1), "shared": ("test",)}, "mine: shares=(1, 1, 1)"),
    ],
)
def test_bad_examples_are_named(found, given, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        build(found, **given)
    assert "\n" not in str(e.value)
