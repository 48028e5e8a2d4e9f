"""Statistics under a mask, and within groups: the only place where a mask meets a mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def keep(x: jax.Array, mask: jax.Array) -> jax.Array:
    """x where the mask holds, 0 elsewhere: whatever stands in a masked place, NaN included, is gone."""
    return jnp.where(mask, x, 0.0)


def masked_sum(x: jax.Array, mask: jax.Array, axis=None) -> jax.Array:
    """Sum of x[mask]."""
    return jnp.sum(keep(x, mask), axis=axis)


def masked_mean(x: jax.Array, mask: jax.Array, axis=None) -> jax.Array:
    """Mean of x[mask]; 0 where the mask holds nowhere."""
    return masked_sum(x, mask, axis) / jnp.maximum(jnp.sum(mask, axis=axis), 1)


def masked_std(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Population standard deviation of x[mask]; 0 where the mask holds nowhere."""
    return jnp.sqrt(masked_mean(jnp.square(x - masked_mean(x, mask)), mask))


def masked_quantiles(x: jax.Array, mask: jax.Array, qs: tuple[float, ...]) -> jax.Array:
    """Quantiles of x[mask] with linear interpolation, as numpy's default.

    Args:
      x: f32[...].
      mask: bool[...], of x's shape.
      qs: probabilities in [0, 1].

    Returns:
      f32[len(qs)]; 0 where the mask holds nowhere.
    """
    n = jnp.sum(mask)
    ordered = jnp.sort(jnp.where(mask, x, jnp.inf).reshape(-1))  # masked places sort to the end
    place = jnp.asarray(qs) * jnp.maximum(n - 1, 0)
    low = jnp.floor(place).astype(jnp.int32)
    high = jnp.minimum(low + 1, jnp.maximum(n - 1, 0))
    value = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return jnp.where(n > 0, value, 0.0)


def group_mean_std(x: jax.Array, group: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, unbiased standard deviation and size of each row's group.

    Args:
      x: f32[B].
      group: i32[B]; rows with equal numbers belong together, in any order.

    Returns:
      (mean, std, size): f32[B] each, given to every row of the group; std is 0 for a group of one.
    """
    rows = x.shape[0]
    _, index = jnp.unique(group, return_inverse=True, size=rows)
    total = lambda v: jax.ops.segment_sum(v, index, num_segments=rows)[index]  # noqa: E731
    size = total(jnp.ones_like(x))
    mean = total(x) / size
    std = jnp.sqrt(total(jnp.square(x - mean)) / jnp.maximum(size - 1, 1))
    return mean, std, size
