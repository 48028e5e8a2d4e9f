"""Mixtures of experts: by hand, through the cache, in blocks and ragged; what is given as a bad shape is named."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import experts, lora, presets, scoring
from entropy_rl.sampling.engine import generate
from entropy_rl.training import objectives, rollouts
from tests.models.test_transformer import make
from tests.training.learning import assert_close, batch, updated

MIXED = {"experts": 5, "experts_per_token": 2, "d_expert": 12, "sparse": (True, False)}


def by_hand(x, p, k, norm):
    """Token by token, expert by expert: [T, d] -> [T, d]."""
    out = np.zeros_like(x)
    for t, row in enumerate(x):
        z = row @ p["router"]["kernel"]
        prob = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        best = np.argsort(-prob)[:k]
        for e in best:
            g, u = row @ p["gate"]["kernel"][e], row @ p["up"]["kernel"][e]
            y = (g / (1 + np.exp(-g)) * u) @ p["down"]["kernel"][e]
            out[t] += y * prob[e] / (prob[best].sum() if norm else 1.0)
    return out


@pytest.mark.parametrize("norm", [True, False])
def test_a_mixture_by_hand(norm):
    """Both ways, on rows that fill no block. Mutations: weights normalised before top-k, gate and up exchanged, blocks
    of the wrong expert."""
    config = dataclasses.replace(presets.PRESETS["test"], vocab_size=9, **MIXED, norm_topk=norm)
    x = jax.random.normal(jax.random.key(0), (3, 7, config.d_model))
    for how in experts.GROUPED:
        layer = experts.Experts(dataclasses.replace(config, grouped=how), jax.nn.silu)
        params = jax.jit(layer.init)(jax.random.key(1), x)
        y, route = jax.jit(layer.apply)(params, x)
        want = by_hand(np.asarray(x, np.float64).reshape(21, -1), jax.tree.map(np.asarray, params["params"]), 2, norm)
        np.testing.assert_allclose(y.reshape(21, -1), want, atol=2e-5, rtol=1e-5)
        np.testing.assert_allclose(np.sum(route.prob, axis=-1), 1.0, rtol=1e-6)


def test_gradients_of_blocks_are_those_of_ragged_products():
    """And those of all experts on all tokens: of the input, all parameters, the router's too.

    Mutation: twice the gradient of `spread`.
    """
    config = dataclasses.replace(presets.PRESETS["test"], vocab_size=9, **MIXED)
    x = jax.random.normal(jax.random.key(0), (3, 7, config.d_model))
    params = jax.jit(experts.Experts(config, jax.nn.silu).init)(jax.random.key(1), x)
    grads = []
    for how in experts.GROUPED:
        layer = experts.Experts(dataclasses.replace(config, grouped=how), jax.nn.silu)
        loss = lambda p, x, layer=layer: jnp.sum(jnp.sin(layer.apply(p, x)[0]))  # noqa: E731
        grads.append(jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x))

    def every(p, x):  # all experts on all tokens
        p = {name: part["kernel"] for name, part in p["params"].items()}
        prob = jax.nn.softmax(x @ p["router"])
        prob = jnp.where(prob >= jax.lax.top_k(prob, 2)[0][..., 1:], prob, 0.0)
        wide = jax.nn.silu(jnp.einsum("btd,edf->btef", x, p["gate"])) * jnp.einsum("btd,edf->btef", x, p["up"])
        y = jnp.einsum("btef,efd->bted", wide, p["down"])
        return jnp.sum(jnp.sin(jnp.einsum("bte,bted->btd", prob / prob.sum(axis=-1, keepdims=True), y)))

    want = jax.jit(jax.grad(every, argnums=(0, 1)))(params, x)
    for got in grads:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4), got, want)
    assert all(np.abs(x).sum() > 0 for x in jax.tree.leaves(grads[0]))


LAST_BIT = {"float32": {"atol": 1e-4, "rtol": 1e-5}, "bfloat16": {"atol": 1e-2, "rtol": 2**-7}}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [40, 700])
def test_outer_products_of_the_kernel_for_tpus(rows, dtype):
    """Interpreted: with an expert without rows, rows of none, and no multiple of a tile. Mutation: no padding."""
    x, g = (jax.random.normal(jax.random.key(i), (rows, n), dtype) for i, n in enumerate((32, 640)))
    sizes = jnp.array([rows // 3, 0, rows // 2, 1])
    loss = lambda k, g: jnp.sum(g * experts.ragged_product(x, k, sizes))  # noqa: E731
    want = jax.grad(loss)(jnp.zeros((4, 32, 640), dtype), g).astype(jnp.float32)
    got = experts.outer_products(x, g, sizes, interpret=True)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype(jnp.float32), want, **LAST_BIT[dtype])
    assert not got[1].any() and got[3].any()


def test_a_layout_has_every_choice_once_in_a_block_of_its_expert():
    """Whatever the sizes, 0 and all of them too; expert 6 is none. Mutation: blocks one short."""
    for seed, block in ((0, 4), (1, 1), (2, 8)):
        rng = np.random.default_rng(seed)
        for chosen in (rng.integers(0, 7, 40), np.full(40, 5), rng.integers(2, 4, 40)):
            rows = jax.jit(experts.layout, static_argnums=(1, 2))(jnp.asarray(chosen, jnp.int32), 6, block)
            assert len(set(rows.place.tolist())) == len(chosen)
            rows = jax.device_get(rows)
            own = chosen < 6
            np.testing.assert_array_equal(rows.source[rows.place], np.where(own, np.arange(len(chosen)), len(chosen)))
            np.testing.assert_array_equal(rows.sizes, np.bincount(chosen, minlength=7)[:6])
            if block > 1:
                np.testing.assert_array_equal(rows.owner[rows.place // block][own], chosen[own])
            assert np.sum(rows.source < len(chosen)) == own.sum()


def test_choices_that_are_given_are_used():
    """The router's own change nothing, others do. Mutation: `chosen` unread."""
    model, params, tokens = make(**MIXED)
    apply = jax.jit(lambda p, c: model.apply(p, tokens, chosen=c))
    logits, out = jax.jit(model.apply)(params, tokens)
    assert len(out["routes"]) == 1 and out["routes"][0].chosen.shape == (3, 10, 2)
    own = jnp.stack([r.chosen for r in out["routes"]], axis=2)
    again, _ = apply(params, own)
    np.testing.assert_allclose(again, logits, atol=1e-6)
    other, said = apply(params, (own + 1) % 5)
    np.testing.assert_array_equal(said["routes"][0].chosen, (own[:, :, 0] + 1) % 5)
    assert np.abs(other - logits).max() > 0.01


