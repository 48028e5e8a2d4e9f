import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models.presets import PRESETS
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import state


@pytest.mark.parametrize("how", [{"tied": True}, {"tied": False}, {"norm_offset": 1.0}])
def test_a_heated_policy_is_the_softmax_of_smaller_logits(how):
    """Mutations: divide the head, which a tied one shares with the embedding; a scale without what is added to it."""
    model = Transformer(dataclasses.replace(PRESETS["test"], vocab_size=11, **how))
    tokens = jnp.array([[3, 1, 4, 1, 5]])
    params = model.init(jax.random.key(0), tokens)
    logits, _ = model.apply(params, tokens)
    heated, _ = model.apply(state.heated(params, 2.5, model.config), tokens)
    np.testing.assert_allclose(heated, logits / 2.5, rtol=1e-5, atol=1e-6)
    same = jax.tree.map(np.array_equal, state.heated(params, 1.0, model.config), params)
    assert all(jax.tree.leaves(same))


def test_capped_logits_are_not_heated():
    """Mutation: the norm divided all the same."""
    config = dataclasses.replace(PRESETS["test"], vocab_size=11, logit_cap=30.0)
    with pytest.raises(InputError, match="init_temperature=2.5: this model's logits are capped"):
        state.heated({}, 2.5, config)
