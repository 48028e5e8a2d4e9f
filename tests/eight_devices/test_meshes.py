"""Run by tests/test_eight_devices.py."""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import attention, hf, lora, presets, tiles
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.tiled_head import head_stats, logp_at, top_words
from entropy_rl.models.transformer import RULES
from entropy_rl.parallel import sharding
from entropy_rl.sampling import decode, engine
from entropy_rl.sampling.engine import generate
from entropy_rl.training import learner, objectives, optimizer
from tests.training.learning import LOSSES, SELECTING, assert_close, batch, fresh, make_updated, taught, updated

MESHES = {"8x1x1": (8, 1, 1), "1x8x1": (1, 8, 1), "2x2x2": (2, 2, 2), "1x1x8": (1, 1, 8)}
# The mesh that cuts every axis is in the fast suite; the others repeat it, an axis at a time.
EVERY = [name if name == "2x2x2" else pytest.param(name, marks=pytest.mark.slow) for name in MESHES]


def mesh(name):
    data, fsdp, tensor = MESHES[name]
    return sharding.make_mesh(data, fsdp, tensor)


@pytest.mark.parametrize("name", EVERY)
def test_the_update_is_that_of_one_device(name):
    """Mutation: take the mean of the devices' losses."""
    assert_close(updated("ppo", mesh=mesh(name), kv_heads=4, layers=2), updated("ppo", kv_heads=4, layers=2))


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("name", ["2x2x2", "1x1x8"])
def test_experts_over_a_mesh(name):
    """Update, load loss, choices and samples are those of one device; kernels are cut by the rules. Mutations: the sum
    over the axis left out; experts numbered from 0 on every device."""
    how = {"kv_heads": 4, "experts": 8, "experts_per_token": 2, "d_expert": 16}
    how |= {"layers": 3, "sparse": (True, True, False)}
    m = mesh(name)
    load = objectives.Load(0.3, 2)
    want = updated("ppo", load=load, **how)
    for scan_layers in (False, True):
        assert_close(updated("ppo", mesh=m, load=load, scan_layers=scan_layers, **how), want)
    model = presets.make("test", 24, **how)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    placed = jax.device_put(params, sharding.infer_sharding(params, RULES, m))
    kernel = placed["params"]["layer_0"]["experts"]["gate"]["kernel"]
    assert kernel.addressable_shards[0].data.shape[0] == 8 // m.shape["tensor"]
    tokens = jax.random.randint(jax.random.key(1), (8, 9), 0, 24)
    run = lambda model: jax.jit(lambda p, x: model.apply(p, x)[1]["routes"][0])  # noqa: E731
    want, got = run(model)(params, tokens), run(model.over(m))(placed, tokens)
    np.testing.assert_array_equal(got.chosen, want.chosen)
    np.testing.assert_allclose(got.prob, want.prob, atol=1e-6)
    how = {"max_new": 5, "eos": -1, "samples": 8}
    sample = lambda p, mesh: generate(model, p, [[1, 2, 3]], jax.random.key(0), mesh=mesh, **how)  # noqa: E731
    for a, b in zip(sample(params, None)[0], sample(placed, m)[0]):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)


@pytest.mark.parametrize("kv_heads, groups, rows", [(2, 1, 4), (1, 2, 4), (1, 3, 3)])
def test_splash_over_a_mesh(kv_heads, groups, rows):
    """Rows and heads cut, or heads of each key-value head, or neither: value and gradients of one device, interpreted.
    Mutations: rows not cut, keys' gradient of one device's heads alone."""
    rng, m = np.random.default_rng(0), mesh("2x2x2")
    q = rng.normal(size=(rows, kv_heads, groups, 30, 8)).astype("f4")
    k, v = rng.normal(size=(2, rows, kv_heads, 40, 8)).astype("f4")
    past = jnp.asarray(rng.random((rows, 10)) < 0.5)
    run = partial(attention.splash, mesh=m, interpret=True)

    def both(f):
        return jax.jit(jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(f(*args, past))), (0, 1, 2)))(q, k, v)

    want = both(lambda q, k, v, past: attention.attend(q, k, v, attention.causal(0, 30, 40, past)))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), both(run), want)
    cut = jax.jit(run)(q, k, v, past).addressable_shards[0].data.shape
    assert cut == {(2, 1, 4): (1, 1, 1, 30, 8), (1, 2, 4): (1, 1, 1, 30, 8), (1, 3, 3): q.shape}[kv_heads, groups, rows]


