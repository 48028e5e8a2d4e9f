"""Distance to a reference policy, estimated from the log-probabilities of sampled tokens.

With d = log pi(a) - log ref(a) and a ~ pi (Schulman, "Approximating KL divergence", 2020), as an estimate of
KL(pi || ref) and as a term of the loss:

| row | formula | value | gradient as a loss, in expectation |
|---|---|---|---|
| k1 | d | unbiased, of either sign | 0: noise; k1 belongs in the reward |
| k2 | d^2 / 2 | biased by O(d^3) | that of KL(pi || ref) |
| k3 | exp(-d) - 1 + d | unbiased, never negative, heavy-tailed where pi << ref | that of KL(ref || pi) |

The gradients are those on-policy: with a ~ pi_old they hold after weighting by pi / pi_old, through which no gradient
flows. The sum of k1 over a response, subtracted from its reward, has the gradient of the KL of whole responses.

To add one: a function `(logp f32[B, T], ref_logp f32[B, T]) -> f32[B, T]` and a row in KL. There is no mask: what
stands outside of it goes through, so clean the arguments first (`masking.mask_out`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.losses.ratio import MAX_LOG_RATIO

MAX_K3 = 10.0  # as in verl


def k1(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
    """d = log pi - log ref, f32[B, T]. As a loss its gradient is 0 in expectation: use it in the reward."""
    return logp - ref_logp


def k2(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
    """d^2 / 2, f32[B, T]. Its gradient d grad log pi is that of KL(pi || ref) on-policy; 0 where pi = ref."""
    return 0.5 * jnp.square(logp - ref_logp)


def k3(logp: jax.Array, ref_logp: jax.Array) -> jax.Array:
    """exp(-d) - 1 + d, f32[B, T], with d held within +-20 and the result at most 10, as in verl's `low_var_kl`.

    The bound stops the gradient as well: a token is not pulled back any more where the reference holds it some 13 times
    as likely as the policy (d < -2.6), or the policy some 60,000 times as likely as the reference (d > 11).
    """
    d = jnp.clip(logp - ref_logp, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return jnp.minimum(jnp.expm1(-d) + d, MAX_K3)


KL = {
    "k1": k1,
    "k2": k2,
    "k3": k3,
}
