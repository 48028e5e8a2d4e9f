import numpy as np
import pytest

from entropy_rl.laws.curves import CURVES

H = np.linspace(0.0, 2.0, 21)


def test_formulas_by_hand():
    assert CURVES["exp"].predict(np.log(2.0), 0.25, 1.0) == pytest.approx(0.5)
    assert CURVES["linear"].predict(0.5, 0.25, 1.0) == pytest.approx(0.875)
    assert CURVES["exp"].ceiling(0.25, 1.0) == 0.75  # -a + b, as the paper says below Eq. 6
    assert CURVES["linear"].ceiling(0.25, 1.0) == 1.0


# A shape for each curve that has one, and where it is looked at.
SHAPES = {"exp_rate": (2.0,), "sigmoid": (0.5, 1.5), "power": (0.4,)}


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_rises_to_its_ceiling(name):
    """As entropy is spent, or as steps are made."""
    curve = CURVES[name]
    x = np.linspace(1e-3, 2.0, 21)
    R = curve.predict(x, 0.3, 0.9, *SHAPES.get(name, ()))
    assert R.shape == x.shape
    rises = np.diff(R) if curve.x == "step" else -np.diff(R)
    assert (rises > 0).all()
    nearly_the_end = curve.predict(1e12 if curve.x == "step" else 1e-12, 0.3, 0.9, *SHAPES.get(name, ()))
    if name == "log":
        assert curve.ceiling(0.3, 0.9) == np.inf and curve.ceiling(0.0, 0.9) == 0.9
    else:
        assert nearly_the_end == pytest.approx(curve.ceiling(0.3, 0.9), abs=1e-4)
    assert curve.formula.startswith("R = ") and curve.source
    assert curve.parameters == 2 + len(SHAPES.get(name, ()))


def test_exp_rate_holds_linear_and_the_law():
    linear, law = CURVES["linear"], CURVES["exp"]
    np.testing.assert_allclose(CURVES["exp_rate"].phi(H, 0.0), linear.phi(H))
    np.testing.assert_allclose(CURVES["exp_rate"].phi(H, 1e-6), linear.phi(H), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(CURVES["exp_rate"].predict(H, 0.3, 0.6, 1.0), law.predict(H, 0.3, 0.9))


def test_sigmoid_is_scalerls():
    """R_0 + (A - R_0) / (1 + (C_mid / C)^B), Khatri et al. 2025, Eq. 1."""
    C, A, R_0, mid, B = 30.0, 0.8, 0.2, 50.0, 1.7
    theirs = R_0 + (A - R_0) / (1 + (mid / C) ** B)
    assert CURVES["sigmoid"].predict(C, A - R_0, A, mid, B) == pytest.approx(theirs)
    assert CURVES["sigmoid"].predict(0.0, A - R_0, A, mid, B) == pytest.approx(R_0)
