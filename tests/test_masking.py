import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from entropy_rl import masking

X = jnp.array([[1.0, 2.0, jnp.nan], [4.0, jnp.inf, 8.0]])
MASK = jnp.array([[True, True, False], [True, False, True]])


def test_masked_values_by_hand():
    assert masking.masked_sum(X, MASK) == 15.0
    assert masking.masked_mean(X, MASK) == 3.75
    np.testing.assert_allclose(masking.masked_mean(X, MASK, axis=1), [1.5, 6.0])
    np.testing.assert_allclose(masking.masked_std(X, MASK), np.std([1, 2, 4, 8]), rtol=1e-6)


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_quantiles_are_numpys(rng, q):
    x = rng.normal(size=(9, 13)).astype(np.float32)
    mask = rng.random((9, 13)) < 0.6
    junk = np.where(mask, x, np.nan)
    got = masking.masked_quantiles(jnp.asarray(junk), jnp.asarray(mask), (q,))
    np.testing.assert_allclose(got[0], np.quantile(x[mask], q), rtol=1e-5)


def test_nothing_masked_in_gives_zero():
    none = jnp.zeros_like(MASK)
    for f in (masking.masked_sum, masking.masked_mean, masking.masked_std):
        assert f(X, none) == 0.0
    assert not np.any(masking.whiten(X, none))
    assert masking.masked_quantiles(X, none, (0.5,)) == 0.0
    assert np.isfinite(jax.grad(lambda x: masking.masked_mean(x, none))(jnp.ones((2, 3)))).all()


def test_ranks_by_hand():
    """7, 7, -1, 3 and junk: places 2 and 3 are shared."""
    x = jnp.array([[7.0, jnp.nan, 7.0], [-1.0, 3.0, -jnp.inf]])
    mask = jnp.array([[True, False, True], [True, True, False]])
    np.testing.assert_array_equal(masking.masked_ranks(x, mask), [[2.5, 0, 2.5], [0, 1, 0]])


def test_rank_correlation_by_hand():
    """Ranks 0 1 2 3 against 1 0 2 3: 1 - 6 (1 + 1) / (4 * 15). The size of the values does not matter.

    Mutation: the correlation of the values.
    """
    x = jnp.array([-1e-9, 0.0, 1e-6, 1e6, jnp.nan])
    y = jnp.array([2.0, 1.0, 3.0, 4.0, 5.0])
    mask = jnp.array([True, True, True, True, False])
    np.testing.assert_allclose(masking.rank_correlation(x, y, mask), 0.8, rtol=1e-6)
    np.testing.assert_allclose(masking.rank_correlation(x, -y, mask), -0.8, rtol=1e-6)
    for constant in (jnp.ones(5), jnp.full(5, jnp.nan)):
        assert masking.rank_correlation(x, constant, mask & (x == 0)) == 0.0
    assert masking.rank_correlation(x, jnp.ones(5), mask) == 0.0
    assert masking.rank_correlation(x, y, jnp.zeros(5, bool)) == 0.0


@pytest.mark.parametrize("decimals", [0, 7])
def test_rank_correlation_is_scipys(rng, decimals):
    """With many ties and with none, on skewed values. Mutation: ranks of ties by their place in the array."""
    x, noise = rng.normal(size=(2, 40, 30))
    x, y = (np.round(v**3, decimals).astype(np.float32) for v in (x, x + noise))
    mask = rng.random((40, 30)) < 0.6
    want = scipy.stats.spearmanr(x[mask], y[mask]).statistic
    junk = np.where(mask, x, np.nan), np.where(mask, y, np.inf)
    np.testing.assert_allclose(jax.jit(masking.rank_correlation)(*junk, mask), want, rtol=1e-5)
    ranks = masking.masked_ranks(junk[0], mask)
    np.testing.assert_array_equal(ranks[mask], scipy.stats.rankdata(x[mask]) - 1)


def test_groups_in_any_order():
    mean, std, size = masking.group_mean_std(jnp.array([1.0, 5.0, 3.0, 7.0]), jnp.array([9, 2, 9, 2]))
    np.testing.assert_allclose(mean, [2, 6, 2, 6])
    np.testing.assert_allclose(std, np.sqrt([2, 2, 2, 2]), rtol=1e-6)
    np.testing.assert_allclose(size, [2, 2, 2, 2])


def test_whitening_by_hand():
    """Mutations: the population's variance; what is masked out counted."""
    got = masking.whiten(X, MASK)
    scale = np.std([1, 2, 4, 8], ddof=1)
    np.testing.assert_allclose(got, np.array([[-2.75, -1.75, 0], [0.25, 0, 4.25]]) / scale, rtol=1e-6)
    assert not np.any(masking.whiten(X, jnp.zeros_like(MASK).at[0, 1].set(True)))
    assert not np.any(masking.whiten(jnp.full((2, 3), 7.0), MASK))


@pytest.mark.parametrize("q", [0.0, 0.2, 0.4, 0.5, 0.6, 0.77, 1.0])
def test_quantiles_of_groups_are_numpys(rng, q):
    """Groups of 1 to 12, in any order. Mutation: places among all the rows instead of the group's."""
    group = rng.permutation(np.repeat([5, -3, 8, 0, 2], [1, 2, 6, 11, 12]))
    x = rng.normal(size=32).astype(np.float32)
    want = [np.quantile(x[group == g], q) for g in group]
    got = masking.group_quantile(jnp.asarray(x), jnp.asarray(group), q)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(masking.group_quantile, static_argnums=2)(x, group, q), got, rtol=1e-6)


@pytest.mark.parametrize("k", range(1, 10))
def test_a_quantile_that_is_one_of_the_values_is_exactly_it(k):
    """q (n - 1) is a whole number, in float32 only nearly: no trace of the next value. Mutation: no rounding."""
    for n in (11, 51, 101, 201):
        x = jnp.where(jnp.arange(n) <= k * (n - 1) // 10, 0.0, 1.0)
        assert not np.any(masking.group_quantile(x, jnp.zeros(n, jnp.int32), k / 10))
