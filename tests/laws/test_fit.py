import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares

from entropy_rl.errors import InputError
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import Fit, descend, fit, jacobian

H = np.geomspace(1.2, 0.02, 50)


@pytest.mark.parametrize("name", [name for name, curve in CURVES.items() if not curve.shape])
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
    log = CURVES["log"]
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


PLANTED = {"exp_rate": (1.7,), "sigmoid": (25.0, 1.4), "power": (0.35,)}


@pytest.mark.parametrize("name", PLANTED)
def test_shapes_are_found(name):
    curve, shape = CURVES[name], PLANTED[name]
    x = np.geomspace(1.5, 0.02, 60) if curve.x == "H" else np.arange(1.0, 201)
    found = fit(curve, x, curve.predict(x, 0.4, 0.9, *shape))
    assert found.shape == pytest.approx(shape, rel=1e-4)
    assert (found.a, found.b) == (pytest.approx(0.4, rel=1e-4), pytest.approx(0.9, rel=1e-4))
    noisy = curve.predict(x, 0.4, 0.9, *shape) + 0.01 * np.random.default_rng(0).standard_normal(len(x))
    best = fit(curve, x, noisy)
    nearby = [fit(CURVES["linear"], -curve.phi(x, *np.multiply(shape, s)), noisy).rmse for s in (0.95, 1.0, 1.05)]
    assert best.rmse <= min(nearby) + 1e-9  # no shape on either side does better


@pytest.mark.parametrize("start", [(0.5, 0.2), (40.0, 8.0), (3.0, 1.0)])
@pytest.mark.parametrize("high", [(50.0, 8.0), (2.5, 8.0), (2.5, 0.9)])
def test_the_descent_finds_what_scipys_does_within_the_box(start, high):
    """The least inside, on one bound and in a corner. Mutation: do not clip the step."""
    x = np.linspace(0.1, 10, 40)
    R = 1 / (1 + (x / 3.1) ** 1.3) + 0.01 * np.random.default_rng(0).standard_normal(40)
    start, low = np.minimum(start, high), (0.1, 0.1)

    def residual(shape):
        return 1 / (1 + (x / shape[0]) ** shape[1]) - R

    cost, found = descend(residual, start, low, high, (1.0, 1.0))
    theirs = least_squares(residual, (1.0, 0.5), bounds=(low, high), method="dogbox", ftol=1e-14)
    assert cost == pytest.approx(2 * theirs.cost, rel=1e-9)
    np.testing.assert_allclose(found, theirs.x, rtol=1e-5)


@pytest.mark.parametrize("name", CURVES)
def test_jacobian_is_the_derivative(name):
    curve, shape = CURVES[name], PLANTED.get(name, ())
    x = np.geomspace(1.5, 0.02, 10) if curve.x == "H" else np.arange(1.0, 101, 10)
    theta = np.array([0.4, 0.9, *shape])
    found = Fit(0.4, 0.9, 0.0, 0.0, 0.0, 10, shape)
    for i, column in enumerate(jacobian(curve, x, found).T):
        move = np.eye(len(theta))[i] * 1e-6
        slope = (curve.predict(x, *(theta + move)) - curve.predict(x, *(theta - move))) / 2e-6
        np.testing.assert_allclose(column, slope, rtol=1e-4, atol=1e-9)


def test_nonnegative_stops_at_0():
    H = np.geomspace(0.5, 0.05, 20)
    assert fit(CURVES["exp"], H, 0.2 + 0.3 * H).a < 0
    held = fit(CURVES["exp"], H, 0.2 + 0.3 * H, nonnegative=True)
    assert held.a == 0 and held.b == pytest.approx(np.mean(0.2 + 0.3 * H)) and held.ceiling == held.b
    assert fit(CURVES["exp"], H, 0.9 - H, nonnegative=True) == fit(CURVES["exp"], H, 0.9 - H)


def test_zero_steps_have_no_power():
    with pytest.raises(InputError, match="not finite for step from 0 to 9: it needs steps above 0"):
        fit(CURVES["power"], np.arange(10), np.arange(10) / 10)
