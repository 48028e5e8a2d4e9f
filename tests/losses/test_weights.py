import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses.weights import WEIGHTS

MASK = jnp.array([[True, True, True, False], [False, True, False, False], [False] * 4])
HPARAMS = {"fixed_length": {"length": 10}}


@pytest.mark.parametrize(
    "name, want",
    [
        ("token_mean", [[0.25, 0.25, 0.25, 0], [0, 0.25, 0, 0], [0] * 4]),
        ("sequence_mean", [[1 / 6, 1 / 6, 1 / 6, 0], [0, 0.5, 0, 0], [0] * 4]),
        ("sequence_sum", [[0.5, 0.5, 0.5, 0], [0, 0.5, 0, 0], [0] * 4]),
        ("fixed_length", [[0.05, 0.05, 0.05, 0], [0, 0.05, 0, 0], [0] * 4]),
    ],
)
def test_by_hand(name, want):
    np.testing.assert_allclose(WEIGHTS[name](MASK, **HPARAMS.get(name, {})), want, rtol=1e-6)


@pytest.mark.parametrize("name", WEIGHTS)
def test_laws(name):
    """Zero outside the mask; padding on the right changes nothing; nothing masked in is finite."""
    f = lambda m: WEIGHTS[name](m, **HPARAMS.get(name, {}))  # noqa: E731
    w = f(MASK)
    assert not np.any(np.where(MASK, 0.0, w))
    padded = f(jnp.pad(MASK, ((0, 1), (0, 3))))
    np.testing.assert_allclose(padded[:3, :4], w, rtol=1e-6)
    assert not np.any(f(jnp.zeros((2, 3), bool)))
