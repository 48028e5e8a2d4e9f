"""Advantages of whole responses from their rewards, relative to the group that shares their prompt.

To add one: a function `(reward f32[B], group i32[B], **hparams) -> f32[B]` and a row in ADVANTAGES.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.masking import group_mean_std


def grpo(reward: jax.Array, group: jax.Array, *, eps: float = 1e-6) -> jax.Array:
    """A_i = (R_i - mean_g) / (std_g + eps), with the unbiased standard deviation (GRPO, arXiv:2402.03300).

    A group of one keeps its reward (mean 0, std 1), as verl's `compute_grpo_outcome_advantage` does.

    Args:
      reward: f32[B].
      group: i32[B].
      eps: added to the standard deviation.

    Returns:
      f32[B].
    """
    mean, std, size = group_mean_std(reward, group)
    return jnp.where(size > 1, (reward - mean) / (std + eps), reward / (1.0 + eps))


def dr_grpo(reward: jax.Array, group: jax.Array) -> jax.Array:
    """A_i = R_i - mean_g (Dr.GRPO, arXiv:2503.20783; its other half is the weight `fixed_length`).

    A group of one keeps its reward. f32[B], i32[B] -> f32[B].
    """
    mean, _, size = group_mean_std(reward, group)
    return jnp.where(size > 1, reward - mean, reward)


def rloo(reward: jax.Array, group: jax.Array) -> jax.Array:
    """A_i = R_i - mean of the others in the group = (R_i - mean_g) n / (n - 1) (RLOO, arXiv:2402.14740).

    A group of one keeps its reward. f32[B], i32[B] -> f32[B].
    """
    mean, _, size = group_mean_std(reward, group)
    return jnp.where(size > 1, (reward - mean) * size / jnp.maximum(size - 1, 1), reward)


ADVANTAGES = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
}
