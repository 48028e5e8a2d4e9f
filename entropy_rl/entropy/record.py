"""Entropy of the policy: the record that is logged, and what an update did to it against what theory says.

Three definitions, never mixed: `policy/entropy` (token mean), `policy/entropy_sequence` (mean over responses of token
means: the H of the law R = -a exp(H) + b, Cui et al., arXiv:2505.22617, Eq 5) and `rollout/answer_entropy` (over the
final answers of a group, evaluate.py). All in nats, at temperature 1, before the update.

Covariances of log-probability and advantage, which theory makes the cause of its fall, in three forms, also apart:

    policy/cov           tokens against the mean of the batch (Eq 10): what Clip-Cov and KL-Cov select by
    policy/cov_state     tokens against their own state's distribution: the Cov of Theorems 1 and 2
    policy/cov_sequence  responses against those of the same prompt (Fig 8)

Positive: the update lowers the entropy. The theorems themselves are in entropy/theory.py.

`entropy`, `logp` and `advantage` are f32[B, T] throughout, `mask` bool[B, T], and `group` i32[B]: rows with equal
numbers answer the same prompt.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.entropy.theory import change_first_order, change_second_order, change_single_token, entropy_of, polarity
from entropy_rl.masking import (
    ascending,
    group_mean_std,
    mask_out,
    masked_mean,
    masked_quantiles,
    masked_std,
    masked_sum,
    rank_correlation,
)

LOW = 0.01  # nats; half of a reasoning model's tokens lie below it (arXiv:2506.01939)
TABLE_1 = (2e-4, 2e-3, 0.02, 0.2, 0.5)  # the top shares of tokens in arXiv:2505.22617, Table 1


def record(
    entropy: jax.Array,
    logp: jax.Array,
    advantage: jax.Array,
    mask: jax.Array,
    decisions: jax.Array | None = None,
    group: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """The entropy record of one batch of responses.

    Args:
      entropy, logp, advantage: as above.
      mask: response tokens.
      decisions: bool[B, T], those of them that are decisions and not determined by the format; None: not told apart.
      group: None: no `policy/cov_sequence`.

    Returns:
      Scalars by name. Of the entropy: token mean, sequence mean, std, quantiles and the share below 0.01 nats. Of
      `covariance`: mean, quantiles and `covariance_table`. `state_covariance`, and `sequence_covariance` if there are
      groups.
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
    out |= {f"policy/cov_top_{f:g}": mean for f, mean in zip(TABLE_1, covariance_table(cov, mask))}
    out |= state_covariance(entropy, logp, advantage, mask)
    if group is not None:
        out |= sequence_covariance(logp, advantage, mask, group)
    if decisions is not None:
        out["policy/entropy_decisions"] = masked_mean(entropy, mask & decisions)
        out["policy/entropy_format"] = masked_mean(entropy, mask & ~decisions)
    return out


def covariance(logp: jax.Array, advantage: jax.Array, mask: jax.Array) -> jax.Array:
    """Each token's share of the covariance of log-probability and advantage (arXiv:2505.22617, Eq 10):

        Cov_i = (logp_i - mean_j logp_j) (A_i - mean_j A_j),   means over the masked tokens of the batch

    as f32[B, T], 0 outside the mask.
    """
    centred = (logp - masked_mean(logp, mask)) * (advantage - masked_mean(advantage, mask))
    return jnp.where(mask, centred, 0.0)


def covariance_table(cov: jax.Array, mask: jax.Array, fracs: tuple[float, ...] = TABLE_1) -> jax.Array:
    """Mean covariance of the tokens with the largest ones (arXiv:2505.22617, Table 1).

    A share is rounded to a number of tokens, at least 1: below 1 / frac tokens in the mask, the row is the maximum.

    Args:
      cov: f32[B, T], `covariance`.
      mask: as above.
      fracs: shares of the masked tokens, in (0, 1].

    Returns:
      f32[len(fracs)]; 0 where the mask holds nowhere.
    """
    n = jnp.sum(mask)
    ordered = ascending(cov, mask)  # as masked_quantiles does, so that XLA sorts once for both
    place = jnp.arange(ordered.size)
    counts = (jnp.clip(jnp.round(f * n).astype(jnp.int32), 1, n) for f in fracs)
    return jnp.stack([masked_mean(ordered, (n - k <= place) & (place < n)) for k in counts])


