"""entropy_rl/training/checksums.py: every bit counts, and the sums are those of checkpoints of before."""

import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.training import checksums


def test_checksums_see_every_bit_and_every_position():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, jnp.bfloat16, np.int8, np.uint32, np.bool_):
        x = (rng.random((5, 6, 7)) * 100).astype(dtype)
        plain = checksums.sums({"x": x})
        for index in [(0, 0, 0), (4, 5, 6), (2, 3, 1)]:
            for bit in range(x.dtype.itemsize * 8 if dtype != np.bool_ else 1):
                y = x.copy()
                y.view(f"u{x.dtype.itemsize}")[index] ^= 1 << bit
                assert checksums.sums({"x": y}) != plain, (dtype, index, bit)
    x = rng.random((4, 4), np.float32)
    assert checksums.sums({"x": x}) != checksums.sums({"x": x[::-1]})
    assert checksums.sums({"x": x}) != checksums.sums({"x": x[:, ::-1]})


@pytest.mark.parametrize("shape", [(), (5,), (3, 1), (4, 6), (2, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.int8, np.uint32])
def test_the_formula(shape, dtype):
    """Checkpoints of before hold these numbers. Mutation: the last axis with the stride of the one before."""
    x = np.asarray(np.random.default_rng(0).normal(size=shape) * 1e4).astype(dtype)
    bits = x.reshape(shape or 1).view(f"u{x.dtype.itemsize}").astype(np.uint64).ravel(order="F")
    want = int(np.sum(bits * (1 + 2 * np.arange(bits.size, dtype=np.uint64)))) % 2**32
    assert checksums.sums({"x": x}).tolist() == [want]


def test_arrays_that_are_alike_share_a_program():
    """One program of all arrays took 3.7 CPU-seconds to compile at 817 of them. Mutation: a jit of the whole tree."""
    checksums.one.clear_cache()
    checksums.sums({f"w{i}": jnp.full((3, 7), i) for i in range(20)} | {"b": jnp.ones(7)})
    assert checksums.one._cache_size() == 2
