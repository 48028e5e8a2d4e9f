"""What policy losses have in common: the ratio r = pi / pi_old and PPO's clips of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

MAX_LOG_RATIO = 20.0  # as in verl: beyond it exp overflows and the gradient carries nothing

sg = jax.lax.stop_gradient


def exp_held(x: jax.Array) -> jax.Array:
    """exp(clip(x, -20, 20))."""
    return jnp.exp(jnp.clip(x, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def ratio(logp: jax.Array, old_logp: jax.Array) -> jax.Array:
    """r = pi / pi_old = exp(clip(logp - old_logp, -20, 20)), f32[B, T]."""
    return exp_held(logp - old_logp)


def one(logp):
    """1, with the gradient of log pi: pi / sg(pi)."""
    return jnp.exp(logp - sg(logp))


def clipped(r, advantage, clip_low, clip_high):
    """max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)), and where the clip stopped the gradient."""
    free = -advantage * r
    held = -advantage * jnp.clip(r, 1.0 - clip_low, 1.0 + clip_high)
    return jnp.maximum(free, held), held > free


def dual_clipped(loss, advantage, mask, dual_clip):
    """`loss`, for A < 0 at most -A dual_clip, and the mark of the tokens that this stopped; no change with None."""
    if dual_clip is None:
        return loss, {}
    if not dual_clip > 1.0:
        raise ValueError(f"dual_clip must be > 1, not {dual_clip}")
    bound = -advantage * dual_clip
    over = mask & (advantage < 0) & (loss > bound)
    return jnp.where(over, bound, loss), {"dual_clip": over}
