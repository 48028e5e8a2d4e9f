"""entropy_rl/laws/paired.py: which seeds and problems are drawn together, and how often intervals hold the truth."""

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.laws.paired import difference, of_statistic

rng_of = np.random.default_rng

# shares of the variance of the mean that are seeds', problems' and noise, as in the module's table
SOURCES = {"a": (1, 0, 0), "a, b": (1, 1, 0), "a, b, e": (1, 1, 1), "b": (0, 1, 0), "e": (0, 0, 1)}
COVERAGE = {  # the module's table, "here": 3 seeds, 5 seeds
    "a": (90, 89),
    "a, b": (93, 92),
    "a, b, e": (96, 96),
    "b": (89, 88),
    "e": (99, 99),
}


def table(rng, seeds, problems, a, b, e):
    """[S, P] differences around 0; a, b, e in units of the standard error of the mean that each alone would leave."""
    of_seeds = a * np.sqrt(seeds) * rng.standard_normal(seeds)[:, None]
    of_problems = b * np.sqrt(problems) * rng.standard_normal(problems)
    return of_seeds + of_problems + e * np.sqrt(seeds * problems) * rng.standard_normal((seeds, problems))


def as_is(d, rng, draws):
    """The crossed bootstrap without any correction: all cells of the drawn seeds and problems."""
    seeds, problems = d.shape
    w = rng.multinomial(seeds, [1 / seeds] * seeds, draws) / seeds
    v = rng.multinomial(problems, [1 / problems] * problems, draws) / problems
    return np.quantile(((w @ d) * v).sum(1), [0.05, 0.95])


def test_the_mean_by_hand():
    """Mutation: y - x."""
    x, y = [[1.0, 0.5], [0.0, 0.75]], [[0.5, 0.5], [0.25, 0.0]]
    out = difference(x, y, rng_of(0))
    np.testing.assert_allclose(out.value, (0.5 + 0.0 - 0.25 + 0.75) / 4)
    assert out.low < out.value < out.high
    assert (out.seeds, out.problems, out.seeds_resampled, out.level) == (2, 2, True, 0.9)


def test_what_seeds_and_problems_share_cancels():
    """Arms that differ by a constant: no spread, however much problems and seeds differ. Mutation: arms apart."""
    y = table(rng_of(0), 3, 40, 1, 1, 1)
    out = difference(y + 0.25, y, rng_of(1))
    np.testing.assert_allclose([out.value, out.low, out.high], 0.25, rtol=1e-12)


def test_the_parts_by_hand():
    """Problems alone: the percentiles of two values are those values. Seeds alone: t of 2 degrees of freedom."""
    out = difference([[0.0, 1.0]], [[0.0, 0.0]], rng_of(0))
    assert (out.low, out.value, out.high) == (0.0, 0.5, 1.0)
    d = np.repeat([[-1.0], [0.0], [1.0]], 5, axis=1)
    out = difference(d, 0 * d, rng_of(0), draws=200_000)
    t = 2.92  # the 95 % quantile; the standard error is sqrt(1 / 3)
    np.testing.assert_allclose([-out.low, out.high], t * np.sqrt(1 / 3), rtol=0.12)


@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_is_that_of_the_docstring(seeds):
    """Mutations: without the first root 86 and 87 % for a, without the second 70 and 82 %."""
    rng, runs = rng_of(seeds), 600
    for name, shares in SOURCES.items():
        held = 0
        for _ in range(runs):
            d = table(rng, seeds, 60, *shares)
            out = difference(d, np.zeros_like(d), rng, draws=400)
            held += out.low <= 0 <= out.high
        want = COVERAGE[name][seeds == 5] / 100
        assert abs(held / runs - want) < 3.5 * np.sqrt(want * (1 - want) / runs), (name, held / runs)


def test_the_plain_crossed_bootstrap_is_too_narrow_where_seeds_differ():
    rng, held = rng_of(0), 0
    for _ in range(400):
        low, high = as_is(table(rng, 3, 60, 1, 0, 0), rng, 400)
        held += low <= 0 <= high
    assert 0.52 < held / 400 < 0.7, "as the module's table says"


