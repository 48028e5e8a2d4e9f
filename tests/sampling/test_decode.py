import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.sampling.decode import draw, uniform


def test_draw_by_hand():
    """p = (1/2, 0, 1/4, 1/4): the boundaries are at 0.5 and 0.75, and a token of probability 0 is never drawn."""
    logits = jnp.log(jnp.array([[0.5, 0.0, 0.25, 0.25]]))
    for u, want in [(0.0, 0), (0.499, 0), (0.5, 2), (0.749, 2), (0.75, 3), (0.9999999, 3)]:
        assert draw(logits, jnp.array([u]))[0] == want


def test_draw_never_falls_off_the_end():
    logits = jnp.array([[0.0, 0.0, -jnp.inf, -jnp.inf]])
    assert draw(logits, jnp.array([1.0]))[0] == 1


def test_frequencies_are_the_probabilities():
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, -3.0])
    u = uniform(jax.random.key(3), jnp.arange(20000), jnp.zeros(20000, jnp.int32))
    counts = np.bincount(draw(jnp.broadcast_to(logits, (20000, 5)), u), minlength=5) / 20000
    np.testing.assert_allclose(counts, jax.nn.softmax(logits), atol=0.01)


def test_noise_depends_on_request_and_position():
    key = jax.random.key(0)
    a = uniform(key, jnp.array([0, 0, 1]), jnp.array([5, 6, 5]))
    assert len(set(np.asarray(a).tolist())) == 3
    np.testing.assert_array_equal(uniform(key, jnp.array([1]), jnp.array([5])), a[2:])
