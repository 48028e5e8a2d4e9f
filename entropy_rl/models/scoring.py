"""A model's view of given responses: log-probability and entropy of their tokens, or a critic's values of their states.

All results are `[B, T]` arrays aligned with the tokens. A score function `(params, tokens, mask) -> dict` is what
objectives are made of (objectives.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.logprobs import categorical_stats, join_prompt, shifted, split_prompt, token_stats
from entropy_rl.models.transformer import Transformer

Score = Callable[[Any, jax.Array, jax.Array], dict[str, jax.Array]]


def token_scores(
    model: Transformer, *, temperature: float = 1.0, samples: int = 1, prompt_length: int | None = None
) -> Score:
    """Scores of a policy: `logp` and `entropy` of every token (logprobs.token_stats).

    Args:
      model: with a language-model head.
      temperature: of the behaviour policy; the entropy is at temperature 1.
      samples: rows that share a prompt. Above 1, `samples` rows after each other have the same prompt of at most
        `prompt_length` tokens, and each response, from the first place where the mask holds, has at most
        T - prompt_length tokens; the prompt is then run once for all of them, and only columns of the response have
        statistics (0 elsewhere). The same numbers to rounding; with 16 tokens of prompt, 32 of response and 8 samples
        about 3/10 of the work is spared.
      prompt_length: read with `samples` above 1.

    Returns:
      (params, tokens i32[B, T], mask bool[B, T]) -> {"logp", "entropy"} f32[B, T], nats.
    """

    def whole(params, tokens, mask):
        logits, _ = model.apply(params, tokens)
        logp, entropy = token_stats(logits, tokens, temperature)
        return {"logp": logp, "entropy": entropy}

    def by_prompt(params, tokens, mask):
        start, logits, chosen = _after_prompt(model, params, tokens, mask, samples, prompt_length)
        logp, entropy = categorical_stats(logits, chosen)
        if temperature != 1.0:
            logp, _ = categorical_stats(logits / temperature, chosen)
        return {k: join_prompt(v, start, tokens.shape[1]) for k, v in (("logp", logp), ("entropy", entropy))}

    return whole if samples == 1 else by_prompt


def values(model: Transformer, *, samples: int = 1, prompt_length: int | None = None) -> Score:
    """Scores of a critic: `value` f32[B, T], of the state in which each token was chosen; arguments as above."""

    def whole(params, tokens, mask):
        value, _ = model.apply(params, tokens)
        return {"value": shifted(value)}

    def by_prompt(params, tokens, mask):
        start, value, _ = _after_prompt(model, params, tokens, mask, samples, prompt_length)
        return {"value": join_prompt(value, start, tokens.shape[1])}

    return whole if samples == 1 else by_prompt


def _after_prompt(model, params, tokens, mask, samples, width):
    """Runs each prompt once, then the responses on its keys and values: (start, result [B, R, ...], chosen [B, R])."""
    start, fed, chosen = split_prompt(tokens, mask, tokens.shape[1] - width)
    _, out = model.apply(params, tokens[::samples, :width])
    positions = start[:, None] - 1 + jnp.arange(fed.shape[1])[None]
    # the prompt's last token is fed again, with the response
    own = jnp.arange(width)[None] < start[:, None] - 1
    result, _ = model.apply(params, fed, positions, cache=out["cache"], valid=own)
    return start, result, chosen
