import numpy as np
import pytest
from scipy.optimize import curve_fit

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import CURVES, Curve
from entropy_rl.laws.fit import fit

H = np.geomspace(1.2, 0.02, 50)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_recovers_planted_parameters(name, scale):
    curve = CURVES[name]
    a, b = 0.18 * scale, 0.75 * scale
    f = fit(curve, H, curve.predict(H, a, b))
    assert (f.a, f.b, f.ceiling) == pytest.approx((a, b, curve.ceiling(a, b)), rel=1e-9)
    assert f.rmse < 1e-12 * scale and f.r2 == pytest.approx(1.0) and f.n == 50


def test_three_points_by_hand():
    # exp(H) = 1, 2, 3 and R = 3, 1, 2: slope -1/2, mean 2; residuals 1/2, -1, 1/2
    f = fit(CURVES["exp"], np.log([1.0, 2.0, 3.0]), [3.0, 1.0, 2.0])
    assert (f.a, f.b, f.ceiling) == pytest.approx((0.5, 3.0, 2.5))
    assert f.rmse == pytest.approx(np.sqrt(0.5))
    assert f.r2 == pytest.approx(0.25)


def test_agrees_with_an_iterative_fit_under_weights():
    rng = np.random.default_rng(0)
    R = CURVES["exp"].predict(H, 0.2, 0.8) + 0.02 * rng.standard_normal(50)
    w = rng.uniform(0.2, 5.0, 50)
    (a, b), _ = curve_fit(lambda h, a, b: b - a * np.exp(h), H, R, p0=(1.0, 1.0), sigma=w**-0.5)
    f = fit(CURVES["exp"], H, R, w)
    assert (f.a, f.b) == pytest.approx((a, b), rel=1e-6)
    e = R - CURVES["exp"].predict(H, a, b)
    assert f.rmse == pytest.approx(np.sqrt(np.average(e**2, weights=w)), rel=1e-6)
    mean = np.average(R, weights=w)
    assert f.r2 == pytest.approx(1 - np.average(e**2, weights=w) / np.average((R - mean) ** 2, weights=w))


def test_a_weight_of_two_is_the_point_twice():
    rng = np.random.default_rng(1)
    R = rng.random(50)
    w = np.where(np.arange(50) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(50), w.astype(int))
    one, two = fit(CURVES["exp"], H, R, w), fit(CURVES["exp"], H[twice], R[twice])
    assert (one.a, one.b, one.rmse, one.r2) == pytest.approx((two.a, two.b, two.rmse, two.r2))


def test_constant_reward_has_no_slope():
    # a weighted mean of equal numbers is not always that number: with these it is 1e-17 less
    f = fit(CURVES["exp"], H[:4], np.full(4, 0.1), np.linspace(0.3, 1.7, 4))
    assert (f.a, f.b, f.ceiling, f.rmse, f.r2) == (0.0, 0.1, 0.1, 0.0, 0.0)


def test_a_curve_may_have_no_ceiling():
    log = Curve("R = -a ln(H) + b", "", lambda h: np.log(h) if np.all(h) else -np.inf)
    f = fit(log, H, 0.5 - 0.1 * np.log(H))
    assert (f.a, f.b, f.ceiling) == pytest.approx((0.1, 0.5, np.inf))


@pytest.mark.parametrize(
    ("H", "R", "w", "message"),
    [
        ([0.1, 0.2], [1.0], None, "shapes"),
        ([[0.1, 0.2]], [[1.0, 2.0]], None, "shapes"),
        ([0.1, np.nan], [1.0, 2.0], None, "H is not finite at index 1"),
        ([0.1, 0.2], [np.inf, 2.0], None, "R is not finite at index 0"),
        ([0.1, 0.2], [1.0, 2.0], [1.0, 0.0], "weight 0 at index 1"),
        ([0.1], [1.0], None, "1 point"),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], None, "entropy is constant"),
        ([0.1, 800.0], [1.0, 2.0], None, "not finite for H from 0.1 to 800"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(H, R, w, message):
    with pytest.raises(InputError, match=message) as caught:
        fit(CURVES["exp"], H, R, w)
    assert "\n" not in str(caught.value)
