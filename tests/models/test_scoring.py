import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import attention as attention_ways
from entropy_rl.models import presets, tiles
from entropy_rl.models.rope import Scaling
from entropy_rl.models.scoring import (
    filtered_scores,
    last_values,
    likeliest,
    nucleus_entropy,
    token_scores,
    values,
)
from entropy_rl.models.transformer import Transformer

PROMPT, RESPONSE, SAMPLES = 5, 7, 4


def rollout():
    """Three prompts of 5, 3 and 1 tokens with four responses of 1 to 7 tokens each, one of them empty."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 24, (12, PROMPT + RESPONSE)).astype(np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row in range(12):
        start = (5, 3, 1)[row // SAMPLES]
        tokens[row, :start] = tokens[row - row % SAMPLES, :start]
        mask[row, start : start + (row * 5) % 8] = True
    return tokens, mask


def both(head, make, **changes):
    """Masked scores and the gradient of a function of them: each row on its own, and prompts shared."""
    config = presets.make("test", 24, head=head, **changes).config
    model = Transformer(config)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    tokens, mask = rollout()

    def f(params, score):
        scores = score(params, tokens, mask)
        assert all(s.shape == mask.shape for s in scores.values())
        kept = {k: jnp.where(mask, s, 0.0) for k, s in scores.items()}
        return sum(jnp.sum(jnp.sin(s)) for s in kept.values()), kept

    for shared in ({}, {"samples": SAMPLES, "prompt_length": PROMPT}):
        gradient = jax.jit(jax.value_and_grad(f, has_aux=True), static_argnums=1)
        (_, scores), grads = gradient(params, make(model, **shared))
        yield scores, grads


@pytest.mark.parametrize(
    "head, make, changes",
    [
        ("lm", partial(token_scores, temperature=0.7), {}),
        ("value", values, {}),
        ("lm", token_scores, {"windows": (4, 0), "local_theta": 50.0, "rope_scaling": Scaling("dynamic", 2.0, 6)}),
    ],
    ids=["lm", "value", "windows"],
)
def test_a_shared_prompt_changes_nothing(head, make, changes):
    """Scores and gradients, on ragged prompts. Mutations: positions from 0, `valid` with one column more or less, rows
    of a group tiled instead of repeated; windows by column, the prompt run as rows of its own length."""
    (whole, grad), (shared, grad_shared) = both(head, make, **changes)
    for name in whole:
        np.testing.assert_allclose(shared[name], whole[name], atol=2e-5, err_msg=name)
    scale = max(np.abs(g).max() for g in jax.tree.leaves(grad))
    assert scale > 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=3e-5 * scale), grad, grad_shared)


@pytest.mark.parametrize("tiled", [False, True])
def test_log_probabilities_of_the_likeliest_tokens_of_responses(tiled, monkeypatch):
    """As from whole logits, where each token of a response was chosen, rows alone and with a shared prompt. Mutations:
    the state after the token; places counted from the row's beginning; temperature 1."""
    if tiled:
        monkeypatch.setattr(tiles, "ELEMENTS", 16)
    model = presets.make("test", 24)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    tokens, mask = rollout()
    ids = jax.jit(likeliest(model, count=3, prompt_length=PROMPT))(params, tokens, mask)["ids"]
    logp = jax.jit(lambda p: jax.nn.log_softmax(model.apply(p, tokens)[0] / 0.7))(params)
    want, numbers = (np.asarray(x) for x in jax.lax.top_k(logp, 3))
    made = []
    for shared in ({}, {"samples": SAMPLES, "prompt_length": PROMPT}):
        score = token_scores(model, temperature=0.7, **shared)
        made.append(np.asarray(jax.jit(score)(params, tokens, mask, ids)["at"]))
    for row in range(12):
        for j, column in enumerate(np.flatnonzero(mask[row])):
            np.testing.assert_array_equal(ids[row, j], numbers[row, column - 1])
            for at in made:
                np.testing.assert_allclose(at[row, j], want[row, column - 1], atol=2e-5)