def state_covariance(
    entropy: jax.Array, logp: jax.Array, advantage: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """The covariance under each state's own distribution, from the one token that was drawn there, and its polarity.

    For a ~ pi, E[log pi(a)] = -H is known, so one draw is an unbiased estimate, without the advantage of other tokens:

        Cov_a(log pi, A)    = E[(log pi(a) + H) A(a)]         Theorem 2: natural gradient
        Cov_a(log pi, pi A) = E[S A(a)], S = `polarity`       Theorem 1: plain gradient

    To first order a step eta lowers the mean entropy of these states by eta times that, if states share nothing; for
    Theorem 1 also E_a[A] = 0 at every state is needed, which a response's advantage has at its first token alone.

    Entropy and log-probability are to be of the distribution that the token is drawn from: at a sampling temperature
    other than 1, a log-probability at that temperature beside an entropy at 1 makes it approximate.

    Returns:
      `policy/cov_state` (Theorem 1), `policy/cov_state_natural` (Theorem 2), means over the mask in nats;
      `policy/polarity_positive`, the share of tokens likelier than exp(-H), which lower the entropy if reinforced;
      `policy/polarity_sharpening`, the share with S A > 0, which lower it by the sign of their advantage.
    """
    s = polarity(logp, entropy)
    return {
        "policy/cov_state": masked_mean(s * advantage, mask),
        "policy/cov_state_natural": masked_mean((logp + entropy) * advantage, mask),
        "policy/polarity_positive": masked_mean(s > 0, mask),
        "policy/polarity_sharpening": masked_mean(s * advantage > 0, mask),
    }


def sequence_covariance(
    logp: jax.Array, advantage: jax.Array, mask: jax.Array, group: jax.Array
) -> dict[str, jax.Array]:
    """The covariance in the bandit view: a prompt is the state, a response the action (arXiv:2505.22617, Fig 8).

        Cov_y(log pi(y|x), pi(y|x) A(y, x))   over the responses of a prompt, then the mean over prompts

    with log pi(y|x) the mean log-probability of y's tokens, as in the paper: pi(y|x) is then their geometric mean.
    The covariance is the population's (divided by G), which the paper leaves open. Prompts whose advantages are all 0
    count, with 0. Responses without tokens do not. Of an advantage that varies within a response, its mean is taken.

    Returns:
      `policy/cov_sequence`, and `policy/cov_sequence_natural` with A in place of pi A (Theorem 2).
    """
    some = jnp.any(mask, axis=1)
    log_pi, a = masked_mean(logp, mask, axis=1), masked_mean(advantage, mask, axis=1)
    values = jnp.stack([log_pi, a, jnp.exp(log_pi) * a])
    # rows without tokens become a group of their own, which the mean over prompts leaves out
    group = jnp.where(some, group, jnp.max(group) + 1)
    mean, _, size = jax.vmap(group_mean_std, in_axes=(0, None))(values, group)
    log_pi, a, pi_a = values - mean
    share = mask_out(1.0 / size[0], some)  # a prompt's rows add up to 1
    prompts = jnp.maximum(jnp.round(jnp.sum(share)), 1.0)
    return {
        "policy/cov_sequence": masked_sum(log_pi * pi_a * share, some) / prompts,
        "policy/cov_sequence_natural": masked_sum(log_pi * a * share, some) / prompts,
    }


def changes(
    logits: jax.Array,
    new_logits: jax.Array,
    tokens: jax.Array | None = None,
    alpha: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Entropy change at every state, measured and as predicted in several ways.

    Args:
      logits, new_logits: f32[B, T, A], aligned with the tokens chosen from them (logprobs.shifted).
      tokens: i32[B, T], the tokens, with `alpha`; None: no `single_token`.
      alpha: f32[B, T], -dL/d ln pi of each token (training/objectives.slopes): its advantage times its weight in the
        loss.

    Returns:
      f32[B, T] by name, nats: `measured`; `predicted`, Lemma 1 with the measured change of logits; `second_order`, the
      same to second order; `single_token`, Theorem 3.3 of arXiv:2602.03392 *for a step of 1*: what the token's own
      gradient does in its own state. The step that an optimiser like Adam really makes in logits is not known, and a
      network's states move each other, so this one is to be regressed on, not compared with.
    """
    first = change_first_order(logits, new_logits)
    out = {
        "measured": entropy_of(new_logits) - entropy_of(logits),
        "predicted": first,
        "second_order": first + change_second_order(logits, new_logits),
    }
    if tokens is not None:
        out["single_token"] = change_single_token(logits, tokens, alpha)
    return out


def changes_of(stats: dict[str, jax.Array], alpha: jax.Array) -> dict[str, jax.Array]:
    """`changes` from the sums of models/tiled_change.change_stats, f32[B, T] each, where logits are never whole."""
    return {
        "measured": stats["new_entropy"] - stats["entropy"],
        "predicted": stats["first"],
        "second_order": stats["first"] + stats["second"],
        "single_token": -alpha * stats["polarity"],
    }


def change_moments(by_state: dict[str, jax.Array], mask: jax.Array) -> dict[str, jax.Array]:
    """What an update did to the entropy at the states of `mask`, and what theory says of the same change.

    Args:
      by_state: f32[B, T] by name, as of `changes`.
      mask: bool[B, T].

    Returns:
      Means over the mask. For m = `measured` and every prediction u of `changes`: `entropy/change_measured` and
      `entropy/change_<u>` in nats, and the second moments `entropy/change_measured_square` E[m^2],
      `entropy/change_<u>_square` E[u^2] and `entropy/change_<u>_cross` E[m u]. Moments, because they may be averaged
      over steps where slopes may not: with averages of any number of steps,

          m = slope * u over states:  slope = cross / square,  share explained = cross^2 / (square * measured_square)

      The slope is 1 for an exact prediction, and the effective step for `single_token`. The moments are those of the
      few states that change most: a hundredth of the states may hold nine tenths of E[m^2]. So also
      `entropy/change_<u>_rank_correlation`, Spearman's of m and u, in which every state counts the same and the step
      does not matter; over steps it can only be averaged, each step's states being ranked among themselves.
    """
    measured = by_state["measured"]
    out = {}
    for name, change in by_state.items():
        out[f"entropy/change_{name}"] = masked_mean(change, mask)
        out[f"entropy/change_{name}_square"] = masked_mean(jnp.square(change), mask)
        if name != "measured":
            out[f"entropy/change_{name}_cross"] = masked_mean(measured * change, mask)
            out[f"entropy/change_{name}_rank_correlation"] = rank_correlation(measured, change, mask)
    return out
