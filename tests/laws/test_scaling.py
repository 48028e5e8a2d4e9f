import numpy as np
import pytest
from scipy import stats

from entropy_rl.errors import InputError
from entropy_rl.laws.scaling import scaling

N = np.array([0.36e9, 1.31e9, 2.77e9, 6.53e9, 31.0e9])


def test_a_line_in_the_logarithm():
    found = scaling(N, 0.1 + 0.05 * np.log(N))
    assert found.slope == pytest.approx(0.05) and found.intercept == pytest.approx(0.1)
    assert found.r2 == pytest.approx(1) and found.left_out == pytest.approx(0, abs=1e-9)
    assert found.predict(np.e * N[0])[0] == pytest.approx(0.1 + 0.05 * (np.log(N[0]) + 1))


def test_slope_interval_is_the_textbooks():
    values = 0.1 + 0.05 * np.log(N) + np.array([0.02, -0.01, 0.0, 0.01, -0.02])
    found, book = scaling(N, values, level=0.9), stats.linregress(np.log(N), values)
    half = stats.t.ppf(0.95, 3) * book.stderr
    assert found.slope_interval == pytest.approx((book.slope - half, book.slope + half))
    assert found.r2 == pytest.approx(book.rvalue**2)


def test_predictions_cover_new_models():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(500):
        values = 0.05 * np.log(N) + 0.02 * rng.standard_normal(5)
        _, low, high = scaling(N, values).predict(70e9)
        hits.append(low <= 0.05 * np.log(70e9) + 0.02 * rng.standard_normal() <= high)
    assert 0.86 < np.mean(hits) < 0.94


def test_the_largest_is_predicted_from_the_others():
    values = 0.05 * np.log(N)
    values[4] += 0.1
    assert scaling(N, values).left_out == pytest.approx(0.1)
    assert scaling(N[:3], values[:3]).left_out is None


@pytest.mark.parametrize(
    ("sizes", "values", "message"),
    [([1, 2], [1, 2], "at least 3"), ([1, 2, -3], [1, 2, 3], "positive"), ([2, 2, 2], [1, 2, 3], "not all the same")],
)
def test_refusals(sizes, values, message):
    with pytest.raises(InputError, match=message):
        scaling(sizes, values)
    with pytest.raises(InputError, match="level"):
        scaling(N, N, level=0.0)
