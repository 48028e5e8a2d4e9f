"""What is done to logits before a token is drawn: functions f32[..., V] -> f32[..., V]."""

from __future__ import annotations

import jax


def temperature(logits: jax.Array, value: float = 1.0) -> jax.Array:
    """logits / value; bind `value` with functools.partial. 1 leaves the policy as it is."""
    return logits if value == 1.0 else logits / value
