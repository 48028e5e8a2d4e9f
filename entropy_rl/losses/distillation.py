"""How far a policy is from the same policy that knows more: self-distillation from feedback (SDPO, arXiv:2601.20802).

    D_alpha = (1 - alpha) KL(pi | m) + alpha KL(nu | m),    m = (1 - alpha) pi + alpha nu,    0 < alpha < 1
    D_0 = KL(nu | pi)  (forward),    D_1 = KL(pi | nu)  (reverse)

with pi the policy on the question alone and nu the teacher, which sees a critique or a right attempt besides; alpha =
1/2 is the Jensen-Shannon divergence. It is taken over the k likeliest tokens of the policy and one more that stands for
all others, so whole distributions are not needed; lumping tokens together can only lower D_alpha.

Source: trl 1.16.0, `experimental.sdpo.loss_utils`, whose `topk_logits` with `distillation_add_tail` this is
(tests/golden/trl_sdpo.py). Departures: the k tokens are those of the policy that began the step, not of each of its
updates, which is the same with one update; with k = V there is no other token and no tail.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def divergence(student: jax.Array, teacher: jax.Array, alpha: float = 0.5) -> jax.Array:
    """D_alpha of log-probabilities of the same things, f32[..., k] each, which sum to 1: f32[...], nats.

    Args:
      student: ln pi; the gradient goes through it.
      teacher: ln nu; a caller that wants no gradient stops it.
      alpha: static, from 0 to 1.
    """
    if alpha == 0:
        return _kl(teacher, student)
    if alpha == 1:
        return _kl(student, teacher)
    mixture = jnp.logaddexp(student + math.log(1 - alpha), teacher + math.log(alpha))
    return (1 - alpha) * _kl(student, mixture) + alpha * _kl(teacher, mixture)


def with_tail(logp: jax.Array) -> jax.Array:
    """Log-probabilities of k tokens f32[..., k], and of all others together behind them: f32[..., k + 1].

    What the k tokens sum to is held below e^-1e-7, as rounding can leave more than 1.
    """
    total = jnp.minimum(jax.nn.logsumexp(logp, axis=-1, keepdims=True), -1e-7)
    return jnp.concatenate([logp, jnp.log(-jnp.expm1(total))], axis=-1)


def lumped(student: jax.Array, teacher: jax.Array, alpha: float, *, tail: bool) -> jax.Array:
    """`divergence` of log-probabilities of k tokens f32[..., k]; `tail`: there are others than these."""
    if tail:
        student, teacher = with_tail(student), with_tail(teacher)
    return divergence(student, teacher, alpha)


def _kl(p: jax.Array, q: jax.Array) -> jax.Array:
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1)
