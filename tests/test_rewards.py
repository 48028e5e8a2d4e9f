import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import rewards
from entropy_rl.errors import InputError


@pytest.mark.parametrize("xp", [np, jnp])
def test_overlong_by_hand(xp):
    """Mutation: the window begins at max_length."""
    length = xp.asarray([0, 16384, 16385, 18432, 20480, 20481, 99999])
    got = rewards.overlong(length, max_length=20480, cache=4096)
    np.testing.assert_allclose(got, [0, 0, -1 / 4096, -0.5, -1, -1, -1], rtol=1e-6)
    assert isinstance(got, type(length))


@pytest.mark.parametrize("cache", [0, 11])
def test_a_window_outside_the_length_is_refused(cache):
    with pytest.raises(InputError, match="cache"):
        rewards.overlong(np.array([1]), max_length=10, cache=cache)
