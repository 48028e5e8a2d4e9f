import dataclasses
import json

import numpy as np
import pytest

from entropy_rl.entropy.controllers import CONTROLLERS, EntropyAlarm
from entropy_rl.errors import InputError

HPARAMS = {
    "adaptive": {"target": 0.3, "delta": 0.25, "high": 1.0},
    "constant": {"value": 0.7},
    "schedule": {"start": 1.0, "end": 0.0, "steps": 4},
    "target": {"target": 0.3, "kp": 0.5, "ki": 0.05, "high": 2.0},
}


def coefs(controller, entropies):
    state, out = controller.init(), []
    for h in entropies:
        coef, state = controller.step(state, h)
        out.append(coef)
    return out


def test_constant():
    assert coefs(CONTROLLERS["constant"](value=0.01), [0.5, 0.1]) == [0.01, 0.01]


def test_schedule_by_hand():
    linear = CONTROLLERS["schedule"](start=1.0, end=3.0, steps=4)
    np.testing.assert_allclose(coefs(linear, [9.0] * 6), [1, 1.5, 2, 2.5, 3, 3])
    cosine = CONTROLLERS["schedule"](start=1.0, end=3.0, steps=4, shape="cosine")
    np.testing.assert_allclose(coefs(cosine, [9.0] * 6), [1, 2 - 0.5**0.5, 2, 2 + 0.5**0.5, 3, 3])


