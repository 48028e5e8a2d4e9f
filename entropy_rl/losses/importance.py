"""Corrections between the policy that sampled and the one that learns: a weight for every token of a rollout.

    weight = IMPORTANCE["token_cap"](logp, sampler_logp, mask, cap=2.0)      # f32[B, T], 0 outside the mask

`logp` is what the learner gives the tokens before its updates on them, `sampler_logp` what they were sampled with: of
an engine with other kernels or fewer bits, or of an older policy. With w_t = exp(logp - sampler_logp) of a token (held
to e^+-20, as in verl) the rows say how much of the mismatch an update may see. The surrogate's ratio is then against
`logp` (the learner's own policy), and the weight multiplies the surrogate alone. No gradient flows.

| row | weight | where |
|---|---|---|
| recompute | 1: the ratio is against the learner's own policy, and the mismatch stays | verl without a correction |
| token_cap | min(w_t, cap) | truncated importance sampling; verl (2), AReaL, slime |
| sequence_cap | min(prod_t w_t, cap) | verl, level "sequence" |
| token_band | w_t where low <= w_t <= high, else 0 | IcePop; verl, NeMo |
| sequence_mask | prod_t w_t where it is <= cap, else 0 for the whole response | TRL's default with vLLM (3) |
| geometric_band | 1 where low <= exp(mean_t log w_t) <= high, else 0 for the response | verl, geometric rejection |
| negative_mask | 0 for responses with A < 0 that drifted more than delta nats a token, else 1 | DeepSeek-V3.2; TRL |
| m2po | w_t but for tokens of the largest (log w_t)^2, dropped until the mean is below a threshold | M2PO; AReaL |

To add one: a function `(logp, sampler_logp, mask, **hparams) -> f32[B, T]` and a row in IMPORTANCE. One that looks at
advantages has a keyword `advantage` f32[B, T].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.errors import InputError
from entropy_rl.losses.ratio import MAX_LOG_RATIO, exp_held
from entropy_rl.masking import ascending, mask_out, masked_mean, masked_sum


def _log_weight(logp, sampler_logp, mask):
    """log w_t, 0 outside the mask, without a gradient."""
    return jax.lax.stop_gradient(mask_out(logp, mask) - mask_out(sampler_logp, mask))


def _product(log_weight, mask):
    """prod_t w_t of each response, f32[B, 1]."""
    return exp_held(masked_sum(log_weight, mask, axis=1))[:, None]


def _positive(**values):
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name}={value}: must be above 0")


def _band(low, high):
    if not 0 < low <= high:
        raise InputError(f"low={low}, high={high}: a band needs 0 < low <= high")


def recompute(logp, sampler_logp, mask):
    """1 in the mask: what the ratio is against is the learner's, and nothing is corrected."""
    return jnp.asarray(mask, jnp.float32)


def token_cap(logp, sampler_logp, mask, *, cap: float = 2.0):
    """min(w_t, cap): truncated importance sampling by token (verl's `rollout_is="token"`, 2 there).

    Args:
      cap: largest weight, above 0.

    Raises:
      InputError: cap is not above 0.
    """
    _positive(cap=cap)
    return mask_out(jnp.minimum(exp_held(_log_weight(logp, sampler_logp, mask)), cap), mask)


def sequence_cap(logp, sampler_logp, mask, *, cap: float = 2.0):
    """min(prod_t w_t, cap) at every token of the response (verl's `rollout_is="sequence"`): unbiased below the cap,
    and of a variance that grows with the length. Args as in `token_cap`."""
    _positive(cap=cap)
    return mask_out(jnp.minimum(_product(_log_weight(logp, sampler_logp, mask), mask), cap), mask)


def token_band(logp, sampler_logp, mask, *, low: float = 0.5, high: float = 5.0):
    """w_t where low <= w_t <= high, else 0: IcePop, whose band this is (verl's `rollout_is_threshold="0.5_5.0"`).

    Args:
      low, high: bounds of the weight, both kept.

    Raises:
      InputError: not 0 < low <= high.
    """
    _band(low, high)
    w = exp_held(_log_weight(logp, sampler_logp, mask))
    return jnp.where(mask & (w >= low) & (w <= high), w, 0.0)


def sequence_mask(logp, sampler_logp, mask, *, cap: float = 3.0):
    """prod_t w_t where it is at most `cap`, else 0, at every token of the response: TRL's `sequence_mask`, on by
    default with vLLM, with its 3. Args as in `token_cap`."""
    _positive(cap=cap)
    w = _product(_log_weight(logp, sampler_logp, mask), mask)
    return jnp.where(mask & (w <= cap), w, 0.0)


