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
from collections.abc import Callable

import jax
import jax.numpy as jnp

from entropy_rl.entropy.record import covariance
from entropy_rl.losses import selection
from entropy_rl.losses.ratio import clipped, dual_clipped, exp_held, one, ratio, sg
from entropy_rl.losses.trust_region import aspo, bapo, dppo_kl, dppo_tv, gmpo, lp_reg, sapo
from entropy_rl.masking import mask_out, masked_mean

DATA = ("entropy", "old_entropy", "filtered_logp", "refined")  # keywords that are arrays
DRAWS = ("clip_cov", "shaped_clip_cov", "random_clip")  # a number for each place of [B, T], so of a T that stays


def sees_whole(loss: Callable) -> bool:
    """Whether a loss (or a functools.partial of one) must be handed the whole optimiser mini-batch at once."""
    scope = inspect.signature(loss).parameters.get("scope")
    return scope is not None and scope.default == "minibatch"


def reinforce(logp, old_logp, advantage, mask, *, key=None):
    """l = -A log pi: the plain policy gradient (Williams 1992). `old_logp` is not used."""
    logp, advantage = mask_out(logp, mask), mask_out(advantage, mask)
    return -advantage * logp, {}


def ppo(logp, old_logp, advantage, mask, *, key=None, clip_low=0.2, clip_high=0.2, dual_clip=None):
    """l = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); for A < 0 at most -A dual_clip.

    PPO (arXiv:1707.06347, Eq 7); clip_high > clip_low is DAPO's clip-higher (arXiv:2503.14476); the dual clip is
    arXiv:1912.09729, Eq 5, off by default (verl has 3.0, DAPO's scripts 10).

    Args:
      clip_low, clip_high: how far the ratio may leave 1, downwards and upwards.
      dual_clip: None or a number > 1.

    Returns:
      (f32[B, T], {"clip": tokens whose gradient the upper or lower clip stopped, "dual_clip": those of
      the dual clip}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    loss, clip = clipped(ratio(logp, old_logp), advantage, clip_low, clip_high)
    loss, dual = dual_clipped(loss, advantage, mask, dual_clip)
    return loss, {"clip": mask & clip, **dual}


def gspo(logp, old_logp, advantage, mask, *, key=None, clip_low=3e-4, clip_high=4e-4):
    """PPO's loss with the ratio of the sequence: s = exp(mean_t (logp - old_logp)), s_t = sg(s) pi / sg(pi).

    GSPO (arXiv:2507.18071), in its token form: each token has the value s and its own gradient. verl aggregates it by
    `sequence_mean` whatever is configured; here that is for the weight to say, as with every loss.

    Args and marks as in `ppo`; there is no dual clip.
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    mean = sg(masked_mean(logp - old_logp, mask, axis=1))
    s = exp_held(mean)[:, None] * one(logp)
    loss, clip = clipped(s, advantage, clip_low, clip_high)
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
    bounded = jnp.where(low, beta_low * (1.0 - clip_low), beta_high * (1.0 + clip_high)) * one(logp)
    loss = -advantage * jnp.where(low | high, bounded, r)
    loss, dual = dual_clipped(loss, advantage, mask, dual_clip)
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
    loss, clip = clipped(ratio(logp, old_logp), advantage, clip_low, clip_high)
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
    loss, clip = clipped(ratio(logp, old_logp), advantage, clip_low, clip_high)
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
    loss, clip = clipped(r, advantage, clip_low, clip_high)
    loss, dual = dual_clipped(loss, advantage, mask, dual_clip)
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
      refined: None: no row.
      gamma: > 0.
      clip_low, clip_high, dual_clip: as in `ppo`.
      clip_refined: whether clip_low and clip_high hold for f(pi) too.

    Returns:
      (f32[B, T], {"clip", "dual_clip": as in `ppo`, "refined": tokens of refinements}).
    """
    logp, old_logp, advantage = (mask_out(x, mask) for x in (logp, old_logp, advantage))
    rows, f = _shape(logp, mask, refined, gamma)
    r = jnp.where(rows, f, ratio(logp, old_logp))
    loss, clip = clipped(r, advantage, clip_low, clip_high)
    if not clip_refined:
        loss, clip = jnp.where(rows, -advantage * r, loss), clip & ~rows
    loss, dual = dual_clipped(loss, advantage, mask, dual_clip)
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


def erc(logp, old_logp, advantage, mask, *, entropy, old_entropy, key=None,
        band_low=0.05, band_high=0.05, clip_low=0.2, clip_high=0.28, dual_clip=None):  # fmt: skip
    """PPO's loss without the tokens in whose state the entropy has changed too much:

        kept where 1 - band_low < (H + 1e-8) / (H_old + 1e-8) < 1 + band_high

    Entropy ratio clipping (arXiv:2512.05591), as its code (Kwai-Klear/ERC), whose scripts have 0.95 and 1.05, DAPO's
    clips and a dual clip of 10. There a dropped token keeps its value and loses its gradient; here it has neither.

    Args:
      band_low, band_high: how far the entropy's ratio may leave 1, downwards and upwards.
      clip_low, clip_high, dual_clip: as in `ppo`.

    Returns:
      (f32[B, T], {"band": the dropped tokens, and the marks of `ppo` of the others}).
    """
    entropy, old_entropy = (sg(mask_out(x, mask)) for x in (entropy, old_entropy))
    change = (entropy + 1e-8) / (old_entropy + 1e-8)
    keep = (change > 1.0 - band_low) & (change < 1.0 + band_high)
    loss, marks = ppo(logp, old_logp, advantage, mask, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip)
    return jnp.where(keep, loss, 0.0), {"band": mask & ~keep, **{k: v & keep for k, v in marks.items()}}


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