def test_experts_that_a_mesh_does_not_divide_are_named():
    model = presets.make("test", 24, experts=6, experts_per_token=2, d_expert=16)
    with pytest.raises(InputError, match="mesh.tensor=8 does not divide the 6 experts of a layer"):
        token_scores(model, mesh=mesh("1x1x8"))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("vocab, words", [(24, 2), (23, 5)])
def test_the_head_without_logits_over_a_mesh(name, vocab, words):
    """Rows, vocabulary and width cut: values and both gradients; 23 words are cut by no mesh. Mutations: no sum of the
    vocabulary's parts, a head's gradient of one device's rows, a part's numbers from 0."""
    rng = np.random.default_rng(0)
    x, head = rng.normal(size=(8, 3, 16)).astype("f4"), rng.normal(size=(vocab, 16)).astype("f4")
    targets, (a, b) = rng.integers(0, vocab, (8, 3)), rng.normal(size=(2, 8, 3)).astype("f4")

    def f(x, head, mesh=None, axis=0):
        logp, entropy = head_stats(x, head, targets, 0.7, vocab_axis=axis, mesh=mesh, words=words, elements=16)
        return jnp.sum(a * logp + b * entropy), (logp, entropy)

    gradient = jax.jit(jax.grad(f, (0, 1), has_aux=True), static_argnames=("mesh", "axis"))
    want = gradient(x, head)
    m = mesh(name)
    for axis, path in enumerate(("embed/embedding", "lm_head/kernel")):
        placed = head if axis == 0 else head.T
        rule = sharding.infer_sharding({path: placed}, RULES, m)[path]
        (gx, gh), stats = gradient(*jax.device_put((x, placed), (sharding.batch_sharding(m), rule)), mesh=m, axis=axis)
        assert_close(((gx, gh if axis == 0 else gh.T), stats), want)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("vocab, words", [(24, 2), (23, 5)])
def test_the_likeliest_words_over_a_mesh(name, vocab, words):
    """Their numbers, log-probabilities and both gradients. Mutations: those of one part of the vocabulary; slopes of
    words that another part has."""
    rng = np.random.default_rng(0)
    x, head = rng.normal(size=(8, 3, 16)).astype("f4"), rng.normal(size=(vocab, 16)).astype("f4")
    slopes = rng.normal(size=(8, 3, 7)).astype("f4")

    def f(x, head, mesh=None, axis=0):
        how = {"vocab_axis": axis, "mesh": mesh, "words": words, "elements": 16}
        ids = top_words(x, head, 7, **how)
        return jnp.sum(slopes * logp_at(x, head, ids, 0.7, **how)), ids

    gradient = jax.jit(jax.grad(f, (0, 1), has_aux=True), static_argnames=("mesh", "axis"))
    want, m = gradient(x, head), mesh(name)
    for axis, path in enumerate(("embed/embedding", "lm_head/kernel")):
        placed = head if axis == 0 else head.T
        rule = sharding.infer_sharding({path: placed}, RULES, m)[path]
        (gx, gh), ids = gradient(*jax.device_put((x, placed), (sharding.batch_sharding(m), rule)), mesh=m, axis=axis)
        np.testing.assert_array_equal(ids, want[1])
        assert_close((gx, gh if axis == 0 else gh.T), want[0])


