"""Countdown's responses: which are right, which of their tokens are decisions, which are the same solution."""

import collections
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.data.problem import Problem
from entropy_rl.tasks import countdown
from tests.tasks.reading import TASK, demonstrations, read

RIGHT = "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24"


def score(response, prompt="3 5 7 9 -> 24 :"):
    return TASK.verify(Problem(prompt, "", "", 4), response)


def reference(problem, response):
    """The rules once more, in another style: a pattern per step and a counter."""
    numbers, last = read(problem.prompt)
    pool, value = collections.Counter(numbers), None
    for step in re.split(" ; ", response):
        match = re.fullmatch(r"([0-9]+) ([-+*]) ([0-9]+) = (0|[1-9]|[12][0-9]|30)", step)
        if not match:
            return 0.0
        a, b, value = (int(match[k]) for k in (1, 3, 4))
        pool.subtract((a, b))
        if min(pool.values()) < 0 or value != {"+": a + b, "-": a - b, "*": a * b}[match[2]]:
            return 0.0
        pool[value] += 1
    return float(value == last)


@pytest.mark.parametrize(
    "response",
    [
        RIGHT,
        "9 + 7 = 16 ; 5 + 3 = 8 ; 16 + 8 = 24",
        "3 * 5 = 15 ; 15 + 9 = 24",  # 7 is left over
        "9 - 7 = 2 ; 5 - 2 = 3 ; 3 + 3 = 6",  # a value that came up on the way, beside the same number
        "3 * 9 = 27 ; 27 - 5 = 22 ; 22 + 7 = 29",
        f" {RIGHT}\n",
    ],
)
def test_right_by_hand(response):
    target = response.split()[-1]
    assert score(response, f"3 5 7 9 -> {target} :") == 1.0


@pytest.mark.parametrize(
    "response, prompt",
    [
        ("3 + 5 = 9 ; 9 + 9 = 18", "3 5 7 9 -> 18 :"),  # wrong arithmetic
        ("7 + 9 = 24", "3 5 7 9 -> 24 :"),  # wrong arithmetic in the last step
        ("3 * 3 = 9", "3 5 7 9 -> 9 :"),  # a number used twice in a step
        ("3 + 5 = 8 ; 3 + 8 = 11", "3 5 7 9 -> 11 :"),  # a number used again later
        ("3 + 5 = 8 ; 8 + 8 = 16", "3 5 7 9 -> 16 :"),  # a result used twice
        ("3 + 6 = 9", "3 5 7 9 -> 9 :"),  # a number not in the pool
        ("3 + 5 = 8", "3 5 7 9 -> 24 :"),  # right steps to the wrong target
        ("3 * 8 = 24 ; 5 + 7 = 12", "3 5 7 8 -> 24 :"),  # the target came too early
        ("9 * 9 = 81", "9 9 9 -> 81 :"),  # out of range
        ("9 * 9 = 81 ; 81 - 9 = 72", "9 9 9 -> 72 :"),
        ("9 * 9 = 81 ; 81 * 0 = 0", "9 9 0 -> 0 :"),  # out of range on the way
        ("3 - 5 = -2", "3 5 7 -> -2 :"),
        ("3 - 5 = -2 ; 7 + -2 = 5", "3 5 7 -> 5 :"),
        ("3 - 5 = 2", "3 5 7 -> 2 :"),
        ("8 / 4 = 2", "8 4 1 -> 2 :"),
        ("24", "3 5 7 9 -> 24 :"),  # no step
        ("3", "3 5 7 -> 3 :"),
        ("3 = 3", "3 5 7 -> 3 :"),
        ("3 + 5 : 8", "3 5 7 -> 8 :"),  # format
        ("3 + 5 = 8 : 8 + 7 = 15", "3 5 7 -> 15 :"),
        ("3 + 5 = 8 8 + 7 = 15", "3 5 7 -> 15 :"),
        ("3+5=8", "3 5 7 -> 8 :"),
        ("3 + 5 = 8 = 8", "3 5 7 -> 8 :"),
        ("; 3 + 5 = 8", "3 5 7 -> 8 :"),
        ("3 ** 2 = 9", "3 2 7 -> 9 :"),
    ],
)
def test_wrong_by_hand(response, prompt):
    assert score(response, prompt) == 0.0


@pytest.mark.parametrize(
    "response",
    ["٣ + 5 = 8", "３ + 5 = 8", "3 + 5 = ⁸", "+3 + 5 = 8", "03 + 5 = 8", "3 + 5 = 08", "3.0 + 5 = 8"]
    + ["3 + 5 = 8.", "3 + 5 = 0x8", "3 + 5 = 8\0", "3\u00a0+ 5 = 8", "3 + 5 = 8 <eos>", "3 + 5 = 8 ;"]
    + ["3 + 5 = 8 ; ;", "3 + 5 = 8 8", "3 + 5 = 8 ; 7"],
)
def test_only_the_vocabulary_counts(response):
    assert score("3 + 5 = 8", "3 5 7 -> 8 :") == 1.0
    assert score(response, "3 5 7 -> 8 :") == 0.0


