import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.sampling.decode import draw, noise

VOCAB = 151_936  # Qwen2's


def test_draw_by_hand():
    """Six tokens in three blocks: the block of the largest sum / E, then the token of the largest p / E in it."""
    logits = jnp.log(jnp.array([[0.2, 0.1, 0.0, 0.3, 0.25, 0.15]]))
    ones = [1.0, 1.0]
    for blocks, within, want in [
        ([1, 1, 1], ones, 4),  # .3, .3, .4
        ([1, 0.7, 1], ones, 3),  # .3 / .7 is above .4
        ([0.7, 0.71, 1], ones, 0),
        ([1, 1, 1], [1.0, 0.5], 5),
        ([1, 1e-3, 1], [1e-6, 1.0], 3),  # never one of probability 0
    ]:
        assert draw(logits, jnp.array([[*blocks, *within]]))[0] == want


def test_draw_never_falls_off_the_end():
    """Five tokens leave half a block empty, and two of them have no probability."""
    logits = jnp.array([[0.0, 0.0, -jnp.inf, -jnp.inf, -jnp.inf]])
    e = noise(jax.random.key(0), jnp.arange(999), jnp.zeros(999, jnp.int32), 5)
    some = jax.vmap(lambda e: draw(logits, e[None])[0])(e)
    assert set(np.asarray(some).tolist()) == {0, 1}


def test_frequencies_are_the_probabilities():
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, -3.0])
    e = noise(jax.random.key(3), jnp.arange(20000), jnp.zeros(20000, jnp.int32), 5)
    counts = np.bincount(draw(jnp.broadcast_to(logits, (20000, 5)), e), minlength=5) / 20000
    np.testing.assert_allclose(counts, jax.nn.softmax(logits), atol=0.01)


def test_noise_depends_on_request_and_position():
    key = jax.random.key(0)
    a = noise(key, jnp.array([0, 0, 1]), jnp.array([5, 6, 5]), 40)
    assert len(np.unique(a)) == a.size == 3 * (7 + 6)
    np.testing.assert_array_equal(noise(key, jnp.array([1]), jnp.array([5]), 40), a[2:])


def test_small_numbers_of_the_noise_are_as_fine_as_float32():
    """Of 4 million, those below 1e-4 all differ: a grid of 2^-23 has 838 there. Mutation: one word of 23 bits."""
    e = np.asarray(noise(jax.random.key(1), jnp.arange(5120), jnp.zeros(5120, jnp.int32), VOCAB)).ravel()
    small = np.sort(e[e < 1e-4])
    assert abs(len(small) / e.size / 1e-4 - 1) < 0.2 and e.min() > 0 and np.isfinite(e).all()
    assert len(np.unique(small)) == len(small)
    np.testing.assert_allclose([e.mean(), e.std(), np.median(e)], [1, 1, np.log(2)], rtol=5e-3)


def tail_draws(count, tail):
    """Tokens drawn from a confident state: all but `tail` on one token, the rest even over VOCAB - 1 others."""
    sure = VOCAB // 3
    p = np.full(VOCAB, tail / (VOCAB - 1))
    p[sure] = 1 - tail
    logits = jnp.log(jnp.asarray(p, jnp.float32))[None]
    key = jax.random.key(2)

    def one(request):
        return draw(logits, noise(key, request[None], jnp.zeros(1, jnp.int32), VOCAB))[0]

    got = np.asarray(jax.jit(lambda r: jax.lax.map(one, r, batch_size=4096))(jnp.arange(count)))
    return got[got != sure]


@pytest.mark.slow
def test_every_token_of_a_real_vocabulary_can_be_drawn():
    """Half a million draws, 1 in 500 from the tail: tokens are repeated as rarely as chance has it, 4 of 1,049.

    One 23-bit number reaches 16,777 tokens of this tail, and repeats 33. Mutation: `noise` of 23 bits.
    """
    got = tail_draws(1 << 19, 2e-3)
    assert abs(len(got) - 1049) < 4 * 32
    repeated = len(got) - len(np.unique(got))
    chance = len(got) ** 2 / 2 / VOCAB
    assert abs(repeated - chance) < 4 * chance**0.5
    # and from everywhere alike
    where = np.bincount(got * 16 // VOCAB, minlength=16)
    assert ((where - len(got) / 16) ** 2 / (len(got) / 16)).sum() < 37.7  # chi-square of 15, 1 in 1,000
