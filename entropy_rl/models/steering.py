"""Steering: vectors that are added to the residual stream while a model chooses its tokens.

    h_i[t] <- h_i[t] + strength v_i        after block i, where token t + 1 is chosen and t + 1 is steered

The vectors travel with the parameters, in a collection of their own: `{"params": ..., "steer": ...}`. A model without
it is the same program as ever, to the bit; with it, another vector, strength, threshold or `first` is no new program.
Prompts are never steered, except at their last token, where the response's first is chosen.

Which tokens are steered is the share that the reports of steering differ in: every one; only the first
(arXiv:2601.08058); or those whose entropy is high, in the policy as it would be without the vector at this place (and
with those before it), for which a step runs the model twice. arXiv:2510.07364 asks another model instead, and steers
about 12 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.errors import InputError


def steer(
    params: Any, vectors: jax.Array, strength: float = 1.0, *, first: bool = False, above: float | None = None
) -> Any:
    """Parameters of the steered model.

    Args:
      params: `{"params": ...}` of models/transformer.py; a steering that they have is replaced.
      vectors: f32[layers, d_model], what is added after each block; rows of zeros do nothing.
      strength: factor of all of them.
      first: only where a response's first token is chosen.
      above: only where the entropy is more than this, nats; None: wherever. A model with and one without a threshold
        are two programs.

    Raises:
      InputError: vectors that are not finite or of another shape.
    """
    weights = params["params"]
    layers = sum(name.startswith("layer_") for name in weights)
    shape = (layers, weights["final_norm"]["scale"].shape[0])
    vectors = jnp.asarray(vectors, jnp.float32) * strength
    if vectors.shape != shape:
        raise InputError(f"steering vectors of shape {vectors.shape}: this model takes {shape}, one after each block")
    if not bool(jnp.isfinite(vectors).all()):
        raise InputError("a steering vector is not finite: lower the strength, or look at what it was made from")
    how = {"after": vectors, "first": jnp.asarray(first)}
    if above is not None:
        how["above"] = jnp.float32(above)
    return {"params": weights, "steer": how}


def present(params: Any) -> bool:
    """Whether a model is steered."""
    return "steer" in params


def plain(params: Any) -> Any:
    """The model without its steering; the same object where it has none."""
    return {"params": params["params"]} if present(params) else params


def gate(params: Any, first: jax.Array, entropy: Callable[[], jax.Array]) -> jax.Array:
    """bool[S]: which slots are steered in a decode step.

    Args:
      params: of a steered model.
      first: bool[S], slots that choose their response's first token.
      entropy: gives f32[S], of the policy as it is without the vector in this step; called with a threshold only.
    """
    how = params["steer"]
    on = jnp.where(how["first"], first, True)
    return on & (entropy() > how["above"]) if "above" in how else on


def columns(params: Any, mask: jax.Array) -> jax.Array:
    """bool[B, T]: the tokens that were chosen under steering, where the mask holds the response.

    With a threshold the sampler decides as it goes, and the mask must be what it says (`Completion.steered`).
    """
    return mask & (jnp.where(params["steer"]["first"], jnp.cumsum(mask, axis=1), 1) == 1)
