import json

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.laws.compare import analyse, heldout_rmse, identifiability
from entropy_rl.laws.curves import CURVES


def planted(name="exp", n=60, start=0.3, end=0.03, sd=0.01, seed=0, a=1.2, b=1.8):
    H = np.geomspace(start, end, n)
    return np.arange(n), H, CURVES[name].predict(H, a, b) + sd * np.random.default_rng(seed).standard_normal(n)


def test_heldout_error_is_of_the_later_points():
    H = np.linspace(1.0, 0.1, 10)
    R = 1 - H
    assert heldout_rmse(CURVES["linear"], H, R) == pytest.approx(0, abs=1e-12)
    R[7:] += 0.5  # exactly the points that are not fitted
    assert heldout_rmse(CURVES["linear"], H, R) == pytest.approx(0.5)
    assert heldout_rmse(CURVES["linear"], H, R, part=0.2) != pytest.approx(0.5)
    R[:7] += 0.5
    assert heldout_rmse(CURVES["linear"], H, R) == pytest.approx(0, abs=1e-12)


def test_heldout_error_prefers_the_true_curve_on_a_wide_range():
    _, H, R = planted("exp", start=1.5, a=0.2, b=0.9, sd=0.005)
    assert heldout_rmse(CURVES["exp"], H, R) < 0.2 * heldout_rmse(CURVES["linear"], H, R)


def test_heldout_weights_count_in_fit_and_error():
    H = np.linspace(1.0, 0.1, 10)
    R = 1 - H
    R[[7, 8, 9]] += [0.1, 0.0, 0.0]
    w = np.ones(10)
    w[7] = 2
    assert heldout_rmse(CURVES["linear"], H, R, weights=w) == pytest.approx(np.sqrt(2 * 0.01 / 4))


@pytest.mark.parametrize(("part", "message"), [(0.0, "holding out 0"), (0.95, "leaves 0 to fit|leaves 1 to fit")])
def test_heldout_part_must_leave_both_sides(part, message):
    with pytest.raises(InputError, match=message):
        heldout_rmse(CURVES["exp"], np.linspace(1, 0, 10), np.linspace(0, 1, 10), part)


def test_heldout_says_that_the_first_part_is_constant():
    with pytest.raises(InputError, match="first 7 of 10 points: entropy is constant"):
        heldout_rmse(CURVES["exp"], np.r_[np.full(7, 0.3), 0.2, 0.1, 0.0], np.linspace(0, 1, 10))


def test_a_narrow_range_cannot_tell():
    found = identifiability(*planted("exp", start=0.1)[1:], np.random.default_rng(0))
    assert not found.exp_rejected and not found.linear_rejected
    assert "cannot be told apart" in found.verdict and "H 0.03 to 0.1 nats" in found.verdict
    assert found.separation < 2 and found.max_difference < found.noise
    assert "\n" not in found.verdict


@pytest.mark.parametrize(("name", "rival"), [("exp", "linear"), ("linear", "exp")])
def test_a_wide_range_tells_which(name, rival):
    found = identifiability(*planted(name, start=1.5, a=0.3)[1:], np.random.default_rng(0))
    assert getattr(found, f"{rival}_rejected") and not getattr(found, f"{name}_rejected")
    assert f"{name} fits" in found.verdict and f"{rival} is rejected" in found.verdict
    assert found.separation > 5 and found.max_difference > found.noise


def test_neither_where_neither_bends_so():
    H = np.geomspace(0.5, 0.02, 80)
    R = 0.8 - 0.4 * np.sqrt(H) + 0.002 * np.random.default_rng(0).standard_normal(80)
    found = identifiability(H, R, np.random.default_rng(0))
    assert found.exp_rejected and found.linear_rejected and "both rejected" in found.verdict


@pytest.mark.parametrize("name", CURVES)
def test_the_true_curve_is_rejected_as_often_as_the_level_says(name):
    rng = np.random.default_rng(3)
    found = [identifiability(*planted(name, n=40, seed=s)[1:], rng, draws=100) for s in range(200)]
    assert np.mean([getattr(f, f"{name}_rejected") for f in found]) <= 0.1  # 5 % at the default level


