import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from entropy_rl.errors import InputError
from entropy_rl.models import attention as attention_ways
from entropy_rl.models import presets
from entropy_rl.models.products import matmul
from entropy_rl.models.rope import Scaling, rotary, rotate
from entropy_rl.models.transformer import Cache, Transformer

VARIANTS = {
    "qwen3": {},
    "qwen2": {"qk_norm": False, "qkv_bias": True},
    "llama_untied": {"qk_norm": False, "tied": False},
    "one_kv_head": {"kv_heads": 1},
}
FAMILIES = {
    "experts": {"experts": 5, "experts_per_token": 2, "d_expert": 12, "sparse": (True, False)},
    # what a family has that the others have not, and two windows of different lengths
    "windows": {"windows": (3, 5), "qk_norm": False},
    "smollm3": {"windows": (0, 4), "rotated": (True, False), "qk_norm": False},
    "olmo2": {"norms": "after", "qk_norm_whole": True, "rope_scaling": Scaling("dynamic", 2.0, 4)},
    "gemma": {
        **{"windows": (3, 0), "local_theta": 50.0, "norms": "both", "norm_offset": 1.0, "activation": "gelu_tanh"},
        **{"embed_scale": True, "query_scalar": 5.0, "attention_cap": 4.0, "logit_cap": 9.0},
    },
}


def make(**overrides):
    """A model with random weights, biases and norms, and tokens for it."""
    model = presets.make("test", 17, **overrides)
    tokens = jax.random.randint(jax.random.key(1), (3, 10), 0, 17)
    params = jax.jit(model.init)(jax.random.key(0), tokens)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noise = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)]
    return model, jax.tree.unflatten(tree, noise), tokens


@pytest.mark.parametrize("variant", VARIANTS)
def test_causality_by_gradient(variant):
    """Position t depends on tokens 0 .. t and on no later one. Mutation: tril -> ones."""
    model, params, tokens = make(**VARIANTS[variant])

    @jax.jit
    @jax.grad
    def at(embedding, t):
        p = {"params": params["params"] | {"embed": {"embedding": embedding}}}
        return model.apply(p, jnp.arange(10)[None])[0][0, t].sum()

    # each position has a token of its own, so the gradient on an embedding row is that on a position
    for t in (0, 4, 9):
        grad = np.asarray(at(params["params"]["embed"]["embedding"], t))
        if not model.config.tied:
            assert np.abs(grad[: t + 1]).sum(axis=1).all()
            np.testing.assert_array_equal(grad[t + 1 : 10], 0.0)
    apply = jax.jit(model.apply)
    a, b = (np.asarray(apply(params, x)[0]) for x in (tokens, np.where(np.arange(10) < 6, tokens, 0)))
    np.testing.assert_array_equal(a[:, :6], b[:, :6])
    assert np.any(a[:, 6] != b[:, 6])


LESS = ("windows", "smollm3")  # what gemma has too


@pytest.mark.parametrize(
    "variant", [pytest.param(x, marks=pytest.mark.slow) if x in LESS else x for x in VARIANTS | FAMILIES]
)
def test_cache_parity(variant):
    """Token by token through a cache, at scattered columns, gives the logits of the whole sequence.

    Mutations: windows by column instead of position, or one token shorter there; a cache's length not told to dynamic.
    """
    model, params, tokens = make(**(VARIANTS | FAMILIES)[variant])
    apply = jax.jit(partial(model.apply, context=12))
    whole, tokens = np.asarray(apply(params, tokens)[0]), np.asarray(tokens)
    c = model.config
    blank = tuple(jnp.zeros((3, c.kv_heads, 12, c.head_dim)) for _ in range(c.layers))
    at = jnp.zeros((3, 1, 12, 1), jnp.int32) if c.windows else None
    cache, valid = Cache(blank, blank, at), np.zeros((3, 12), bool)
    for t, column in enumerate([7, 2, 11, 0, 5, 1, 9, 3, 10, 4]):
        valid = valid | (np.arange(12) == column)
        position = np.full((3, 1), t, np.int32)
        one, out = apply(params, tokens[:, t : t + 1], position, cache=cache, column=column, valid=valid)
        cache = out["cache"]
        np.testing.assert_allclose(np.asarray(one)[:, 0], whole[:, t], atol=2e-5)


