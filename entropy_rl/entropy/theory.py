"""Why entropy moves: the change that an update of logits makes, to first and second order.

Everything is per state, on full distributions `f32[..., A]` (a softmax table, or a language model's logits at the
states that it visited; of an update before and after it, at the same states), and gives f32[...] in nats; the means
over states are record.py's. With p = softmax(z), H its entropy and d a change of logits, H(z + t d) has the exact
derivatives at t = 0

    H'  = -Cov_{a~p}(log p, d)                              arXiv:2505.22617, Lemma 1
    H'' = -sum_a p_a (1 + log p_a + H) (d_a - E_p[d])^2

and every prediction below is one of the two with the d of some update put in.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def entropy_of(logits: jax.Array) -> jax.Array:
    """H = log Z - sum_a p_a z_a of softmax(logits): f32[..., A] -> f32[...], nats."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def cov_under_policy(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Cov_{a ~ softmax(logits)}(log pi(a), x(a)) for every state, x f32[..., A]."""
    log_pi = jax.nn.log_softmax(logits, axis=-1)
    pi = jnp.exp(log_pi)
    mean = lambda v: jnp.sum(pi * v, axis=-1)  # noqa: E731
    return mean(log_pi * x) - mean(log_pi) * mean(x)


def change_first_order(logits: jax.Array, new_logits: jax.Array) -> jax.Array:
    """Entropy change that a change of logits makes, to first order (arXiv:2505.22617, Lemma 1).

    dH(s) = -Cov_{a ~ pi(.|s)}(log pi(a|s), z'(s, a) - z(s, a)) + O(|z' - z|^2)
    """
    return -cov_under_policy(logits, new_logits - logits)


def change_second_order(logits: jax.Array, new_logits: jax.Array) -> jax.Array:
    """The second-order term alone of the entropy change that a change d = z' - z of logits makes:

        1/2 H'' = -1/2 sum_a p_a (1 + log p_a + H) (d_a - E_p[d])^2

    so that H(z') - H(z) = change_first_order + change_second_order + O(|d|^3). It is what remains when the first order
    averages out, as it does under random rewards (arXiv:2512.16912; tests/entropy/test_theory.py). An action adds to
    the entropy if it is less likely than exp(-1 - H), else it takes away; at a uniform policy all take away.
    """
    log_p, p, entropy = _policy(logits)
    d = new_logits - logits
    d = d - jnp.sum(p * d, axis=-1, keepdims=True)
    return -0.5 * jnp.sum(p * (1 + log_p + entropy) * jnp.square(d), axis=-1)


def polarity(logp: jax.Array, entropy: jax.Array) -> jax.Array:
    """S = p (log p + H) of a token: a bump of its logit by eps changes the entropy by -eps S (arXiv:2602.03392).

    sign S = sign(p - exp(-H)): making a token more likely lowers the entropy where it already is likelier than
    exp(-H), and raises it below.

    Args:
      logp, entropy: f32[...], log-probability of a token and the entropy of the distribution that it is drawn from.
        For all the tokens of a distribution: `polarity(log_softmax(logits), entropy_of(logits)[..., None])`.
    """
    return jnp.exp(logp) * (logp + entropy)


def change_single_token(logits: jax.Array, token: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """Entropy change from one sampled token's own gradient, to first order (arXiv:2602.03392, Theorem 3.3):

        dH = -alpha (S_token - E_{i ~ p}[S_i]),   S_i = p_i (log p_i + H)

    which is Lemma 1 with d = alpha (onehot(token) - p), the gradient of r A log p(token). No advantage of a token that
    was not sampled is needed; with E_p[A] = 0, the mean over token ~ p is Theorem 1 exactly.

    The mean E[S] = Cov_p(log p, p) is never negative, so that the sign of the whole turns at a probability somewhat
    above the exp(-H) of `polarity`.

    Args:
      token: i32[...], each in [0, A).
      alpha: eta * ratio * advantage of the sampled token, f32[...] or one number.
    """
    log_p, p, entropy = _policy(logits)
    s = polarity(log_p, entropy)
    # a compare-and-sum fuses with the sums around it; a gather would not
    hit = jax.lax.broadcasted_iota(token.dtype, logits.shape, logits.ndim - 1) == token[..., None]
    return -alpha * (jnp.sum(jnp.where(hit, s, 0.0), axis=-1) - jnp.sum(p * s, axis=-1))


def _policy(logits):
    """(log p, p, H) with H f32[..., 1]."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    p = jnp.exp(log_p)
    return log_p, p, -jnp.sum(p * log_p, axis=-1, keepdims=True)
