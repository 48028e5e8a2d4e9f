"""Ways to compute causal attention over grouped heads; the same sums in all of them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

# How attention is computed: all scores at once; those of a block of queries at a time, made again in the backward pass;
# or, over given tokens alone, by jax.nn.dot_product_attention, whose cudnn is for GPUs and bfloat16. Tokens that follow
# a prompt's keys and values are computed as "chunked" with cudnn, as "naive" with xla, which makes all scores anyway.
ATTENTION = ("naive", "chunked", "xla", "cudnn")
BLOCK = 512  # queries, at most


class Near(NamedTuple):
    """A sliding window: a key is seen where its position is above the query's less the window."""

    window: int  # tokens that are seen, the query's own the last
    query: jax.Array  # i32[B | 1, T], positions
    key: jax.Array  # i32[B | 1, S]

    def seen(self) -> jax.Array:
        """bool[B | 1, T, S]."""
        return self.key[:, None, :] > self.query[:, :, None] - self.window


def soft_cap(x: jax.Array, cap: float | None) -> jax.Array:
    """cap tanh(x / cap); x itself where the cap is None."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: jax.Array,
    scale: float | None = None,
    cap: float | None = None,
    turned: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v over what is seen, in float32: q [B, K, G, T, D], k and v [B, K, S, D], seen
    [B | 1, 1, 1, T | 1, S] -> [B, K, G, T, D].

    The division comes after the product with v: it then runs over D numbers a token instead of all the positions that
    it sees, and so does the reduction of its gradient.

    Args:
      q, k, v, seen: as above.
      scale: None: 1 / sqrt(D).
      cap: of the scores, see `soft_cap`.
      turned: k is [B, K, D, S].
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    form = "bkgtd,bkds->bkgts" if turned else "bkgtd,bksd->bkgts"
    score = jnp.einsum(form, q, k, preferred_element_type=jnp.float32) * scale
    score = jnp.where(seen, soft_cap(score, cap), -1e30)
    share = jnp.exp(score - jax.lax.stop_gradient(jnp.max(score, axis=-1, keepdims=True)))
    total = jnp.sum(share, axis=-1, keepdims=True)
    mixed = jnp.einsum("bkgts,bksd->bkgtd", share.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (mixed / total).astype(v.dtype)


def causal(
    first: jax.Array | int, count: int, columns: int, past: jax.Array | None, near: Near | None = None
) -> jax.Array:
    """bool[B | 1, 1, 1, count, columns]: which columns of the keys are seen by tokens first .. first + count - 1.

    The columns are P of what was before, seen where `past` bool[B, P] holds (None: P = 0), and then the tokens' own; of
    them those that are `near` these tokens, if a window is given.
    """
    before = 0 if past is None else past.shape[1]
    seen = (jnp.arange(columns)[None] - before <= first + jnp.arange(count)[:, None])[None]
    if past is not None:
        seen &= jnp.pad(past, ((0, 0), (0, columns - before)), constant_values=True)[:, None]
    if near is not None:
        seen &= near.seen()
    return seen[:, None, None]


def chunked(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    past: jax.Array | None = None,
    near: Near | None = None,
    scale: float | None = None,
    cap: float | None = None,
) -> jax.Array:
    """`attend` over what is `causal`, for at most BLOCK queries at a time: memory grows with the context, not with its
    square. The last block is filled up with queries that are thrown away, fewer than there are blocks."""
    time, columns = q.shape[3], k.shape[2]
    parts = -(-time // BLOCK)
    if parts == 1:
        return attend(q, k, v, causal(0, time, columns, past, near), scale, cap)
    size = -(-time // parts)
    q = jnp.pad(q, ((0, 0),) * 3 + ((0, parts * size - time), (0, 0)))
    blocks = jnp.moveaxis(q.reshape(*q.shape[:3], parts, size, q.shape[4]), 3, 0)
    place = None
    if near is not None:
        place = jnp.pad(near.query, ((0, 0), (0, parts * size - time)), mode="edge")
        place = jnp.moveaxis(place.reshape(-1, parts, size), 1, 0)

    def block(_, part):
        own, first, at = part
        of_block = None if near is None else near._replace(query=at)
        return None, attend(own, k, v, causal(first, size, columns, past, of_block), scale, cap)

    _, mixed = jax.lax.scan(jax.checkpoint(block), None, (blocks, size * jnp.arange(parts), place))
    return jnp.moveaxis(mixed, 0, 3).reshape(q.shape)[:, :, :, :time]


def flash(
    q: jax.Array, k: jax.Array, v: jax.Array, implementation: str, window: int = 0, scale: float | None = None
) -> jax.Array:
    """Causal attention by jax's own function: q [B, K, G, T, D], k and v [B, K, T, D] -> [B, T, K G D].

    With "cudnn", on a GPU in bfloat16, no scores of context x context are kept; "xla" is the same sums anywhere. A
    window is of columns here, which are positions but for an offset.

    Args:
      q, k, v: as above.
      implementation: "xla" or "cudnn".
      window: tokens that are seen, the query's own the last; 0: all.
      scale: None: 1 / sqrt(D).
    """
    batch, kv_heads, groups, time, size = q.shape
    q = q.transpose(0, 3, 1, 2, 4).reshape(batch, time, kv_heads * groups, size)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    local = (window - 1, 0) if window else None
    mixed = jax.nn.dot_product_attention(
        q, k, v, is_causal=True, implementation=implementation, local_window_size=local, scale=scale
    )
    return mixed.reshape(batch, time, -1)
