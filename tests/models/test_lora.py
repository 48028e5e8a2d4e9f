"""models/lora.py: the identity at the start, the formula after, and training that changes adapters alone."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from entropy_rl.errors import InputError
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.models import lora, presets, tiles
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel import sharding
from entropy_rl.training import learner, objectives, optimizer
from entropy_rl.training.state import abstract_state, first_state
from tests.training.learning import batch

MODEL = presets.make("test", 24)
PLAIN = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
TARGETS = "attention/(q|v)|down"
NAMES = [f"layer_{i}/{name}/kernel" for i in (0, 1) for name in ("attention/q", "attention/v", "down")]


def flat(tree):
    return traverse_util.flatten_dict(jax.device_get(tree), sep="/")


def adapted(rank=2, targets=TARGETS):
    return lora.add(PLAIN, jax.random.key(1), rank=rank, targets=targets)


def nonzero(params):
    """With B that is not 0, as after some updates."""
    b = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), params[lora.LORA])
    return {**params, lora.LORA: b}


def test_it_adapts_what_the_expression_is_found_in_and_nothing_changes_at_first():
    """Mutation: `re.match`, B that is not 0, a base that is changed."""
    params = adapted()
    adapters = flat(params[lora.LORA])
    assert sorted(adapters) == sorted(f"{name}/{x}" for name in NAMES for x in "ab")
    shapes = {name: PLAIN_FLAT[name].shape for name in NAMES}
    for name, (n, m) in shapes.items():
        assert (adapters[f"{name}/a"].shape, adapters[f"{name}/b"].shape) == ((n, 2), (2, m))
        assert np.ptp(adapters[f"{name}/a"]) > 0 and not adapters[f"{name}/b"].any()
    jax.tree.map(np.testing.assert_array_equal, lora.merge(params, 3.0), PLAIN)


PLAIN_FLAT = flat(PLAIN["params"])


def test_merged_is_the_formula():
    """W + (alpha / rank) A B, kernel by kernel, and no other parameter. Mutation: no scale; B A."""
    params = nonzero(adapted())
    adapters, merged = flat(params[lora.LORA]), flat(lora.merge(params, 2.5)["params"])
    for name, x in PLAIN_FLAT.items():
        want = x + 2.5 * (adapters[f"{name}/a"] @ adapters[f"{name}/b"]) if name in NAMES else x
        np.testing.assert_allclose(merged[name], want, rtol=1e-6, atol=1e-7)


def test_a_score_of_adapted_parameters_is_that_of_merged_ones():
    params, data = nonzero(adapted()), batch()
    score = jax.jit(token_scores(MODEL))
    got = jax.jit(lora.over(score, 2.5))(params, data.tokens, data.mask)
    want = score(lora.merge(params, 2.5), data.tokens, data.mask)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), got, want)
    away = np.abs(got["logp"] - score(PLAIN, data.tokens, data.mask)["logp"]).max()
    assert away > 0.01, "the adapters do something"


def test_merged_in_low_precision_it_is_rounded_once():
    """Mutation: the sum in bfloat16."""
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PLAIN)
    params = nonzero(lora.add(low, jax.random.key(1), rank=2, targets=TARGETS))
    name = NAMES[0]
    a, b = (flat(params[lora.LORA])[f"{name}/{x}"] for x in "ab")
    assert a.dtype == b.dtype == np.float32
    got = flat(lora.merge(params, 1.0)["params"])[name]
    want = jnp.asarray(flat(low["params"])[name].astype(np.float32) + a @ b).astype(jnp.bfloat16)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "selects, microbatches",
    [(True, 4), *(pytest.param(*x, marks=SLOW) for x in ((False, 1), (False, 4), (True, 1)))],
)
def test_only_adapters_are_trained(microbatches, selects):
    """The optimiser has no state of the base. Mutation: `trainable` gives everything; no stop_gradient."""
    loss, hparams = ("clip_cov", {"frac": 0.15, "lower": 0.1, "upper": 1.5}) if selects else ("ppo", {})
    tx = optimizer.make_optimizer(optimizer.make_schedule(1e-2), weight_decay=0.1)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    adapt = lambda params, key: lora.add(params, key, rank=2, targets=TARGETS)  # noqa: E731
    state = learner.init_state(MODEL, tx, mesh, jax.random.key(0), adapt)
    before = jax.device_get(state.params)
    moments = {x.shape for x in jax.tree.leaves(state.opt_state)}
    assert moments == {x.shape for x in jax.tree.leaves(before[lora.LORA])} | {()}
    score = lora.over(token_scores(MODEL), 2.0)
    objective = objectives.policy(score, lambda *a, **k: POLICY_LOSSES[loss](*a, **k, **hparams))
    update = learner.make_update(objective, tx, microbatches=microbatches)
    coefs = {"entropy": jnp.float32(0.01), "kl": jnp.float32(0)}
    for step in range(2):  # B is 0 at first, so A has no gradient before the second update
        state, metrics = update(state, batch(), jax.random.key(step), coefs)
        assert metrics["update/finite"] == 1
    after = jax.device_get(state.params)
    jax.tree.map(np.testing.assert_array_equal, before["params"], after["params"])
    for name, x in flat(after[lora.LORA]).items():
        assert np.abs(x - flat(before[lora.LORA])[name]).max() > 1e-3, name


def test_its_gradient_is_that_of_the_kernels():
    """dL/dB = scale A^T dL/dW and dL/dA = scale dL/dW B^T. Mutation: the scale in the score and not in its gradient."""
    params, data, scale = nonzero(adapted()), batch(), 2.5
    score = token_scores(MODEL)
    loss = lambda p: (score(p, data.tokens, data.mask)["logp"] * data.weight).sum()  # noqa: E731
    whole = flat(jax.jit(jax.grad(loss))(lora.merge(params, scale))["params"])
    of_parts = jax.jit(jax.grad(lambda part: loss(lora.merge(lora.joined(params, part), scale))))
    got = flat(of_parts(lora.trainable(params)))
    for name in NAMES:
        a, b = (flat(params[lora.LORA])[f"{name}/{x}"] for x in "ab")
        np.testing.assert_allclose(got[f"lora/{name}/b"], scale * a.T @ whole[name], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(got[f"lora/{name}/a"], scale * whole[name] @ b.T, rtol=1e-3, atol=1e-6)


def test_a_state_of_given_parameters():
    """Adapters are added to them, and they are not copied. Mutation: adapters of another base."""
    tx = optax.adam(1e-3)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    adapt = lambda params, key: lora.add(params, key, rank=2, targets=TARGETS)  # noqa: E731
    params = jax.device_put(PLAIN, jax.devices()[0])
    state = learner.state_of(MODEL, tx, mesh, params, jax.random.key(0), adapt)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), learner.abstract_state(MODEL, tx, mesh, adapt))
    jax.tree.map(np.testing.assert_array_equal, state.params["params"], PLAIN["params"])


def test_what_is_sampled_with():
    """Matrices in the type that is computed in, merged in float32; the same parameters where that changes nothing."""
    params = nonzero(adapted())
    seen = lora.make_view(jnp.bfloat16, jnp.float32, 2.5)(params)
    for name, x in flat(seen).items():
        assert x.dtype == (jnp.bfloat16 if x.ndim > 1 else jnp.float32), name
        scale = 2.5 if name.endswith("/b") else 1.0
        np.testing.assert_array_equal(x, jnp.asarray(scale * flat(params)[name]).astype(x.dtype))
    whole = lora.make_view(jnp.float32, jnp.float32, 2.5)(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), whole, lora.merge(params, 2.5))
    assert lora.make_view(jnp.float32, jnp.float32)(PLAIN) is PLAIN


def test_in_low_precision_the_sampler_and_the_learner_are_one_policy():
    """A change far below half a unit of the weights' last place is in both. Mutation: merged, it is in neither."""
    model = presets.make("test", 24, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PLAIN)
    params, data = nonzero(lora.add(low, jax.random.key(1), rank=2, targets=TARGETS)), batch()
    score = jax.jit(token_scores(model))
    learner_sees = jax.jit(lora.over(score, 0.5))(params, data.tokens, data.mask)
    sampler_sees = score(lora.make_view(jnp.bfloat16, jnp.bfloat16, 0.5)(params), data.tokens, data.mask)
    jax.tree.map(np.testing.assert_array_equal, learner_sees, sampler_sees)


