"""The canonical solution graph of Countdown: what is forgotten, what is not, and that no text breaks it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.tasks import countdown

graph = countdown.make("train", levels=(4,)).solution_graph
FIRST = "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24"


@pytest.mark.parametrize(
    "same",
    [
        "7 + 9 = 16 ; 3 + 5 = 8 ; 8 + 16 = 24",  # order of independent steps
        "5 + 3 = 8 ; 9 + 7 = 16 ; 16 + 8 = 24",  # order of operands
        "  9 +  7 = 16 ; 5 + 3 = 8 ; 8 + 16 = 24\n",
        "1 * 2 = 2 ; 3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24",  # leads nowhere
        "1 * 2 = 2 ; 2 * 4 = 6 ; 3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24",  # nor do both
    ],
)
def test_what_is_forgotten(same):
    """Mutations: steps not sorted; operands not sorted; steps that lead nowhere kept."""
    assert graph(same) == graph(FIRST) == FIRST


@pytest.mark.parametrize(
    "other",
    [
        "3 + 5 = 8 ; 8 + 7 = 15 ; 15 + 9 = 24",  # another association
        "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24 ; 24 * 1 = 24",  # no algebra
        "3 + 5 = 8 ; 16 - 8 = 8 ; 8 + 16 = 24",
        "3 + 5 = 8 ; 7 + 9 = 16 ; 16 + 8 = 25",
        "8 + 16 = 24",
    ],
)
def test_what_is_not(other):
    assert graph(other) != FIRST


def test_minus_keeps_its_sides_and_the_last_step_is_the_root():
    assert graph("9 - 3 = 6 ; 6 - 5 = 1") == "9 - 3 = 6 ; 6 - 5 = 1" != graph("9 - 3 = 6 ; 5 - 6 = 1")
    assert graph("7 + 1 = 8 ; 8 - 1 = 7") != graph("8 - 1 = 7 ; 7 + 1 = 8")  # each takes the other's result


def test_equal_values_are_one_place():
    """Which 8 a step takes is not in the text, so both orders of both readings are one; a step twice is not a step."""
    orders = itertools.permutations(["3 + 5 = 8", "2 * 4 = 8", "8 + 1 = 9"])
    assert len({graph(" ; ".join([*order, "8 + 9 = 17"])) for order in orders}) == 1
    assert graph("1 + 1 = 2 ; 1 + 1 = 2 ; 2 * 2 = 4") != graph("1 + 1 = 2 ; 2 * 2 = 4")
    # the price: 2 * 4 = 8 leads nowhere where 8 is a number, and is kept
    assert graph("2 * 4 = 8 ; 8 - 3 = 5") == "2 * 4 = 8 ; 8 - 3 = 5"


def test_every_order_of_every_solution_is_one_graph():
    """All right ways to reach a target, found by search, grouped by their graph: each order of a graph's steps that is
    right itself belongs to it."""
    task = countdown.make("train", levels=(4,))
    problem = countdown.Problem("3 5 7 9 -> 24 :", "", "a", 4)

    def ways(pool, steps):
        if len(pool) == 1:
            if pool[0] == 24:
                yield steps
            return
        for i, j in itertools.permutations(range(len(pool)), 2):
            rest = [pool[k] for k in range(len(pool)) if k not in (i, j)]
            for op, function in countdown.OPS.items():
                c = function(pool[i], pool[j])
                if 0 <= c <= 30:
                    yield from ways([*rest, c], [*steps, f"{pool[i]} {op} {pool[j]} = {c}"])

    texts = {" ; ".join(steps) for steps in ways([3, 5, 7, 9], [])}
    assert all(task.verify(problem, t) for t in texts)
    graphs = {graph(t) for t in texts}
    assert len(graphs) < len({task.solution(t) for t in texts}) < len(texts)
    for text in texts:
        *others, last = text.split(" ; ")
        for order in itertools.permutations(others):
            moved = " ; ".join([*order, last])
            assert not task.verify(problem, moved) or graph(moved) == graph(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "3 + 5", "3 + 5 = 8 ;", "3 + 5 = 8 7 + 9 = 16", "3 ^ 5 = 8", "3 + 05 = 8", "3 + 5 - 8", "3 + 5 = 31"],
)
def test_malformed_text_is_itself(text):
    assert graph(text) == " ".join(text.split())
    assert graph(f" {text}  ") == graph(text)


def test_long_text_is_itself():
    text = " ; ".join(["5 + 3 = 8"] * 500)
    assert graph(text) == text


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from("3 5 8 + - * = ; 9 x".split()), max_size=30).map(" ".join)))
def test_never_raises_and_is_a_fixed_point(text):
    assert graph(graph(text)) == graph(text)
