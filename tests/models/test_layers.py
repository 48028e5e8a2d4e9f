"""models/layers.py: layers that are alike as a loop, against the same layers one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.models import experts, layers, lora, presets

EXPERTS = {"experts": 4, "experts_per_token": 2, "d_expert": 16}


def test_alike():
    assert layers.alike("aabaaa") == [range(0, 2), range(2, 3), range(3, 6)] and layers.alike("") == []


def loss(model, params, tokens):
    """Of everything that a model gives: a prompt's cache, responses that share it, residual streams, routes."""
    prompts, responses = tokens[:2, :6], tokens[:, 6:]
    _, before = model.apply(params, prompts)
    chosen = experts.chosen_of(before["routes"]) if before["routes"] else None
    if chosen is not None:
        chosen = jnp.repeat(chosen, 2, axis=0)[:, : responses.shape[1]]
    valid = jnp.ones((4, 6), bool).at[1, 4:].set(False)
    z, out = model.apply(
        params, responses, 6 + jnp.arange(5)[None], cache=before["cache"], valid=valid, chosen=chosen,
        gate=jnp.arange(5)[None] > 1,
    )  # fmt: skip
    made = [z, *(out[f"layer_{i}"] for i in range(model.config.layers)), *out["cache"].k, *out["cache"].v]
    made += [x for route in out["routes"] for x in (route.prob, route.chosen)]
    return sum(jnp.sum(x * jnp.cos(jnp.arange(x.size)).reshape(x.shape)) for x in made), made


@pytest.mark.parametrize(
    ("how", "loops"),
    [
        ({"layers": 3, "remat": "block", "adapted": True, "steered": True}, 1),
        ({"sparse": (True, True, False, True, True), "remat": "save_linear", **EXPERTS}, 2),
        ({"layers": 4, "windows": (4, 4, 0, 0), "rotated": (True, True, True, False)}, 1),
    ],
)
def test_a_loop_over_layers_changes_nothing(how, loops):
    """Values, gradients and parameters are those of layers one by one, and the program has as many loops as there are
    runs of two layers or more that are alike. Mutations: kinds without windows, or without rotated."""
    how = {"layers": 5} | how
    adapted, steered = how.pop("adapted", False), how.pop("steered", False)
    model = presets.make("test", 24, **how)
    looped = presets.make("test", 24, **how, scan_layers=True)
    tokens = jax.random.randint(jax.random.key(1), (4, 11), 0, 24)
    params = jax.jit(model.init)(jax.random.key(0), tokens)
    same = jax.tree.map(np.array_equal, params, jax.jit(looped.init)(jax.random.key(0), tokens))
    assert jax.tree.all(same)
    if adapted:
        params = lora.add(params, jax.random.key(2), rank=2, targets="q|down")
        params["lora"] = jax.tree.map(lambda x: x + 0.1, params["lora"])
    if steered:
        params["steer"] = {"after": jax.random.normal(jax.random.key(3), (3, 32))}

    both = [jax.jit(jax.value_and_grad(lambda p, m=m: loss(m, p, tokens), has_aux=True)) for m in (model, looped)]
    ((_, want), gradient), ((_, got), got_gradient) = (f(params) for f in both)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), got, want)
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6 * scale), got_gradient, gradient)
    text = [jax.jit(lambda p, m=m: m.apply(p, tokens)[0]).lower(params).as_text() for m in (model, looped)]
    assert [t.count("stablehlo.while") for t in text] == [0, loops]