@pytest.mark.parametrize("size", [1e-3, 0.1])
def test_an_adapted_head_is_one_policy_in_tiles_and_whole(size, monkeypatch):
    """Logits of the sampler are whole, the learner's of a real vocabulary are not. Mutation: W + A B, rounded."""
    model = presets.make("test", 24, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, tied=False)
    low = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    params, data = lora.add(low, jax.random.key(1), rank=2, targets="lm_head"), batch()
    noise = lambda x: x + size * jax.random.normal(jax.random.key(2), x.shape)  # noqa: E731
    params = {**params, lora.LORA: jax.tree.map(noise, params[lora.LORA])}

    def both():
        def loss(p):
            scores = token_scores(model)(p, data.tokens, data.mask)
            return (scores["logp"] * data.weight).sum(), scores

        gradient, scores = jax.jit(jax.grad(loss, has_aux=True))(params)
        return scores, gradient[lora.LORA]

    whole = both()
    monkeypatch.setattr(tiles, "ELEMENTS", 1)
    got = both()
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), got[0], whole[0])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0.05, atol=0.01), got[1], whole[1])


def temporaries(model, rows, columns, microbatches, rank=4):
    """Bytes of an update's temporaries: of the adapters, and of a number before the first block alone, so that the
    backward pass is that of the activations."""
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    adapt = lambda params, key: lora.add(params, key, rank=rank, targets="attention|gate|up|down")  # noqa: E731
    data = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch(rows=rows, columns=columns))
    tx = optax.sgd(1.0)
    score = token_scores(model)

    def of_number(params, batch):
        base = jax.lax.stop_gradient({"params": params["params"]})
        embedding = base["params"]["embed"]["embedding"]
        embedding = embedding * params[lora.LORA]["number"].astype(embedding.dtype)
        return score({"params": {**base["params"], "embed": {"embedding": embedding}}}, batch.tokens, batch.mask)

    number = lambda params, key: {**params, lora.LORA: {"number": jnp.ones(())}}  # noqa: E731
    both = []
    for change, objective in ((adapt, objectives.nll(lora.over(score, 2.0))), (number, None)):
        state = learner.abstract_state(model, tx, mesh, change)
        objective = objective or objectives.Objective(of_number, objectives.nll(score).loss)
        update = learner.make_update(objective, tx, microbatches=microbatches)
        lowered = update.lower(state, data, jax.eval_shape(lambda: jax.random.key(0)), {})
        both.append(lowered.compile().memory_analysis().temp_size_in_bytes)
    return both