def test_columns_without_a_response_change_nothing():
    """Rows of a shared prompt, cut to their longest response, with the likeliest tokens. Mutations: likeliest tokens of
    more columns than there are; a response that begins at the row's end less its room."""
    model = presets.make("test", 24)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    tokens, mask = rollout()
    mask &= np.cumsum(mask, axis=1) <= 3
    score = token_scores(model, samples=SAMPLES, prompt_length=PROMPT)
    likely = likeliest(model, count=2, prompt_length=PROMPT)

    @jax.jit
    def both(tokens, mask):
        ids = likely(params, tokens, mask)["ids"]
        out = score(params, tokens, mask, ids)
        return ids, out.pop("at"), {k: jnp.where(mask, x, 0.0) for k, x in out.items()}

    (ids, at, whole), (few, near, cut) = both(tokens, mask), both(tokens[:, : PROMPT + 3], mask[:, : PROMPT + 3])
    np.testing.assert_array_equal(few, ids[:, :3])
    np.testing.assert_allclose(near, at[:, :3], atol=2e-5)
    for name in whole:
        np.testing.assert_allclose(cut[name], whole[name][:, : PROMPT + 3], atol=2e-5, err_msg=name)


def test_values_are_of_the_state_before_the_token():
    """The value at column t does not see token t, and does see the one before. Mutation: no shift."""
    model = Transformer(dataclasses.replace(presets.make("test", 24).config, head="value"))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    tokens, mask = rollout()
    other = tokens.copy()
    other[:, 6] = (other[:, 6] + 1) % 24
    a, b = (jax.jit(values(model))(params, t, mask)["value"] for t in (tokens, other))
    np.testing.assert_array_equal(a[:, :7], b[:, :7])
    assert np.all(a[:, 7] != b[:, 7]) and not np.any(a[:, 0])


def test_blocks_of_queries_see_the_prompt(monkeypatch):
    """Responses of 7 tokens on a shared prompt, a token at a time. Mutation: queries cut and not what they see."""
    model = presets.make("test", 24)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    tokens, mask = rollout()
    monkeypatch.setattr(attention_ways, "BLOCK", 4)
    for attention in ("naive", "chunked"):
        model = Transformer(dataclasses.replace(model.config, attention=attention))
        scores = jax.jit(token_scores(model, samples=SAMPLES, prompt_length=PROMPT))(params, tokens, mask)
        if attention == "naive":
            want = scores
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=2e-5), want, scores)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shared", [{}, {"samples": SAMPLES, "prompt_length": PROMPT}])
def test_scores_without_logits_are_those_with_them(monkeypatch, shared, tied):
    """Values and gradients, where logits are too many. Mutations: no shift, the head's axis the other way round."""
    model = Transformer(dataclasses.replace(presets.make("test", 24).config, tied=tied))
    params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    tokens, mask = rollout()

    def f(params):
        scores = token_scores(model, temperature=0.7, **shared)(params, tokens, mask)
        kept = {k: jnp.where(mask, s, 0.0) for k, s in scores.items()}
        return sum(jnp.sum(jnp.sin(s)) for s in kept.values()), kept

    grads, scores = jax.jit(jax.grad(f, has_aux=True))(params)
    logits = f"f32[12,{RESPONSE if shared else PROMPT + RESPONSE},24]"
    assert logits in str(jax.make_jaxpr(f)(params))
    monkeypatch.setattr(tiles, "ELEMENTS", 100)
    assert logits not in str(jax.make_jaxpr(lambda p: f(p))(params))  # another function, or jax has its program still
    grads_tiled, scores_tiled = jax.jit(jax.grad(lambda p: f(p), has_aux=True))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=2e-5), scores, scores_tiled)
    scale = max(np.abs(g).max() for g in jax.tree.leaves(grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=3e-5 * scale), grads, grads_tiled)