@pytest.mark.parametrize("variant", ["gemma", "qwen2"])
def test_turned_keys_are_the_same_cache(variant):
    """Mutation: turned keys are given out as they came, or the new one is written along the other axis."""
    model, params, tokens = make(**(VARIANTS | FAMILIES)[variant])
    c, rng = model.config, np.random.default_rng(0)
    some = lambda: tuple(jnp.asarray(rng.normal(size=(3, c.kv_heads, 9, c.head_dim)), "f4") for _ in range(c.layers))  # noqa: E731
    at = jnp.broadcast_to(jnp.arange(9)[:, None], (3, 1, 9, 1)) if c.windows else None
    cache, valid = Cache(some(), some(), at), jnp.asarray(rng.random((3, 9)) < 0.6).at[:, 4].set(True)
    step = jax.jit(partial(model.apply, params, tokens[:, :1], jnp.full((3, 1), 4), column=4, valid=valid))
    (plain, want), (turned, got) = step(cache=cache), step(cache=cache.turn())
    assert cache.turn().k[0].shape == (3, c.kv_heads, c.head_dim, 9) and got["cache"].turned
    np.testing.assert_allclose(turned, plain, atol=2e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), got["cache"].turn(), want["cache"])


def test_padding_on_the_right_changes_nothing():
    model, params, tokens = make()
    apply = jax.jit(model.apply)
    padded, _ = apply(params, jnp.pad(tokens, ((0, 0), (0, 5))))
    np.testing.assert_allclose(padded[:, :10], apply(params, tokens)[0], atol=1e-5)


def test_out_holds_the_residual_stream_and_what_the_head_reads():
    model, params, tokens = make()
    logits, out = jax.jit(model.apply)(params, tokens)
    np.testing.assert_allclose(logits, out["hidden"] @ params["params"]["embed"]["embedding"].T, atol=1e-5)
    assert {"embedded", "layer_0", "layer_1", "hidden", "cache"} <= set(out)


def test_value_head_gives_one_number_a_token():
    model, params, tokens = make(head="value")
    value, _ = jax.jit(model.apply)(params, tokens)
    assert value.shape == tokens.shape and value.dtype == jnp.float32
    assert "lm_head" not in params["params"]


