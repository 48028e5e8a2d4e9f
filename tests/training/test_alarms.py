"""training/alarms.py: what stops the learning is said once, when it has held long enough, and by its cause."""

import json
import re

import pytest

from entropy_rl.training.alarms import LATE, SOON, LearningAlarm

GOOD = {
    **{"rollout/reward": 0.5, "rollout/solved": 0.5, "rollout/zero_variance": 0.5, "rollout/truncated": 0.1},
    **{"rollout/length": 9.0, "update/grad_norm": 0.3},
}
ALIKE = {"rollout/zero_variance": 1.0, "update/grad_norm": 0.0}
WRONG = {**ALIKE, "rollout/solved": 0.0, "rollout/reward": 0.0}


def said(rows, **how):
    """Messages by step."""
    alarm = LearningAlarm(**how)
    return {i: m for i, row in enumerate(rows) if (m := alarm.observe(i, GOOD | row))}


@pytest.mark.parametrize(
    "row, steps, message",
    [
        ({**WRONG, "rollout/truncated": 1.0}, SOON, "every response was cut off .*: raise prompt.response_length"),
        ({**WRONG, "rollout/length": 1.0}, SOON, "every response ends with its first token.*prompt.style"),
        (WRONG, LATE, "every response is wrong.*config.init.*easier problems"),
        ({**ALIKE, "rollout/solved": 1.0, "rollout/reward": 1.0}, LATE, "every group is solved.*harder problems"),
        (ALIKE, LATE, "no group's rewards differ .mean reward 0.5.: give problems of middle difficulty"),
        ({"update/grad_norm": 0.0}, LATE, "the gradient is 0"),
    ],
)
def test_each_is_said_once_and_by_its_cause(row, steps, message):
    """Mutation: counts that no good row ends; said again; the consequence said before the cause."""
    [(at, text)] = said([row] * 30).items()
    assert at == steps - 1 and text.startswith(f"nothing is learnt in steps 0 to {at}: ") and "\n" not in text
    assert re.search(message, text), text
    assert said(([row] * (steps - 1) + [{}]) * 5) == {}
    assert list(said([{}] * 4 + [row] * steps)) == [3 + steps]


def test_what_teaches_otherwise_is_left_alone():
    """Mutation: the share of equal groups alone."""
    still = ALIKE | {"update/grad_norm": 0.1}
    assert said([still] * 30, shaped=True) == {} and said([still] * 30, grouped=False) == {}
    assert list(said([WRONG | {"update/grad_norm": 0.1}] * 30, grouped=False)) == [LATE - 1]
    assert said([{k: v for k, v in GOOD.items() if k != "update/grad_norm"}] * 30) == {}, "a critic warms up"


def test_it_goes_on_from_json():
    alarm, again = LearningAlarm(), LearningAlarm()
    for step in range(LATE - 1):
        assert alarm.observe(step, GOOD | WRONG) is None
    again.state = json.loads(json.dumps(alarm.state))
    assert f"steps 0 to {LATE - 1}" in again.observe(LATE - 1, GOOD | WRONG)
    assert again.observe(LATE, GOOD | WRONG) is None
