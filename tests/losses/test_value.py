import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.losses.value import clipped_value, explained_variance
from entropy_rl.losses.weights import token_mean

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "verl_losses.json").read_text())
VALUE, RETURNS, OLD = (jnp.asarray(GOLDEN["value"][k], jnp.float32) for k in ("pred", "ret", "old"))
MASK = jnp.asarray(GOLDEN["inputs"]["mask"]) > 0


def total(value, old=OLD, returns=RETURNS, mask=MASK):
    return jnp.sum(token_mean(mask) * clipped_value(value, old, returns, mask)[0])


def test_golden_loss_and_gradient():
    loss, grad = jax.value_and_grad(total)(VALUE)
    np.testing.assert_allclose(loss, GOLDEN["value"]["loss"], rtol=1e-6)
    np.testing.assert_allclose(grad, GOLDEN["value"]["grad"], atol=1e-6)


def test_by_hand():
    """The golden batch clips nowhere. Old values 0, clip 0.5; mutation: the minimum instead of the maximum."""
    value = jnp.array([[0.4, 1.0, -1.0, 1.0, 2.0]])
    returns = jnp.array([[1.0, 1.0, 1.0, 0.0, 1.0]])
    zero, mask = jnp.zeros((1, 5)), jnp.array([[True, True, True, True, False]])
    loss, marks = clipped_value(value, zero, returns, mask)
    np.testing.assert_allclose(loss, [[0.18, 0.125, 2.0, 0.5, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(marks["clip"], [[False, True, False, False, False]])
    grad = jax.grad(lambda v: jnp.sum(clipped_value(v, zero, returns, mask)[0]))(value)
    np.testing.assert_allclose(grad, [[-0.6, 0.0, -2.0, 1.0, 0.0]], rtol=1e-6)


def test_masked_junk_is_invisible():
    """Mutation: no `mask_out`."""
    junk = [jnp.where(MASK, x, jnp.nan) for x in (VALUE, OLD, RETURNS)]
    clean, dirty = (jax.value_and_grad(total)(*args) for args in ((VALUE, OLD, RETURNS), junk))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert explained_variance(junk[0], junk[2], MASK) == explained_variance(VALUE, RETURNS, MASK)


def test_nothing_masked_in_gives_zero():
    none = jnp.zeros_like(MASK)
    loss, grad = jax.value_and_grad(lambda v: total(v, mask=none))(VALUE)
    assert loss == 0.0 and not np.any(grad)
    assert explained_variance(VALUE, RETURNS, none) == 0.0


def test_jit_is_eager():
    for a, b in zip(
        jax.tree.leaves(jax.jit(clipped_value)(VALUE, OLD, RETURNS, MASK)),
        jax.tree.leaves(clipped_value(VALUE, OLD, RETURNS, MASK)),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_a_clip_that_is_not_above_zero_is_refused(clip):
    with pytest.raises(InputError, match="clip"):
        clipped_value(VALUE, OLD, RETURNS, MASK, clip=clip)


def test_explained_variance_by_hand():
    returns, mask = jnp.array([[1.0, 2.0, 3.0, 9.0]]), jnp.array([[True, True, True, False]])
    ev = lambda *v: explained_variance(jnp.array([[*v, 0.0]]), returns, mask)  # noqa: E731
    assert ev(1.0, 2.0, 3.0) == 1.0 and ev(6.0, 7.0, 8.0) == 1.0  # an offset is not variance
    assert ev(5.0, 5.0, 5.0) == 0.0
    np.testing.assert_allclose([ev(1.5, 2.0, 2.5), ev(3.0, 2.0, 1.0)], [0.75, -3.0], rtol=1e-6)


def test_explained_variance_of_constant_returns_is_zero():
    returns, mask = jnp.full((3, 7), 0.1), jnp.ones((3, 7), bool)
    assert explained_variance(jnp.arange(21.0).reshape(3, 7), returns, mask) == 0.0
