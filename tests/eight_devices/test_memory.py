"""Run by tests/test_eight_devices.py: what the programs of a step hold on each device, as their compiler says."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.models import presets
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import RULES
from entropy_rl.parallel import sharding
from entropy_rl.sampling import decode, warp
from entropy_rl.training import learner, objectives
from entropy_rl.training.rollouts import Batch
from experiments.hardware import hlo
from experiments.lib import checks, launch
from experiments.rl import parts

MESHES = {"8x1x1": (8, 1, 1), "1x8x1": (1, 8, 1), "2x2x2": (2, 2, 2), "1x1x8": (1, 1, 8)}
EVERY = [name if name == "2x2x2" else pytest.param(name, marks=pytest.mark.slow) for name in MESHES]
# Nothing is run, so these can be such that keys, values and activations are far larger than the parameters.
PROMPTS, SAMPLES, WIDTH, NEW = 64, 8, 64, 192
MODEL = presets.make("test", 24, heads=8, kv_heads=8)


def array(shape, kind, where):
    return jax.ShapeDtypeStruct(shape, kind, sharding=where)


def programs(mesh, rules=RULES):
    """Each program of sampling, scoring and updating, as what lowers it for a mesh; weights by `rules`."""
    rows = sharding.batch_sharding(mesh)
    whole = sharding.replicated(mesh)
    key = array((), jax.eval_shape(lambda: jax.random.key(0)).dtype, whole)
    params = sharding.laid_out(jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32)), rules, mesh)
    slots, kept = PROMPTS * SAMPLES, PROMPTS * SAMPLES // 2
    prompts = array((PROMPTS, WIDTH), jnp.int32, rows)
    prefix = sharding.laid_out(
        jax.eval_shape(lambda p, x: decode.prefill(MODEL, p, x), params, prompts), decode.RULES, mesh
    )
    state = jax.eval_shape(lambda p: decode.empty(p, slots=slots, columns=WIDTH + NEW), prefix)
    state = sharding.laid_out(state, decode.RULES, mesh)
    n, how = np.zeros(slots, np.int32), {"mesh": mesh}
    yield "prefill", partial(decode.prefill.lower, MODEL, params, prompts, **how)
    yield "empty", partial(decode.empty.lower, prefix, slots=slots, columns=WIDTH + NEW, **how)
    for far in (False, True):
        yield f"insert, far {far}", partial(decode.insert.lower, state, prefix, n == 0, n, n, n, n, n, far=far, **how)
    steps = {"ticks": 32, "eos": (1,), "warp": warp.temperature, "width": WIDTH}
    yield "decode", partial(decode.decode.lower, MODEL, params, state, key, until=3, most=3, **steps, **how)
    yield "compact", partial(decode.compact.lower, state, array((kept,), jnp.int32, rows), **how)
    size = (PROMPTS * SAMPLES, WIDTH + NEW)
    tokens, mask = array(size, jnp.int32, rows), array(size, bool, rows)
    score = token_scores(MODEL, mesh=mesh)
    yield "score", partial(jax.jit(score).lower, params, tokens, mask)
    update = learner.make_update(
        objectives.policy(score, POLICY_LOSSES["ppo"]), optax.sgd(1.0), microbatches=4, record=objectives.policy_record
    )
    batch = Batch(tokens, mask, *(array(size, jnp.float32, rows) for _ in range(3)))
    coefs = {"entropy": array((), jnp.float32, whole), "kl": array((), jnp.float32, whole)}
    yield "update", partial(update.lower, learner.abstract_state(MODEL, optax.sgd(1.0), mesh), batch, key, coefs)


def held(compiled):
    """Bytes on one device, and the most of a result."""
    m = compiled.memory_analysis()
    return m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes


@functools.cache
def alone():
    """What each program holds on one device."""
    return {name: held(lower().compile()) for name, lower in programs(sharding.make_mesh(devices=jax.devices()[:1]))}


@pytest.mark.parametrize("name", EVERY)
def test_a_device_holds_its_share(name):
    """At most an eighth of what one device would hold, and a tenth more; results that have rows come out cut.

    Where tensor alone cuts, the residual stream is whole on each device, and only what makes and fills the cache is
    compared: `compact` holds 1.17 of its share there.
    Mutation: no constraint on what `prefill` or `empty` give; `compact` or `insert` by global numbers of slots.
    """
    mesh, report = sharding.make_mesh(*MESHES[name]), {}
    for program, lower in programs(mesh):
        lowered = lower()
        compiled = lowered.compile()
        report[program] = 8 * held(compiled) / alone()[program]
        for out, where in zip(jax.tree.leaves(lowered.out_info), jax.tree.leaves(compiled.output_shardings)):
            if program != "update" and out.ndim and out.shape[0] >= PROMPTS:
                cut = 8 if out.ndim == 4 else sharding.row_shards(mesh)
                assert np.prod(where.shard_shape(out.shape)) * cut == np.prod(out.shape), (program, out.shape, where)
    cache = ("empty", "insert, far False", "insert, far True")
    report = {k: n for k, n in report.items() if sharding.row_shards(mesh) > 1 or k in cache}
    assert max(report.values()) <= 1.1, report


@pytest.mark.parametrize("gathered", [False, True])
def test_gathered_weights_are_not_sent_in_decode_steps(gathered):
    """Of a sampler whose weights tensor alone cuts (`rollout.gather_weights`). Mutation: the rules of training."""
    mesh = sharding.make_mesh(1, 8, 1)
    rules = sharding.without(RULES, "fsdp") if gathered else RULES
    lower = dict(programs(mesh, rules))["decode"]
    found, _ = hlo.collectives(lower().compile().as_text())
    sent = sum(total for _, total in found.values())
    assert sent < 100 if gathered else sent > 1e6  # bytes; whether a slot is under way is sent in any case


def test_a_copy_of_the_weights_is_counted_before_a_run():
    """Of `rollout.gather_weights` each device has what tensor leaves of them; a sampler of fewer bits has half of all.
    Mutations: the rules of training; gathered weights alone counted."""
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.update_from_flattened_dict({"rollout.prompts": 4, "rollout.gather_weights": True, "rollout.lag": 0})
    config.mesh.update({"data": 1, "fsdp": 4, "tensor": 2})
    made = parts.make(config)
    state, copy = map(checks.share, parts.held(config, made))
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(parts.abstract(made).policy.params))
    assert whole / 2 <= copy < 0.6 * whole and state < 0.6 * 3 * whole
    config.mesh.update({"data": 4, "fsdp": 1})
    assert len(parts.held(config, parts.make(config))) == 1
    config.rollout.dtype = "bfloat16"
    _, copy = map(checks.share, parts.held(config, parts.make(config)))
    assert whole / 4 <= copy < 0.3 * whole


@pytest.mark.parametrize("name", EVERY)
def test_what_is_inserted_and_left_out_is_not_sent(name):
    """Without requests from afar. Mutation: `prefix[prompt]` of all devices' prompts."""
    for program, lower in programs(sharding.make_mesh(*MESHES[name])):
        if program in ("empty", "insert, far False", "compact"):
            text = lower().compile().as_text()
            assert not [x for x in ("all-gather", "all-reduce", "collective-permute", "all-to-all") if x in text], (
                program
            )
