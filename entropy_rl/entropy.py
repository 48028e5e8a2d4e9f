"""Entropy of the policy: the record that is logged, and first-order theory of why it moves.

Three definitions, never mixed: `policy/entropy` (token mean), `policy/entropy_sequence` (mean over responses of token
means: the H of the law R = -a exp(H) + b, Cui et al., arXiv:2505.22617, Eq 5) and `rollout/answer_entropy` (over the
final answers of a group, evaluate.py). All in nats, at temperature 1, before the update.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.masking import masked_mean, masked_quantiles, masked_std

LOW = 0.01  # nats; half of a reasoning model's tokens lie below it (arXiv:2506.01939)


def record(
    entropy: jax.Array, logp: jax.Array, advantage: jax.Array, mask: jax.Array, decisions: jax.Array | None = None
) -> dict[str, jax.Array]:
    """The entropy record of one batch of responses.

    Args:
      entropy, logp, advantage: f32[B, T].
      mask: bool[B, T], response tokens.
      decisions: bool[B, T], those of them that are decisions and not determined by the format; None: not told apart.

    Returns:
      Scalars by name: token mean, sequence mean, std, quantiles and the share below 0.01 nats of the entropy; mean and
      quantiles of the token covariance `covariance`.
    """
    p10, p50, p80, p90, p99 = masked_quantiles(entropy, mask, (0.1, 0.5, 0.8, 0.9, 0.99))
    cov = covariance(logp, advantage, mask)
    cov_p50, cov_p90, cov_p99, cov_max = masked_quantiles(cov, mask, (0.5, 0.9, 0.99, 1.0))
    responses = jnp.any(mask, axis=1)
    out = {
        "policy/entropy": masked_mean(entropy, mask),
        "policy/entropy_sequence": masked_mean(masked_mean(entropy, mask, axis=1), responses),
        "policy/entropy_std": masked_std(entropy, mask),
        "policy/entropy_p10": p10,
        "policy/entropy_p50": p50,
        "policy/entropy_p80": p80,
        "policy/entropy_p90": p90,
        "policy/entropy_p99": p99,
        "policy/entropy_low": masked_mean(entropy < LOW, mask),
        "policy/cov": masked_mean(cov, mask),
        "policy/cov_p50": cov_p50,
        "policy/cov_p90": cov_p90,
        "policy/cov_p99": cov_p99,
        "policy/cov_max": cov_max,
    }
    if decisions is not None:
        out["policy/entropy_decisions"] = masked_mean(entropy, mask & decisions)
        out["policy/entropy_format"] = masked_mean(entropy, mask & ~decisions)
    return out


def covariance(logp: jax.Array, advantage: jax.Array, mask: jax.Array) -> jax.Array:
    """Each token's share of the covariance of log-probability and advantage (arXiv:2505.22617, Eq 10):

        Cov_i = (logp_i - mean_j logp_j) (A_i - mean_j A_j),   means over the masked tokens of the batch.

    Args:
      logp, advantage: f32[B, T].
      mask: bool[B, T].

    Returns:
      f32[B, T], 0 outside the mask.
    """
    centred = (logp - masked_mean(logp, mask)) * (advantage - masked_mean(advantage, mask))
    return jnp.where(mask, centred, 0.0)


def cov_under_policy(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Cov_{a ~ softmax(logits)}(log pi(a), x(a)) for every state.

    Args:
      logits, x: f32[..., A].

    Returns:
      f32[...].
    """
    log_pi = jax.nn.log_softmax(logits, axis=-1)
    pi = jnp.exp(log_pi)
    mean = lambda v: jnp.sum(pi * v, axis=-1)  # noqa: E731
    return mean(log_pi * x) - mean(log_pi) * mean(x)


def change_first_order(logits: jax.Array, new_logits: jax.Array) -> jax.Array:
    """Entropy change that a change of logits makes, to first order (arXiv:2505.22617, Lemma 1):

        dH(s) = -Cov_{a ~ pi(.|s)}(log pi(a|s), z'(s, a) - z(s, a)) + O(|z' - z|^2)

    Args:
      logits, new_logits: f32[..., A], before and after the update at the same states.

    Returns:
      f32[...], nats.
    """
    return -cov_under_policy(logits, new_logits - logits)


def measured_change(logits: jax.Array, new_logits: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """What an update did to the entropy at the states of `mask`, and what first-order theory says of the same change.

    Args:
      logits, new_logits: f32[B, T, A], aligned with the tokens chosen from them (logprobs.choice_logits).
      mask: bool[B, T].

    Returns:
      `entropy/change_measured` and `entropy/change_predicted` (Lemma 1), means over the mask in nats.
    """
    return {
        "entropy/change_measured": masked_mean(entropy_of(new_logits) - entropy_of(logits), mask),
        "entropy/change_predicted": masked_mean(change_first_order(logits, new_logits), mask),
    }


def change_policy_gradient(logits: jax.Array, advantage: jax.Array, eta: float) -> jax.Array:
    """dH(s) = -eta Cov_{a ~ pi}(log pi(a|s), pi(a|s) A(s, a)): plain policy gradient on a softmax table.

    arXiv:2505.22617, Theorem 1, where z' = z + eta pi A with E_pi[A] = 0; holds to O(eta^2).

    Args:
      logits, advantage: f32[..., A]; the advantage has mean 0 under the policy.
      eta: step size.

    Returns:
      f32[...], nats.
    """
    return -eta * cov_under_policy(logits, jax.nn.softmax(logits, axis=-1) * advantage)


def change_natural_gradient(logits: jax.Array, advantage: jax.Array, eta: float) -> jax.Array:
    """dH(s) = -eta Cov_{a ~ pi}(log pi(a|s), A(s, a)): natural policy gradient, z' = z + eta A.

    arXiv:2505.22617, Theorem 2; holds to O(eta^2). Shapes as in `change_policy_gradient`.
    """
    return -eta * cov_under_policy(logits, advantage)


def entropy_of(logits: jax.Array) -> jax.Array:
    """H = log Z - sum_a p_a z_a of softmax(logits): f32[..., A] -> f32[...], nats."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
