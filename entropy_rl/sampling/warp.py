"""What is done to logits before a token is drawn: functions f32[..., V] -> f32[..., V]."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def temperature(logits: jax.Array, value: float = 1.0) -> jax.Array:
    """logits / value; bind `value` with functools.partial. 1 leaves the policy as it is."""
    return logits if value == 1.0 else logits / value


def greedy(logits: jax.Array) -> jax.Array:
    """All mass on the most probable token, the first of equals: what temperature 0 stands for."""
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    token = jax.lax.broadcasted_iota(best.dtype, logits.shape, logits.ndim - 1)
    return jnp.where(token == best, 0.0, -1e30)