@pytest.mark.parametrize("name", EVERY)
def test_self_distillation_over_a_mesh(name, monkeypatch):
    how = {"data": taught(batch()), "distillation": objectives.Distillation(0.7, 0.3), "kv_heads": 4}
    want = updated("ppo", **how)
    monkeypatch.setattr(tiles, "ELEMENTS", 16)
    assert_close(make_updated("ppo", mesh=mesh(name), **how), want)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"microbatches": 2}, marks=pytest.mark.slow),
        {"remat": "block", "scan_layers": True},
        {"tiled": True},
    ],
)
def test_ways_to_save_memory_on_a_mesh(name, how, monkeypatch):
    want = updated("ppo", kv_heads=4, layers=2)
    if how.get("tiled"):
        how = {}
        monkeypatch.setattr(tiles, "ELEMENTS", 16)
    got = make_updated("ppo", mesh=mesh(name), kv_heads=4, layers=2, **how)  # not the one that was made before
    assert_close(got, want)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_micro_batches_on_eight_devices(loss):
    assert_close(updated(loss, mesh=mesh("8x1x1"), microbatches=2), updated(loss))


@pytest.mark.slow
@pytest.mark.parametrize("loss", SELECTING)
@pytest.mark.parametrize("name", MESHES)
def test_losses_that_select_tokens_on_every_mesh(name, loss):
    """Which tokens: of the whole mini-batch, wherever its rows lie. Recomputation and micro-batches besides."""
    got = updated(loss, mesh=mesh(name), microbatches=2, kv_heads=4, layers=2, remat="save_linear")
    assert_close(got, updated(loss, kv_heads=4, layers=2))


