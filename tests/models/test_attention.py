"""models/attention.py: blocks of queries are the same sums, whatever the length."""

import dataclasses

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
        return jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(f(*args))), (0, 1, 2))(q, k, v)

    want = both(lambda q, k, v: attention.attend(q, k, v, seen, **how))
    got = both(lambda q, k, v: attention.chunked(q, k, v, past, near, **how))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


def test_nothing_as_long_as_the_context_squared_where_prompts_are_shared(monkeypatch):
    """cudnn has no attention after a cache: blocks take its place. Mutation: all scores at once."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    tokens, mask = jnp.zeros((4, 37), jnp.int32), jnp.arange(37)[None] >= jnp.full((4, 1), 8)
    model = presets.make("test", 24)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)
    shapes = {}
    for kind in ("naive", "cudnn"):
        model = Transformer(dataclasses.replace(model.config, attention=kind))
        monkeypatch.setattr(attention, "flash", lambda q, k, v, *_: jnp.zeros((*q.shape[:1], q.shape[3], 32), q.dtype))
        score = token_scores(model, samples=2, prompt_length=8)
        shapes[kind] = str(jax.make_jaxpr(score)(params, tokens, mask)).count(",29,37]")
    assert shapes["naive"] and not shapes["cudnn"], shapes
