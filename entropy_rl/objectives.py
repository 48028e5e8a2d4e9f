"""Objectives: a model's `apply` and a loss on arrays become `loss_fn(params, batch, key, coefs) -> (loss, out)`.

`out` holds `[B, T]` arrays aligned with the batch, of which metrics are made once, on the whole mini-batch, by the
objective's `record` (learner.make_update): micro-batches only cut rows apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.logprobs import token_stats
from entropy_rl.masking import masked_mean, masked_sum
from entropy_rl.rollouts import Batch

Coefs = dict[str, jax.Array]
LossFn = Callable[[Any, Batch, jax.Array, Coefs], tuple[jax.Array, dict[str, jax.Array]]]


def policy(apply: Callable, token_loss: Callable, *, temperature: float = 1.0) -> LossFn:
    """sum(weight * token_loss) - coefs["entropy"] * sum(weight * H).

    Args:
      apply: (params, tokens i32[B, T]) -> (logits f32[B, T, V], out).
      token_loss: a row of POLICY_LOSSES with its hyper-parameters bound.
      temperature: of the behaviour policy.

    Returns:
      loss_fn; its `out` has logp, entropy f32[B, T] and the loss's own marks bool[B, T].
    """

    def loss_fn(params, batch, key, coefs):
        logits, _ = apply(params, batch.tokens)
        logp, entropy = token_stats(logits, batch.tokens, temperature)
        loss, marks = token_loss(logp, batch.old_logp, batch.advantage, batch.mask, key=key)
        bonus = masked_sum(batch.weight * entropy, batch.mask)
        return jnp.sum(batch.weight * loss) - coefs["entropy"] * bonus, {"logp": logp, "entropy": entropy, **marks}

    return loss_fn


def policy_record(batch: Batch, out: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Metrics of one policy update, from the `out` of `policy` on its whole mini-batch.

    `policy/kl` is k3, mean of r - 1 - log r with r = pi / pi_old over the sampled tokens: an estimate of
    KL(pi_old || pi).
    `policy/logp_gap` is mean |logp - old_logp|: on the first update after sampling, the gap between sampler and
    learner.
    """
    marks = {k: v for k, v in out.items() if k not in ("logp", "entropy")}
    log_ratio = jnp.where(batch.mask, out["logp"] - batch.old_logp, 0.0)
    metrics = {
        "policy/kl": masked_mean(jnp.expm1(log_ratio) - log_ratio, batch.mask),
        "policy/logp_gap": masked_mean(jnp.abs(log_ratio), batch.mask),
    }
    for name, mark in marks.items():
        metrics[f"policy/{name}_fraction"] = masked_mean(mark, batch.mask)
        metrics[f"policy/{name}_entropy"] = masked_mean(out["entropy"], mark)
    return metrics


def nll(apply: Callable) -> LossFn:
    """sum(weight * -log p(token)): imitation of the tokens in the mask (supervised fine-tuning).

    Args:
      apply: (params, tokens i32[B, T]) -> (logits f32[B, T, V], out).

    Returns:
      loss_fn; its `out` has logp and entropy, f32[B, T].
    """

    def loss_fn(params, batch, key, coefs):
        logits, _ = apply(params, batch.tokens)
        logp, entropy = token_stats(logits, batch.tokens)
        return -masked_sum(batch.weight * logp, batch.mask), {"logp": logp, "entropy": entropy}

    return loss_fn


def nll_record(batch: Batch, out: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Token means of an imitation update: nats of loss and of entropy."""
    return {
        "sft/nll": -masked_mean(out["logp"], batch.mask),
        "policy/entropy": masked_mean(out["entropy"], batch.mask),
    }
