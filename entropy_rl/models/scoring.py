"""A model's view of given responses: log-probability and entropy of their tokens, or a critic's values of their states.

All results are `[B, T]` arrays aligned with the tokens. A score function `(params, tokens, mask) -> dict` is what
objectives are made of (objectives.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entropy_rl import tiled_head
from entropy_rl.errors import InputError
from entropy_rl.logprobs import choice_stats, join_prompt, logit_stats, shifted, split_prompt, token_stats
from entropy_rl.models import steering
from entropy_rl.models.transformer import Transformer, head_matrix
from entropy_rl.tiled_head import head_stats

Score = Callable[[Any, jax.Array, jax.Array], dict[str, jax.Array]]


def token_scores(
    model: Transformer,
    *,
    temperature: float = 1.0,
    samples: int = 1,
    prompt_length: int | None = None,
    mesh: Mesh | None = None,
) -> Score:
    """Scores of a policy: `logp` and `entropy` of every token (logprobs.token_stats).

    Logits are made where all of a device's are one tile of tiled_head, and are never whole elsewhere. A steered model
    (models/steering.py) is steered where the mask holds; with a threshold the mask must be `Completion.steered`.

    Args:
      model: with a language-model head.
      temperature: of the behaviour policy; the entropy is at temperature 1.
      samples: rows that share a prompt. Above 1, `samples` rows after each other have the same prompt of at most
        `prompt_length` tokens, and each response, from the first place where the mask holds, has at most
        T - prompt_length tokens; the prompt is then run once for all of them, and only columns of the response have
        statistics (0 elsewhere). The same numbers to rounding; with 16 tokens of prompt, 32 of response and 8 samples
        about 3/10 of the work is spared.
      prompt_length: read with `samples` above 1.
      mesh: over which rows and parameters are cut.

    Returns:
      (params, tokens i32[B, T], mask bool[B, T]) -> {"logp", "entropy"} f32[B, T], nats.
    """
    devices = mesh.size if mesh else 1

    def small(targets):
        return targets.size * model.config.vocab_size <= tiled_head.ELEMENTS * devices

    def head(params):
        matrix, axis = head_matrix(model.config, params)
        return matrix, {"vocab_axis": axis, "mesh": mesh}

    def whole(params, tokens, mask):
        gate = {}
        if steering.present(params):
            gate["gate"] = jnp.pad(steering.columns(params, mask)[:, 1:], ((0, 0), (0, 1)))
        logits, out = model.apply(params, tokens, logits=small(tokens), **gate)
        if small(tokens):
            return _named(*logit_stats(logits, tokens, temperature))
        matrix, how = head(params)
        return _named(*token_stats(out["hidden"], matrix, tokens, temperature, **how))

    def by_prompt(params, tokens, mask):
        start, fed, chosen = split_prompt(tokens, mask, tokens.shape[1] - prompt_length)
        how = {"logits": small(fed)}
        if steering.present(params):
            if "above" in params["steer"]:
                raise InputError("steering above an entropy: score rows one by one (samples=1), with what was steered")
            place = start[:, None] + jnp.arange(fed.shape[1])[None]
            on = jnp.take_along_axis(steering.columns(params, mask), jnp.minimum(place, tokens.shape[1] - 1), axis=1)
            how["gate"] = on & (place < tokens.shape[1])
        logits, out = _after_prompt(model, params, tokens, start, fed, samples, prompt_length, **how)
        if small(fed):
            stats = choice_stats(logits, chosen, temperature)
        else:
            matrix, how = head(params)
            stats = head_stats(out["hidden"], matrix, chosen, temperature, **how)
        return _named(*(join_prompt(x, start, tokens.shape[1]) for x in stats))

    return whole if samples == 1 else by_prompt


def _named(logp, entropy):
    return {"logp": logp, "entropy": entropy}


def values(model: Transformer, *, samples: int = 1, prompt_length: int | None = None) -> Score:
    """Scores of a critic: `value` f32[B, T], of the state in which each token was chosen; arguments as above."""

    def whole(params, tokens, mask):
        value, _ = model.apply(params, tokens)
        return {"value": shifted(value)}

    def by_prompt(params, tokens, mask):
        start, fed, _ = split_prompt(tokens, mask, tokens.shape[1] - prompt_length)
        value, _ = _after_prompt(model, params, tokens, start, fed, samples, prompt_length)
        return {"value": join_prompt(value, start, tokens.shape[1])}

    return whole if samples == 1 else by_prompt


def _after_prompt(model, params, tokens, start, fed, samples, width, **how):
    """Runs each prompt once, then the responses on its keys and values: the model's result on what was `fed`."""
    _, out = model.apply(steering.plain(params), tokens[::samples, :width], logits=False)
    positions = start[:, None] - 1 + jnp.arange(fed.shape[1])[None]
    # the prompt's last token is fed again, with the response
    own = jnp.arange(width)[None] < start[:, None] - 1
    return model.apply(params, fed, positions, cache=out["cache"], valid=own, **how)
