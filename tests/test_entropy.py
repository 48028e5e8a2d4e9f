import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import entropy


def table(rng, states=6, actions=8):
    """A random softmax policy and an advantage with mean 0 under it."""
    with jax.enable_x64(True):
        logits = jnp.asarray(rng.normal(size=(states, actions)))
        a = jnp.asarray(rng.normal(size=(states, actions)))
        return logits, a - jnp.sum(jax.nn.softmax(logits) * a, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    "theorem, gradient",
    [
        (entropy.change_policy_gradient, lambda z, a: jax.nn.softmax(z) * a),
        (entropy.change_natural_gradient, lambda z, a: a),
    ],
)
def test_theorems_hold_to_second_order(rng, theorem, gradient):
    """H(z + eta g) - H(z) - predicted = O(eta^2): halving eta quarters the error. Mutation: a factor of pi too many."""
    with jax.enable_x64(True):
        logits, advantage = table(rng)
        errors = []
        for eta in (0.04, 0.02, 0.01):
            measured = entropy.entropy_of(logits + eta * gradient(logits, advantage)) - entropy.entropy_of(logits)
            errors.append(np.abs(measured - theorem(logits, advantage, eta)).max())
            assert errors[-1] < 0.25 * np.abs(measured).max()
        np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 4.0, rtol=0.1)


def test_lemma_1_on_any_change_of_logits(rng):
    with jax.enable_x64(True):
        logits, change = table(rng)
        error = lambda e: np.abs(  # noqa: E731
            entropy.entropy_of(logits + e * change)
            - entropy.entropy_of(logits)
            - entropy.change_first_order(logits, logits + e * change)
        ).max()
        np.testing.assert_allclose(error(0.02) / error(0.01), 4.0, rtol=0.1)


def test_measured_change_by_hand():
    """From uniform over two to (3/4, 1/4), H falls from ln 2 to 0.5623; at uniform, first order is 0."""
    before = jnp.zeros((1, 2, 2))
    after = jnp.array([[[9.0, 0.0], [jnp.log(3.0), 0.0]]])
    out = entropy.measured_change(before, after, jnp.array([[False, True]]))
    np.testing.assert_allclose(out["entropy/change_measured"], 0.5623351 - np.log(2), rtol=1e-5)
    np.testing.assert_allclose(out["entropy/change_predicted"], 0.0, atol=1e-7)


def test_covariance_by_hand():
    logp = jnp.array([[-1.0, -3.0, 7.0]])
    advantage = jnp.array([[2.0, -2.0, jnp.nan]])
    mask = jnp.array([[True, True, False]])
    np.testing.assert_allclose(entropy.covariance(logp, advantage, mask), [[2.0, 2.0, 0.0]])


def test_record_tells_its_means_apart():
    """Responses of 1 and 3 tokens: token mean and mean of sequence means differ. Junk outside the mask is unseen."""
    h = jnp.array([[1.0, jnp.nan, jnp.nan], [0.0, 0.0, 0.6]])
    mask = jnp.array([[True, False, False], [True, True, True]])
    decisions = jnp.array([[True, True, True], [False, False, True]])
    out = entropy.record(h, jnp.where(mask, -h, jnp.nan), jnp.where(mask, 1.0, jnp.nan), mask, decisions)
    np.testing.assert_allclose(out["policy/entropy"], 0.4, rtol=1e-6)
    np.testing.assert_allclose(out["policy/entropy_sequence"], 0.6, rtol=1e-6)
    np.testing.assert_allclose(out["policy/entropy_low"], 0.5)
    np.testing.assert_allclose(out["policy/entropy_decisions"], 0.8, rtol=1e-6)
    np.testing.assert_allclose(out["policy/entropy_format"], 0.0)
    np.testing.assert_allclose(out["policy/entropy_p50"], 0.3, rtol=1e-6)
    np.testing.assert_allclose(out["policy/cov"], 0.0, atol=1e-7)
    assert all(np.isfinite(v) for v in out.values())
