"""Aggregation as data: `weight[B, T]`, so that loss = sum(weight * token_loss).

Computed once on the whole optimiser mini-batch; micro-batches and devices then only add, and their number cannot change
the gradient. Fully masked rows weigh nothing and are not counted as sequences.

To add one: a function `(mask bool[B, T], **hparams) -> f32[B, T]`, 0 outside the mask, and a row in WEIGHTS.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _counts(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    tokens = jnp.sum(mask, axis=1, keepdims=True)
    return jnp.maximum(tokens, 1), jnp.maximum(jnp.sum(tokens > 0), 1)


def token_mean(mask: jax.Array) -> jax.Array:
    """1 / (number of tokens in the batch): every token counts the same (DAPO, arXiv:2503.14476, Eq 8)."""
    return mask / jnp.maximum(jnp.sum(mask), 1)


def sequence_mean(mask: jax.Array) -> jax.Array:
    """1 / (sequences * tokens of the sequence): mean over sequences of token means (GRPO, arXiv:2402.03300, Eq 3)."""
    tokens, sequences = _counts(mask)
    return mask / (tokens * sequences)


def sequence_sum(mask: jax.Array) -> jax.Array:
    """1 / sequences: mean over sequences of token sums."""
    _, sequences = _counts(mask)
    return mask / sequences


def fixed_length(mask: jax.Array, *, length: int) -> jax.Array:
    """1 / (sequences * length): a constant instead of each response's own length (Dr.GRPO, arXiv:2503.20783).

    verl's `seq-mean-token-sum-norm` divides by the padded length and not by the number of sequences; here it is both.
    """
    _, sequences = _counts(mask)
    return mask / (sequences * length)


WEIGHTS = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "sequence_sum": sequence_sum,
    "fixed_length": fixed_length,
}
