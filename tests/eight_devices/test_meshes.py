"""Run by tests/test_eight_devices.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl import learner, objectives, sharding
from entropy_rl.models import hf, lora, presets
from entropy_rl.models.scoring import token_scores
from entropy_rl.sampling.engine import generate
from tests.learning import LOSSES, assert_close, batch, updated

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


def test_a_folder_goes_to_its_shards_and_back(tmp_path):
    """The same numbers as on one device, each device with its part; saved again, the same bytes.

    Mutation: `index` of a transposed tensor the other way round.
    """
    folder = pathlib.Path(__file__).parents[1] / "models" / "hf" / "qwen3"
    model, params = hf.load(folder, mesh=mesh("2x2x2"))
    _, whole = hf.load(folder)
    jax.tree.map(np.testing.assert_array_equal, params, whole)
    kernel = params["params"]["layer_0"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (kernel.shape[0] // 2, kernel.shape[1] // 2)
    hf.save(tmp_path / "out", model, params, like=folder)
    hf.save(tmp_path / "want", model, whole, like=folder)
    assert (tmp_path / "out" / hf.SINGLE).read_bytes() == (tmp_path / "want" / hf.SINGLE).read_bytes()


def test_adapters_learn_the_same_on_eight_devices():
    """A base on its shards, adapters whole everywhere. Mutation: a mean of the devices' losses."""
    folder = pathlib.Path(__file__).parents[1] / "models" / "hf" / "qwen3"
    adapt = lambda params, key: lora.add(params, key, rank=2, targets="attention|down")  # noqa: E731
    results = []
    for m in (mesh("2x2x2"), sharding.make_mesh(devices=jax.devices()[:1])):
        model, params = hf.load(folder, mesh=m, param_dtype="float32")
        tx = optax.sgd(1.0)
        state = learner.state_of(model, tx, m, params, jax.random.key(0), adapt)
        score = lora.over(token_scores(model), 2.0)
        update = learner.make_update(objectives.nll(score), tx)
        data = jax.device_put(batch(), sharding.rows(m))
        for step in range(2):
            state, metrics = update(state, data, jax.random.key(step), {})
        results.append(jax.device_get((state.params, metrics)))
        a = state.params["lora"]["layer_0"]["down"]["kernel"]["a"]
    assert a.addressable_shards[0].data.shape == a.shape
    assert_close(*results)
