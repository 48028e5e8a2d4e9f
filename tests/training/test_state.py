import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models.presets import PRESETS
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import learner, state


@pytest.mark.parametrize("how", [{"tied": True}, {"tied": False}, {"norm_offset": 1.0}])
def test_a_heated_policy_is_the_softmax_of_smaller_logits(how):
    """Mutations: divide the head, which a tied one shares with the embedding; a scale without what is added to it."""
    model = Transformer(dataclasses.replace(PRESETS["test"], vocab_size=11, **how))
    tokens = jnp.array([[3, 1, 4, 1, 5]])
    params = jax.jit(model.init)(jax.random.key(0), tokens)
    apply = jax.jit(model.apply)
    logits, _ = apply(params, tokens)
    heated, _ = apply(state.heated(params, 2.5, model.config), tokens)
    np.testing.assert_allclose(heated, logits / 2.5, rtol=1e-5, atol=1e-6)
    same = jax.tree.map(np.array_equal, state.heated(params, 1.0, model.config), params)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("adapted", [False, True])
def test_the_mean_that_teaches(adapted):
    """t + .25 (p - t) in float32, of the adapters alone where there are some; a checkpoint has it, with or without what
    else there is. Mutations: the mean in bfloat16; one that is the policy's own arrays; the base in it."""
    ones = {"params": {"w": jnp.ones(3, jnp.bfloat16)}}
    params = {**ones, "lora": {"a": jnp.ones(2)}} if adapted else ones
    policy = learner.TrainState(jnp.int32(0), params, ())
    first = state.first_state(policy, teacher=True, lag=1)
    assert set(first.teacher) == ({"lora"} if adapted else {"params"})
    assert {x.dtype for x in jax.tree.leaves(first.teacher)} == {jnp.dtype("float32")}
    moved = state.moved(first.teacher, jax.tree.map(lambda x: x * 1.015625, params), 0.25)
    np.testing.assert_allclose(jax.tree.leaves(moved)[0], 1.00390625, rtol=1e-7)
    for past in (first.past, None):
        there = first.replace(teacher=moved, past=past)
        back = state.loaded(state.saved(there, base=True))
        assert jax.tree.structure(back) == jax.tree.structure(there)
        jax.tree.map(np.testing.assert_array_equal, back, there)
    seen = state.teacher_params(first.replace(teacher=moved))
    assert jax.tree.map(lambda x: x.dtype, seen) == jax.tree.map(lambda x: x.dtype, params)
    assert state.teacher_params(first.replace(teacher=None)) is params


def test_capped_logits_are_not_heated():
    """Mutation: the norm divided all the same."""
    config = dataclasses.replace(PRESETS["test"], vocab_size=11, logit_cap=30.0)
    with pytest.raises(InputError, match="init_temperature=2.5: this model's logits are capped"):
        state.heated({}, 2.5, config)
