"""Ways to compute causal attention over grouped heads; the same sums in all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# How attention is computed: all scores at once; those of a block of queries at a time, made again in the backward pass;
# or, over given tokens alone, by jax.nn.dot_product_attention, whose cudnn is for GPUs and bfloat16. Tokens that follow
# a prompt's keys and values are computed as "chunked" with cudnn, as "naive" with xla, which makes all scores anyway.
ATTENTION = ("naive", "chunked", "xla", "cudnn")
BLOCK = 512  # queries, at most


def attend(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array) -> jax.Array:
    """softmax(q k^T / sqrt(D)) v over what is seen, in float32: q [B, K, G, T, D], k and v [B, K, S, D], seen
    [B | 1, 1, 1, T | 1, S] -> [B, K, G, T, D].

    The division comes after the product with v: it then runs over D numbers a token instead of all the positions that
    it sees, and so does the reduction of its gradient.
    """
    score = jnp.einsum("bkgtd,bksd->bkgts", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    score = jnp.where(seen, score, -1e30)
    share = jnp.exp(score - jax.lax.stop_gradient(jnp.max(score, axis=-1, keepdims=True)))
    total = jnp.sum(share, axis=-1, keepdims=True)
    mixed = jnp.einsum("bkgts,bksd->bkgtd", share.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (mixed / total).astype(v.dtype)


def causal(first: jax.Array | int, count: int, columns: int, past: jax.Array | None) -> jax.Array:
    """bool[B | 1, 1, 1, count, columns]: which columns of the keys are seen by tokens first .. first + count - 1.

    The columns are P of what was before, seen where `past` bool[B, P] holds (None: P = 0), and then the tokens' own.
    """
    before = 0 if past is None else past.shape[1]
    seen = (jnp.arange(columns)[None] - before <= first + jnp.arange(count)[:, None])[None]
    if past is not None:
        seen &= jnp.pad(past, ((0, 0), (0, columns - before)), constant_values=True)[:, None]
    return seen[:, None, None]


def chunked(q: jax.Array, k: jax.Array, v: jax.Array, past: jax.Array | None = None) -> jax.Array:
    """`attend` over what is `causal`, for at most BLOCK queries at a time: memory grows with the context, not with its
    square. The last block is filled up with queries that are thrown away, fewer than there are blocks."""
    time, columns = q.shape[3], k.shape[2]
    parts = -(-time // BLOCK)
    if parts == 1:
        return attend(q, k, v, causal(0, time, columns, past))
    size = -(-time // parts)
    q = jnp.pad(q, ((0, 0),) * 3 + ((0, parts * size - time), (0, 0)))
    blocks = jnp.moveaxis(q.reshape(*q.shape[:3], parts, size, q.shape[4]), 3, 0)
    one = jax.checkpoint(lambda _, part: (None, attend(part[0], k, v, causal(part[1], size, columns, past))))
    _, mixed = jax.lax.scan(one, None, (blocks, size * jnp.arange(parts)))
    return jnp.moveaxis(mixed, 0, 3).reshape(q.shape)[:, :, :, :time]


def flash(q: jax.Array, k: jax.Array, v: jax.Array, implementation: str) -> jax.Array:
    """Causal attention by jax's own function: q [B, K, G, T, D], k and v [B, K, T, D] -> [B, T, K G D].

    With "cudnn", on a GPU in bfloat16, no scores of context x context are kept; "xla" is the same sums anywhere.
    """
    batch, kv_heads, groups, time, size = q.shape
    q = q.transpose(0, 3, 1, 2, 4).reshape(batch, time, kv_heads * groups, size)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
    return mixed.reshape(batch, time, -1)
