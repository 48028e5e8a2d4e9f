"""Laws that every task keeps. A new task adds a row to TASKS."""

import functools
import sys
import types

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entropy_rl.errors import InputError
from entropy_rl.tasks import base

TASKS = {
    "countdown train": ("countdown", {}),
    "countdown validation": ("countdown", {"split": "validation", "size": 200}),
    "countdown test, one level, another seed": ("countdown", {"split": "test", "levels": (5,), "seed": 3}),
}
FIRST = 150


@functools.cache
def made(key):
    name, kwargs = TASKS[key]
    return base.get(name, **kwargs)


@pytest.fixture(params=TASKS)
def key(request):
    return request.param


@pytest.fixture
def task(key):
    return made(key)


def first(task):
    return range(min(FIRST, len(task)))


def test_protocol(task):
    assert isinstance(task, base.Task)
    assert isinstance(task.levels, tuple) and len(task) > 0


def test_pure_in_i(task, key):
    """Broken by a generator that keeps state between items."""
    forward = [task[i] for i in first(task)]
    again = made.__wrapped__(key)
    backward = [again[i] for i in reversed(first(again))][::-1]
    assert forward == backward == [task[i] for i in first(task)]


def test_indices_end_where_len_says(task):
    assert isinstance(task[len(task) - 1], base.Problem)
    for i in (len(task), -1):
        with pytest.raises(IndexError):
            task[i]


def test_problems_are_well_formed(task):
    problems = [task[i] for i in first(task)]
    assert len({p.id for p in problems}) == len(problems)
    assert {p.level for p in problems} == set(task.levels)
    assert all(p.prompt and isinstance(p.prompt, str) and isinstance(p.answer, str) for p in problems)


def test_answer_verifies(task):
    assert all(task.verify(task[i], task[i].answer) == 1.0 for i in first(task))


def test_tokenizer_reads_prompts_and_answers(task):
    for i in first(task):
        for text in (task[i].prompt, task[i].answer):
            assert task.tokenizer.decode(task.tokenizer.encode(text)) == text


@pytest.mark.parametrize("junk", ["", " ", "\0", "?", "<eos>", "<pad>", "none", "= = =", "٢٤", "\ud800"])
def test_junk_scores_nothing_and_has_no_answer(task, junk):
    for i in range(8):
        assert task.verify(task[i], junk) == 0.0
    assert task.final_answer(junk) == ""
    assert isinstance(task.solution(junk), str)


def test_a_right_answer_has_a_final_answer_and_a_solution(task):
    for i in first(task):
        answer = task[i].answer
        assert task.final_answer(answer) != ""
        assert task.verify(task[i], task.solution(answer)) == 1.0


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.integers(0, 50),
    st.one_of(
        st.text(),
        st.text(alphabet="0123456789+-*=;: <>aeosdp()._\n\t\0e²٣", max_size=60),
        st.lists(st.sampled_from("0 1 2 5 9 30 31 + - * = ; : -> <eos> <pad> 007 -1".split())).map(" ".join),
    ),
)
@example(0, "9" * 10**6)
@example(0, "1 " * 500_000)
@example(0, "1 + 1 = 2 ; " * 100_000)
@example(0, "(" * 10**6)
def test_never_raises(i, text):
    for key in TASKS:
        task = made(key)
        assert 0.0 <= task.verify(task[i], text) <= 1.0
        assert isinstance(task.final_answer(text), str)
        solution = task.solution(text)
        assert task.solution(solution) == solution


def test_names():
    assert "countdown" in base.names() and "base" not in base.names()


@pytest.mark.parametrize("name, hint", [("countdwon", "'countdown'"), ("base", "one of"), ("../x", "one of")])
def test_unknown_task(name, hint):
    with pytest.raises(InputError, match="unknown task") as error:
        base.get(name)
    assert hint in str(error.value)


def test_unknown_argument_gets_a_suggestion():
    with pytest.raises(InputError, match=r"countdown.*'sized' \(did you mean 'size'\?\).*levels") as error:
        base.get("countdown", sized=3)
    assert "\n" not in str(error.value)


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("entropy_rl.tasks.made_up")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(base, "names", lambda: ["made_up"])
    return made


def test_a_module_without_make_is_not_a_task(module):
    with pytest.raises(InputError, match="no make"):
        base.get("made_up")


def test_missing_argument(module):
    module.make = lambda path: path
    with pytest.raises(InputError, match="'path'"):
        base.get("made_up")
    assert base.get("made_up", path="x") == "x"


def test_a_task_may_take_an_argument_called_name(module):
    module.make = lambda name="": name
    assert base.get("made_up", name="x") == "x"


def test_a_bug_inside_make_is_not_blamed_on_the_user(module):
    module.make = lambda: len(3)
    with pytest.raises(TypeError):
        base.get("made_up")
