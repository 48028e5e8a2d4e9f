"""Log-probability and entropy from hidden states and the head matrix, a tile of logits at a time (models/tiles.py).

The forward pass keeps, for each token, the running maximum m and sums S = sum e^(z - m) and E = sum e^(z - m) (z - m)
over the words so far (the online softmax, arXiv:1805.02867, with a second sum for the entropy).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.models import tiles


def head_stats(
    hidden: jax.Array, head: jax.Array, targets: jax.Array, temperature: float = 1.0, **how: Any
) -> tuple[jax.Array, jax.Array]:
    """log p(target) under softmax(z / temperature) and the entropy of softmax(z), z = hidden @ head, without all z.

        log p_y = z_y / T - log Z_T        H = log Z_1 - sum_j p_j z_j        (nats)
        dL/dz_j = g_logp / T (1[j = y] - p_T,j) - g_H p_j (log p_j + H)

    Args:
      hidden: [B, T, d], float32 or bfloat16.
      head: [V, d], or [d, V] with vocab_axis 1.
      targets: i32[B, T], each in [0, V).
      temperature: of log p alone, as in logprobs.choice_stats.
      **how: vocab_axis, mesh, words, elements and cap, as of tiles.cut.

    Returns:
      (logp, entropy): f32[B, T] both. The gradient goes through both.
    """
    layout, mesh = tiles.cut(hidden, head, **how)
    return _stats(hidden, head, targets, temperature, layout, mesh)


def top_words(hidden: jax.Array, head: jax.Array, count: int, **how: Any) -> jax.Array:
    """Numbers i32[B, T, k] of the `count` likeliest words of every state, the likeliest first, of equal ones the lower
    number; `hidden`, `head` and `how` as in `head_stats`, `count` k at most V. There is no gradient."""
    layout, mesh = tiles.cut(hidden, head, **how)
    run = tiles.over(mesh, layout, partial(_top, count=count, layout=layout), "xh", "y")
    return run(*jax.lax.stop_gradient((hidden, head)))[0]


def logp_at(hidden: jax.Array, head: jax.Array, ids: jax.Array, temperature: float = 1.0, **how: Any) -> jax.Array:
    """log p of several words of every state under softmax(z / temperature), without all logits.

        log p_y = z_y / T - log Z_T        dL/dz_j = 1/T (sum over i of g_i 1[j = y_i] - p_T,j sum of g)

    Args:
      hidden, head, temperature, **how: as in `head_stats`.
      ids: i32[B, T, k], numbers of words, each in [0, V).

    Returns:
      f32[B, T, k], nats, with its gradient.
    """
    layout, mesh = tiles.cut(hidden, head, **how)
    return _logp_at(hidden, head, ids, temperature, layout, mesh)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _stats(hidden, head, targets, temperature, layout, mesh):
    return _stats_forward(hidden, head, targets, temperature, layout, mesh)[0]


def _stats_forward(hidden, head, targets, temperature, layout, mesh):
    run = tiles.over(mesh, layout, partial(_forward, temperature=temperature, layout=layout), "xhy", "yyyy")
    logp, entropy, log_z, log_zt = run(hidden, head, targets)
    return (logp, entropy), (hidden, head, targets, entropy, log_z, log_zt)


def _stats_backward(temperature, layout, mesh, residuals, cotangents):
    run = tiles.over(mesh, layout, partial(_backward, temperature=temperature, layout=layout), "xhyyyyyy", "xh")
    return *run(*residuals, *cotangents), None


_stats.defvjp(_stats_forward, _stats_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _logp_at(hidden, head, ids, temperature, layout, mesh):
    return _logp_at_forward(hidden, head, ids, temperature, layout, mesh)[0]


def _logp_at_forward(hidden, head, ids, temperature, layout, mesh):
    run = tiles.over(mesh, layout, partial(_at, temperature=temperature, layout=layout), "xhy", "yy")
    logp, log_z = run(hidden, head, ids)
    return logp, (hidden, head, ids, log_z)


def _logp_at_backward(temperature, layout, mesh, residuals, cotangent):
    run = tiles.over(mesh, layout, partial(_at_backward, temperature=temperature, layout=layout), "xhyyy", "xh")
    return *run(*residuals, cotangent), None


_logp_at.defvjp(_logp_at_forward, _logp_at_backward)


def _forward(x, head, y, *, temperature, layout):
    """x [N, d], head, y i32[N] -> logp, entropy, log Z_1, log Z_T, f32[N] each."""

    def step(total, z, column, new, y):
        m, s, e, st, zy = total
        z = jnp.where(new[None], z, -jnp.inf)
        top = jnp.maximum(m, jnp.max(z, axis=1))
        shrink, z0 = jnp.exp(m - top), z - top[:, None]
        p = jnp.exp(z0)
        # -inf 0 where a column is not new
        e = shrink * (e + (m - top) * s) + jnp.sum(jnp.where(new[None], p * z0, 0.0), axis=1)
        s = shrink * s + jnp.sum(p, axis=1)
        if temperature != 1.0:
            st = jnp.exp((m - top) / temperature) * st + jnp.sum(jnp.exp(z0 / temperature), axis=1)
        return top, s, e, st, zy + jnp.sum(jnp.where(tiles.hits(column, new, y), z, 0.0), axis=1)

    start = (jnp.full(y.shape, -1e30), *(jnp.zeros(y.shape) for _ in range(4)))
    m, s, e, st, zy = tiles.folded(step, start, [(x, head)], y, layout=layout)
    if layout.vocab:
        top = jax.lax.pmax(m, layout.vocab)
        shrink = jnp.exp(m - top)
        e = jax.lax.psum(shrink * (e + (m - top) * s), layout.vocab)
        s, zy = jax.lax.psum((shrink * s, zy), layout.vocab)
        st = jax.lax.psum(jnp.exp((m - top) / temperature) * st, layout.vocab)
        m = top
    log_s = jnp.log(s)
    entropy = jnp.maximum(log_s - e / s, 0.0)  # rounding can leave -1e-8 on a certain token
    log_zt = m / temperature + jnp.log(st) if temperature != 1.0 else m + log_s
    return zy / temperature - log_zt, entropy, m + log_s, log_zt


def _backward(x, head, y, entropy, log_z, log_zt, g_logp, g_entropy, *, temperature, layout):
    """Gradients of x and head."""

    def slope(z, column, new, y, h, lz, lzt, gl, gh):
        log_p = z - lz[:, None]
        p = jnp.exp(log_p)
        pt = p if temperature == 1.0 else jnp.exp(z / temperature - lzt[:, None])
        hit = column[None] == y[:, None]
        return jnp.where(hit, gl[:, None], 0.0) - gl[:, None] * pt - gh[:, None] * p * (log_p + h[:, None])

    return tiles.pulled(slope, x, head, y, entropy, log_z, log_zt, g_logp / temperature, g_entropy, layout=layout)


def _at(x, head, ids, *, temperature, layout):
    """x [N, d], head, ids i32[N, k] -> log p_T of these words f32[N, k] and log Z_T f32[N]."""

    def step(total, z, column, new, ids):
        m, s, at = total
        z = jnp.where(new[None], z / temperature, -jnp.inf)
        top = jnp.maximum(m, jnp.max(z, axis=1))
        s = jnp.exp(m - top) * s + jnp.sum(jnp.exp(z - top[:, None]), axis=1)
        place, there = _place(ids, column, new)
        return top, s, jnp.where(there, jnp.take_along_axis(z, place, axis=1), at)

    start = (jnp.full(len(ids), -1e30), jnp.zeros(len(ids)), jnp.full(ids.shape, -jnp.inf))
    m, s, at = tiles.folded(step, start, [(x, head)], ids, layout=layout)
    if layout.vocab:
        top = jax.lax.pmax(m, layout.vocab)
        s, m = jax.lax.psum(jnp.exp(m - top) * s, layout.vocab), top
        at = jax.lax.pmax(at, layout.vocab)
    log_z = m + jnp.log(s)
    return at - log_z[:, None], log_z


def _at_backward(x, head, ids, log_z, g, *, temperature, layout):
    """Gradients of x and head."""

    def slope(z, column, new, ids, lz, g, total):
        place, there = _place(ids, column, new)
        p = jnp.exp(z / temperature - lz[:, None])
        rows = jnp.arange(len(g))[:, None]
        # a place beyond the tile is dropped
        return (-total[:, None] * p).at[rows, jnp.where(there, place, z.shape[1])].add(g, mode="drop")

    g = g / temperature
    return tiles.pulled(slope, x, head, ids, log_z, g, jnp.sum(g, axis=1), layout=layout)


def _place(ids, column, new):
    """Where in a tile words i32[n, k] stand, and whether they do, in one of its new columns."""
    place = ids - column[0]
    inside = (place >= 0) & (place < len(column))
    place = jnp.clip(place, 0, len(column) - 1)
    return place, inside & new[place]


def _top(x, head, *, count, layout):
    """x [N, d], head -> the likeliest words i32[N, k], alone in a tuple."""

    def step(total, z, column, new):
        return _likeliest(*total, jnp.where(new[None], z, -jnp.inf), jnp.broadcast_to(column, z.shape), count)

    start = jnp.full((len(x), count), -jnp.inf), jnp.zeros((len(x), count), jnp.int32)
    best, which = tiles.folded(step, start, [(x, head)], layout=layout)
    if layout.vocab:
        every = (jax.lax.all_gather(a, layout.vocab, axis=1, tiled=True) for a in (best, which))
        best, which = _likeliest(best[:, :0], which[:, :0], *every, count)
    return (which,)


def _likeliest(best, which, z, names, count):
    """The `count` largest of best [n, a] and z [n, b], and their names; of equal ones those that come first."""
    best, place = jax.lax.top_k(jnp.concatenate([best, z], axis=1), count)
    return best, jnp.take_along_axis(jnp.concatenate([which, names], axis=1), place, axis=1)
