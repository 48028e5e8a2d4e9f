import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.models.logprobs import categorical_stats, choice_stats, following, shifted


def reference(logits, targets):
    """Plain float64: log p(target) and entropy."""
    z = np.asarray(logits, np.float64)
    log_p = z - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)) - z.max(-1, keepdims=True)
    logp = np.take_along_axis(log_p, np.asarray(targets)[..., None], -1)[..., 0]
    return logp, -(np.exp(log_p) * log_p).sum(-1)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_values_against_float64(rng, scale):
    logits = rng.normal(size=(5, 7, 50)).astype(np.float32) * scale
    targets = rng.integers(0, 50, (5, 7))
    logp, entropy = categorical_stats(jnp.asarray(logits), jnp.asarray(targets))
    want_logp, want_entropy = reference(logits, targets)
    np.testing.assert_allclose(logp, want_logp, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(entropy, want_entropy, rtol=1e-5, atol=1e-5)


def test_gradient_by_hand_equals_autodiff(rng):
    logits = jnp.asarray(rng.normal(size=(6, 11)).astype(np.float32))
    targets = jnp.asarray(rng.integers(0, 11, 6))
    a, b = jnp.asarray(rng.normal(size=6), jnp.float32), jnp.asarray(rng.normal(size=6), jnp.float32)

    def plain(z):
        log_p = jax.nn.log_softmax(z)
        logp = jnp.take_along_axis(log_p, targets[:, None], 1)[:, 0]
        return jnp.sum(a * logp - b * jnp.sum(jnp.exp(log_p) * log_p, axis=1))

    def ours(z):
        logp, entropy = categorical_stats(z, targets)
        return jnp.sum(a * logp + b * entropy)

    np.testing.assert_allclose(jax.grad(ours)(logits), jax.grad(plain)(logits), atol=1e-6)


def test_extreme_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0], [0.0, 0.0, -jnp.inf]])
    logp, entropy = categorical_stats(logits[:1], jnp.array([0]))
    assert logp == 0.0 and entropy == 0.0
    assert np.isfinite(jax.grad(lambda z: categorical_stats(z, jnp.array([1]))[0].sum())(logits[:1])).all()


def logit_stats(logits, tokens, temperature=1.0):
    return tuple(map(shifted, choice_stats(logits, following(tokens), temperature)))


def test_the_shift():
    """Column t talks about token t: with logits that point at the next token, every log-prob but column 0 is near 0."""
    tokens = jnp.array([[3, 1, 4, 1, 5]])
    pointing = jax.nn.one_hot(jnp.roll(tokens, -1, axis=1), 6) * 100
    logp, entropy = logit_stats(pointing, tokens)
    np.testing.assert_allclose(logp, 0.0, atol=1e-6)
    wrong = jax.nn.one_hot(tokens, 6) * 100
    np.testing.assert_allclose(logit_stats(wrong, tokens)[0], [[0, -100, -100, -100, -100]], atol=1e-4)
    np.testing.assert_array_equal(shifted(pointing)[:, 1:], pointing[:, :-1])
    np.testing.assert_array_equal(shifted(pointing)[:, 0], 0.0)


def test_temperature_moves_logp_and_leaves_entropy(rng):
    logits = jnp.asarray(rng.normal(size=(2, 5, 9)).astype(np.float32))
    tokens = jnp.asarray(rng.integers(0, 9, (2, 5)))
    logp, entropy = logit_stats(logits, tokens, temperature=0.5)
    np.testing.assert_allclose(logp, logit_stats(logits * 2, tokens)[0], rtol=1e-6)
    np.testing.assert_allclose(entropy, logit_stats(logits, tokens)[1], rtol=1e-6)
