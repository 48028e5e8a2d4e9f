"""The Gaussian model of coverage and dilution: its formula, its top, and what data can say of it."""

import math

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.budget.dilution import expected, fit, interval, spread_of


def test_the_formula_by_hand():
    """N(0, 3) against N(2, 1): variance 4, density of 2 there is exp(-1/2) / sqrt(8 pi). And by integration."""
    assert np.isclose(expected(3.0, 1.0, 4.0), math.exp(-0.5) / math.sqrt(8 * math.pi))
    y = np.linspace(-30, 30, 60_001)
    normal = lambda y, mean, var: np.exp(-((y - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)  # noqa: E731
    assert np.isclose(expected(3.0, 1.0, 4.0), np.trapezoid(normal(y, 0, 3) * normal(y, 2, 1), y))


def test_the_best_spread_fills_the_gap():
    """dE/dsp^2 = 0 at sp^2 + sr^2 = (mu_r - mu_p)^2; with a reward wider than the gap it only falls."""
    spread = np.linspace(0, 12, 120_001)
    assert np.isclose(spread[expected(spread, 1.5, 5.0).argmax()], 3.5, atol=1e-3)
    assert (np.diff(expected(spread, 6.0, 5.0)) < 0).all()


def test_spread_of_a_gaussian():
    assert np.isclose(spread_of(0.5 * math.log(2 * math.pi * math.e * 2.7)), 2.7)


def planted(rng, top=6.0, noise=0.002, runs=6):
    spread = np.tile(np.linspace(0.2, top, 12), runs)
    return spread, 1.5 * expected(spread, 0.5, 2.5) + noise * rng.normal(size=len(spread)), np.repeat(range(runs), 12)


def test_planted_parameters_are_recovered():
    x, y, _ = planted(np.random.default_rng(0), noise=0.0)
    found = fit(x, y)
    assert np.allclose([found.amplitude, found.own, found.gap2, found.best], [1.5, 0.5, 2.5, 2.0], rtol=1e-4)
    assert np.allclose(found.amplitude * expected(x, found.own, found.gap2), y) and found.r2 > 0.999 > found.line_r2


def test_the_unit_of_spread_cannot_be_told():
    """Mutation: an amplitude that is not free."""
    x, y, _ = planted(np.random.default_rng(1))
    one, other = fit(x, y), fit(9 * x, y)
    assert np.allclose([other.gap2, other.own, other.best], 9 * np.array([one.gap2, one.own, one.best]), rtol=1e-3)
    assert np.isclose(other.amplitude, 3 * one.amplitude, rtol=1e-3)


def test_an_interval_where_both_sides_are_seen_and_a_plain_no_where_not():
    rng = np.random.default_rng(5)
    best = interval(*planted(rng, noise=0.01, runs=12), rng, draws=100)
    assert best.identified and best.low < 2.0 < best.high and best.high - best.low < 0.3
    only_rising = interval(*planted(rng, top=1.0), rng, draws=100)
    assert not only_rising.identified and "one side" in only_rising.why


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "at least 5"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, np.nan], "finite"),
        ([-1, 2, 3, 4, 5], [1, 2, 3, 4, 5], "0 or more"),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], "the same"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(InputError, match=message):
        fit(x, y)


def test_few_groups():
    x, y, groups = planted(np.random.default_rng(3), runs=2)
    with pytest.raises(InputError, match="at least 3 runs"):
        interval(x, y, groups, np.random.default_rng(0))
    with pytest.raises(InputError, match="level 2"):
        interval(x, y, np.arange(len(x)) % 4, np.random.default_rng(0), level=2)
