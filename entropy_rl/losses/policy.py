"""Policy losses per token. Aggregation is not theirs: loss = sum(weight * token_loss), weight from losses/weights.py.

To add one: a function `(logp, old_logp, advantage, mask, *, key=None, **hparams) -> (token_loss, info)`, all f32[B, T]
(mask bool), and a row in POLICY_LOSSES. `token_loss` is 0 outside the mask whatever stands there. `info` holds
bool[B, T] marks of the tokens that the loss treated specially; their share and their entropy are logged as
`policy/<name>_fraction` and `policy/<name>_entropy`.

A loss that needs more arrays has keywords of these names (DATA), which the objective fills: `entropy` f32[B, T], of
the current policy; `old_entropy` f32[B, T], of the policy that sampled; `filtered_logp` f32[B, T], of the policy before
the updates under a min-p filter; `refined` bool[B], rows that are refinements of an earlier attempt. A loss that
decides over the batch has a keyword `scope` (losses/selection.py); all others are sums over rows.

In the formulas A is the advantage, r = pi / pi_old, sg stops the gradient. The log-ratio is held to +-20 everywhere, as
in verl's PPO; the reference codes of GSPO (at most 10), Clip-Cov, KL-Cov and GPPO hold it otherwise or not at all.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from entropy_rl.entropy.record import covariance
from entropy_rl.losses import selection
from entropy_rl.losses.kl import k3
from entropy_rl.masking import mask_out, masked_mean

MAX_LOG_RATIO = 20.0  # as in verl: beyond it exp overflows and the gradient carries nothing

DATA = ("entropy", "old_entropy", "filtered_logp", "refined")  # keywords that are arrays

sg = jax.lax.stop_gradient


def sees_whole(loss: Callable) -> bool:
    """Whether a loss (or a functools.partial of one) must be handed the whole optimiser mini-batch at once."""
    scope = inspect.signature(loss).parameters.get("scope")
    return scope is not None and scope.default == "minibatch"


def ratio(logp: jax.Array, old_logp: jax.Array) -> jax.Array:
    """r = pi / pi_old = exp(clip(logp - old_logp, -20, 20)), f32[B, T]."""
    return jnp.exp(jnp.clip(logp - old_logp, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def _one(logp):
    """1, with the gradient of log pi: pi / sg(pi)."""
    return jnp.exp(logp - sg(logp))


def _clipped(r, advantage, clip_low, clip_high):
    """max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)), and where the clip stopped the gradient."""
    free = -advantage * r
    held = -advantage * jnp.clip(r, 1.0 - clip_low, 1.0 + clip_high)
    return jnp.maximum(free, held), held > free


def _dual_clipped(loss, advantage, mask, dual_clip):
    """`loss`, for A < 0 at most -A dual_clip, and the mark of the tokens that this stopped; no change with None."""
    if dual_clip is None:
        return loss, {}
    if not dual_clip > 1.0:
        raise ValueError(f"dual_clip must be > 1, not {dual_clip}")
    bound = -advantage * dual_clip
    over = mask & (advantage < 0) & (loss > bound)
    return jnp.where(over, bound, loss), {"dual_clip": over}


def reinforce(logp, old_logp, advantage, mask, *, key=None):
    """l = -A log pi: the plain policy gradient (Williams 1992). `old_logp` is not used.

    Args:
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].

    Returns:
      (f32[B, T], {}).
    """
    logp, advantage = mask_out(logp, mask), mask_out(advantage, mask)
    return -advantage * logp, {}


def ppo(logp, old_logp, advantage, mask, *, key=None, clip_low=0.2, clip_high=0.2, dual_clip=None):
    """l = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); for A < 0 at most -A dual_clip.

    PPO (arXiv:1707.06347, Eq 7); clip_high > clip_low is DAPO's clip-higher (arXiv:2503.14476); the dual clip is
    arXiv:1912.09729, Eq 5, off by default (verl has 3.0, DAPO's scripts 10).

    Args:
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
      clip_low, clip_high: how far the ratio may leave 1, downwards and upwards.
      dual_clip: None or a number > 1.

    Returns:
      (f32[B, T], {"clip": tokens whose gradient the upper or lower clip stopped, "dual_clip": those of
      the dual clip}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    loss, clip = _clipped(ratio(logp, old_logp), advantage, clip_low, clip_high)
    loss, dual = _dual_clipped(loss, advantage, mask, dual_clip)
    return loss, {"clip": mask & clip, **dual}


def gspo(logp, old_logp, advantage, mask, *, key=None, clip_low=3e-4, clip_high=4e-4):
    """PPO's loss with the ratio of the sequence: s = exp(mean_t (logp - old_logp)), s_t = sg(s) pi / sg(pi).

    GSPO (arXiv:2507.18071), in its token form: each token has the value s and its own gradient. verl aggregates it by
    `sequence_mean` whatever is configured; here that is for the weight to say, as with every loss.

    Args and marks as in `ppo`; there is no dual clip.
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    mean = sg(masked_mean(logp - old_logp, mask, axis=1))
    s = jnp.exp(jnp.clip(mean, -MAX_LOG_RATIO, MAX_LOG_RATIO))[:, None] * _one(logp)
    loss, clip = _clipped(s, advantage, clip_low, clip_high)
    return loss, {"clip": mask & clip}


def cispo(logp, old_logp, advantage, mask, *, key=None, clip_low=10.0, clip_high=0.2):
    """l = -sg(clip(r, 1 - clip_low, 1 + clip_high)) A log pi: the ratio is a bounded weight, no token is dropped.

    CISPO (MiniMax-M1, arXiv:2506.13585, Eqs 4 and 5). Defaults are those of verl's example; a clip_low of 1 or more
    bounds nothing. TRL's epsilon_high is the bound itself: its 5.0 is clip_high=4.0 here.

    Args as in `ppo`; the mark "clip" is of the tokens whose weight was bounded, on either side, whatever the sign of A.
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    r = sg(ratio(logp, old_logp))
    weight = jnp.clip(r, 1.0 - clip_low, 1.0 + clip_high)
    return -weight * advantage * logp, {"clip": mask & (weight != r)}


def ce_gppo(
    logp, old_logp, advantage, mask, *, key=None,
    clip_low=0.2, clip_high=0.2, beta_low=0.5, beta_high=1.0, dual_clip=None,
):  # fmt: skip
    """PPO's loss in which the tokens beyond the clip keep a bounded gradient: l = -A F pi / sg(pi) with

        F = beta_low (1 - clip_low) where A < 0 and r < 1 - clip_low,
            beta_high (1 + clip_high) where A > 0 and r > 1 + clip_high, and r elsewhere.

    CE-GPPO (arXiv:2509.20712). beta_low is the paper's beta_1, on tokens whose update lowers the entropy; beta_high its
    beta_2, on tokens whose update raises it. Defaults are those of the 1.5B model (7B: 0.75 and 1). The reference code
    has a dual clip, of 3 by default.

    Args as in `ppo`.

    Returns:
      (f32[B, T], {"clip": the tokens beyond the clip, "dual_clip": as in `ppo`}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    r = ratio(logp, old_logp)
    low = (advantage < 0) & (r < 1.0 - clip_low)
    high = (advantage > 0) & (r > 1.0 + clip_high)
    bounded = jnp.where(low, beta_low * (1.0 - clip_low), beta_high * (1.0 + clip_high)) * _one(logp)
    loss = -advantage * jnp.where(low | high, bounded, r)
    loss, dual = _dual_clipped(loss, advantage, mask, dual_clip)
    return loss, {"clip": mask & (low | high), **dual}


def gppo(logp, old_logp, advantage, mask, *, key=None, clip_low=0.2, clip_high=0.28, dual_clip=None):
    """`ce_gppo` with beta_low = beta_high = 1: PPO's value, and a gradient that no clip stops.

    GPPO (Klear-Reasoner, arXiv:2508.07629). That no token's gradient is zero is true of the paper's formula alone: its
    code has a dual clip (3 by default, 10 in the scripts), a constant where A < 0 and r > dual_clip. Without one, F = r
    is not bounded there.
    """
    return ce_gppo(
        logp, old_logp, advantage, mask,
        clip_low=clip_low, clip_high=clip_high, beta_low=1.0, beta_high=1.0, dual_clip=dual_clip,
    )  # fmt: skip


def _by_covariance(logp, advantage, mask, clip, lower, upper):
    """Clip-Cov's candidates: covariance strictly between the bounds, and a gradient that the clip has not stopped."""
    cov = covariance(sg(logp), advantage, mask)
    return mask & ~clip & (lower < cov) & (cov < upper)


def clip_cov(
    logp, old_logp, advantage, mask, *, key=None,
    frac=2e-4, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0, scope="minibatch",
):  # fmt: skip
    """PPO's loss without a few random tokens of high covariance: l = 0 for floor(frac N) of those with
    lower < Cov < upper (entropy.covariance, with the current logp).

    Clip-Cov (arXiv:2505.22617, Eqs 11 and 12). As in the reference code, which differs from the paper: the bounds are
    strict, tokens that PPO's clip has stopped are not drawn, and l is 0 and not a constant (the gradient is the same).
    The dropped tokens stay in the weight's denominator. Unlike it, the draw is over the mini-batch and may be empty;
    scope="microbatch" restores its draw per micro-batch, of at least one token. At frac=2e-4 nothing is drawn below
    5,000 tokens.

    Args:
      key: of the draw; None draws the same at every call.
      frac: share of the N tokens of the mask to drop, at most.
      lower, upper: bounds of the covariance.
      clip_low, clip_high: as in `ppo`, wide here: the ratio is held to [0, 2].
      scope: one of selection.SCOPES.

    Returns:
      (f32[B, T], {"clip": as in `ppo`, "selected": the dropped tokens}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    loss, clip = _clipped(ratio(logp, old_logp), advantage, clip_low, clip_high)
    candidates = _by_covariance(logp, advantage, mask, clip, lower, upper)
    selected = selection.at_random(key, candidates, selection.count(mask, frac, scope))
    return jnp.where(selected, 0.0, loss), {"clip": mask & clip, "selected": selected}


def random_clip(
    logp, old_logp, advantage, mask, *, key=None,
    frac=2e-4, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0, scope="minibatch",
):  # fmt: skip
    """The control for `clip_cov`: drops as many tokens as it would on the same batch, but any of positive advantage.

    After arXiv:2511.05993, which finds that dropping random positive tokens does about as well. Tokens that PPO's clip
    has stopped are not drawn, as in `clip_cov`; where there are too few others, all of them are.

    Args and marks as in `clip_cov`; the covariance decides about the number of tokens and nothing else.
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    loss, clip = _clipped(ratio(logp, old_logp), advantage, clip_low, clip_high)
    candidates = _by_covariance(logp, advantage, mask, clip, lower, upper)
    n = jnp.minimum(selection.count(mask, frac, scope), jnp.sum(candidates))
    selected = selection.at_random(key, mask & ~clip & (advantage > 0), n)
    return jnp.where(selected, 0.0, loss), {"clip": mask & clip, "selected": selected}


def kl_cov(logp, old_logp, advantage, mask, *, key=None, frac=2e-3, coef=1.0, scope="minibatch"):
    """l = -A r, plus coef |logp - old_logp| on the floor(frac N) tokens with the highest covariance.

    KL-Cov (arXiv:2505.22617, Eqs 13 and 14; frac is 2e-4 for 32B). As in the reference code there is no clip, and the
    penalty is |log r| rather than an estimate of the KL. Its gradient is 0 at r = 1: on the first update after
    sampling this is the plain policy gradient, and with one update per rollout it is nothing else.
    The number of tokens departs from that code as in `clip_cov`. The log-ratio of the penalty is not held to +-20: it
    cannot overflow, and the tokens farthest off need it most.

    Args:
      frac: share of the N tokens of the mask (the reference's scripts give it in percent, and its code divides by 100).
      coef: weight of the penalty.
      scope: one of selection.SCOPES.

    Returns:
      (f32[B, T], {"selected": the tokens with the penalty}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    loss = -advantage * ratio(logp, old_logp)
    cov = covariance(sg(logp), advantage, mask)
    selected = selection.highest(cov, mask, selection.count(mask, frac, scope))
    gap = logp - old_logp
    penalty = coef * sg(jnp.sign(gap)) * gap  # jax.grad(jnp.abs)(0.0) is 1, which would push the tokens down at r = 1
    return jnp.where(selected, loss + penalty, loss), {"selected": selected}


def steer(
    logp, old_logp, advantage, mask, *, entropy, key=None,
    weight_low=0.8, weight_high=1.2, form="linear", clip_low=0.2, clip_high=0.28, dual_clip=None, scope="minibatch",
):  # fmt: skip
    """PPO's loss times a weight that is lower the more the token is estimated to change the entropy H of its state:

        Omega = |A / pi_old * pi (1 - pi) (log pi + H)|
        linear:       weight_high - (weight_high - weight_low) (Omega - min Omega) / (max Omega - min Omega)
        exponential:  exp(-k Omega), k = -log(weight_low) / max(max Omega, 0.02); weight_high is not read

    STEER (arXiv:2510.10150), min and max over the scope, constants from its code (zz-haooo/STEER), whose scripts have a
    dual clip of 10 and take min and max over the micro-batch. The exact first-order change of a single logit has
    another factor pi (arXiv:2602.03392); this is the code's. Where all Omega are equal the linear weight is the middle.
    pi / pi_old is `ratio`, where the code holds both probabilities to at least 1e-8.

    Args:
      entropy: f32[B, T], H of the current policy.
      weight_low, weight_high: range of the weights.
      form: "linear" or "exponential".
      clip_low, clip_high, dual_clip: as in `ppo`.
      scope: one of selection.SCOPES.

    Returns:
      (f32[B, T], marks as in `ppo`).
    """
    selection.check_scope(scope)
    logp, old_logp, advantage, entropy = (mask_out(x, mask) for x in (logp, old_logp, advantage, entropy))
    r = ratio(logp, old_logp)
    log_pi = sg(jnp.minimum(logp, 0.0))
    omega = jnp.abs(advantage * sg(r) * (1.0 - jnp.exp(log_pi)) * (log_pi + sg(entropy)))
    top = jnp.max(omega)  # omega is 0 outside the mask
    if form == "linear":
        least = jnp.min(jnp.where(mask, omega, top))
        span = top - least
        share = jnp.where(span > 0, (omega - least) / span, 0.5)
        weight = weight_high - (weight_high - weight_low) * share
    elif form == "exponential":
        weight = jnp.exp(jnp.log(weight_low) * omega / jnp.maximum(top, 0.02))
    else:
        raise ValueError(f"form must be linear or exponential, not {form!r}")
    loss, clip = _clipped(r, advantage, clip_low, clip_high)
    loss, dual = _dual_clipped(loss, advantage, mask, dual_clip)
    return weight * loss, {"clip": mask & clip, **dual}


def shaped(
    logp, old_logp, advantage, mask, *, refined=None, key=None,
    gamma=0.1, clip_low=0.2, clip_high=0.2, dual_clip=None, clip_refined=False,
):  # fmt: skip
    """l = -A f(pi), f(p) = p / (p + gamma), on the rows that are refinements; PPO's loss on the others.

    Critique-GRPO (arXiv:2506.03106): a refinement was sampled with a critique in the prompt and is learnt without it,
    so there is no ratio. The gradient is -A gamma pi / (pi + gamma)^2 that of log pi, largest at pi = gamma.
    The paper's formula clips f(pi) like a ratio, which leaves the tokens of A < 0 and f(pi) < 1 - clip_low without a
    gradient; the released code does not, nor does this unless `clip_refined`. That code's script takes the clip from
    the other rows as well (here: clip_low=1 and a large clip_high).

    Args:
      refined: bool[B], the rows that are refinements; None: no row.
      gamma: > 0.
      clip_low, clip_high, dual_clip: as in `ppo`.
      clip_refined: whether clip_low and clip_high hold for f(pi) too.

    Returns:
      (f32[B, T], {"clip", "dual_clip": as in `ppo`, "refined": tokens of refinements}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    rows, f = _shape(logp, mask, refined, gamma)
    r = jnp.where(rows, f, ratio(logp, old_logp))
    loss, clip = _clipped(r, advantage, clip_low, clip_high)
    if not clip_refined:
        loss, clip = jnp.where(rows, -advantage * r, loss), clip & ~rows
    loss, dual = _dual_clipped(loss, advantage, mask, dual_clip)
    return loss, {"clip": mask & clip, "refined": rows, **dual}


def _shape(logp, mask, refined, gamma):
    """Tokens of refinements, and f(pi) = pi / (pi + gamma), made without exp(logp)."""
    if not gamma > 0:
        raise ValueError(f"gamma must be > 0, not {gamma}")
    rows = jnp.zeros_like(mask) if refined is None else mask & refined[:, None]
    return rows, jax.nn.sigmoid(logp - jnp.log(gamma))


def shaped_clip_cov(
    logp, old_logp, advantage, mask, *, refined=None, key=None,
    gamma=0.1, frac=2e-4, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0, scope="minibatch",
):  # fmt: skip
    """`clip_cov` on own samples, `shaped` without a clip on refinements: a critique and a covariance control together.

    Covariance is that of own samples alone, as refinements are off-policy. Ours; arguments and marks as in the two.
    """
    rows, f = _shape(mask_out(logp, mask), mask, refined, gamma)
    own = mask & ~rows
    loss, marks = clip_cov(
        *(logp, old_logp, advantage, own),
        **{"key": key, "frac": frac, "lower": lower, "upper": upper},
        **{"clip_low": clip_low, "clip_high": clip_high, "scope": scope},
    )
    return jnp.where(rows, -mask_out(advantage, mask) * f, loss), {**marks, "refined": rows}


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
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
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
    keep = jnp.where(
        advantage > 0, (divergence <= delta_high) | (p <= q), (divergence <= delta_low) | (p >= q)
    )
    return _kept(keep, cap, logp, old_logp, advantage, mask)


def sapo(logp, old_logp, advantage, mask, *, key=None, tau_pos=1.0, tau_neg=1.05):
    """l = -A (4 / tau) sigmoid(tau (r - 1)), tau = tau_pos where A > 0 and tau_neg elsewhere.

    SAPO (arXiv:2511.20347): a soft gate in place of the clip. The gradient is -A r 4 s (1 - s) that of log pi with s
    the sigmoid: that of REINFORCE at r = 1, and fading on both sides, for A < 0 faster. verl aggregates it by
    `sequence_mean` whatever is configured, as GSPO.

    Args:
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
      tau_pos, tau_neg: temperatures of the gate, above 0; the higher, the narrower.

    Returns:
      (f32[B, T], {}).
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
    the response's. The mean is held to +-20, which verl's is not.

    Args:
      logp, old_logp, advantage: f32[B, T]; an advantage that is not the same all over a row is averaged by `s`.
      mask: bool[B, T].
      clip_low, clip_high: bounds of the log-ratio, downwards and upwards.

    Returns:
      (f32[B, T], {"clip": tokens whose log-ratio was clipped}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    gap = logp - old_logp
    held = jnp.where(advantage > 0, jnp.minimum(gap, clip_high), jnp.maximum(gap, -clip_low))
    held = jnp.where(advantage == 0, 0.0, held)
    mean = masked_mean(held, mask, axis=1)
    s = jnp.exp(jnp.clip(mean, -MAX_LOG_RATIO, MAX_LOG_RATIO))[:, None]
    return -advantage * s, {"clip": mask & (advantage != 0) & (held != gap)}


def aspo(logp, old_logp, advantage, mask, *, key=None, clip_low=0.2, clip_high=0.2, cap=3.0):
    """PPO's loss with the inverse ratio as the weight of positive tokens, and soft caps instead of a dual clip:

        A > 0:  -A sg(1 / r) pi / sg(pi), no gradient where r > 1 + clip_high;   -A cap log pi where 1 / r > cap
        A < 0:  -A max(r, 1 - clip_low);                                         -A cap log pi where r > cap

    ASPO (arXiv:2510.06062): with PPO's weight r what is likely already is pushed hardest; 1 / r lifts what lags
    behind. As in the code (wizard-III/Archer2.0), whose cap is 3 for both signs, and which has clips of 0.2 or, by the
    entropy of the token, 0.4, and a KL, none of which is here.

    Args:
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
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
    loss = -advantage * weight * jnp.where(clip, 1.0, _one(logp))
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
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
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
    loss, clip = _clipped(r, advantage, 1.0 - chosen[0], chosen[1] - 1.0)
    loss, dual = _dual_clipped(loss, advantage, mask, dual_clip)
    return loss, {"clip": mask & clip, **dual}


def _rising(first, last, step):
    """[first, first + step, ..., last], the last one with a shorter step where it must be."""
    count = math.ceil((last - first) / step - 1e-9)
    return [*(first + i * step for i in range(count)), last]


def erc(logp, old_logp, advantage, mask, *, entropy, old_entropy, key=None,
        band_low=0.05, band_high=0.05, clip_low=0.2, clip_high=0.28, dual_clip=None):  # fmt: skip
    """PPO's loss without the tokens in whose state the entropy has changed too much:

        kept where 1 - band_low < (H + 1e-8) / (H_old + 1e-8) < 1 + band_high

    Entropy ratio clipping (arXiv:2512.05591), as its code (Kwai-Klear/ERC), whose scripts have 0.95 and 1.05, DAPO's
    clips and a dual clip of 10. There a dropped token keeps its value and loses its gradient; here it has neither.

    Args:
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
      entropy: f32[B, T], H of the current policy.
      old_entropy: f32[B, T], that of the policy that sampled.
      band_low, band_high: how far the entropy's ratio may leave 1, downwards and upwards.
      clip_low, clip_high, dual_clip: as in `ppo`.

    Returns:
      (f32[B, T], {"band": the dropped tokens, and the marks of `ppo` of the others}).
    """
    entropy, old_entropy = (sg(mask_out(x, mask)) for x in (entropy, old_entropy))
    change = (entropy + 1e-8) / (old_entropy + 1e-8)
    keep = (change > 1.0 - band_low) & (change < 1.0 + band_high)
    loss, marks = ppo(
        logp, old_logp, advantage, mask, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip
    )
    return jnp.where(keep, loss, 0.0), {"band": mask & ~keep, **{k: v & keep for k, v in marks.items()}}


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
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].
      filtered_logp: f32[B, T], log pi~.
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
    loss, clip = _clipped(r, advantage, clip_low, clip_high)
    negative = mask & (advantage < 0)
    rare = selection.lowest(sg(logp), negative, selection.count(negative, frac, scope))
    selected = rare & (sg(logp) < target)
    penalty = coef * k3(jnp.where(selected, logp, 0.0), jnp.where(selected, target, 0.0))
    loss = jnp.where(selected, -advantage * r + penalty, loss)
    return loss, {"clip": mask & clip & ~selected, "selected": selected}


POLICY_LOSSES = {
    "aspo": aspo,
    "bapo": bapo,
    "ce_gppo": ce_gppo,
    "cispo": cispo,
    "clip_cov": clip_cov,
    "dppo_kl": dppo_kl,
    "dppo_tv": dppo_tv,
    "erc": erc,
    "gmpo": gmpo,
    "gppo": gppo,
    "gspo": gspo,
    "kl_cov": kl_cov,
    "lp_reg": lp_reg,
    "ppo": ppo,
    "random_clip": random_clip,
    "reinforce": reinforce,
    "sapo": sapo,
    "shaped": shaped,
    "shaped_clip_cov": shaped_clip_cov,
    "steer": steer,
}
