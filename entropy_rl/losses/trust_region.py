"""Policy losses of 2025 and 2026 that bound the step by token in another way than PPO's clip: rows of POLICY_LOSSES.

They are called as losses/policy.py says, and give what it says.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from entropy_rl.losses import selection
from entropy_rl.losses.kl import k3
from entropy_rl.losses.ratio import clipped, dual_clipped, exp_held, one, ratio, sg
from entropy_rl.masking import mask_out, masked_mean


def _kept(keep, cap, logp, old_logp, advantage, mask):
    """DPPO's loss on the tokens to keep: -A sg(min(r, cap)) log pi, and the marks."""
    if not cap > 0:
        raise ValueError(f"cap must be > 0, not {cap}")
    r = sg(ratio(logp, old_logp))
    loss = jnp.where(keep, -advantage * jnp.minimum(r, cap) * logp, 0.0)
    return loss, {"clip": mask & ~keep, "cap": mask & keep & (r > cap)}


def dppo_tv(logp, old_logp, advantage, mask, *, key=None, delta_low=0.2, delta_high=0.2, cap=20.0):
    """l = -sg(min(r, cap)) A log pi on the tokens whose probability has not moved too far, 0 on the others.

        A > 0:   pi - pi_old <= delta_high
        A <= 0:  pi - pi_old >= -delta_low

    DPPO with binary total variation (arXiv:2602.04879), as verl's `dppo_tv`; prime-rl's default loss has the same
    bounds. Unlike a ratio, a difference of probabilities lets a rare token become ten times as likely. Dropped tokens
    stay in the weight's denominator.

    Args:
      delta_low, delta_high: how far the probability may move, downwards and upwards.
      cap: of the ratio as a weight, above 0.

    Returns:
      (f32[B, T], {"clip": the dropped tokens, "cap": kept tokens whose ratio was cut}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    moved = sg(jnp.exp(jnp.minimum(logp, 0.0)) - jnp.exp(jnp.minimum(old_logp, 0.0)))
    keep = jnp.where(advantage > 0, moved <= delta_high, moved >= -delta_low)
    return _kept(keep, cap, logp, old_logp, advantage, mask)


def dppo_kl(logp, old_logp, advantage, mask, *, key=None, delta_low=0.05, delta_high=0.05, cap=20.0):
    """As `dppo_tv`, by the divergence of token or not token, p = pi and q = pi_old:

        D = q ln(q / p) + (1 - q) ln((1 - q + 1e-8) / (1 - p + 1e-8))
        A > 0:   D <= delta_high or p <= q
        A <= 0:  D <= delta_low or p >= q

    DPPO with binary KL (arXiv:2602.04879), as verl's `dppo_kl`, whose 1e-8 these are. Args and marks as in `dppo_tv`.
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    log_p, log_q = (sg(jnp.minimum(x, 0.0)) for x in (logp, old_logp))
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    divergence = q * (log_q - log_p) + (1.0 - q) * jnp.log((1.0 - q + 1e-8) / (1.0 - p + 1e-8))
    keep = jnp.where(advantage > 0, (divergence <= delta_high) | (p <= q), (divergence <= delta_low) | (p >= q))
    return _kept(keep, cap, logp, old_logp, advantage, mask)


def sapo(logp, old_logp, advantage, mask, *, key=None, tau_pos=1.0, tau_neg=1.05):
    """l = -A (4 / tau) sigmoid(tau (r - 1)), tau = tau_pos where A > 0 and tau_neg elsewhere.

    SAPO (arXiv:2511.20347): a soft gate in place of the clip. The gradient is -A r 4 s (1 - s) that of log pi with s
    the sigmoid: that of REINFORCE at r = 1, and fading on both sides, for A < 0 faster. verl aggregates it by
    `sequence_mean` whatever is configured, as GSPO.

    Args:
      tau_pos, tau_neg: temperatures of the gate, above 0; the higher, the narrower.
    """
    for name, tau in (("tau_pos", tau_pos), ("tau_neg", tau_neg)):
        if not tau > 0:
            raise ValueError(f"{name} must be > 0, not {tau}")
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    tau = jnp.where(advantage > 0, tau_pos, tau_neg)
    return -advantage * (4.0 / tau) * jax.nn.sigmoid(tau * (ratio(logp, old_logp) - 1.0)), {}


