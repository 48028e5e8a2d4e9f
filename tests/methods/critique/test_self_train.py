"""What self-training keeps, and how narrow it is: worked by hand."""

import math

import pytest

from entropy_rl.data.problem import Problem
from entropy_rl.methods.critique import self_train
from entropy_rl.methods.critique.language import Attempt
from entropy_rl.methods.critique.self_train import Item
from entropy_rl.training.collect import Group

EASY, HARD = Problem("3 5 -> 8 :", "3 + 5 = 8", "a", 3), Problem("2 3 4 -> 24 :", "2 * 3 = 6 ; 6 * 4 = 24", "b", 4)


def group(problem, texts, rewards):
    return Group(problem, [], [], texts, rewards)


def test_right_and_failed_attempts_part():
    groups = [group(EASY, ["x", "y", "x"], [1.0, 0.0, 1.0]), group(HARD, ["z", "w"], [0.0, 0.5])]
    assert self_train.right_items(groups) == [Item("a", 3, EASY.prompt, "x", "right")] * 2
    assert self_train.failed(groups) == [
        Attempt(EASY, "y", False),
        Attempt(HARD, "z", False),
        Attempt(HARD, "w", False),
    ]


@pytest.mark.parametrize(
    ("reference", "attempt", "refinement", "is_short"),
    [
        ("1 2 3 4 5 6", "1 2 3 4 5", "7 8 9", False),  # 3 >= min(6, 5) - 2
        ("1 2 3 4 5 6", "1 2 3 4 5", "7 8", True),
        ("1 2 3 4 5 6", "none", "", False),  # an attempt without numbers bars nothing
        ("12 -7 3.5", "10 20 30 40", "a 1 b", True),  # 3.5 is two integers: 1 < 4 - 2
        ("12 -7 3.5", "10 20 30 40", "a 1 b 2", False),
    ],
)
def test_the_barrier_against_shortcuts(reference, attempt, refinement, is_short):
    assert self_train.is_shortcut(reference, attempt, refinement) == is_short


def test_refinements_that_are_kept():
    tried = [
        Attempt(EASY, "3 + 5 = 9", False),
        Attempt(HARD, "2 + 3 = 5 ; 5 * 4 = 20", False),
        Attempt(HARD, "?", False),
    ]
    asked = ["ask a", "ask b", HARD.prompt]
    retries = [
        [("bad", 0.0), ("3 + 5 = 8", 1.0), ("5 + 3 = 8", 1.0)],
        [("24", 1.0), ("3 = 4 = 24", 1.0)],  # of 6 integers each, so 4 are needed
        [("2 * 3 = 6 ; 4 * 6 = 24", 1.0)],
    ]
    how = {"reserved": 1, "slack": 2}
    items, row = self_train.refined_items(tried, asked, retries, **how, revisions=True)
    assert items == [
        Item("a", 3, EASY.prompt, "3 + 5 = 8", "refined"),
        Item("a", 3, "ask a", "3 + 5 = 8", "revision"),
        Item("b", 4, HARD.prompt, "2 * 3 = 6 ; 4 * 6 = 24", "refined"),  # asked afresh: there is no revision
    ]
    assert row == {"refine/repaired": 1.0, "refine/shortcuts": 2 / 5, "refine/kept": 2.0}
    items, row = self_train.refined_items(tried, asked, retries, reserved=2, slack=2, revisions=False)
    assert [i.response for i in items] == ["3 + 5 = 8", "5 + 3 = 8", "2 * 3 = 6 ; 4 * 6 = 24"]
    assert {i.kind for i in items} == {"refined"}


def test_nothing_failed_is_no_division_by_zero():
    items, row = self_train.refined_items([], [], [], reserved=1, slack=2, revisions=True)
    assert items == [] and set(row.values()) == {0.0}


def test_narrowing():
    pool = [Problem("", "", name, level) for name, level in (("a", 3), ("b", 3), ("c", 4), ("d", 4), ("e", 5))]
    items = [
        Item("a", 3, "", "x", "right"),
        Item("a", 3, "", "x", "right"),
        Item("b", 3, "", "x", "right"),
        Item("c", 4, "", "y", "refined"),
        Item("c", 4, "", "y", "revision"),  # the same again after its critique: no item of the question
    ]
    row = self_train.narrowing(items, pool)
    assert (row["data/items"], row["data/right"], row["data/refined"]) == (4, 3, 1)
    assert row["data/coverage"] == 3 / 5
    assert [row[f"data/share/level{n}"] for n in (3, 4, 5)] == [3 / 4, 1 / 4, 0]
    assert [row[f"data/coverage/level{n}"] for n in (3, 4, 5)] == [1, 1 / 2, 0]
    assert row["data/distinct/level3"] == 2 / 3 and math.isnan(row["data/distinct/level5"])
    assert math.isnan(self_train.narrowing([], pool)["data/share/level3"])
