from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses import selection

AMONG = np.random.default_rng(0).random((6, 9)) < 0.6


def first(n, size=4000):
    """A mask of n tokens."""
    return (jnp.arange(size) < n)[None]


@pytest.mark.parametrize("n", [0, 1, 5, 27])
def test_counts_are_exact_and_within_the_candidates(n):
    """Under jit with a traced n. Mutation: `<=` instead of `<`."""
    assert AMONG.sum() > 27
    draw = jax.jit(selection.at_random)(jax.random.key(0), AMONG, jnp.int32(n))
    top = jax.jit(selection.highest)(jax.random.normal(jax.random.key(1), AMONG.shape), AMONG, jnp.int32(n))
    for chosen in (draw, top):
        assert chosen.sum() == n and not np.any(chosen & ~AMONG)


def test_fewer_candidates_than_asked_for_all_go_in():
    np.testing.assert_array_equal(selection.at_random(jax.random.key(0), AMONG, 1000), AMONG)
    np.testing.assert_array_equal(selection.highest(jnp.zeros(AMONG.shape), AMONG, 1000), AMONG)
    assert not np.any(selection.at_random(jax.random.key(0), np.zeros_like(AMONG), 3))


@pytest.mark.parametrize(
    "frac, n, want",
    [(0.01, 100, 1), (2e-4, 5000, 1), (2e-4, 4999, 0), (2e-3, 500, 1), (0.29, 100, 29), (0.1, 97, 9), (1.0, 97, 97)],
)
def test_counts(frac, n, want):
    """0.29 * 100 is 28.999999999999996 in float64, and int() makes 28 of it."""
    assert selection.count(first(n, 5000), frac) == want


def test_counts_are_the_floor_of_the_decimal_fraction():
    """For all N up to 4000. Mutation: floor(frac * N) in float32."""
    for text in (
        "0.0002",
        "0.002",
        "0.01",
        "0.05",
        "0.1",
        "0.13",
        "0.2",
        "0.53",
        "0.57",
        "0.7",
        "0.999",
        "0.123456",
        "1",
    ):
        got = jax.jit(jax.vmap(lambda n, f=float(text): selection.count(first(n), f)))(jnp.arange(4001))
        np.testing.assert_array_equal(got, [int(Fraction(text) * n) for n in range(4001)], err_msg=text)
    assert selection.count(first(3000), 1 / 3) == 1000  # more digits than int32 can take
    assert selection.count(first(97), 1e-12) == 0
    assert selection.count(first(97), 1) == selection.count(first(97), np.float32(1)) == 97


def test_the_reference_selects_at_least_one():
    """Mutation: the minimum in both scopes, or in neither."""
    assert selection.count(first(97), 2e-4, "minibatch") == 0
    assert selection.count(first(97), 2e-4, "microbatch") == 1
    assert selection.count(first(97), 0.1, "microbatch") == 9


@pytest.mark.parametrize(
    "frac, scope, message",
    [
        (2.0, "minibatch", "frac"),
        (-0.1, "minibatch", "frac"),
        (0.1, "all", "scope must be one of minibatch, microbatch"),
    ],
)
def test_mistakes(frac, scope, message):
    """A percentage where a fraction belongs is the documented trap of KL-Cov's scripts."""
    with pytest.raises(ValueError, match=message):
        selection.count(first(97), frac, scope)


def test_the_draw_is_the_keys():
    draw = lambda key: np.asarray(selection.at_random(key, AMONG, 5))  # noqa: E731
    np.testing.assert_array_equal(draw(jax.random.key(3)), draw(jax.random.key(3)))
    np.testing.assert_array_equal(draw(None), draw(jax.random.key(0)))
    assert np.any(draw(jax.random.key(3)) != draw(jax.random.key(4)))


def test_every_candidate_is_as_likely():
    """3 of 8, 4000 times: each within five standard deviations of 1500."""
    among = np.zeros((3, 5), bool)
    among.flat[[0, 2, 3, 7, 9, 11, 12, 14]] = True
    draws = jax.vmap(lambda key: selection.at_random(key, among, 3))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(draws.sum(0)[among], 1500, atol=5 * np.sqrt(4000 * 3 / 8 * 5 / 8))


def test_a_place_has_its_own_number():
    """Candidates that were not drawn can go without changing the draw. Mutation: permute the list of candidates."""
    key = jax.random.key(5)
    chosen = np.asarray(selection.at_random(key, AMONG, 5))
    fewer = AMONG & (chosen | (np.random.default_rng(1).random(AMONG.shape) < 0.5))
    assert fewer.sum() < AMONG.sum()
    np.testing.assert_array_equal(selection.at_random(key, fewer, 5), chosen)


def test_the_highest_go_in_and_ties_in_order():
    x = jnp.array([[1.0, 5.0, 2.0], [2.0, -7.0, 2.0]])
    among = jnp.array([[True, False, True], [True, True, True]])
    want = [[[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 0]], [[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 1]],
            [[1, 0, 1], [1, 0, 1]], [[1, 0, 1], [1, 1, 1]]]  # fmt: skip
    for n, chosen in enumerate(want):
        np.testing.assert_array_equal(selection.highest(x, among, n), np.array(chosen, bool))


def test_only_ties_know_the_order_of_rows(rng):
    x, order = rng.normal(size=AMONG.shape).astype(np.float32), rng.permutation(len(AMONG))
    chosen = selection.highest(x, AMONG, 7)
    np.testing.assert_array_equal(selection.highest(x[order], AMONG[order], 7), chosen[order])
    x = np.round(x)  # many ties: which of the lowest go in may change, their number and value do not
    values = lambda x, among: np.sort(x[np.asarray(selection.highest(x, among, 7))])  # noqa: E731
    np.testing.assert_array_equal(values(x[order], AMONG[order]), values(x, AMONG))