def gmpo(logp, old_logp, advantage, mask, *, key=None, clip_low=0.4, clip_high=0.4):
    """l = -A s with the sequence's geometric mean of clipped ratios:

        s = exp(mean_t c_t),   c = min(log r, clip_high) where A > 0, max(log r, -clip_low) where A < 0

    GMPO (arXiv:2507.20673, clips e^-0.4 and e^0.4), as verl's `geo_mean`, which aggregates it by `sequence_mean`
    whatever is configured. The gradient goes through s: a token that its clip has stopped has none, the others share
    the response's. The mean is held to +-20, which verl's is not. An advantage that is not the same all over a row is
    averaged by `s`.

    Args:
      clip_low, clip_high: bounds of the log-ratio, downwards and upwards.

    Returns:
      (f32[B, T], {"clip": tokens whose log-ratio was clipped}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    gap = logp - old_logp
    held = jnp.where(advantage > 0, jnp.minimum(gap, clip_high), jnp.maximum(gap, -clip_low))
    held = jnp.where(advantage == 0, 0.0, held)
    mean = masked_mean(held, mask, axis=1)
    s = exp_held(mean)[:, None]
    return -advantage * s, {"clip": mask & (advantage != 0) & (held != gap)}


def aspo(logp, old_logp, advantage, mask, *, key=None, clip_low=0.2, clip_high=0.2, cap=3.0):
    """PPO's loss with the inverse ratio as the weight of positive tokens, and soft caps instead of a dual clip:

        A > 0:  -A sg(1 / r) pi / sg(pi), no gradient where r > 1 + clip_high;   -A cap log pi where 1 / r > cap
        A < 0:  -A max(r, 1 - clip_low);                                         -A cap log pi where r > cap

    ASPO (arXiv:2510.06062): with PPO's weight r what is likely already is pushed hardest; 1 / r lifts what lags
    behind. As in the code (wizard-III/Archer2.0), whose cap is 3 for both signs, and which has clips of 0.2 or, by the
    entropy of the token, 0.4, and a KL, none of which is here.

    Args:
      clip_low, clip_high: as in `ppo`.
      cap: largest weight, above 1.

    Returns:
      (f32[B, T], {"clip": tokens without a gradient, "cap": tokens whose weight was cut}).
    """
    if not cap > 1:
        raise ValueError(f"cap must be > 1, not {cap}")
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    r, up = ratio(logp, old_logp), advantage > 0
    bound = jnp.where(up, 1.0 + clip_high, 1.0 - clip_low)
    clip = (advantage != 0) & jnp.where(up, r > bound, r < bound)
    held = sg(jnp.where(clip, bound, r))
    weight = jnp.where(up, 1.0 / held, held)
    capped = weight > cap
    loss = -advantage * weight * jnp.where(clip, 1.0, one(logp))
    loss = jnp.where(capped, -advantage * cap * logp, loss)
    return loss, {"clip": mask & clip & ~capped, "cap": mask & capped & (advantage != 0)}


def bapo(
    logp, old_logp, advantage, mask, *, key=None,
    low=0.6, low_max=0.9, high=1.2, high_max=3.0, step=0.05, share=0.5, dual_clip=None, scope="minibatch",
):  # fmt: skip
    """PPO's loss with bounds of the ratio that move until positive tokens have their share of the gradient.

    With P the sum of A r over tokens of A > 0 that the upper bound has not stopped, N that of -A r over tokens of
    A < 0 that the lower bound has not, the lower bound rises from `low` by `step` to at most `low_max`, then the upper
    one from `high` to at most `high_max`, as soon as P >= share (P + N) no further.

    BAPO (arXiv:2510.18927): raising the lower bound drops negative tokens that are unlikely already, raising the upper
    one admits positive tokens. Bounds and step of its code (WooooDyy/BAPO), whose sums count a stopped token at its
    bound, by which a higher lower bound makes N larger and never helps: here a stopped token counts nothing. Its P / N
    of at least 1 is the share 0.5, and its dual clip 3.

    Args:
      low, low_max, high, high_max: bounds of the ratio itself; low <= low_max <= 1 <= high <= high_max.
      step: of both, above 0.
      share: of positive tokens, from 0 to 1.
      dual_clip: as in `ppo`.
      scope: one of selection.SCOPES, over which P and N are summed.

    Returns:
      (f32[B, T], marks as in `ppo`).
    """
    selection.check_scope(scope)
    if not 0 < low <= low_max <= 1 <= high <= high_max:
        raise ValueError(f"low, low_max, high, high_max must rise and hold 1 in their midst, not {low}, {low_max}, "
                         f"{high}, {high_max}")  # fmt: skip
    if not step > 0 or not 0 <= share <= 1:
        raise ValueError(f"step must be > 0 and share from 0 to 1, not {step} and {share}")
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    r = ratio(logp, old_logp)
    lows, highs = (_rising(*x, step) for x in ((low, low_max), (high, high_max)))
    lows, highs = lows + [lows[-1]] * (len(highs) - 1), [highs[0]] * (len(lows) - 1) + highs
    force = sg(jnp.abs(advantage * r))

    def enough(bounds):
        positive = jnp.sum(jnp.where((advantage > 0) & (r <= bounds[1]), force, 0.0))
        negative = jnp.sum(jnp.where((advantage < 0) & (r >= bounds[0]), force, 0.0))
        return positive >= share * (positive + negative)

    bounds = jnp.stack([jnp.array(lows, r.dtype), jnp.array(highs, r.dtype)], axis=1)
    met = jax.lax.map(enough, bounds)
    chosen = bounds[jnp.where(met.any(), jnp.argmax(met), len(lows) - 1)]
    loss, clip = clipped(r, advantage, 1.0 - chosen[0], chosen[1] - 1.0)
    loss, dual = dual_clipped(loss, advantage, mask, dual_clip)
    return loss, {"clip": mask & clip, **dual}


def _rising(first, last, step):
    """[first, first + step, ..., last], the last one with a shorter step where it must be."""
    count = math.ceil((last - first) / step - 1e-9)
    return [*(first + i * step for i in range(count)), last]


def lp_reg(
    logp, old_logp, advantage, mask, *, filtered_logp, key=None,
    frac=0.01, coef=1.0, clip_low=1.0, clip_high=9.0, scope="minibatch",
):  # fmt: skip
    """-A r + coef k3(pi, pi~) on the least likely negative tokens that a filter would keep; PPO's loss on the others.

        k3 = pi~ / pi - 1 - ln(pi~ / pi),   pi~ the policy that sampled, of tokens with at least min_p of the likeliest

    Lp-Reg (arXiv:2510.03222): among tokens of low probability those that a min-p filter keeps are worth exploring, and
    are pulled back towards what they were. Penalised are, of the floor(frac N) least likely of the N tokens with A < 0,
    those with log pi < log pi~; a token that the filter drops has log pi~ = -inf. As in the code
    (CarlanLark/Lp-Reg-dev: 1 %, coefficient 1, min_p .02, clips 1 and 9), whose minimum of two tokens is left out; k3
    is held as in losses/kl.py.

    Args:
      filtered_logp: log pi~.
      frac: share of the negative tokens.
      coef: of the penalty.
      clip_low, clip_high: as in `ppo`.
      scope: one of selection.SCOPES.

    Returns:
      (f32[B, T], {"clip": as in `ppo`, "selected": the penalised tokens}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    target = sg(jnp.where(mask, jnp.maximum(filtered_logp, -1e4), -1e4))
    r = ratio(logp, old_logp)
    loss, clip = clipped(r, advantage, clip_low, clip_high)
    negative = mask & (advantage < 0)
    rare = selection.lowest(sg(logp), negative, selection.count(negative, frac, scope))
    selected = rare & (sg(logp) < target)
    penalty = coef * k3(jnp.where(selected, logp, 0.0), jnp.where(selected, target, 0.0))
    loss = jnp.where(selected, -advantage * r + penalty, loss)
    return loss, {"clip": mask & clip & ~selected, "selected": selected}
