"""The critic's loss per token, and how much of the returns it explains. Aggregation is in losses/weights.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.errors import InputError
from entropy_rl.masking import mask_out, masked_mean


def clipped_value(
    value: jax.Array, old_value: jax.Array, returns: jax.Array, mask: jax.Array, *, clip: float = 0.5
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """l = max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2) / 2, the value loss of PPO.

    The worse of the two: a value that has moved by more than `clip` away from V_old towards R has no gradient any more,
    one that has moved away from R keeps its own. As verl's `compute_value_loss` (0.5 is its `cliprange_value`).

    Args:
      value, old_value, returns: f32[B, T]; `old_value` as when the returns were made.
      mask: bool[B, T].
      clip: above 0, in units of the reward.

    Returns:
      (f32[B, T], 0 outside the mask; {"clip": bool[B, T], tokens whose gradient the clip stopped}).

    Raises:
      InputError: clip is not above 0.
    """
    if not clip > 0:
        raise InputError(f"clip={clip}: how far values may move must be above 0")
    value, old_value, returns = (mask_out(x, mask) for x in (value, old_value, returns))
    free = jnp.square(value - returns)
    held = jnp.square(jnp.clip(value, old_value - clip, old_value + clip) - returns)
    return 0.5 * jnp.maximum(free, held), {"clip": mask & (held > free)}


def explained_variance(value: jax.Array, returns: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - Var[R - V] / Var[R] over the tokens of the mask: 1 for a perfect critic, 0 for a constant, below for a worse.

    0 where the returns do not vary, to within what float32 resolves; verl adds 1e-5 to the denominator.

    Args:
      value, returns: f32[B, T].
      mask: bool[B, T].

    Returns:
      f32[].
    """
    variance = lambda x: masked_mean(jnp.square(x - masked_mean(x, mask)), mask)  # noqa: E731
    total = variance(returns)
    varies = total > 1e-10 * masked_mean(jnp.square(returns) + jnp.square(value), mask)
    return jnp.where(varies, 1.0 - variance(returns - value) / jnp.where(varies, total, 1.0), 0.0)
