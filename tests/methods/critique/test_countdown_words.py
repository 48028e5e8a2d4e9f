"""methods/critique/countdown_words.py: the first wrong line, why, and what could stand in its place."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest

from entropy_rl.answers import countdown
from entropy_rl.answers.trees import number
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import chat, countdown_words
from entropy_rl.methods.critique.sentences import LEVELS
from entropy_rl.tasks import countdown_words as tasks

NUMBERS, TARGET = (19, 36, 7, 5), 77

NO_EXPRESSION = "an expression of the numbers with + - * / and brackets."
CASES = [  # attempt, first wrong line, why
    ("19 + 36 = 54\n54 * 7 = 378", 1, "19 + 36 is 55, not 54."),
    ("Let us see.\n19 + 36 = 55\n55 * 8 = 440", 3, "8 is not there: the numbers are 7, 5 and 55."),
    ("19 + 36 = 55\n55 + 19 = 74", 2, "19 is not there: the numbers are 7, 5 and 55."),
    ("19 * 36 = 684", 1, "77 cannot be made of the numbers that it leaves, 7, 5 and 684."),
    ("19 + 36 = 55\n55 * 7 = 385", 2, "It stops at 385, not at 77, and leaves 5 unused."),
    ("19 + 36 = 55\n55 * 7 = 385\n385 - 5 = 380", 3, "It ends at 380, not at 77."),
    ("19 + 36 = 55\nnext = 3", 2, "It is not a step of the form a op b = c."),
    ("5 - 5 = 0", 1, "5 is not there: the numbers are 19, 36, 7 and 5."),
    ("I cannot.", 1, "There is no step of the form a op b = c."),
    ("<answer>(19 + 36) * 7</answer>", 1, "(19 + 36) * 7 is 385, not 77."),
    ("<answer>70 + 7</answer>", 1, "70 is not there, or is used twice: the numbers are 19, 36, 7 and 5."),
    ("so\n\\boxed{12}", 2, "The answer is 12, not 77."),
    ("<answer>(19 + 36) * 7 / 5 = 78</answer>", 1, "(19 + 36) * 7 / 5 is 77, not 78."),
    ("19 + 36 = 55\n<answer>so</answer>", 2, f"The answer is not {NO_EXPRESSION}"),
]


def of(attempt, rng=None, **kwargs):
    return countdown_words.critique(NUMBERS, TARGET, attempt, rng, **kwargs)


@pytest.mark.parametrize("attempt, line, why", CASES)
def test_the_first_wrong_line_and_why(attempt, line, why):
    """Mutation: only the last line is blamed; steps that leave the target out of reach pass."""
    found = of(attempt)
    assert not found.right and (found.step, found.steps[-1].explanation) == (line, why)
    assert len(found.steps) == line and all(step.right for step in found.steps[:-1])
    assert [step.text for step in found.steps] == chat.steps_of(attempt)[:line]
    assert chat.parse(chat.write(found)) == found


def test_a_right_attempt_and_an_empty_one():
    lines = ["19 + 36 = 55", "55 * 7 = 385", "385 / 5 = 77"]
    right = of("\n".join(lines), np.random.default_rng(0))
    assert right == chat.ChatCritique(True, tuple(chat.Step(line, True) for line in lines))
    empty = of(" \n")
    assert (empty.right, empty.steps, empty.explanation) == (False, (), "There is no answer in it.")


@pytest.mark.parametrize("attempt, line, why", CASES)
def test_hint_and_answer_lead_to_the_target(attempt, line, why, rng):
    """Mutation: the answer does without the steps that may stay."""
    found = of(attempt, rng)
    solution = found.explanation.partition("A solution is: ")[2].replace("; ", "\n")
    assert countdown.verify(NUMBERS, TARGET, solution) == 1, found
    assert found.steps[-1].explanation == why and chat.parse(chat.write(found)) == found
    said = of(attempt, rng, level="hint").steps[-1].explanation
    hint = said.partition(" step in its place is ")[2] or said.partition(" next step is ")[2]
    assert said.startswith(why)
    whole, hinted = (of(attempt, np.random.default_rng(5), level=level) for level in ("answer", "hint"))
    assert chat.limit(whole, "hint") == hinted and "\n".join(chat.solution(found)) == solution
    kept = attempt.split("\n")[: line - ("in its place" in said)]
    assert countdown.reached(NUMBERS, countdown.read("\n".join([*kept, hint])))[0], said


def test_levels_say_no_more(rng):
    """Mutation: the hint stands in the reason."""
    said = {level: of("19 + 36 = 54", np.random.default_rng(1), level=level) for level in LEVELS}
    assert said["verdict"] == chat.ChatCritique(False)
    assert said["step"] == chat.ChatCritique(False, (chat.Step("19 + 36 = 54", False),))
    assert said["reason"].steps[0].explanation == "19 + 36 is 55, not 54."
    assert "A good step in its place is" in said["hint"].steps[0].explanation and not said["hint"].explanation
    assert said["answer"] == of("19 + 36 = 54", np.random.default_rng(1)) and "A solution" in said["answer"].explanation
    for level in LEVELS:
        assert chat.limit(said["answer"], level) == said[level]
    with pytest.raises(InputError, match="critique level"):
        of("", level="why")


def test_right_if_and_only_if_the_verifier_says_so(rng):
    """On attempts of every kind: demonstrations whose lines are cut, swapped and changed."""
    task, verdicts = tasks.make("test", size=60, levels=(3, 4)), set()
    for problem in task.problems:
        lines = problem.demonstration.split("\n")
        for attempt in (lines, lines[:-1], lines[:-2], lines[1:], [lines[0].replace("=", "= 1"), *lines[1:]]):
            found = task.oracle(problem, "\n".join(attempt), rng)
            verdicts.add(found.right)
            assert found.right == task.verify(problem, "\n".join(attempt))
    assert verdicts == {True, False}


def everything(values):
    """All values of all expressions of the numbers, by brute force."""
    if len(values) == 1:
        return {values[0]}
    found = set()
    for i, j in itertools.combinations(range(len(values)), 2):
        a, b = values[i], values[j]
        rest = [v for k, v in enumerate(values) if k not in (i, j)]
        for c in [a + b, a - b, b - a, a * b, *([a / b] if b else []), *([b / a] if a else [])]:
            found |= everything([*rest, c])
    return found


@pytest.mark.parametrize("numbers", [(3, 3, 8, 8), (1, 5, 5, 5), (2, 9, 4), (7, 7, 7, 7), (0, 3, 4, 9)])
def test_the_search_finds_what_there_is(numbers, rng):
    """Against brute force; 8 / (3 - 8 / 3) = 24. Mutation: without x - y or x / y of the other order."""
    pool = tuple(map(number, numbers))
    there = everything([Fraction(n) for n in numbers])
    for target in {*range(-10, 40), *sorted(there)[::40]}:
        for draw in (None, rng):
            tree = countdown_words.solve(pool, target, draw)
            assert (tree is not None) == (target in there), target
            if tree is not None:
                assert tree.value == target and sorted(map(int, re.findall("[0-9]+", str(tree)))) == sorted(numbers)


def test_five_numbers_and_too_many():
    pool = tuple(map(number, (50, 25, 9, 4, 7)))
    assert countdown_words.solve(pool, 50 * 25 + 9 * 4 + 7).value == 1293
    assert countdown_words.solve(pool, 1284) is None
    assert countdown_words.solve((*pool, *pool), 50) is None
