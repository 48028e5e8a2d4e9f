"""From hidden states or logits to the log-probability and the exact entropy of every token.

Alignment (the only shift by one in the project): column t of every `[B, T]` array talks about `tokens[:, t]`. The
model's output at position t - 1 predicts that token, so statistics move one column to the right here, and column 0,
which nothing predicts, is 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_vjp
def categorical_stats(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log p(target) and entropy of softmax(logits), each in one pass over the vocabulary.

        log p_y = z_y - log Z        H = log Z - sum_j p_j z_j        (nats)

    Args:
      logits: f32[..., V].
      targets: i32[...], each in [0, V).

    Returns:
      (logp, entropy): f32[...] both. The gradient goes through both,
      dL/dz_j = g_logp (1[j = y] - p_j) - g_H p_j (log p_j + H), written by hand so that the backward pass is one fused
      sweep that keeps nothing but the logits and two numbers a token.
    """
    return _stats_forward(logits, targets)[0]


def _stats_forward(logits, targets):
    # Shifting by the maximum keeps exp in range; the shift cancels in both results.
    z = logits - jnp.max(logits, axis=-1, keepdims=True)
    e = jnp.exp(z)
    total = jnp.sum(e, axis=-1)
    mean_z = jnp.sum(e * z, axis=-1) / total
    log_total = jnp.log(total)
    # A compare-and-sum fuses with the pass above; a gather would be a second one.
    hit = _one_hot(targets, logits)
    logp = jnp.sum(jnp.where(hit, z, 0.0), axis=-1) - log_total
    entropy = jnp.maximum(log_total - mean_z, 0.0)  # rounding can leave -1e-8 on a certain token
    return (logp, entropy), (logits, targets, entropy)


def _stats_backward(residuals, cotangents):
    logits, targets, entropy = residuals
    g_logp, g_entropy = cotangents
    log_p = jax.nn.log_softmax(logits, axis=-1)
    p = jnp.exp(log_p)
    grad = g_logp[..., None] * (_one_hot(targets, logits) - p) - g_entropy[..., None] * p * (log_p + entropy[..., None])
    return grad, None


def _one_hot(targets, logits):
    return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]


categorical_stats.defvjp(_stats_forward, _stats_backward)


def choice_stats(logits: jax.Array, targets: jax.Array, temperature: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """log p(target) under softmax(logits / temperature), and the entropy of softmax(logits): as `categorical_stats`.

    The temperature is the behaviour policy's, whose log-probabilities a ratio must compare. The entropy goes without:
    the law's H is taken at temperature 1 (Cui et al., arXiv:2505.22617, Eq 5 and its code).
    """
    logp, entropy = categorical_stats(logits, targets)
    if temperature != 1.0:
        logp, _ = categorical_stats(logits / temperature, targets)
    return logp, entropy


def following(tokens: jax.Array) -> jax.Array:
    """The token that each state predicts, i32[B, T]; what the last column gets is of no use, and `shifted` drops it.

    Rolled, as a slice of the states that predict them would be a copy of these.
    """
    return jnp.roll(tokens, -1, axis=1)


def shifted(x: jax.Array) -> jax.Array:
    """What each position's output says, [B, T, ...], at the token that was chosen in this state; column 0 is 0."""
    return jnp.pad(x[:, :-1], ((0, 0), (1, 0)) + ((0, 0),) * (x.ndim - 2))


def split_prompt(tokens: jax.Array, mask: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What is fed after a prompt without its last token, to be told the response.

    Args:
      tokens: i32[B, T].
      mask: bool[B, T]; the response begins where it first holds.
      count: R, columns that any response fits into.

    Returns:
      (start i32[B], fed i32[B, R], chosen i32[B, R]): where the response begins; the tokens of columns start - 1 ..
      start + R - 2; and those that they are to predict, columns start .. start + R - 1. Places beyond the row repeat
      its last token.
    """
    start = jnp.where(jnp.any(mask, axis=1), jnp.maximum(jnp.argmax(mask, axis=1), 1), 1)
    columns = start[:, None] + jnp.arange(count)[None]
    take = lambda place: jnp.take_along_axis(tokens, jnp.minimum(place, tokens.shape[1] - 1), axis=1)  # noqa: E731
    return start, take(columns - 1), take(columns)


def join_prompt(x: jax.Array, start: jax.Array, length: int) -> jax.Array:
    """Puts f32[B, R], which talks about columns start .. start + R - 1, into f32[B, length]; 0 elsewhere."""
    place = jnp.arange(length)[None] - start[:, None]
    inside = (place >= 0) & (place < x.shape[1])
    return jnp.where(inside, jnp.take_along_axis(x, jnp.clip(place, 0, x.shape[1] - 1), axis=1), 0.0)
