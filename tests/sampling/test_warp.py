import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.sampling import warp

SHARES = [0.4, 0.05, 0.3, 0.05, 0.2]  # in any order


def kept(logits):
    return (np.asarray(logits) > warp.NEVER / 2).tolist()


def logits(shares=SHARES):
    return jnp.log(jnp.array([shares, shares[::-1]]))


@pytest.mark.parametrize(
    "f, value, want",
    [
        (warp.top_k, 2, [1, 0, 1, 0, 0]),
        (warp.top_k, 4, [1, 1, 1, 1, 1]),  # equals of the fourth stay
        (warp.top_k, 0, [1, 1, 1, 1, 1]),
        (warp.top_k, 9, [1, 1, 1, 1, 1]),
        (warp.top_p, 0.39, [1, 0, 0, 0, 0]),
        (warp.top_p, 0.41, [1, 0, 1, 0, 0]),
        (warp.top_p, 0.69, [1, 0, 1, 0, 0]),
        (warp.top_p, 0.71, [1, 0, 1, 0, 1]),
        (warp.top_p, 0.91, [1, 1, 1, 1, 1]),
        (warp.top_p, 1.0, [1, 1, 1, 1, 1]),
        (warp.top_p, 1e-9, [1, 0, 0, 0, 0]),
        (warp.min_p, 0.74, [1, 0, 1, 0, 0]),
        (warp.min_p, 0.76, [1, 0, 0, 0, 0]),
        (warp.min_p, 0.0, [1, 1, 1, 1, 1]),
    ],
)
def test_by_hand(f, value, want):
    """Mutations: > for >= at a threshold, one halving too few."""
    both = kept(jax.jit(f, static_argnums=1)(logits(), value))
    assert both == [[bool(x) for x in row] for row in (want, want[::-1])]


def test_nucleus_of_a_large_vocabulary_is_that_of_a_sort(rng):
    z = rng.normal(size=(20, 5000)).astype("f4") * 3
    share = np.exp(z - z.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    order = np.argsort(-share, axis=-1)
    before = np.cumsum(np.take_along_axis(share, order, -1), -1, dtype="f8") - np.take_along_axis(share, order, -1)
    want = np.zeros(z.shape, bool)
    np.put_along_axis(want, order, before < 0.9, -1)
    got = np.array(kept(warp.top_p(jnp.asarray(z), 0.9)))
    # sums in float32 may end one token sooner or later
    assert (np.abs(got.sum(-1) - want.sum(-1)) <= 1).all() and (got & want).sum() >= 0.999 * want.sum()


def test_each_works_on_what_is_left():
    """Temperature 2 first, then the others. Mutation: the temperature last."""
    z = logits()
    want = warp.top_p(warp.temperature(z, 2.0), 0.6)
    np.testing.assert_array_equal(warp.truncated(z, 2.0, top_p=0.6), want)
    assert kept(want) != kept(warp.top_p(z, 0.6))
    # of the two that top_k leaves, .4 / .7 is not yet .58
    assert kept(warp.truncated(z, top_k=2, top_p=0.58))[0] == [True, False, True, False, False]
    np.testing.assert_array_equal(warp.truncated(z, top_k=2, top_p=0.58, min_p=0.9), warp.top_k(z, 1))