def test_parameters_lie_on_their_shards():
    """And they are those of one device."""
    tx = optimizer.make_optimizer(optimizer.make_schedule(1.0))
    model = presets.make("test", 24)
    state = learner.init_state(model, tx, mesh("2x2x2"), jax.random.key(0))
    assert_close(state.params, fresh(model, tx).params, atol=1e-6)
    kernel = state.params["params"]["layer_0"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (kernel.shape[0] // 2, kernel.shape[1] // 2)
    moment = state.opt_state[1][0].mu["params"]["layer_0"]["up"]["kernel"]
    assert moment.sharding == kernel.sharding


def test_the_cache_lies_where_the_heads_do():
    """Slots over the rows' axes, key and value heads over tensor, and it stays there. Mutation: no rule for them."""
    model = presets.make("test", 23)
    m = mesh("2x2x2")
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    params = jax.device_put(params, sharding.infer_sharding(params, RULES, m))
    prefix = decode.prefill(model, params, jnp.ones((4, 3), jnp.int32), mesh=m)
    empty = decode.empty(prefix, slots=8, columns=7, mesh=m)
    n = np.zeros(8, np.int32)
    filled = decode.insert(empty, prefix, n == 0, np.arange(8, dtype="i4") // 2, n, n, n + 3, n + 4, mesh=m)
    how = {"ticks": 2, "eos": (1,), "warp": jnp.negative, "width": 3, "mesh": m}
    state, _ = decode.decode(model, params, filled, jax.random.key(0), **how)
    half = decode.compact(state, np.zeros(4, np.int32), mesh=m)
    for x in (*state.cache.k, *state.cache.v):
        assert x.addressable_shards[0].data.shape == (2, 1, 7, 8) and x.shape == (8, 2, 7, 8)
    for x in half.cache.k:
        assert x.addressable_shards[0].data.shape == (1, 1, 7, 8) and x.shape == (4, 2, 7, 8)
    for x in prefix.k:
        assert x.addressable_shards[0].data.shape == (1, 1, 3, 8)


@pytest.mark.parametrize("slots", [8, 5, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EVERY)
def test_the_sampler_gives_the_same_tokens(name, slots, monkeypatch):
    """Slots that are refilled by the device's own requests and by others', left out, and added to make a multiple.

    Mutations: a prompt's row counted from the wrong device's first; the prefix sent round the other way; no `most`.
    """
    monkeypatch.setattr(engine, "LONG", 7)
    far, insert = [], decode.insert
    monkeypatch.setattr(decode, "insert", lambda *args, **kw: far.append(kw["far"]) or insert(*args, **kw))
    model = presets.make("test", 23)
    init = lambda key: jax.tree.map(lambda x: 2 * x, model.init(key, jnp.zeros((1, 2), jnp.int32)))  # noqa: E731
    params = jax.jit(init)(jax.random.key(0))
    prompts = [[2, 3, 4], [5, 6], [7, 8, 9, 10], [11], [12, 5], [3, 3, 3]]
    kw = {"samples": 8, "slots": slots, "max_new": 7, "eos": range(1, 7), "chunk": 2}
    want = generate(model, params, prompts, jax.random.key(1), **kw)
    m = mesh(name)
    placed = jax.device_put(params, sharding.infer_sharding(params, RULES, m))
    got = generate(model, placed, prompts, jax.random.key(1), mesh=m, fewest=2, **kw)
    for a, b in zip(want, got):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x.tokens, y.tokens)
            np.testing.assert_allclose(x.logp, y.logp, atol=1e-5)
    assert name != "2x2x2" or slots == 16 or any(far), "no request was served on another device than its prompt's"


FOLDERS = pathlib.Path(__file__).parents[1] / "models" / "hf"
FAMILIES = ("mistral", "phi3", "phi3_longrope", "llama_dynamic", "smollm3", "olmo2", "gemma2", "gemma3")


@pytest.mark.parametrize("name", [x if x == "gemma3" else pytest.param(x, marks=pytest.mark.slow) for x in FAMILIES])
def test_families_on_eight_devices(name):
    """Sampled on a mesh, scored on one device, by rows and with prompts shared: windows by position, norms over heads
    that lie apart, a rope by length. Mutation: the cache's positions on no axis, a prefix's repeated in another order.
    """
    m = mesh("2x2x2")
    model, params = hf.load(FOLDERS / name, mesh=m, param_dtype="float32")
    prompts = [[2, 3, 4, 60, 61, 62, 63, 64, 65], [5, 6], [7, 8, 9, 10, 33, 34]]
    kw = {"samples": 4, "slots": 8, "max_new": 30, "eos": range(1, 4), "chunk": 5, "prompt_length": 9}
    got = generate(model, params, prompts, jax.random.key(1), mesh=m, **kw)
    rows = [(p, c) for p, group in zip(prompts, got) for c in group]
    tokens, mask = np.zeros((len(rows), 39), np.int32), np.zeros((len(rows), 39), bool)
    for i, (p, c) in enumerate(rows):
        end = len(p) + len(c.tokens)
        tokens[i, :end], mask[i, len(p) : end] = [*p, *c.tokens], True
    _, whole = hf.load(FOLDERS / name, param_dtype="float32")
    said = np.concatenate([c.logp for _, c in rows])
    for how in ({}, {"samples": 4, "prompt_length": 9}):
        scored = jax.jit(token_scores(model, **how))(whole, tokens, mask)
        np.testing.assert_allclose(np.asarray(scored["logp"])[mask], said, atol=1e-4)


@pytest.mark.parametrize("name", ["qwen3", "phi3"])
def test_a_folder_goes_to_its_shards_and_back(name, tmp_path):
    """The same numbers as on one device, each device with its part; saved again, the same bytes.

    Mutation: `index` of a transposed tensor the other way round; a fused tensor's part read from its first row.
    """
    folder = FOLDERS / name
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
        data = jax.device_put(batch(), sharding.batch_sharding(m))
        for step in range(2):
            state, metrics = update(state, data, jax.random.key(step), {})
        results.append(jax.device_get((state.params, metrics)))
        a = state.params["lora"]["layer_0"]["down"]["kernel"]["a"]
    assert a.addressable_shards[0].data.shape == a.shape
    assert_close(*results)
