import numpy as np
import pytest

from entropy_rl.laws.diagnose import ends, signs

N = 80
STEP = np.arange(N, dtype=float)
SPENT = np.geomspace(0.5, 0.03, N)


def noise(seed=0, sd=0.004):
    return sd * np.random.default_rng(seed).standard_normal(N)


def found(H, R, seed=0):
    return signs(STEP, H, R, np.random.default_rng(seed), draws=300)


def test_a_run_on_the_law_shows_nothing():
    for seed in range(10):
        assert found(SPENT, 1.8 - 0.9 * np.exp(SPENT) + noise(seed)) == []


def test_rising_entropy():
    (sign,) = found(SPENT[::-1], np.linspace(0.2, 0.6, N) + noise())
    assert sign.name == "rising entropy" and sign.forbids and "from 0.0317 to 0.474" in sign.text


def test_reward_that_falls_or_stands():
    (sign,) = found(SPENT, 0.3 + 0.5 * SPENT + noise())
    assert sign.name == "falling reward" and sign.forbids
    (sign,) = found(SPENT, 0.3 + noise())
    assert sign.name == "flat reward" and sign.forbids and "not established" in sign.text


def test_a_summit():
    """Reward that rises while entropy goes to 0.1 and then falls. Mutation: only one of the two conditions."""
    R = 0.7 - 0.4 * SPENT - 1.5 * np.clip(0.1 - SPENT, 0, None)
    (sign,) = found(SPENT, R + noise(sd=0.002))
    assert sign.name == "summit" and sign.forbids


def test_entropy_that_is_held_while_reward_rises():
    H = np.where(STEP < 20, 0.5 - 0.015 * STEP, 0.2) + 0.001 * np.sin(STEP)
    (sign,) = found(H, 0.2 + 0.005 * STEP + noise())
    assert sign.name == "held entropy" and sign.forbids and "held at 0.2" in sign.text
    # from the first step on: was called a flat reward. Mutation: without `never`
    (sign,) = found(0.6 + noise(1), 0.2 + 0.4 / (1 + np.exp(4 - STEP / 10)) + noise())
    assert sign.name == "held entropy" and "by 0.3" in sign.text
    # the same entropy, but reward saturates with it
    assert all(sign.name != "held entropy" for sign in found(H, 0.7 - 0.8 * H + noise()))


def test_entropy_that_is_spent_is_not_held():
    """The end of a collapse: still, but at nothing. Mutation: leave out how much of the start is left."""
    H = np.where(STEP < 20, 0.5 - 0.024 * STEP, 0.03) + 0.001 * np.sin(STEP)
    assert all(sign.name != "held entropy" for sign in found(H, 0.2 + 0.4 * (STEP / N) ** 0.5 + noise()))


def test_entropy_without_a_trend_does_not_rise():
    """It ends where it began, a little higher. Mutation: leave out the rank correlation."""
    H = 0.3 + 0.1 * np.cos(STEP / N * 4 * np.pi)
    H[-4:] += 0.02
    assert all(sign.name != "rising entropy" for sign in found(H, 1.8 - 0.9 * np.exp(H) + noise()))


def test_drift_is_said_but_forbids_nothing():
    (sign,) = found(SPENT, 1.8 - 0.9 * np.exp(SPENT) + 0.003 * STEP + noise())
    assert sign.name == "drift" and not sign.forbids and "+0.24" in sign.text


def test_bent_curves_have_no_summit():
    for phi in (np.sqrt, np.log, np.square):
        assert all(sign.name != "summit" for sign in found(SPENT, 0.7 - 0.1 * phi(SPENT) + noise()))


def test_ends_are_means_over_a_twentieth():
    values = np.arange(40.0)
    assert ends(values) == (0.5, 38.5) and ends(values[:10]) == (0.0, 9.0)


@pytest.mark.parametrize("n", [8, 12])
def test_short_runs_are_judged_too(n):
    H = np.geomspace(0.5, 0.05, n)
    R = 1.8 - 0.9 * np.exp(H) + 1e-3 * np.random.default_rng(0).standard_normal(n)
    assert not any(s.forbids for s in signs(np.arange(n), H, R, np.random.default_rng(0), draws=200))