@pytest.mark.parametrize("microbatches", [1, 4])
def test_an_update_takes_what_its_activations_take(microbatches):
    """No gradient of a kernel, no second result beside a product's, nothing kept for a later block. Mutations: a second
    product, x W + (x A) B; a score of merged parameters; no `_after`."""
    model = presets.make("test", 24, d_model=256, d_ff=1024, layers=3, remat="block")
    adapted, alone = temporaries(model, 8, 128, microbatches)
    kernels = 4 * (4 * 256 * 256 + 3 * 256 * 1024)  # of one block, bytes: their sums with the adapters are made
    assert adapted < 1.1 * alone + kernels, (adapted, alone)


REAL = {
    "SmolLM2-135M": {"d_model": 576, "layers": 30, "heads": 9, "kv_heads": 3, "head_dim": 64, "d_ff": 1536},
    "Qwen2.5-0.5B": {"d_model": 896, "layers": 24, "heads": 14, "kv_heads": 2, "head_dim": 64, "d_ff": 4864},
}


@pytest.mark.slow  # minutes of compilation; nothing is run
@pytest.mark.parametrize("name, vocab", [("SmolLM2-135M", 49_152), ("Qwen2.5-0.5B", 151_936)])
def test_an_update_of_a_real_shape(name, vocab):
    """With layers as a loop: XLA on CPU makes recomputed blocks early where they are not. The same mutations."""
    how = {"remat": "block", "attention": "chunked", "scan_layers": True, "qk_norm": False}
    adapted, alone = temporaries(presets.make("test", vocab, **REAL[name], **how), 8, 512, 1, rank=16)
    print(f"{name}: {adapted / 1e9:.2f} and {alone / 1e9:.2f} GB, {adapted / alone:.2f} times")
    assert adapted < 1.3 * alone, adapted / alone


def test_a_reference_is_the_policys_base_with_adapters_of_its_own():
    """Nothing of the base is copied. Mutation: a copy of all parameters."""
    tx, mesh = optax.sgd(1.0), sharding.make_mesh(devices=jax.devices()[:1])
    adapt = lambda params, key: lora.add(params, key, rank=2, targets=TARGETS)  # noqa: E731
    policy = learner.init_state(MODEL, tx, mesh, jax.random.key(0), adapt)
    state = first_state(policy, reference=True)
    assert list(state.reference) == [lora.LORA]
    jax.tree.map(np.testing.assert_array_equal, state.reference[lora.LORA], policy.params[lora.LORA])
    shapes = jax.tree.map(jnp.shape, state)
    assert shapes == jax.tree.map(
        jnp.shape, abstract_state(learner.abstract_state(MODEL, tx, mesh, adapt), reference=True)
    )


@pytest.mark.parametrize(
    "rank, targets, message",
    [
        (2, "attention/w", "lora.targets='attention/w' is found in no kernel: they are called like layer_0/"),
        (2, "attention/(q", "lora.targets='attention/(q' is no regular expression: "),
        (2, "norm", "is found in no kernel"),
        (0, "down", "lora.rank=0: must be 1 to 32, the smaller side of layer_0/down/kernel"),
        (33, "down", "lora.rank=33: must be 1 to 32"),
    ],
)
def test_bad_values_are_named(rank, targets, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        adapted(rank, targets)
    assert "\n" not in str(e.value)
