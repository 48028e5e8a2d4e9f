"""Advantages from rewards: of whole responses, relative to the group that shares their prompt, or of tokens (`gae`).

To add one: a function `(reward f32[B], group i32[B], **hparams) -> f32[B]` and a row in ADVANTAGES. One that counts
tokens declares a keyword `mask` bool[B, T], which it gets with the rewards, and may return f32[B, T], 0 outside it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.masking import group_mean_std, group_quantile, group_sum, mask_out, whiten


def grpo(reward: jax.Array, group: jax.Array, *, eps: float = 1e-6) -> jax.Array:
    """A_i = (R_i - mean_g) / (std_g + eps), with the unbiased standard deviation (GRPO, arXiv:2402.03300).

    A group of one keeps its reward (mean 0, std 1), as verl's `compute_grpo_outcome_advantage` does.
    """
    mean, std, size = group_mean_std(reward, group)
    return jnp.where(size > 1, (reward - mean) / (std + eps), reward / (1.0 + eps))


def dr_grpo(reward: jax.Array, group: jax.Array) -> jax.Array:
    """A_i = R_i - mean_g (Dr.GRPO, arXiv:2503.20783; its other half is the weight `fixed_length`).

    A group of one keeps its reward.
    """
    mean, _, size = group_mean_std(reward, group)
    return jnp.where(size > 1, reward - mean, reward)


def rloo(reward: jax.Array, group: jax.Array) -> jax.Array:
    """A_i = R_i - mean of the others in the group = (R_i - mean_g) n / (n - 1) (RLOO, arXiv:2402.14740).

    A group of one keeps its reward.
    """
    mean, _, size = group_mean_std(reward, group)
    return jnp.where(size > 1, (reward - mean) * size / jnp.maximum(size - 1, 1), reward)


def quantile(reward: jax.Array, group: jax.Array, *, k: float = 0.4, eps: float = 1e-6) -> jax.Array:
    """A_i = (R_i - Q_k) / (std_g + eps), Q_k the k-quantile of the group's rewards (QAE, arXiv:2509.22611).

    With rewards 0 and 1 and a success rate p, only successes count where p <= 1 - k (Q = 0), only failures where it is
    higher (Q = 1); in between, for less than one response, Q is interpolated. All else is GRPO's, a group of one
    included. The example command in the authors' repository (junkangwu/QAE) has k = 0.4; the value of the paper's runs
    was not found in our sources.

    Args:
      k: in (0, 1); the higher, the fewer groups count as hard.

    Raises:
      InputError: k is not in (0, 1).
    """
    if not 0 < k < 1:
        raise InputError(f"k={k}: a quantile baseline needs 0 < k < 1")
    _, std, size = group_mean_std(reward, group)
    return jnp.where(size > 1, (reward - group_quantile(reward, group, k)) / (std + eps), reward / (1.0 + eps))


def reinforce_pp(reward: jax.Array, group: jax.Array, *, mask: jax.Array, gamma: float = 1.0) -> jax.Array:
    """Returns G_t = gamma^(response tokens after t) R, whitened over all tokens of the batch (REINFORCE++,
    arXiv:2501.03262).

    The mean and the variance are over tokens: long responses count more. `group` is not used. verl's
    `compute_reinforce_plus_plus_outcome_advantage` begins anew at every gap of the mask, so that nothing before the
    last gap has a return; here a gap is skipped, as in `gae`. Gives f32[B, T].
    """
    after = jnp.sum(mask, axis=1, keepdims=True) - jnp.cumsum(mask, axis=1)
    return whiten(jnp.power(gamma, after) * reward[:, None], mask)


def reinforce_pp_baseline(reward: jax.Array, group: jax.Array, *, mask: jax.Array) -> jax.Array:
    """R_i - mean_g at every token, whitened over all tokens of the batch (REINFORCE++ with a baseline,
    arXiv:2501.03262).

    Where lengths differ, the mean over tokens is not 0 before whitening, and groups without variance get a small
    advantage too, the same for all. A group of one keeps its reward. Gives f32[B, T].
    """
    return whiten(jnp.broadcast_to(dr_grpo(reward, group)[:, None], mask.shape), mask)


def max_rl(reward: jax.Array, group: jax.Array) -> jax.Array:
    """A_i = (R_i - mean_g) / mean_g, 0 where the mean is 0 (MaxRL, arXiv:2602.02710).

    With rewards of 0 and 1 the gradient is that of ln p to the order of the group: sum over k of grad pass@k / k. The
    harder the problem, the more its right responses count. A group of one has 0: it is its own mean.

    Raises:
      InputError: a reward that is neither 0 nor 1, where values are known (not under jit: see `check_binary`).
    """
    check_binary("max_rl", reward)
    mean, _, _ = group_mean_std(reward, group)
    return jnp.where(mean > 0, (reward - mean) / jnp.where(mean > 0, mean, 1.0), 0.0)


def pass_at_k(reward: jax.Array, group: jax.Array, *, k: int = 4, eps: float = 1e-6) -> jax.Array:
    """The advantage in pass@k of a response, averaged over all sets of k of its group (arXiv:2508.10751).

    With n responses, w of them wrong, and rho = 1 - C(w, k) / C(n, k), s = sqrt(rho (1 - rho)):

        right:  (1 - rho) / (s + eps)
        wrong:  (1 - rho - C(w - 1, k - 1) / C(n - 1, k - 1)) / (s + eps)

    The closed form of RUCAIBox/Passk_Training. In a group with fewer than k wrong ones every set has a right one, and
    nothing is learnt. A group smaller than k has 0.

    Args:
      k: attempts, 1 or more; at most the group's size. 1 is GRPO's with the standard deviation of the population.

    Raises:
      InputError: k is no whole number above 0, or a reward as in `max_rl`.
    """
    if k < 1 or k != int(k):
        raise InputError(f"k={k}: pass@k needs a whole number of 1 or more")
    check_binary("pass_at_k", reward)
    mean, _, size = group_mean_std(reward, group)
    wrong = jnp.round(size * (1.0 - mean))

    def share(chosen, n, w):
        """C(w, chosen) / C(n, chosen)."""
        out = jnp.ones_like(n)
        for i in range(chosen):
            out *= jnp.maximum(w - i, 0.0) / jnp.maximum(n - i, 1.0)
        return out

    failed = share(int(k), size, wrong)  # 1 - rho
    others = share(int(k) - 1, size - 1.0, wrong - 1.0)
    std = jnp.sqrt(failed * (1.0 - failed))
    advantage = jnp.where(reward > 0, failed, failed - others) / (std + eps)
    return jnp.where((std > 0) & (size >= k), advantage, 0.0)


def opo(reward: jax.Array, group: jax.Array, *, mask: jax.Array) -> jax.Array:
    """A_i = R_i - sum_j l_j R_j / sum_j l_j over the group, l the lengths in tokens (OPO, arXiv:2505.23585).

    The baseline of least variance where the square of a response's gradient grows with its length. As verl's
    `compute_opo_outcome_advantage`: a group of one keeps its reward. A group without a token has the baseline 0.
    """
    length = jnp.sum(mask, axis=1).astype(reward.dtype)
    size = group_sum(jnp.ones_like(reward), group)
    baseline = group_sum(length * reward, group) / jnp.maximum(group_sum(length, group), 1.0)
    return jnp.where(size > 1, reward - baseline, reward)


def gpg(reward: jax.Array, group: jax.Array, *, mask: jax.Array, f_norm: float = 1.0) -> jax.Array:
    """A_i = (B / m) (R_i - mean_g) / f_norm, B responses with a token, m of them with a reward other than 0.

    Group policy gradient (arXiv:2504.02546), as verl's `compute_gpg_outcome_advantage`: no standard deviation, and a
    batch with few rewards is scaled up. A group of one keeps its reward, times B / m. Goes with loss `reinforce`.

    Raises:
      InputError: f_norm is not above 0.
    """
    if not f_norm > 0:
        raise InputError(f"f_norm={f_norm}: must be above 0")
    there = jnp.any(mask, axis=1)
    scale = jnp.sum(there) / jnp.maximum(jnp.sum(there & (reward != 0)), 1)
    return scale * dr_grpo(reward, group) / f_norm


BINARY = ("max_rl", "pass_at_k")  # rows that mean nothing but for rewards of 0 and 1


def check_binary(name: str, reward: jax.Array) -> None:
    """InputError if the row `name` is of BINARY and a reward is neither 0 nor 1; under jit nothing is known.

    A Learner calls this on every rollout, before its compiled advantage.
    """
    if name not in BINARY or isinstance(reward, jax.core.Tracer):
        return
    other = np.asarray(reward)[(np.asarray(reward) != 0) & (np.asarray(reward) != 1)]
    if len(other):
        raise InputError(
            f"advantage {name!r} is for rewards of 0 or 1, and one is {other[0]:.4g}: leave out what changes rewards "
            "(overlong_cache, kl.place=reward, diversity, smoothing), or take another advantage"
        )


def at_last_token(reward: jax.Array, mask: jax.Array) -> jax.Array:
    """Rewards of responses as rewards of tokens: R at the last token of the mask, 0 elsewhere, for `gae`.

    f32[B], bool[B, T] -> f32[B, T]. A row without tokens has no reward.
    """
    after = jnp.sum(mask, axis=1, keepdims=True) - jnp.cumsum(mask, axis=1)
    return jnp.where(mask & (after == 0), reward[:, None], 0.0)


def gae(
    reward: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    gamma: float = 1.0,
    lam: float = 1.0,
    *,
    whitened: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation (arXiv:1506.02438, Eq 16) over the tokens of the mask:

        delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1},   returns = A + V

    t + 1 is the next token of the mask: others (prompts, tool outputs) are skipped, not zeroed, and rewards there are
    not seen. After the last one V and A are 0, also where a response was truncated. The advantage is then whitened over
    the batch, the returns are of the one before, both as in verl's `compute_gae_advantage_return`, whose advantages
    outside the mask (never read there) are 0 here. No gradient flows through either.

    Args:
      reward: f32[B, T], of tokens (see `at_last_token`).
      value: f32[B, T]; column t is the value before token t is chosen.
      mask: bool[B, T].
      gamma, lam: discount, and the trace that trades bias for variance; 1 and 1 in verl.
      whitened: False for the plain A_t.

    Returns:
      (advantage, returns), f32[B, T], 0 outside the mask.
    """
    reward, value = (mask_out(jax.lax.stop_gradient(x), mask) for x in (reward, value))

    def back(after, now):
        next_value, next_advantage = after
        r, v, m = now
        advantage = r + gamma * next_value - v + gamma * lam * next_advantage
        return (jnp.where(m, v, next_value), jnp.where(m, advantage, next_advantage)), advantage

    none = jnp.zeros_like(value[:, 0])
    _, advantage = jax.lax.scan(back, (none, none), (reward.T, value.T, mask.T), reverse=True)
    advantage = mask_out(advantage.T, mask)
    return (whiten(advantage, mask) if whitened else advantage), advantage + value


