"""Streams of random numbers by name: each purpose of a run has a key of its own, whatever it counts there."""

from __future__ import annotations

import zlib

import jax

from entropy_rl.errors import InputError, nearest

STREAMS = ("rollout", "update", "critique", "evaluation", "last evaluation")


def stream(key: jax.Array, name: str) -> jax.Array:
    """The key of the stream `name` under `key`: CRC-32 of the name folded in. Steps are folded into the result.

    Args:
      key: of a run, or of a step.
      name: one of STREAMS.

    Raises:
      InputError: there is no such stream.
    """
    if name not in STREAMS:
        raise InputError(f"unknown stream {name!r}{nearest(name, STREAMS)}: add it to streams.STREAMS")
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
