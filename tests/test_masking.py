import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    assert masking.masked_quantiles(X, none, (0.5,)) == 0.0
    assert np.isfinite(jax.grad(lambda x: masking.masked_mean(x, none))(jnp.ones((2, 3)))).all()


def test_groups_in_any_order():
    mean, std, size = masking.group_mean_std(jnp.array([1.0, 5.0, 3.0, 7.0]), jnp.array([9, 2, 9, 2]))
    np.testing.assert_allclose(mean, [2, 6, 2, 6])
    np.testing.assert_allclose(std, np.sqrt([2, 2, 2, 2]), rtol=1e-6)
    np.testing.assert_allclose(size, [2, 2, 2, 2])