def overlong(length: jax.Array, *, max_length: int, cache: int) -> jax.Array:
    """Soft overlong punishment, to be added to the reward (DAPO, arXiv:2503.14476, Eq 13).

        0                                     |y| <= max_length - cache
        ((max_length - cache) - |y|) / cache  between
        -1                                    |y| > max_length

    The paper has max_length = 20480 and cache = 4096. verl's reward manager multiplies this by a factor, 1 by default.

    Args:
      length: i32[B], tokens of each response.
      max_length: tokens.
      cache: tokens before max_length over which the punishment grows; from 1 to max_length.

    Returns:
      f32 or f64[B], from -1 to 0; numpy if `length` is.

    Raises:
      InputError: cache out of range.
    """
    if not 0 < cache <= max_length:
        raise InputError(f"cache={cache}: must be from 1 to max_length={max_length}")
    return ((max_length - cache - length) / cache).clip(-1.0, 0.0)


def differential_smoothing(
    reward: jax.Array, logp: jax.Array, mask: jax.Array, *, right: float, wrong: float
) -> jax.Array:
    """Rewards less `right` ln pi(y) for right responses, plus `wrong` ln pi(y) for wrong ones (arXiv:2511.19942).

    A right response earns more the less likely it is, which works against RL's bias for what it says already; of wrong
    ones the likely lose least, so that what is wrong stays narrow. ln pi(y) is the sum over the response's tokens. The
    paper's code was not found and its constants are not in our sources: those of the recipe are ours.

    Args:
      reward: f32[B]; right is what is above 0.
      logp: f32[B, T], of the policy that sampled.
      mask: bool[B, T].
      right, wrong: reward a nat, 0 or more.

    Returns:
      f32[B].

    Raises:
      InputError: a negative coefficient.
    """
    if right < 0 or wrong < 0:
        raise InputError(f"right={right}, wrong={wrong}: smoothing needs coefficients of 0 or more")
    total = jnp.sum(mask_out(logp, mask), axis=1)
    return reward + jnp.where(reward > 0, -right, wrong) * total


