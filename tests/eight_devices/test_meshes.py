"""Run by tests/test_eight_devices.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import learner, sharding
from entropy_rl.models import presets
from entropy_rl.sampling.engine import generate
from tests.learning import LOSSES, assert_close, updated

MESHES = {"8x1x1": (8, 1, 1), "1x8x1": (1, 8, 1), "2x2x2": (2, 2, 2), "1x1x8": (1, 1, 8)}
# The mesh that cuts every axis is in the fast suite; the others repeat it, an axis at a time.
EVERY = [name if name == "2x2x2" else pytest.param(name, marks=pytest.mark.slow) for name in MESHES]


def mesh(name):
    data, fsdp, tensor = MESHES[name]
    return sharding.make_mesh(data, fsdp, tensor)


@pytest.mark.parametrize("name", EVERY)
def test_the_update_is_that_of_one_device(name):
    """Mutation: take the mean of the devices' losses."""
    assert_close(updated("ppo", mesh=mesh(name), kv_heads=4), updated("ppo", kv_heads=4))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_micro_batches_on_eight_devices(loss):
    assert_close(updated(loss, mesh=mesh("8x1x1"), microbatches=2), updated(loss))


def test_parameters_lie_on_their_shards():
    state = learner.init_state(
        presets.make("test", 24), learner.make_optimizer(learner.make_schedule(1.0)), mesh("2x2x2"), jax.random.key(0)
    )
    kernel = state.params["params"]["layer_0"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (kernel.shape[0] // 2, kernel.shape[1] // 2)
    moment = state.opt_state[1][0].mu["params"]["layer_0"]["up"]["kernel"]
    assert moment.sharding == kernel.sharding


@pytest.mark.parametrize("name", [pytest.param("8x1x1", marks=pytest.mark.slow), "2x2x2"])
def test_the_sampler_gives_the_same_tokens(name):
    model = presets.make("test", 23)
    params = jax.tree.map(lambda x: 2 * x, model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    prompts = [[2, 3, 4], [5, 6], [7, 8, 9, 10], [11]]
    kw = {"samples": 4, "slots": 8, "max_new": 7, "eos": 1}
    want = generate(model, params, prompts, jax.random.key(1), **kw)
    m = mesh(name)
    from entropy_rl.models.transformer import RULES

    placed = jax.device_put(params, sharding.infer_sharding(params, RULES, m))
    got = generate(model, placed, prompts, jax.random.key(1), sharding=sharding.rows(m), **kw)
    for a, b in zip(want, got):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x.tokens, y.tokens)
            np.testing.assert_allclose(x.logp, y.logp, atol=1e-5)
