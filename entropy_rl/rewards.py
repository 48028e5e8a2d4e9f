"""Shaping of rewards: arrays in, arrays out, numpy or jax alike."""

from __future__ import annotations

from typing import Any

from entropy_rl.errors import InputError

Array = Any  # numpy on the host, jax on devices


def overlong(length: Array, *, max_length: int, cache: int) -> Array:
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
      f32 or f64[B], from -1 to 0.

    Raises:
      InputError: cache out of range.
    """
    if not 0 < cache <= max_length:
        raise InputError(f"cache={cache}: must be from 1 to max_length={max_length}")
    return ((max_length - cache - length) / cache).clip(-1.0, 0.0)
