"""math-verify behind exact values, within limits."""

import importlib.util

import pytest

from entropy_rl.answers import symbolic
from entropy_rl.answers.grade import Grader
from entropy_rl.answers.symbolic import Symbolic
from entropy_rl.answers.workers import Failure
from entropy_rl.errors import InputError

EQUAL = [
    ("2 \\cdot 2^x", "2^{x+1}"),
    ("\\log_2 8", "3"),
    ("\\sin(\\frac{\\pi}{6})", "1/2"),
    ("\\pi", "\\pi"),
    ("5", "5.0"),
]
OTHER = [
    ("\\sin(x)", "\\cos(x)"),
    ("2^x", "3^x"),
    ("\\frac{1}{3000!}", "\\frac{1}{3001!}"),
    ("e^{-99} \\sin 1", "e^{-98} \\sin 1"),
    ("\\sin(10^{-10})", "10^{-10}"),
    ("13", "12 or 13"),
    ("1", "2"),
    ("13", "the sum is 13"),
    ("", ""),
]
BOMB = ("1", "9^{9^{9^{9}}}")


@pytest.fixture(scope="module")
def shared():
    with Symbolic(seconds=3) as checker:
        yield checker


def test_equal_and_other(shared):
    """Mutation: the answer as text instead of one formula: "12 or 13" is 13 then."""
    assert shared.equal_all(EQUAL + OTHER) == [True] * len(EQUAL) + [False] * len(OTHER)


def test_a_bomb_costs_its_time_and_no_more(shared):
    """Mutation: math-verify's own alarms for the limit."""
    found = shared.equal_all([BOMB, EQUAL[0], BOMB])
    assert found[1] is True and found[0] == found[2] and found[0].reason in ("timeout", "memory", "died")


def test_exact_pairs_need_no_process():
    """Mutation: all pairs go to the workers."""
    with Symbolic() as checker:
        assert checker.equal_all([("1/2", "0.5"), ("1", "2"), ("\\sin 2", "x" * 2000)]) == [True, False, False]
        assert checker._workers[0].process is None


def test_without_the_extra(monkeypatch):
    """Mutation: an ImportError in the worker."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for make in (symbolic.require, Symbolic, lambda: Grader(symbolic=True)):
        with pytest.raises(InputError, match=r"math-verify: pip install 'entropy_rl\[tasks\]'$"):
            make()


def test_grader(monkeypatch):
    """Mutation: timeouts are counted as symbolic."""
    with Grader("boxed", symbolic=True, seconds=3) as grader:
        pairs = [(gold, f"so \\boxed{{{answer}}}") for gold, answer in [EQUAL[0], OTHER[0], EQUAL[4]]]
        assert grader.grade_all([*pairs, ("1", "nothing")]) == [1.0, 0.0, 1.0, 0.0]
        assert grader.counts == {"exact": 2, "symbolic": 2, "undecided": 0, "timeout": 0, "failed": 0}
        monkeypatch.setattr(Symbolic, "equal_all", lambda self, pairs: [Failure("timeout"), Failure("died"), True])
        undecided = [("\\sin 8", f"\\boxed{{\\sin {n}}}") for n in (1, 2, 3)]
        assert grader.grade_all(undecided) == [0.0, 0.0, 1.0]
        assert grader.counts == {"exact": 2, "symbolic": 3, "undecided": 0, "timeout": 1, "failed": 1}