def geometric_band(logp, sampler_logp, mask, *, low: float = 0.999, high: float = 1.001):
    """1 for responses with low <= exp(mean_t log w_t) <= high, else 0: rejection by the geometric mean.

    verl's `rollout_rs="seq_mean_k1"`, whose documentation has this band. Over tens of tokens it is narrow: in float32
    it keeps all, in bfloat16 or after an update few. Args as in `token_band`.
    """
    _band(low, high)
    mean = exp_held(masked_mean(_log_weight(logp, sampler_logp, mask), mask, axis=1))[:, None]
    return jnp.where(mask & (mean >= low) & (mean <= high), 1.0, 0.0)


def negative_mask(logp, sampler_logp, mask, *, advantage, delta: float = 0.5):
    """0 for responses of negative advantage with mean_t (sampler_logp - logp) > delta, else 1.

    DeepSeek-V3.2's off-policy sequence masking: what the policy has moved away from is no mistake of its own to learn
    from. The paper prints no delta; TRL's documentation advises .5. There the drift is of the current policy, update by
    update; here of the learner before its updates on the rollout.

    Args:
      delta: nats a token, 0 or more.

    Raises:
      InputError: delta is negative.
    """
    if not delta >= 0:
        raise InputError(f"delta={delta}: must be 0 or more")
    drift = -masked_mean(_log_weight(logp, sampler_logp, mask), mask, axis=1)[:, None]
    return jnp.where(mask & ((mask_out(advantage, mask) >= 0) | (drift <= delta)), 1.0, 0.0)


def m2po(logp, sampler_logp, mask, *, threshold: float = 0.04):
    """w_t, but 0 for the tokens of the largest (log w_t)^2: as few as make the mean over the others < threshold.

    M2PO (arXiv:2510.01161), as AReaL's `m2_threshold`, .04 in its example. Of equal tokens all are dropped or none;
    AReaL drops the first ones and keeps one token whatever it is. Decided over all tokens that are given, which in
    training is a rollout.

    Args:
      threshold: nats^2, above 0.

    Raises:
      InputError: threshold is not above 0.
    """
    _positive(threshold=threshold)
    gap = _log_weight(logp, sampler_logp, mask)
    square = jnp.square(gap)
    ordered = ascending(square, mask)
    place = jnp.arange(1, ordered.size + 1)
    inside = place <= jnp.sum(mask)
    mean = jnp.cumsum(jnp.where(inside, ordered, 0.0)) / place  # which grows with the place
    kept = jnp.sum(inside & (mean < threshold))
    least_dropped = jnp.append(ordered, jnp.inf)[kept]
    return jnp.where(mask & (square < least_dropped), exp_held(gap), 0.0)


IMPORTANCE = {
    "recompute": recompute,
    "token_cap": token_cap,
    "sequence_cap": sequence_cap,
    "token_band": token_band,
    "sequence_mask": sequence_mask,
    "geometric_band": geometric_band,
    "negative_mask": negative_mask,
    "m2po": m2po,
}


def statistics(weight, logp, sampler_logp, mask) -> dict[str, jax.Array]:
    """What is logged of a mismatch and of its correction, each a scalar.

    `policy/sampler_gap`, `policy/sampler_gap_max`: mean and largest |log w_t|, nats. `policy/sampler_kl`: k3 estimate
    of KL(sampler || learner), mean of w_t - 1 - log w_t. `policy/importance_ess`: effective sample size over tokens as
    a share, (sum v)^2 / (N sum v^2) of the weights v. `policy/importance_masked`: share of tokens of weight 0.

    Args:
      weight: f32[B, T], of a row of IMPORTANCE.
      logp, sampler_logp, mask: what it was made of.
    """
    gap = _log_weight(logp, sampler_logp, mask)
    held = jnp.clip(gap, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    square = masked_sum(jnp.square(weight), mask) * jnp.sum(mask)
    total = jnp.square(masked_sum(weight, mask))
    return {
        "policy/sampler_gap": masked_mean(jnp.abs(gap), mask),
        "policy/sampler_gap_max": jnp.max(jnp.abs(gap)),
        "policy/sampler_kl": masked_mean(jnp.expm1(held) - held, mask),
        "policy/importance_ess": jnp.where(square > 0, total / jnp.where(square > 0, square, 1.0), 0.0),
        "policy/importance_masked": masked_mean(weight == 0, mask),
    }
