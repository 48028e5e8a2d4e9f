"""Losses of preference pairs: which of two responses is the better one.

A loss sees one number of each response: for a policy the log-ratio to its reference, sum_t (log pi - log pi_ref), for
a reward model its reward. Both rows are -log sigmoid of what the better one has more; `margin` is how much more that
should be, in what unit a row's `scale` says.

To add one: a function `(better f32[P], worse f32[P], margin f32[P], *, **hparams) -> f32[P]`, and a row in
PREFERENCE_LOSSES.
"""

from __future__ import annotations

import jax


def dpo(better: jax.Array, worse: jax.Array, margin: jax.Array, *, beta: float = 0.1, scale: float = 0.0) -> jax.Array:
    """l = -log sigmoid(beta (better - worse) - scale margin)        (DPO, Rafailov et al., arXiv:2305.18290, Eq 7)

    dl/d better = -beta sigmoid(scale margin - beta (better - worse)), and the opposite for `worse`.

    Args:
      better, worse: f32[P], log-ratio of each pair's responses to the reference, sums over tokens, nats.
      margin: f32[P].
      beta: how dear it is to leave the reference, above 0.
      scale: of the margin (an offset as in arXiv:2402.10571); 0, plain DPO, knows no margin.

    Returns:
      f32[P]; log 2 where nothing has moved and scale is 0.
    """
    return -jax.nn.log_sigmoid(beta * (better - worse) - scale * margin)


def bradley_terry(better: jax.Array, worse: jax.Array, margin: jax.Array, *, scale: float = 1.0) -> jax.Array:
    """l = -log sigmoid(R_better - R_worse - scale margin), the loss of a reward model (Bradley and Terry 1952).

    With the margin exp(conf_i - conf_j) as in RLSF (arXiv:2507.21931); how it enters there is not certain, this is the
    margin of Llama 2's reward model (arXiv:2307.09288, Eq 2).

    Args:
      better, worse: f32[P], rewards of each pair's responses.
      margin: f32[P].
      scale: of the margin; 0: none.

    Returns:
      f32[P].
    """
    return -jax.nn.log_sigmoid(better - worse - scale * margin)


PREFERENCE_LOSSES = {"dpo": dpo, "bradley_terry": bradley_terry}