def test_rotation_keeps_length_and_sees_only_distance():
    x = jax.random.normal(jax.random.key(0), (1, 4, 1, 8))
    at = lambda p: rotate(x, *rotary(jnp.array([p]), 8, 100.0))  # noqa: E731
    a, b = at([0, 1, 2, 3]), at([7, 8, 9, 10])
    np.testing.assert_allclose(jnp.linalg.norm(a, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    dot = lambda y: jnp.einsum("bthd,bshd->ts", y, y)  # noqa: E731
    np.testing.assert_allclose(dot(a), dot(b), atol=1e-4)
    assert np.abs(dot(a) - dot(x)).max() > 0.1


@pytest.mark.parametrize(
    "f, args", [("matmul", ((2, 3, 4), (4, 5))), ("rotate", ((2, 3, 1, 8),)), ("part", ((2, 3, 1, 14),))]
)
def test_gradients_by_hand_equal_finite_differences(f, args):
    x = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(args)]
    if f == "matmul":
        function = matmul
    else:
        function = lambda y: rotate(y, *rotary(jnp.array([[1, 5, 9]]), 8, 10.0))  # noqa: E731
    check_grads(function, x, order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'embedded'"):
        presets.make("embeded", 40)


@pytest.mark.parametrize(
    "change, variant",
    [
        *(({"remat": "block"}, {}), ({"remat": "save_linear"}, {}), ({"attention": "xla"}, {})),
        *(({"attention": "chunked"}, {}), ({"attention": "xla"}, {"windows": (2, 3), "query_scalar": 5.0})),
        ({"attention": "chunked", "remat": "block"}, FAMILIES["gemma"]),
    ],
)
def test_ways_to_compute_do_not_change_what_is_computed(rng, change, variant, monkeypatch):
    """Result, gradients and parameters' names. Mutations: heads of a group in another order for jax's attention, or its
    window one token longer; queries of a block that are placed as those of the first."""
    monkeypatch.setattr(attention_ways, "BLOCK", 2)
    config = presets.make("test", 24, **variant).config
    tokens = rng.integers(0, 24, (2, 6))
    results = []
    for c in (config, dataclasses.replace(config, **change)):
        model = Transformer(c)
        params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
        results.append(jax.jit(jax.value_and_grad(lambda p, m=model: jnp.sum(jnp.sin(m.apply(p, tokens)[0]))))(params))
    scale = max(np.abs(g).max() for g in jax.tree.leaves(results[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=3e-5 * scale), *results)


def test_windows_are_plain_masks():
    """A token beyond the windows changes nothing, the last within them does. Mutation: > for >= in the mask."""
    model, params, tokens = make(windows=(3, 2), qk_norm=False)
    apply = jax.jit(model.apply)
    other = lambda where: np.where(np.arange(10) == where, (tokens + 1) % 17, tokens)  # noqa: E731
    a, b, c = (np.asarray(apply(params, x)[0]) for x in (tokens, other(6), other(5)))
    for seen in (6, 7, 8, 9):  # 9 - 6 = (3 - 1) + (2 - 1)
        assert np.any(a[:, seen] != b[:, seen])
    np.testing.assert_array_equal(a[:, 9], c[:, 9])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"windows": (3,)}, r"windows=\(3,\) says something of 1 layers: there are 2"),
        ({"rotated": (True, False, True)}, "rotated=.* of 3 layers: there are 2"),
        ({"rotary_dim": 5}, "rotary_dim=5: must be even and below the head's 8"),
        ({"kv_heads": 3}, "kv_heads=3 does not divide heads=4: give a divisor"),
        ({"kv_heads": 0}, "kv_heads=0: must be 1 or more"),
        ({"norms": "around"}, "norms='around': must be one of before, after, both"),
        ({"activation": "relu"}, "unknown activation 'relu'"),
        ({"attention_cap": 5.0, "attention": "cudnn"}, "attention='cudnn' has no soft cap of scores: give naive or"),
    ],
)
def test_a_config_that_means_nothing_is_named(change, message):
    with pytest.raises(InputError, match=message):
        presets.make("test", 24, **change)


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [("remat", "linear", "save_linear"), ("attention", "own", "naive"), ("attention", "blocks", "chunked")],
)
def test_old_names_of_ways_to_compute(field, old, new):
    """Workdirs of before have them. Mutation: a row of OLD_NAMES less."""
    config = presets.make("test", 24, **{field: old}).config
    assert getattr(config, field) == new and config == presets.make("test", 24, **{field: new}).config


def test_what_is_kept_for_the_backward_pass(capsys):
    """Nothing as long as the context squared with `save_linear`, inputs of blocks alone with `block`: what a compiler
    does with that is its own matter. Mutation: `remat` not read, or a name that no linear layer gives."""
    tokens = jnp.zeros((2, 17), jnp.int32)
    kept = {}
    for remat in ("none", "save_linear", "block"):
        model = Transformer(dataclasses.replace(presets.make("test", 24).config, remat=remat))
        params = jax.jit(model.init)(jax.random.key(0), tokens)
        jax.ad_checkpoint.print_saved_residuals(lambda p, m=model: jnp.sum(m.apply(p, tokens)[0]), params)
        arrays = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "from the argument" not in line]
        kept[remat] = [tuple(map(int, a[a.index("[") + 1 : -1].split(","))) for a in arrays if a[-2] != "["]
    squares = {k: [s for s in shapes if s[-2:] == (17, 17)] for k, shapes in kept.items()}
    assert squares["none"] and not squares["save_linear"] and not squares["block"]
    wide = {k: [s for s in shapes if s == (2, 17, 64)] for k, shapes in kept.items()}  # gate and up
    assert len(wide["save_linear"]) >= 4 and not wide["block"]
