"""What is done to logits before a token is drawn: functions f32[..., V] -> f32[..., V]."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

NEVER = -1e30  # the logit of a token that is not drawn; -inf would make entropies nan


def temperature(logits: jax.Array, value: float = 1.0) -> jax.Array:
    """logits / value; bind `value` with functools.partial. 1 leaves the policy as it is."""
    return logits if value == 1.0 else logits / value


def greedy(logits: jax.Array) -> jax.Array:
    """All mass on the most probable token, the first of equals: what temperature 0 stands for."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    token = jax.lax.broadcasted_iota(best.dtype, logits.shape, logits.ndim - 1)
    return jnp.where(token == best, 0.0, NEVER)


def top_k(logits: jax.Array, k: int) -> jax.Array:
    """Only the k most probable tokens, and those that equal the last of them; all where k is 0 or the vocabulary."""
    if not 0 < k < logits.shape[-1]:
        return logits
    return jnp.where(logits >= jax.lax.top_k(logits, k)[0][..., -1:], logits, NEVER)


def top_p(logits: jax.Array, p: float) -> jax.Array:
    """The most probable tokens that together have probability p or more, no fewer, and those that equal the last.

    Nucleus sampling (arXiv:1904.09751), without its sort: the largest threshold above which there is enough, found in
    31 halvings of the bits of a float32, which are ordered as the numbers are.
    """
    if p >= 1.0:
        return logits
    share = jax.nn.softmax(logits, axis=-1)
    number = lambda bits: jax.lax.bitcast_convert_type(bits, jnp.float32)  # noqa: E731
    enough = lambda bits: jnp.sum(jnp.where(share >= number(bits), share, 0.0), -1, keepdims=True) >= p  # noqa: E731

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        ok = enough(middle)
        return jnp.where(ok, middle, low), jnp.where(ok, high, middle)

    zero = jnp.zeros_like(share[..., :1], jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (zero, zero + jnp.float32(2.0).view(jnp.int32)))
    # rounding can leave a sum of all below p, and never a threshold above the most probable
    return jnp.where(share >= number(low), logits, NEVER)


def min_p(logits: jax.Array, p: float) -> jax.Array:
    """Tokens that have at least p times the probability of the most probable (arXiv:2407.01082)."""
    if p <= 0.0:
        return logits
    return jnp.where(logits >= jnp.max(logits, axis=-1, keepdims=True) + math.log(p), logits, NEVER)


def truncated(
    logits: jax.Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> jax.Array:
    """Temperature, then top_k, top_p and min_p, each on what the one before left: the order of transformers."""
    logits = _divided(logits, temperature)
    return _min_p(_top_p(_top_k(logits, top_k), top_p), min_p)


_divided, _top_k, _top_p, _min_p = temperature, top_k, top_p, min_p  # whose names are parameters above