def of_one_sign(advantage: jax.Array, entropy: float, low: float, high: float) -> tuple[jax.Array, jax.Array]:
    """Advantages without those of one sign, where the entropy is outside a band (Entrocraft, arXiv:2604.26326).

    Above `high` the negative ones are 0, and what is left lowers the entropy; below `low` the positive ones are, and
    what is left raises it. Rejected tokens stay in the weight's denominator, as in the code (lblaoke/entrocraft), which
    takes the rewards for the advantages then, so that its positive ones are not centred.

    Args:
      advantage: f32[B, T].
      entropy: nats, of the policy before the updates.
      low, high: the band; high = 0: no upper bound.

    Returns:
      (advantage f32[B, T], the rejected ones bool[B, T]).
    """
    drop = (0 < high) & (entropy > high) & (advantage < 0) | (entropy < low) & (advantage > 0)
    return jnp.where(drop, 0.0, advantage), drop


def shape_by_entropy(advantage: jax.Array, entropy: jax.Array, *, alpha: float, kappa: float) -> jax.Array:
    """A + min(alpha H, |A| / kappa): uncertain tokens are credited more, and no sign changes (arXiv:2506.14758).

    H goes without gradient: this is no entropy bonus. With |A| / kappa < |A| a negative advantage stays negative. The
    paper's alpha and kappa are not in our sources: tune them.

    Args:
      advantage: f32[B, T].
      entropy: f32[B, T], nats, of the policy where it chose the token.
      alpha: 0 or more.
      kappa: above 1.

    Returns:
      f32[B, T].

    Raises:
      InputError: alpha or kappa out of range.
    """
    if alpha < 0 or not kappa > 1:
        raise InputError(f"alpha={alpha}, kappa={kappa}: shaping by entropy needs alpha >= 0 and kappa > 1")
    return advantage + jnp.minimum(alpha * jax.lax.stop_gradient(entropy), jnp.abs(advantage) / kappa)


ADVANTAGES = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "quantile": quantile,
    "reinforce_pp": reinforce_pp,
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "max_rl": max_rl,
    "pass_at_k": pass_at_k,
    "opo": opo,
    "gpg": gpg,
}
