"""Gradings that people reported as wrong elsewhere, by kind; cases.jsonl has the threads that they are from."""

import json
import pathlib

import pytest

from entropy_rl.answers.grade import Grader, quantity

CASES = [json.loads(line) for line in pathlib.Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
KINDS = sorted({case["kind"] for case in CASES})


@pytest.mark.parametrize("kind", KINDS)
def test_reported(kind):
    """Mutation: a response's last number instead of the formula around it; no words behind numbers; floats."""
    cases = [case for case in CASES if case["kind"] == kind]
    with Grader() as grader:
        wrong = [case for case in cases if grader.grade(case["gold"], case["response"]) != case["right"]]
    assert not wrong


@pytest.mark.slow
def test_reported_with_math_verify_behind():
    """What exactness decides is not handed on: 1/2004! is not 1/2006!. Mutation: symbolic before exact."""
    with Grader(symbolic=True) as grader:
        rewards = grader.grade_all([(case["gold"], case["response"]) for case in CASES])
    assert not [case for case, reward in zip(CASES, rewards) if reward != case["right"]]


@pytest.mark.parametrize(
    "gold, answer",
    [
        *[("5", "5 dozen"), ("5", "5 thousand"), ("12", "12 or 13"), ("2", "2 less than x"), ("5", "5 is wrong")],
        *[("3", "3 dogs and 2 cats"), ("3", "3 and a half"), ("5", "5 x"), ("5", "5 out of 7"), ("3", "3 for every 4")],
        *[
            ("5", "5 plus two"),
            ("5", "5 squared"),
            ("5", "5 percentage points of pi"),
            ("5", "five"),
            ("5", "5 but no"),
        ],
        *[("12", "(B) 13"), ("B", "C. 12"), ("18 eggs", "18 hens"), ("5", "5 to 7 days"), ("2", "2 hundred eggs")],
        *[("5 cm", "5 pencils of wood in a very long box that nobody has ever seen before in all of his days")],
    ],
)
def test_words_that_change_a_number(gold, answer):
    """Mutation: any words behind a number."""
    assert Grader().grade(gold, f"\\boxed{{{answer}}}") == 0.0
    assert Grader().grade(gold, f"The answer is {answer}.") == 0.0


def test_quantities():
    assert quantity("$460 for the week") == ("$460", "for the week") and quantity("460") == ("460", "")
    assert quantity("3 \\text{ bolts}") == ("3", "bolts") and quantity("\\frac{1}{2} \\text{ cup}")[1] == "cup"
    assert quantity("eggs") is quantity("") is quantity(None) is quantity("(1, 2)") is None


@pytest.mark.parametrize(
    "response, paid",
    [
        *[("so x = 3 and y = 5", False), ("It is 3 + 2", True), ("It is 3+2=5", True), ("a range of 0-5", False)],
        *[("The pairs are 3 and 5", False), ("It takes 5 hours", True), ("(in all 5)", True), ("**5**", True)],
        *[("Total - 5", True), ("we have x < 5", False), ("a share of 1/5", False), ("5\u20137", False)],
        *[("it is 5!", True), ("\\boxed{5}. Wait, let me check: yes, correct.", True), ("so x is 10/2", True)],
        *[("\\boxed{4}. Hmm, so the answer is 5.", True), ("<answer>The answer is 5</answer>", True)],
        *[("Question: how many?\n\\boxed{5}\n\nQuestion: and now?\n\\boxed{6}", True), ("\\boxed{5", False)],
    ],
)
def test_what_is_read_around_a_number(response, paid):
    assert Grader().grade("5", response) == paid, response