def test_a_planted_difference_is_found():
    """Attempts at problems of all difficulties: 16 each, 3 seeds, a rise of 0.1 in the chance of most problems."""
    rng = rng_of(0)
    chance = rng.uniform(0, 0.9, 200)
    x, y = (rng.binomial(16, np.broadcast_to(p, (3, 200))) / 16 for p in (chance + 0.1, chance))
    out = difference(x, y, rng_of(1))
    assert out.low < 0.1 < out.high and 0.07 < out.low and out.high < 0.13
    back = difference(y, x, rng_of(1))
    np.testing.assert_allclose([back.value, back.low, back.high], [-out.value, -out.high, -out.low], atol=0.003)


def test_one_seed_resamples_problems_only():
    d = table(rng_of(0), 1, 50, 1, 1, 0)
    out = difference(d, 0 * d, rng_of(1), draws=20_000)
    assert not out.seeds_resampled and out.seeds == 1
    np.testing.assert_allclose(out.high - out.low, 2 * 1.645 * d.std() / np.sqrt(50), rtol=0.05)


def test_the_order_of_problems_and_seeds_is_no_matter_and_their_pairing_is():
    rng = rng_of(0)
    y = table(rng, 3, 40, 1, 1, 0)
    x = y + 0.1 * table(rng, 3, 40, 1, 1, 1)
    one = difference(x, y, rng_of(1), draws=20_000)
    order, seeds = rng.permutation(40), [2, 0, 1]
    other = difference(x[seeds][:, order], y[seeds][:, order], rng_of(1), draws=20_000)
    np.testing.assert_allclose([one.low, one.high], [other.low, other.high], atol=0.05 * (one.high - one.low))
    mixed = difference(x[:, order], y, rng_of(1))
    assert mixed.high - mixed.low > 3 * (one.high - one.low)


def test_equal_generators_give_equal_intervals_and_many_problems_fit():
    d = table(rng_of(0), 3, 3000, 1, 1, 1)
    one, two, three = (difference(d, 0 * d, rng_of(s), draws=1000) for s in (1, 1, 2))
    assert one == two != three
    assert difference(d, 0 * d, rng_of(1), draws=1000, level=0.5).high < one.high


@pytest.mark.parametrize(
    "x, y, how, message",
    [
        ([[1.0]], [[1.0, 2.0]], {}, r"tables of shapes \(1, 1\) and \(1, 2\): give the same seeds and problems"),
        ([1.0], [1.0], {}, r"\(1,\)"),
        ([[]], [[]], {}, "needs at least a seed and a problem"),
        ([[np.nan]], [[1.0]], {}, "not finite"),
        ([[1.0]], [[1.0]], {"level": 1.0}, "level 1: give a share between 0 and 1"),
        ([[1.0]], [[1.0]], {"draws": 99}, "99 bootstrap draws: give at least 100"),
    ],
)
def test_mistakes(x, y, how, message):
    with pytest.raises(InputError, match=message) as e:
        difference(x, y, rng_of(0), **how)
    assert "\n" not in str(e.value)


def test_a_statistic_that_is_a_mean_has_the_intervals_of_difference(rng):
    """Mutations: seeds left out of the moves; problems drawn for each seed by themselves."""
    x = rng.normal(size=(3, 200)) + rng.normal(size=(3, 1)) + rng.normal(size=200)
    zero = np.zeros_like(x)
    want = difference(x, zero, np.random.default_rng(0), draws=20000)
    got = of_statistic(lambda places: x[:, places].mean(axis=1), 200, np.random.default_rng(1), draws=20000)
    assert got.value == pytest.approx(want.value) and (got.seeds, got.problems) == (3, 200)
    for a, b in ((got.low, want.low), (got.high, want.high)):
        assert a - want.value == pytest.approx(b - want.value, rel=0.08)
    one = of_statistic(lambda places: x[:1, places].mean(axis=1), 200, np.random.default_rng(1))
    assert not one.seeds_resampled and one.high - one.low < got.high - got.low


def test_a_statistic_that_is_not_finite_is_refused(rng):
    with pytest.raises(InputError, match="not finite for some seed"):
        of_statistic(lambda places: [np.nan], 4, rng)
