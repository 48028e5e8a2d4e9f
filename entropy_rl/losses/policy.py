"""Policy losses per token. Aggregation is not theirs: loss = sum(weight * token_loss), weight from losses/weights.py.

To add one: a function `(logp, old_logp, advantage, mask, *, key=None, **hparams) -> (token_loss, info)`, all f32[B, T]
(mask bool), and a row in POLICY_LOSSES. `token_loss` is 0 outside the mask whatever stands there. `info` holds
bool[B, T] marks of the tokens that the loss treated specially; their share and their entropy are logged as
`policy/<name>_fraction` and `policy/<name>_entropy`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from entropy_rl.masking import keep

MAX_LOG_RATIO = 20.0  # as in verl: beyond it exp overflows and the gradient carries nothing


def ratio(logp: jax.Array, old_logp: jax.Array) -> jax.Array:
    """r = pi / pi_old = exp(clip(logp - old_logp, -20, 20)), f32[B, T]."""
    return jnp.exp(jnp.clip(logp - old_logp, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def reinforce(logp, old_logp, advantage, mask, *, key=None):
    """l = -A log pi: the plain policy gradient (Williams 1992). `old_logp` is not used.

    Args:
      logp, old_logp, advantage: f32[B, T].
      mask: bool[B, T].

    Returns:
      (f32[B, T], {}).
    """
    logp, advantage = keep(logp, mask), keep(advantage, mask)
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
    logp, old_logp, advantage = (keep(x, mask) for x in (logp, old_logp, advantage))
    r = ratio(logp, old_logp)
    free = -advantage * r
    held = -advantage * jnp.clip(r, 1.0 - clip_low, 1.0 + clip_high)
    loss = jnp.maximum(free, held)
    info = {"clip": mask & (held > free)}
    if dual_clip is not None:
        if not dual_clip > 1.0:
            raise ValueError(f"dual_clip must be > 1, not {dual_clip}")
        bound = -advantage * dual_clip
        info["dual_clip"] = mask & (advantage < 0) & (loss > bound)
        loss = jnp.where(advantage < 0, jnp.minimum(loss, bound), loss)
    return loss, info


POLICY_LOSSES = {
    "ppo": ppo,
    "reinforce": reinforce,
}
