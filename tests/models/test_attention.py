"""models/attention.py: blocks of queries are the same sums, whatever the length."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.models import attention, presets
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer


def loops(jaxpr):
    """Lengths of the scans in a program, whatever they are in."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["length"]
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from loops(inner)


@pytest.mark.parametrize("time, blocks", [(512, []), (513, [2]), (2049, [5]), (4099, [9]), (4608, [9])])
def test_how_many_blocks(time, blocks):
    """The fewest of at most 512 queries. Mutation: as many as divide the length, which for 4,099 are 4,099."""
    q, k = (jax.ShapeDtypeStruct((1, 1, *shape), jnp.float32) for shape in ((1, time, 4), (time, 4)))
    assert list(loops(jax.make_jaxpr(attention.chunked)(q, k, k).jaxpr)) == blocks


@pytest.mark.parametrize(
    "time, before, window", [*((time, before, 0) for time in (4, 7, 11) for before in (0, 3)), (11, 3, 5)]
)
def test_blocks_are_the_same_sums(rng, monkeypatch, time, before, window):
    """Results and gradients, with and without what was before, of all and in a window by position, capped. Mutations: a
    block that starts from 0; queries that fill up are left in the result; columns of the past seen as the tokens' own
    are; positions of the first block in all."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    q = rng.normal(size=(2, 2, 3, time, 5)).astype("f4")
    k, v = rng.normal(size=(2, 2, 2, before + time, 5)).astype("f4")
    past = jnp.asarray(rng.random((2, before)) < 0.5) if before else None
    seen = np.zeros((2, 1, 1, time, before + time), bool)
    for t in range(time):
        seen[..., t, before : before + t + 1] = True
        if before:
            seen[:, 0, 0, t, :before] = past
    near, how = None, {}
    if window:  # rows begin at other positions; of the past, in another order
        start = np.array([[before + 2], [before + 5]])
        key = np.concatenate([start - 1 - rng.permutation(before), start + np.arange(time)], axis=1)
        near = attention.Near(window, jnp.asarray(key[:, before:]), jnp.asarray(key))
        seen &= (key[:, None] > key[:, before:, None] - window)[:, None, None]
        how = {"scale": 0.7, "cap": 2.0}

    def both(f):
        return jax.jit(jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(f(*args))), (0, 1, 2)))(q, k, v)

    want = both(lambda q, k, v: attention.attend(q, k, v, seen, **how))
    got = both(lambda q, k, v: attention.chunked(q, k, v, past, near, **how))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


def test_nothing_as_long_as_the_context_squared_where_prompts_are_shared(monkeypatch):
    """cudnn has no attention after a cache, nor splash one without a TPU: blocks take their place. Mutation: all scores
    at once."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    tokens, mask = jnp.zeros((4, 37), jnp.int32), jnp.arange(37)[None] >= jnp.full((4, 1), 8)
    model = presets.make("test", 24)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)
    shapes = {}
    for kind in ("naive", "cudnn", "splash"):
        model = Transformer(dataclasses.replace(model.config, attention=kind))
        monkeypatch.setattr(attention, "flash", lambda q, k, v, *_: q)
        score = token_scores(model, samples=2, prompt_length=8)
        shapes[kind] = str(jax.make_jaxpr(score)(params, tokens, mask)).count(",29,37]")
    assert shapes["naive"] and not shapes["cudnn"] and not shapes["splash"], shapes


SPLASH = [
    # time, before, window, kv heads, groups, cap
    (300, 0, 0, 1, 1, None),
    (140, 70, 0, 2, 2, 2.0),
    (300, 0, 37, 1, 2, 2.0),
]


@pytest.mark.parametrize("time, before, window, kv_heads, groups, cap", SPLASH)
def test_splash_is_the_same_sums(rng, monkeypatch, time, before, window, kv_heads, groups, cap):
    """Results and gradients of jax's kernel, interpreted, in blocks of 128 that the length is no multiple of.
    Mutations: the mask without its offset; a window of one token more; the whole past seen; no scale; no cap."""
    monkeypatch.setattr(attention, "BLOCK", 128)
    q = rng.normal(size=(2, kv_heads, groups, time, 8)).astype("f4")
    k, v = rng.normal(size=(2, 2, kv_heads, before + time, 8)).astype("f4")
    past = jnp.asarray(rng.random((2, before)) < 0.5) if before else None
    place = jnp.arange(time)[None]
    seen = attention.causal(0, time, before + time, past, attention.Near(window, place, place) if window else None)

    def both(f):
        return jax.jit(jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(f(*args))), (0, 1, 2)))(q, k, v)

    want = both(lambda q, k, v: attention.attend(q, k, v, seen, 0.7, cap))
    got = both(lambda q, k, v: attention.splash(q, k, v, past, window, 0.7, cap, interpret=True))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-5), got[1], want[1])


@pytest.mark.parametrize("length, block", [(1, 128), (512, 512), (513, 384), (1000, 512), (1100, 384), (4608, 512)])
def test_blocks_of_splash(length, block):
    """As few as can be, and little to fill up. Mutation: 512 whatever the length."""
    assert attention._block(length) == block


@pytest.mark.parametrize("size, before, window, cap", [(64, 0, 0, None), (128, 70, 0, None), (256, 0, 200, 50.0)])
def test_splash_is_lowered_for_tpus(size, before, window, cap):
    """Forward and backward, without a TPU: Mosaic takes the kernels' blocks, whatever the head."""
    q, k, past = ((2, 2, 3, 1000, size), (2, 2, before + 1000, size), (2, before))
    q, k = (jax.ShapeDtypeStruct(x, jnp.bfloat16) for x in (q, k))
    past = jax.ShapeDtypeStruct(past, bool) if before else None
    f = lambda q, k, v, past: jnp.sum(attention.splash(q, k, v, past, window, cap=cap).astype(jnp.float32))  # noqa: E731
    text = jax.jit(jax.grad(f, (0, 1, 2))).trace(q, k, k, past).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") >= 3  # forward, and the gradients of q and of k and v
    assert ",1000,1000]" not in text


def test_a_models_scores_with_splash(monkeypatch):
    """What a TPU would compute, interpreted: prompts alone, with a window and without; after them the layer without.
    Mutations: a window after a past by columns, which are no positions there; no scale of the model's own."""
    monkeypatch.setattr(attention, "on_tpu", lambda mesh: True)
    run = []
    interpreted = partial(attention.splash, interpret=True)
    monkeypatch.setattr(attention, "splash", lambda *args: run.append(args[3] is not None) or interpreted(*args))
    tokens = jax.random.randint(jax.random.key(0), (4, 20), 0, 24)
    tokens = tokens.at[1::2, :8].set(tokens[::2, :8])
    mask = jnp.arange(20)[None] >= jnp.array([[6], [6], [8], [8]])
    plain = presets.make("test", 24, windows=(5, 0), query_scalar=3.0)
    params = jax.jit(plain.init)(jax.random.key(1), tokens)
    model = Transformer(dataclasses.replace(plain.config, attention="splash"))
    score = lambda model: jax.jit(token_scores(model, samples=2, prompt_length=8))(params, tokens, mask)  # noqa: E731
    want, got = score(plain)["logp"], score(model)["logp"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert run == [False, False, True]
