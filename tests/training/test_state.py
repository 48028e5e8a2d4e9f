import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.models.presets import PRESETS
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import state


@pytest.mark.parametrize("tied", [True, False])
def test_a_heated_policy_is_the_softmax_of_smaller_logits(tied):
    """Mutation: divide the head, which a tied one shares with the embedding."""
    model = Transformer(dataclasses.replace(PRESETS["test"], vocab_size=11, tied=tied))
    tokens = jnp.array([[3, 1, 4, 1, 5]])
    params = model.init(jax.random.key(0), tokens)
    logits, _ = model.apply(params, tokens)
    heated, _ = model.apply(state.heated(params, 2.5), tokens)
    np.testing.assert_allclose(heated, logits / 2.5, rtol=1e-5, atol=1e-6)
    same = jax.tree.map(np.array_equal, state.heated(params, 1.0), params)
    assert all(jax.tree.leaves(same))
