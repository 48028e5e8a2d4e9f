"""Checksums of a state's arrays, by which a checkpoint that was damaged is told."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def sums(tree: Any) -> np.ndarray:
    """Checksums u32[leaves] of the bits: sums, which no layout over devices changes, weighted by position.

    S = sum_i bits_i (1 + 2 n_i) mod 2^32, n_i the number of element i with the first axis running fastest. Weights are
    odd, so that no bit is lost.
    """
    # array by array: arrays that are alike share a program, where one of all of them takes seconds to compile
    return np.array([int(one(x)) for x in jax.tree.leaves(tree)], np.uint32)


@jax.jit
def one(x: jax.Array) -> jax.Array:
    """The checksum of an array, u32[]; see `sums`."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * min(x.dtype.itemsize, 4)}")).astype(jnp.uint32)
    if not bits.ndim:
        return bits
    weight, stride = jnp.uint32(1), 2
    for axis in range(bits.ndim - 1):  # axis by axis, as flattening would move shards
        weight += stride * jax.lax.broadcasted_iota(jnp.uint32, bits.shape[:-1], axis)
        stride = stride * bits.shape[axis] % 2**32
    # Both sums over the last axis at once: for a single one XLA on CPU first writes its products to memory.
    place = stride * jax.lax.broadcasted_iota(jnp.uint32, bits.shape, bits.ndim - 1)
    zero, add = jnp.uint32(0), lambda a, b: (a[0] + b[0], a[1] + b[1])
    plain, placed = jax.lax.reduce((bits, bits * place), (zero, zero), add, (bits.ndim - 1,))
    return (plain * weight + placed).sum(dtype=jnp.uint32)