def test_the_load_loss_by_hand():
    """transformers' formula, layers one after the other, of the tokens in the mask. Mutations: a mean over layers of
    the layers' own losses, tokens outside of the mask."""
    rng = np.random.default_rng(0)
    logits, mask = rng.normal(size=(2, 3, 4, 5)).astype("f4"), rng.random((3, 4)) < 0.6
    prob = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = np.argsort(-prob, axis=-1)[..., :2]
    flat, picked = (x[:, mask].reshape(-1, x.shape[-1]) for x in (prob, chosen))
    often = np.stack([(picked == e).sum(axis=1) for e in range(5)], axis=1).mean(axis=0)
    want = 5 * np.sum(often * flat.mean(axis=0))
    scores = experts.loads(tuple(experts.Route(jnp.asarray(p), jnp.asarray(c)) for p, c in zip(prob, chosen)), mask)
    np.testing.assert_allclose(experts.load_loss(scores, 2), want, rtol=1e-5)
    np.testing.assert_allclose(scores["router_entropy"], -(prob * np.log(prob)).sum(-1).mean(0), rtol=1e-5)


def test_the_load_is_of_the_whole_mini_batch():
    """Whatever the micro-batches, and with prompts that are run once. Mutations: needs_full_batch without the load; the
    mask not moved to the states in which tokens were chosen."""
    how = {"layers": 2, "experts": 4, "experts_per_token": 2, "d_expert": 8, "load": objectives.Load(0.5, 2)}
    one = updated("ppo", **how)
    assert_close(updated("ppo", microbatches=4, **how), one)
    plain = updated("ppo", **how | {"load": None})
    a, b = one[1], plain[1]
    np.testing.assert_allclose(a["update/loss"] - b["update/loss"], 0.5 * 2 * a["moe/load_loss"], rtol=1e-4)
    assert a["moe/load_max"] > 1 and a["moe/dropped"] == 0 and 0 < a["moe/router_entropy"] < np.log(4)
    model, data = presets.make("test", 24, **{k: v for k, v in how.items() if k != "load"}), batch()
    tokens = np.where(np.arange(12) < 2, data.tokens[:1], data.tokens)
    both = [
        jax.jit(scoring.token_scores(model, **k))(plain[0], tokens, data.mask)
        for k in ({}, {"samples": 4, "prompt_length": 2})
    ]
    for name in (*experts.LOADS, "router_entropy"):
        inside = data.mask if name == "router_entropy" else True
        np.testing.assert_allclose(*(np.where(inside, x[name], 0) for x in both), atol=1e-4)


def test_adapters_of_experts_are_refused():
    """Mutation: no such check: the adapter of a kernel of three axes."""
    model, params, _ = make(**MIXED)
    with pytest.raises(InputError, match="is found in layer_0/experts/down/kernel: experts and routers take no adapt"):
        lora.add(params, jax.random.key(0), rank=2, targets="attention|down")
    adapted = lora.add(params, jax.random.key(0), rank=2, targets="attention")
    assert jax.tree.leaves(adapted["lora"]["layer_0"]) and "experts" not in adapted["lora"]["layer_0"]