@pytest.mark.parametrize("prompt", ["", ":", "->", "-> :", "-> 8 :", "3 5 7", "3 5 x -> 8 :", "3 5 -> 8"])
def test_a_prompt_of_another_task_is_never_solved(prompt):
    assert score("3 + 5 = 8", prompt) == 0.0


def test_long_text_is_refused_unread():
    padded = RIGHT + " " * (countdown.MAX_CHARACTERS - len(RIGHT))
    assert score(padded) == 1.0
    assert score(padded + " ") == 0.0


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.integers(0, 5000), st.data())
def test_agrees_with_the_reference_on_near_misses(i, data):
    problem = TASK[i]
    words = problem.answer.split()
    for _ in range(data.draw(st.integers(0, 2))):
        k = data.draw(st.integers(0, len(words) - 1))
        edit = data.draw(st.sampled_from(["replace", "swap", "delete", "insert"]))
        word = data.draw(st.sampled_from([*TASK.tokenizer.words, "31", "-1", "٣"]))
        if edit == "swap":
            j = data.draw(st.integers(0, len(words) - 1))
            words[k], words[j] = words[j], words[k]
        else:
            words[k : k + (edit != "insert")] = [] if edit == "delete" else [word]
    response = " ".join(words)
    assert TASK.verify(problem, response) == reference(problem, response)


@pytest.mark.parametrize("i", range(40))
def test_near_misses_of_right_answers_score_nothing(i):
    problem = TASK[i]
    words, (numbers, target) = problem.answer.split(), read(problem.prompt)

    def scores(response, prompt=problem.prompt):
        return TASK.verify(Problem(prompt, "", "", problem.level), response)

    assert scores(problem.answer) == 1.0
    for other in set(range(31)) - {target}:
        prompt = problem.prompt.replace(f"-> {target} ", f"-> {other} ")
        assert scores(problem.answer, prompt) == 0.0  # wrong target
        assert scores(" ".join([*words[:-1], str(other)]), prompt) == 0.0  # wrong arithmetic, target reached
    for k in range(len(numbers)):  # answers use all numbers, so each is missed
        fewer = " ".join(map(str, numbers[:k] + numbers[k + 1 :]))
        assert scores(problem.answer, f"{fewer} -> {target} :") == 0.0
    for tail in (" ;", ";", " =", " 0", " <eos>", " <pad>", "x", "\0", f" ; {words[-1]} + 1 = 31"):
        assert scores(problem.answer + tail) == 0.0
        assert scores(tail + problem.answer) == 0.0


def test_decisions_by_hand():
    text = "3 5 7 -> 15 : 3 + 5 = 8 ; 8 + 7 = 15 <eos> <pad>"
    marks = "0 0 0 0  0 0 1 1 1 0 0 0 1 1 1 0  0     0     0"
    tokens = np.array([TASK.tokenizer.encode(text)])
    mask = np.arange(tokens.shape[1])[None] >= 6
    expected = np.array([[m == "1" for m in marks.split()]])
    np.testing.assert_array_equal(TASK.decisions(tokens, mask), expected)
    short = np.arange(19) < 8
    np.testing.assert_array_equal(TASK.decisions(tokens, mask & short), expected & short)


@pytest.mark.parametrize(
    "text, marks",
    [
        ("= = 3 3 * <pad> + -> : ; 30 0", "0 0 0 1 1 0 1 0 0 0 1 1"),
        ("<eos> 3 <eos> =", "0 1 0 0"),
    ],
)
def test_decisions_of_malformed_responses(text, marks):
    tokens = np.array([TASK.tokenizer.encode(text)])
    expected = [[m == "1" for m in marks.split()]]
    assert TASK.decisions(tokens, np.ones_like(tokens)).tolist() == expected


def test_three_of_six_tokens_of_a_demonstration_are_decisions():
    tokens, mask = demonstrations()
    decisions = TASK.decisions(tokens, mask)
    assert decisions.shape == mask.shape and decisions.dtype == bool
    assert (decisions.sum(1) * 2 == mask.sum(1)).all()


@pytest.mark.parametrize(
    "response, canonical, final",
    [
        (RIGHT, RIGHT, "24"),
        ("5 + 3 = 8 ; 9 + 7 = 16 ; 16 + 8 = 24", RIGHT, "24"),
        ("10 * 3 = 30", "3 * 10 = 30", "30"),  # by value, not by letter
        ("9 - 3 = 6", "9 - 3 = 6", "6"),
        ("7 + 9 = 16 ; 5 + 3 = 8 ; 16 + 8 = 24", "7 + 9 = 16 ; 3 + 5 = 8 ; 8 + 16 = 24", "24"),
        ("5  +\n3 =", "3 + 5 =", ""),
        ("5 + 3 = 8 ;", "3 + 5 = 8 ;", ""),
        ("x + 3 = 08", "x + 3 = 08", ""),
        ("8", "8", ""),
        ("5 + 3", "3 + 5", ""),
        ("= 8", "= 8", "8"),
        ("", "", ""),
    ],
)
def test_solution_and_final_answer(response, canonical, final):
    assert TASK.solution(response) == canonical
    assert TASK.final_answer(response) == final
