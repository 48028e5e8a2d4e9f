import numpy as np
import pytest

from entropy_rl.laws.curves import CURVES

H = np.linspace(0.0, 2.0, 21)


def test_formulas_by_hand():
    assert CURVES["exp"].predict(np.log(2.0), 0.25, 1.0) == pytest.approx(0.5)
    assert CURVES["linear"].predict(0.5, 0.25, 1.0) == pytest.approx(0.875)
    assert CURVES["exp"].ceiling(0.25, 1.0) == 0.75  # -a + b, as the paper says below Eq. 6
    assert CURVES["linear"].ceiling(0.25, 1.0) == 1.0


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_rises_as_entropy_is_spent_to_its_ceiling(name):
    curve = CURVES[name]
    R = curve.predict(H, 0.3, 0.9)
    assert R.shape == H.shape
    assert (np.diff(R) < 0).all()
    assert R[0] == pytest.approx(curve.ceiling(0.3, 0.9))
    assert curve.formula.startswith("R = ") and curve.source