def test_a_reward_is_read_after_the_last_token():
    """The value of the whole response: what comes after it does not matter, its last token does; an empty one has 0.
    Mutation: `shifted`, a critic's value before that token."""
    model = presets.make("test", 24, head="value")
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    tokens, mask = rollout()
    own = np.asarray(jax.jit(model.apply)(params, tokens)[0])
    reward = np.asarray(jax.jit(last_values(model))(params, tokens, mask)["reward"])
    for row in range(len(tokens)):
        places = np.flatnonzero(mask[row])
        if len(places):
            assert reward[row, places[-1]] == own[row, places[-1]] != 0
        assert np.count_nonzero(reward[row]) == min(len(places), 1)


def test_filtered_scores_are_those_of_a_min_p_filter(monkeypatch):
    """As in numpy, at a temperature; a dropped token has -inf. Mutations: the filter at temperature 1; no Z; no cap."""
    model = presets.make("test", 24, logit_cap=1.0)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 24, (3, 9)))
    params = jax.tree.map(lambda x: 3 * x, jax.jit(model.init)(jax.random.key(0), tokens))
    mask = jnp.ones(tokens.shape, bool)
    monkeypatch.setattr(tiles, "ELEMENTS", 24 * 5)  # more than one part
    got = jax.jit(filtered_scores(model, min_p=0.4, temperature=0.5))(params, tokens, mask)["filtered_logp"]
    logits = np.asarray(jax.jit(model.apply)(params, tokens)[0], np.float64)[:, :-1] / 0.5
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = np.where(p >= 0.4, p, 0.0)
    p /= p.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        want = np.log(np.take_along_axis(p, np.asarray(tokens)[:, 1:, None], -1)[..., 0])
    assert np.isinf(want).any() and np.isfinite(want).any()
    np.testing.assert_allclose(got[:, 1:], want, rtol=1e-4, atol=1e-5)
    assert not np.any(got[:, 0])
    with pytest.raises(InputError, match="min_p=1.5"):
        filtered_scores(model, min_p=1.5)


def test_nucleus_entropy_by_hand():
    """Of .5 .3 .1 .1 the nucleus of .8 has two, of .79 one, of .91 all, as two are equal. Mutation: no total."""
    logits = jnp.log(jnp.array([0.1, 0.5, 0.1, 0.3]))
    two = -(5 / 8) * np.log(5 / 8) - (3 / 8) * np.log(3 / 8)
    whole = -sum(p * np.log(p) for p in (0.1, 0.5, 0.1, 0.3))
    for top_p, want in ((0.8, two), (0.79, 0.0), (0.1, 0.0), (0.91, whole), (1.0, whole)):
        np.testing.assert_allclose(nucleus_entropy(logits, top_p), want, atol=1e-6)
    # p (ln p + H) of the nucleus, and nothing for the others
    p = np.array([0, 5 / 8, 0, 3 / 8])
    want = -p * (np.log(np.maximum(p, 1e-9)) + two)
    np.testing.assert_allclose(jax.grad(nucleus_entropy)(logits, 0.8), want, atol=1e-6)


def test_a_nucleus_is_a_score_of_its_own():
    """The same by rows and by shared prompts, and the others as without it."""
    tokens, mask = rollout()
    model = presets.make("test", 24)
    params = jax.jit(model.init)(jax.random.key(0), tokens)
    whole, plain, shared = (
        jax.jit(token_scores(model, **kw))(params, tokens, mask)
        for kw in ({"nucleus": 0.8}, {}, {"nucleus": 0.8, "samples": SAMPLES, "prompt_length": PROMPT})
    )
    for key in ("logp", "entropy"):
        np.testing.assert_allclose(whole[key], plain[key], atol=1e-6)
    for key in whole:
        np.testing.assert_allclose(np.where(mask, shared[key], 0), np.where(mask, whole[key], 0), atol=1e-5)
    assert np.all(whole["nucleus"] <= whole["entropy"] + 1e-5)
