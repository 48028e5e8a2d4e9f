"""Which tokens a loss treats apart: how many, drawn at random or ranked, with shapes that do not depend on the data.

A selection is decided over all tokens that a loss is handed, its scope:
  "minibatch": the whole optimiser mini-batch, so that neither micro-batches nor devices change what is selected.
  "microbatch": each micro-batch for itself, as in the reference code of Clip-Cov and KL-Cov
    (PRIME-RL/Entropy-Mechanism-of-RL and verl), with its minimum of one token.
"""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp

SCOPES = ("minibatch", "microbatch")


def check_scope(scope: str) -> None:
    """ValueError for a scope that does not exist."""
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")


def count(mask: jax.Array, frac: float, scope: str = "minibatch") -> jax.Array:
    """How many of the N masked tokens to select: floor(frac N), in the scope "microbatch" at least 1.

    Counted in integers, with frac as the decimal fraction that it is written as: 0.53 * 100 gives 53, in float32
    it would be 52. The reference's `int(frac * N)`, in float64, is the same but where float64 itself comes out below an
    integer, as at 0.29 * 100 (28 there, 29 here).

    Args:
      mask: bool[B, T].
      frac: share of the tokens, from 0 to 1 (0.002 is 0.2 percent); a number, not an array.
      scope: one of SCOPES.

    Returns:
      i32[].

    Raises:
      ValueError: bad frac or scope.
    """
    check_scope(scope)
    if not 0.0 <= frac <= 1.0:
        raise ValueError(f"frac must be a number from 0 to 1, not {frac}")
    share, largest = Fraction(str(frac)), 2**31
    while share.numerator * share.denominator >= 2**31:  # many digits: the nearest fraction that int32 can take
        largest //= 2
        share = share.limit_denominator(largest)
    p, q = share.numerator, share.denominator
    tokens = jnp.sum(mask)
    n = tokens // q * p + tokens % q * p // q
    return jnp.maximum(n, 1) if scope == "microbatch" else n


def lowest(x: jax.Array, among: jax.Array, n: jax.Array) -> jax.Array:
    """The n places of `among` with the lowest x; all of them where there are fewer than n.

    Of equal x the first in row-major order go in, so the result is always the same, and permuting rows changes it only
    among equals.

    Args:
      x: f32[B, T], finite in `among`.
      among: bool[B, T].
      n: i32[].

    Returns:
      bool[B, T].
    """
    order = jnp.argsort(jnp.where(among, x, jnp.inf), axis=None, stable=True)
    first = jnp.zeros(x.size, bool).at[order].set(jnp.arange(x.size) < n)
    return first.reshape(x.shape) & among


def highest(x: jax.Array, among: jax.Array, n: jax.Array) -> jax.Array:
    """The n places of `among` with the highest x; ties as in `lowest`."""
    return lowest(-x, among, n)


def at_random(key: jax.Array | None, among: jax.Array, n: jax.Array) -> jax.Array:
    """n places of `among`, each set of n as likely as any other; all of them where there are fewer than n.

    Every place [b, t] has a random number of its own from `key`, and the lowest go in: how the array lies on devices
    does not matter, and the count is exact under jit.

    Args:
      key: None stands for `jax.random.key(0)`: the same draw at every call. A training loop gives a key.
      among: bool[B, T].
      n: i32[].

    Returns:
      bool[B, T].
    """
    key = jax.random.key(0) if key is None else key
    return lowest(jax.random.uniform(key, among.shape), among, n)
