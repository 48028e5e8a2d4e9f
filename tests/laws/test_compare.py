import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.laws import compare
from entropy_rl.laws.compare import (
    blocked_rmse,
    criteria,
    effective_size,
    heldout_rmse,
    identifiability,
    leave_one_run_out,
)
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import fit


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


@pytest.mark.parametrize("name", ["exp", "linear"])
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


def test_the_start_that_is_needed_is_enough():
    """Mutation: leave the stretch of the line's part out of `bend`."""
    found = identifiability(*planted("exp", start=0.25)[1:], np.random.default_rng(0))
    assert found.separation < 3 and 0.25 < found.H_needed < 2
    assert f"a start at {found.H_needed:.2g} nats would tell" in found.verdict
    rejected = []
    for seed in range(100):
        _, H, R = planted("exp", seed=seed)
        wide = 0.03 + (H - 0.03) / (0.3 - 0.03) * (found.H_needed - 0.03)
        R = R + CURVES["exp"].predict(wide, 1.2, 1.8) - CURVES["exp"].predict(H, 1.2, 1.8)
        rejected.append(identifiability(wide, R, np.random.default_rng(seed), draws=200).linear_rejected)
    assert np.mean(rejected) > 0.75  # 90 % if the noise that was measured is the noise there is


def test_no_start_is_enough_for_hopeless_noise_and_little_for_almost_none():
    H = np.geomspace(0.3, 0.03, 60)
    assert compare._needed(H, np.ones(60), 1e-12, 0.95) is None
    assert identifiability(*planted("exp", start=1.5, sd=1e-4)[1:], np.random.default_rng(0)).H_needed < 0.5


def test_blocked_error_is_of_the_stretches_between():
    H = np.linspace(1.0, 0.1, 20)
    R = 1 - H
    assert blocked_rmse(CURVES["linear"], H, R) == pytest.approx(0, abs=1e-12)
    ends = R.copy()
    ends[[0, 1, 18, 19]] += [0.1, -0.1, 0.1, -0.1]  # in the fit, but never predicted
    inner = R.copy()
    inner[10] += 0.8
    assert blocked_rmse(CURVES["linear"], H, ends) < 0.05
    # one of 16 predicted points is off by 0.8, the others by what it does to their fits
    assert blocked_rmse(CURVES["linear"], H, inner) == pytest.approx(0.8 / 4, rel=0.2)


def test_a_gap_keeps_the_neighbours_out_of_the_fit():
    H = np.linspace(1.0, 0.1, 12)
    R = 1 - H
    R[[3, 8]] += 5.0  # the neighbours of the one stretch inside, 4 to 7
    assert blocked_rmse(CURVES["linear"], H, R, folds=3) > 1
    assert blocked_rmse(CURVES["linear"], H, R, folds=3, gap=1) == pytest.approx(0, abs=1e-12)


def test_each_run_is_predicted_from_the_others():
    H = np.linspace(1.0, 0.1, 10)
    runs = [(H, 1 - H, None), (H, 1 - H, None), (H, 1.5 - H, None)]
    assert leave_one_run_out(CURVES["linear"], runs) == pytest.approx([0.25, 0.25, 0.5])
    with pytest.raises(InputError, match="at least 2"):
        leave_one_run_out(CURVES["linear"], runs[:1])


def test_correlated_points_count_for_fewer():
    assert effective_size(90, 0.8) == pytest.approx(10)
    assert effective_size(90, 0.0) == effective_size(90, -0.3) == 90


def test_criteria_by_hand():
    _, H, R = planted()
    found = fit(CURVES["exp"], H, R)
    aic, bic = criteria(found, CURVES["exp"], 10.0)
    assert aic == pytest.approx(10 * np.log(found.rmse**2) + 6)
    assert bic == pytest.approx(10 * np.log(found.rmse**2) + 3 * np.log(10))
    assert criteria(fit(CURVES["exp"], H, CURVES["exp"].predict(H, 1.2, 1.8)), CURVES["exp"], 10.0) is None


@pytest.mark.parametrize(("n", "folds", "message"), [(20, 2, "2 folds"), (4, 10, "2 folds of 4 points")])
def test_folds_must_leave_an_inside(n, folds, message):
    with pytest.raises(InputError, match=message):
        blocked_rmse(CURVES["exp"], np.linspace(1, 0, n), np.linspace(0, 1, n), folds=folds)