def test_adaptive_by_hand():
    """alpha is 0 1 2 3 2 1 2 2.5 (the bound) in units of 1e-4 before each step, and used below the target alone.

    Mutations: used after it was changed; used above the target too; no bounds.
    """
    controller = CONTROLLERS["adaptive"](high=2.5e-4)
    got = coefs(controller, [0.1, 0.1, 0.1, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(got, [0, 1e-4, 2e-4, 0, 0, 0.5e-4, 1.5e-4, 2.5e-4, 2.5e-4], atol=1e-12)
    assert coefs(controller, [0.9] * 5 + [0.1]) == [0.0] * 6  # never below the lower bound


def test_adaptive_has_skyworks_constants():
    got = coefs(CONTROLLERS["adaptive"](), [0.199] * 60 + [0.2, 0.199])
    np.testing.assert_allclose(got[:3], [0, 1e-4, 2e-4])
    np.testing.assert_allclose(got[-3:], [0.005, 0.0, 0.0049])


def test_target_by_hand():
    """Mutations: the old error; an integral that goes on beyond a bound; no proportional part."""
    controller = CONTROLLERS["target"](target=1.0, kp=2.0, ki=1.0, high=5.0)
    got = coefs(controller, [0.5, 0.5, 1.0, 2.0, -1.0, -1.0, 1.0, 1.2])
    #  e                     .5   .5   0    -1    2     2    0    -.2
    #  u               1+.5=1.5   1+1  0+1  -2+0  4+3   4+3  1+0  -.4+.8
    #  I                     .5   1    1    1     1     1    1    .8
    np.testing.assert_allclose(got, [1.5, 2.0, 1.0, 0.0, 5.0, 5.0, 1.0, 0.4], atol=1e-12)


@pytest.mark.parametrize(
    "name, hparams, offender",
    [
        ("schedule", {"start": 0, "end": 1, "steps": 0}, "steps"),
        ("schedule", {"start": 0, "end": 1, "steps": 9, "shape": "liner"}, "linear"),
        ("adaptive", {"delta": 0.0}, "delta"),
        ("adaptive", {"start": 0.1}, "start"),
        ("adaptive", {"low": 0.1}, "low"),
        ("target", {"target": 1, "kp": 1, "ki": -1, "high": 1}, "kp"),
        ("target", {"target": 1, "kp": 0, "ki": 0, "high": 1}, "kp"),
        ("target", {"target": 1, "kp": 1, "ki": 1, "high": -1}, "high"),
    ],
)
def test_bad_values_are_named(name, hparams, offender):
    with pytest.raises(InputError, match=offender):
        CONTROLLERS[name](**hparams)


@pytest.mark.parametrize("name", CONTROLLERS)
class TestLaws:
    """What holds for every row of the table."""

    def test_a_restart_from_json_gives_the_same_numbers(self, name, rng):
        """numpy's numbers too. Mutation: the state keeps the observed value as it came."""
        controller, entropies = CONTROLLERS[name](**HPARAMS[name]), rng.random(20).astype(np.float32)
        whole, state, parts = coefs(controller, entropies), controller.init(), []
        for h in entropies:
            coef, state = controller.step(state, h)
            state = json.loads(json.dumps(state))
            parts.append(coef)
        assert parts == whole
        assert all(type(x) is float for x in whole)

    def test_step_changes_nothing_in_place(self, name):
        controller = CONTROLLERS[name](**HPARAMS[name])
        state = controller.init()
        before = dict(state)
        assert controller.step(state, 0.1) == controller.step(state, 0.1)
        assert state == before == controller.init()

    def test_the_coefficient_knows_no_later_entropy(self, name):
        controller = CONTROLLERS[name](**HPARAMS[name])
        assert coefs(controller, [0.1, 0.4, 0.2])[:2] == coefs(controller, [0.1, 0.4, 9.0])[:2]


def run(controller, gains, entropy=0.7, state=None):
    """Entropy decays by a tenth a step and the bonus raises it: H' = 0.9 H + 0.1 gain c. -> (H, c, state)."""
    state, h, c = controller.init() if state is None else state, [entropy], []
    for gain in gains:
        coef, state = controller.step(state, h[-1])
        c.append(coef)
        h.append(0.9 * h[-1] + 0.1 * gain * coef)
    return np.array(h), np.array(c), state


class TestClosedLoop:
    """A toy policy whose entropy decays to 0 without a bonus."""

    hparams = {"target": 0.3, "kp": 0.1, "ki": 0.01, "high": 0.1}

    def test_a_constant_bonus_misses_the_target_and_the_controller_settles_at_it(self):
        """For gains from 5 to 20: what a coefficient is worth need not be known. Mutation: ki = 0."""
        for gain in (5.0, 10.0, 20.0):
            h, c, _ = run(CONTROLLERS["target"](**self.hparams), [gain] * 200)
            assert np.all(np.abs(h[150:] - 0.3) < 0.05 * 0.3)
            assert np.all((c >= 0) & (c <= 0.1))
            np.testing.assert_allclose(c[-1], 0.3 / gain, rtol=0.02)
        missed = [run(CONTROLLERS["constant"](value=0.03), [gain] * 200)[0][-1] for gain in (5.0, 20.0)]
        np.testing.assert_allclose(missed, [0.15, 0.6], rtol=1e-6)

    def test_it_recovers_at_once_after_saturation(self):
        """400 steps in which no bonus below the bound is enough, then a third of it is.

        Mutation: integrate always. The entropy then goes to 0.99 and is not back at the end.
        """
        h, c, _ = run(CONTROLLERS["target"](**self.hparams), [2.0] * 400 + [10.0] * 100)
        assert np.all(c[100:400] == 0.1) and h[400] < 0.21
        assert h[400:].max() < 0.55
        assert np.all(np.abs(h[460:] - 0.3) < 0.05 * 0.3)

    def test_it_waits_above_the_target_with_no_debt(self):
        """The entropy of a fresh policy is far above the target: the bonus is 0 and starts as soon as it is needed."""
        h, c, state = run(CONTROLLERS["target"](**self.hparams), [10.0] * 60, entropy=5.0)
        below = int(np.argmax(h < 0.3))
        assert not np.any(c[:below]) and c[below] > 0
        assert (
            h.min() > 0.15 and abs(run(CONTROLLERS["target"](**self.hparams), [10.0] * 200, 5.0)[0][-1] - 0.3) < 0.015
        )

    def test_skyworks_rule_keeps_the_entropy_near_the_target(self):
        """It swings about it, for alpha moves at its own pace: within a third here."""
        controller = CONTROLLERS["adaptive"](target=0.3, delta=1e-3, high=0.1)
        h, c, _ = run(controller, [10.0] * 2000)
        assert np.all(np.abs(h[1000:] - 0.3) < 0.1)
        assert np.all((c >= 0) & (c <= 0.1))

    def test_with_gains_below_zero_it_controls_what_a_coefficient_lowers(self):
        """A KL that grows and that the coefficient holds down, KL' = 0.9 KL + 0.1 growth / (1 + 20 c): first by more
        than the bound of c can hold, then by less. Mutation: the sign of the error alone says what saturates."""
        controller = CONTROLLERS["target"](target=0.25, kp=-0.1, ki=-0.02, high=1.0)
        state, kl, seen = controller.init(), 0.0, []
        for growth in [20.0] * 400 + [1.0] * 400:
            coef, state = controller.step(state, kl)
            kl = 0.9 * kl + 0.1 * growth / (1 + 20 * coef)
            seen.append(coef)
        assert np.all(np.array(seen[100:400]) == 1.0)
        np.testing.assert_allclose([kl, coef], [0.25, 0.15], rtol=0.05)


def test_collapse_and_explosion_are_said_once():
    alarm = EntropyAlarm(collapse=0.5, explosion=2.0)
    assert alarm.observe(0, 0.4, 0.1) is None
    assert alarm.observe(1, 0.3, 0.1) is None
    message = alarm.observe(2, 0.1, 0.5)
    assert "collapse at step 2" in message and "25%" in message and "0.4 at the start" in message
    assert alarm.observe(3, 0.1, 0.5) is None
    assert "explosion at step 4" in alarm.observe(4, 0.9, 0.5)


def test_its_memory_survives_a_restart():
    alarm = EntropyAlarm(collapse=0.5, explosion=2.0)
    alarm.observe(0, 0.4, 0.1), alarm.observe(1, 0.1, 0.1)
    again = EntropyAlarm(**dataclasses.asdict(alarm))
    assert again.observe(2, 0.1, 0.1) is None and again.first == 0.4
