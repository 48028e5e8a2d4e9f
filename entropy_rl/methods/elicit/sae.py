"""Sparse autoencoders of the residual stream, the k largest latents kept: training, quality, and features that matter.

    z = TopK(relu((h - b_pre) W_enc + b_enc))        h' = z W_dec + b_pre        loss = mean |h - h'|^2 / var(h)

(arXiv:2406.04093, section 2.3, with relu before the choice; rows of W_dec have norm 1.) Its auxiliary loss, which
revives dead latents, is left out: they are counted instead. A row of W_dec is a direction that can be steered along
(models/steering.py).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entropy_rl.errors import InputError


def init(key: jax.Array, x: np.ndarray, latents: int) -> dict[str, jax.Array]:
    """Random directions, the encoder the decoder's transpose, b_pre the mean of `x` f32[N, d].

    Returns:
      encoder f32[d, latents], bias f32[latents], decoder f32[latents, d] with rows of norm 1, pre f32[d].
    """
    decoder = _unit(jax.random.normal(key, (latents, x.shape[1])))
    return {"encoder": decoder.T, "bias": jnp.zeros(latents), "decoder": decoder, "pre": jnp.asarray(x).mean(axis=0)}


def encode(params: Any, x: jax.Array, k: int) -> jax.Array:
    """f32[N, d] -> f32[N, latents]: the k largest where they are above 0, and those that equal the last of them."""
    z = jax.nn.relu((x - params["pre"][None]) @ params["encoder"] + params["bias"][None])
    return jnp.where(z >= jax.lax.top_k(z, k)[0][..., -1:], z, 0.0)


def decode(params: Any, z: jax.Array) -> jax.Array:
    """f32[N, latents] -> f32[N, d]."""
    return z @ params["decoder"] + params["pre"][None]


def fit(
    x: np.ndarray, key: jax.Array, *, latents: int, k: int, steps: int, rows: int, learning_rate: float
) -> dict[str, jax.Array]:
    """Trains with Adam on `rows` rows of `x` f32[N, d] a step; pure in its arguments.

    Raises:
      InputError: k above the number of latents, or no spread in `x`.
    """
    if not 0 < k <= latents:
        raise InputError(f"an autoencoder of {latents} latents with {k} active: k must be 1 to {latents}")
    x = jnp.asarray(x)
    scale = jnp.mean(jnp.sum((x - x.mean(axis=0)[None]) ** 2, axis=-1))
    if not scale > 0:
        raise InputError("activations are all the same: an autoencoder has nothing to explain")
    params = init(key, x, latents)
    tx = optax.adam(learning_rate)

    def loss(params, batch):
        return jnp.mean(jnp.sum((batch - decode(params, encode(params, batch, k))) ** 2, axis=-1)) / scale

    def step(carry, number):
        params, state = carry
        pick = jax.random.randint(jax.random.fold_in(key, number), (rows,), 0, len(x))
        updates, state = tx.update(jax.grad(loss)(params, x[pick]), state)
        params = optax.apply_updates(params, updates)
        return ({**params, "decoder": _unit(params["decoder"])}, state), None

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps))[0][0])
    return run((params, tx.init(params)))


def quality(params: Any, x: np.ndarray, k: int) -> dict[str, float]:
    """On `x` f32[N, d], which should not be what it was trained on:

    explained  1 - sum |h - h'|^2 / sum |h - mean(h)|^2, the fraction of variance explained.
    dead       share of latents that are never active on it.
    active     latents a row.
    """
    x = jnp.asarray(x)
    z = encode(params, x, k)
    wrong, all_ = ((y**2).sum() for y in (x - decode(params, z), x - x.mean(axis=0)[None]))
    on = z > 0
    return {
        "explained": float(1 - wrong / all_),
        "dead": float(1 - on.any(axis=0).mean()),
        "active": float(on.sum(axis=-1).mean()),
    }


def differential(z: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean activation where `there` holds less that elsewhere (arXiv:2601.08058): f[N, latents], bool[N] -> f[latents].

    Raises:
      InputError: there is no token of one of the kinds.
    """
    there = np.asarray(there, bool)
    _both(there)
    return z[there].mean(axis=0) - z[~there].mean(axis=0)


def reason_score(z: np.ndarray, word: np.ndarray, *, alpha: float = 0.7) -> np.ndarray:
    """ReasonScore (arXiv:2503.18878; extraction/compute_score.py of its code): which features are those of reasoning.

        s_i = (mu+_i / sum_j mu+_j) H_i^alpha - mu-_i / sum_j mu-_j

    mu+ and mu- are mean activations at and away from reasoning words; H_i, from 0 to 1, is the entropy of feature i's
    mean activations at each of the W words as shares of their sum, divided by ln W (1 for a single word), so that what
    stands for one word is not taken for reasoning. A feature that is never active at words has H_i = 0.

    Args:
      z: f[N, latents], of N tokens.
      word: i[N], number of the reasoning word, 0 .. W - 1; -1: none. The paper's words are those like "wait" and
        "however", with a window around each; which tokens count is the caller's choice.

    Raises:
      InputError: there is no token of one of the kinds.
    """
    word = np.asarray(word)
    _both(word >= 0)
    words = np.unique(word[word >= 0])
    each = np.stack([z[word == w].mean(axis=0) for w in words])
    share = each / np.maximum(each.sum(axis=0, keepdims=True), 1e-12)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=0) / (np.log(len(words)) if len(words) > 1 else 1.0)
    if len(words) == 1:
        entropy = (each[0] > 0).astype(float)
    on, off = z[word >= 0].mean(axis=0), z[word < 0].mean(axis=0)
    return on / max(on.sum(), 1e-12) * np.clip(entropy, 0.0, 1.0) ** alpha - off / max(off.sum(), 1e-12)


def _both(there: np.ndarray) -> None:
    if there.all() or not there.any():
        raise InputError(f"of {there.size} tokens {int(there.sum())} are of the kind that features are to tell apart")


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