def test_without_noise_the_true_curve_stands():
    for name, rival in (("exp", "linear"), ("linear", "exp")):
        found = identifiability(*planted(name, sd=0.0)[1:], np.random.default_rng(0))
        assert not getattr(found, f"{name}_rejected") and getattr(found, f"{rival}_rejected")


def test_numbers_of_the_two_fits():
    # R = exp(H) at H = 0 and ln 3 only, many times: both curves go through both points
    H = np.tile([0.0, np.log(3.0)], 10)
    found = identifiability(H, 4 - np.exp(H), np.random.default_rng(0))
    grid = np.linspace(0, np.log(3.0), 201)
    chord = np.abs((4 - np.exp(grid)) - (3 - 2 * grid / np.log(3.0))).max()
    assert found.max_difference == pytest.approx(chord)
    assert found.ceiling_difference == pytest.approx(0, abs=1e-9)


def test_law_json_has_its_schema():
    step, H, R = planted()
    law = analyse(step, H, R, level=0.8, draws=200)
    assert law["n"] == 60
    assert law["H"] == {"min": pytest.approx(0.03), "max": pytest.approx(0.3)}
    assert set(law["curves"]) == set(CURVES)
    for curve in law["curves"].values():
        assert set(curve) == {"a", "b", "ceiling", "rmse", "r2", "heldout_rmse"}
    assert law["ceiling"] == law["curves"]["exp"]["ceiling"]
    assert law["interval"]["level"] == 0.8
    for key in ("a", "b", "ceiling"):
        low, high = law["interval"][key]
        assert low < law["curves"]["exp"][key] < high
    assert isinstance(law["verdict"], str) and law["verdict"]
    assert json.loads(json.dumps(law, allow_nan=False)) == law


def test_order_of_rows_does_not_matter_but_the_step_does():
    step, H, R = planted(seed=4)
    shuffled = np.random.default_rng(0).permutation(60)
    assert analyse(step[shuffled], H[shuffled], R[shuffled], draws=200) == analyse(step, H, R, draws=200)
    assert analyse(step[::-1], H, R, draws=200) != analyse(step, H, R, draws=200)


def test_a_function_of_the_seed():
    data = planted()
    assert analyse(*data, draws=200, seed=1) == analyse(*data, draws=200, seed=1)
    assert analyse(*data, draws=200, seed=1)["interval"] != analyse(*data, draws=200, seed=2)["interval"]


def test_weights_reach_every_part():
    step, H, R = planted()
    w = np.linspace(1, 9, 60)
    law, plain = analyse(step, H, R, draws=200, weights=w), analyse(step, H, R, draws=200)
    assert law["curves"]["exp"]["heldout_rmse"] != plain["curves"]["exp"]["heldout_rmse"]
    assert law["interval"]["a"] != plain["interval"]["a"]
    assert law["identifiability"]["separation"] != plain["identifiability"]["separation"]


def test_no_law_is_forced_where_reward_rises_with_entropy():
    law = analyse(*planted(a=-0.5), draws=200)
    assert law["curves"]["exp"]["a"] < 0
    assert "does not fall" in law["verdict"] and "no law" in law["verdict"]
    step, H, _ = planted()
    assert "does not fall" in analyse(step, H, np.full(60, 0.3), draws=200)["verdict"]


def test_no_law_is_forced_on_noise():
    law = analyse(*planted(a=0.05, sd=0.5, seed=5), draws=200)
    assert law["interval"]["a"][0] < 0 < law["interval"]["a"][1]
    assert "no law is forced" in law["verdict"]


def test_steps_must_match():
    _, H, R = planted()
    with pytest.raises(InputError, match="step"):
        analyse(np.arange(59), H, R)
    with pytest.raises(InputError, match="step"):
        analyse(np.full(60, np.nan), H, R)
