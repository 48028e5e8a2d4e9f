"""The solver's critiques against brute force, and mistakes that were planted."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_rl.methods.critique import flaws, oracle
from entropy_rl.methods.critique.sentences import Critique
from entropy_rl.tasks import countdown

TASK = countdown.make(levels=(3, 4, 5))


def words():
    """Texts over the words of steps, many of them nearly solutions."""
    number = st.integers(1, 12).map(str)
    step = st.tuples(number, st.sampled_from("+-*"), number, st.just("="), number).map(" ".join)
    return st.lists(st.one_of(step, step, st.sampled_from(["", ";", "=", "3 + 5", "x"])), max_size=4).map(" ; ".join)


def outcomes(pool):
    """Results of all sequences of one or more steps, by brute force."""
    found = set()
    for i, j in itertools.permutations(range(len(pool)), 2):
        rest = [x for k, x in enumerate(pool) if k not in (i, j)]
        for c in (pool[i] + pool[j], pool[i] - pool[j], pool[i] * pool[j]):
            if 0 <= c <= countdown.MAX_VALUE:
                found |= {c} | outcomes([*rest, c])
    return found


@pytest.mark.parametrize("pool", [(1, 1), (2, 9), (3, 5, 7), (1, 4, 4, 6), (2, 3, 7, 9)])
def test_reach_is_that_of_brute_force(pool):
    there = outcomes(list(pool))
    assert {v for v in range(countdown.MAX_VALUE + 1) if oracle.reaches(pool, v)} == there
    for target in there:
        steps = oracle.complete(pool, target, np.random.default_rng(target))
        prompt = f"{' '.join(map(str, pool))} -> {target} :"
        problem = countdown.Problem(prompt, "", "", len(pool))
        assert TASK.verify(problem, " ; ".join(steps)) == 1
    with pytest.raises(ValueError, match="no steps"):
        oracle.complete(pool, next(v for v in range(99) if v not in there), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("attempt", "step", "reason"),
    [
        ("3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24", None, ""),
        ("3 + 5 = 8 ; 8 + 9 = 18", 2, "arithmetic"),
        ("3 + 4 = 7 ; 7 + 9 = 16", 1, "operand"),
        ("3 + 3 = 6", 1, "operand"),  # there is one 3
        ("7 - 5 = 2 ; 2 + 3 = 5 ; 9 - 5 = 4", 2, "unreachable"),
        ("3 + 5 = 8 ; 7 + 9 = 16", 2, "target"),
        ("3 + 5 = 8 ; 7 + 9 = 16 ; 16 - 8 = 8", 3, "unreachable"),
        ("3 + 5 = 8 ;", 1, "format"),
        ("3 + 5 = 8;7 + 9 = 16 ; 8 + 16 = 24", 1, "format"),
        ("", 1, "format"),
        ("3 + 5 = 8 ; eight", 2, "format"),
    ],
)
def test_critiques_by_hand(attempt, step, reason):
    found = oracle.critique("3 5 7 9 -> 24 :", attempt, np.random.default_rng(0))
    assert (found.right, found.step, found.reason) == (step is None, step, reason)
    if step:
        problem = countdown.Problem("3 5 7 9 -> 24 :", "", "", 4)
        assert TASK.verify(problem, found.answer) == 1
        assert found.hint in found.answer.split(" ; ")
    without = oracle.critique("3 5 7 9 -> 24 :", attempt)
    assert without == Critique(step is None, step, reason)


def test_steps_after_the_target_are_wrong():
    found = oracle.critique("3 5 7 -> 8 :", "3 + 5 = 8 ; 8 + 7 = 15", np.random.default_rng(0))
    assert found == Critique(False, 2, "unreachable", "", "3 + 5 = 8")


@given(words(), st.integers(0, 10**6))
def test_right_exactly_where_the_verifier_says_so(attempt, i):
    problem = TASK[i % len(TASK)]
    found = oracle.critique(problem.prompt, attempt, np.random.default_rng(i))
    assert found.right == (TASK.verify(problem, attempt) == 1)
    if not found.right:
        assert TASK.verify(problem, found.answer) == 1


def test_what_is_no_problem_has_no_answer():
    assert oracle.critique("junk", "3 + 5 = 8", np.random.default_rng(0)) == Critique(False, 1, "operand")
    assert not oracle.critique("3 5 7 9 -> 24 :", "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24" + " " * 1000).right


@pytest.mark.parametrize("kind", flaws.KINDS)
def test_planted_mistakes_are_found(kind):
    rng, planted = np.random.default_rng(0), 0
    for i in range(60):
        problem = TASK[i]
        for at in range(1, 5):
            text = flaws.plant(problem.prompt, problem.answer, at, kind, rng)
            if text is not None:
                planted += 1
                found = oracle.critique(problem.prompt, text)
                assert (found.step, found.reason) == (at, kind)
    assert planted > 60


def test_mistakes_that_cannot_be_planted():
    rng = np.random.default_rng(0)
    assert flaws.plant("3 5 -> 8 :", "3 + 5 = 8", 2, "operand", rng) is None
    assert flaws.plant("2 2 -> 4 :", "2 + 2 = 4", 1, "arithmetic", rng) is not None
    with pytest.raises(ValueError, match="unknown kind"):
        flaws.plant("3 5 -> 8 :", "3 + 5 = 8", 1, "spelling", rng)
    with pytest.raises(ValueError, match="does not solve"):
        flaws.plant("3 5 7 -> 15 :", "3 + 5 = 9 ; 9 + 7 = 16", 2, "operand", rng)