def test_a_router_is_sampled_with_as_it_is_trained():
    """Where activations have fewer bits than parameters: the sampler's view scores tokens as the learner does, bit for
    bit. Mutation: a router that is rounded with the other matrices, which sends tokens elsewhere."""
    model = presets.make("test", 24, **MIXED, dtype=jnp.bfloat16)
    params, data = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)), batch()
    seen = lora.make_view(jnp.bfloat16, jnp.float32)(params)
    kernels = seen["params"]["layer_0"]["experts"]
    assert kernels["router"]["kernel"].dtype == jnp.float32 and kernels["gate"]["kernel"].dtype == jnp.bfloat16
    score = jax.jit(scoring.token_scores(model))
    jax.tree.map(np.testing.assert_array_equal, *(score(p, data.tokens, data.mask) for p in (params, seen)))


def test_choices_are_not_made_again_beside_products_that_are_kept():
    """Rows of a product lie where the choices put them; chosen again for the gradient, by a last bit differently, each
    expert would read another's. Mutation: choices that have no name."""
    model = presets.make("test", 24, **MIXED, remat="save_linear")
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    loss = lambda p: jnp.sum(model.apply(p, jnp.zeros((2, 5), jnp.int32))[0] ** 2)  # noqa: E731
    assert str(jax.make_jaxpr(jax.grad(loss))(params)).count("= top_k") == 1


BAD = {
    "many": ({"experts": 4, "experts_per_token": 5, "d_expert": 8}, "experts_per_token=5: must be 1 to 4, the experts"),
    "none": ({"experts": 4, "d_expert": 8}, "experts_per_token=0: must be 1 to 4"),
    "width": ({"experts": 4, "experts_per_token": 2}, "d_expert=0: give the width"),
    "dense": ({"d_expert": 8}, "d_expert=8 of a model without experts: give experts"),
    "layers": ({**MIXED, "sparse": (True,)}, "says something of 1 layers: there are 2"),
    "no_layer": ({**MIXED, "sparse": (False, False)}, "no layer has experts: give experts=0"),
    "way": ({**MIXED, "grouped": "dense"}, "grouped='dense': must be one of blocks, ragged"),
    "bias": ({**MIXED, "mlp_bias": True}, "mlp_bias with experts is not supported"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_shape_is_named(what):
    fields, message = BAD[what]
    with pytest.raises(InputError, match=message):
        presets.make("test", 9, **fields)


def test_the_samplers_choices_are_replayed():
    """By a learner of other weights, in rows that share a prompt or not. Mutations: choices a column late; the prompt's
    of another row; the router's own in the place of those given."""
    how = {"experts": 6, "experts_per_token": 2, "d_expert": 8}
    model, params, _ = make(**how)
    prompts = [[1, 2, 3], [4, 5, 6, 7]]
    how = {"samples": 2, "max_new": 6, "eos": 0, "prompt_length": 5, "chunk": 2, "routes": True}
    done = generate(model, params, prompts, jax.random.key(0), **how)
    rollout = rollouts.pack(prompts, done, [[0.0, 1.0]] * 2, length=11, pad_id=0)
    assert rollout.experts.shape == (4, 11, 2, 2)
    routes = jax.jit(lambda p, x: model.apply(p, x)[1]["routes"])(params, rollout.tokens)
    fed = np.roll(rollout.mask, -1, axis=1) | (np.cumsum(rollout.mask, axis=1) == 0)
    np.testing.assert_array_equal(rollout.experts[fed], np.asarray(experts.chosen_of(routes))[fed])
    own = jax.jit(scoring.chosen_experts(model))(params, rollout.tokens, rollout.mask)["experts"]
    np.testing.assert_array_equal(own, experts.chosen_of(routes))
    other = jax.tree.map(lambda x: x + 0.2 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    score = jax.jit(scoring.token_scores(model))
    args = (other, rollout.tokens, rollout.mask, None)
    replayed = score(*args, rollout.experts)
    hit = [jax.nn.one_hot(rollout.experts[i][np.roll(m, -1)], 6).sum((0, 1, 2)) for i, m in enumerate(rollout.mask)]
    np.testing.assert_allclose(replayed["expert_count"], hit)
    assert np.abs(replayed["logp"] - score(*args)["logp"]).max() > 0.01
    unfiltered = jax.jit(scoring.filtered_scores(model, min_p=0.0))(*args, rollout.experts)["filtered_logp"]
    np.testing.assert_allclose(*(np.where(rollout.mask, x, 0) for x in (unfiltered, replayed["logp"])), atol=1e-5)
    shared = jax.jit(scoring.token_scores(model, samples=2, prompt_length=5))(*args, rollout.experts)
    for name in ("logp", "entropy"):
        x, y = (np.where(rollout.mask, s[name], 0) for s in (shared, replayed))
        np.testing.assert_allclose(x, y, atol=1e-5)
