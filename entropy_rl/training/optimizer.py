"""The optimiser and its precision: AdamW, float32 masters of parameters in fewer bits, and moments kept in bfloat16."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


def make_schedule(learning_rate: float, *, warmup: int = 0, steps: int = 0, decay_to: float = 1.0) -> optax.Schedule:
    """Linear warm-up, then constant, or with decay_to < 1 a cosine down to that share at `steps`.

    Args:
      learning_rate: the peak.
      warmup: updates until the peak.
      steps: updates in all; read only with decay_to < 1.
      decay_to: final share of the peak.
    """
    if decay_to < 1.0 and steps > max(warmup, 1):  # or there is no step to decay in
        return optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(warmup, 1), steps, learning_rate * decay_to)
    return optax.linear_schedule(0.0 if warmup else learning_rate, learning_rate, max(warmup, 1))


def make_optimizer(
    schedule: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.95,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    state_dtype: str = "float32",
) -> optax.GradientTransformation:
    """AdamW behind a clip of the global gradient norm; matrices decay, norms and biases do not.

    Parameters in a lower precision than float32 have masters in float32: see with_masters. With `state_dtype`
    "bfloat16" the moments are kept in half the bytes: see with_half_state.
    """
    decay = partial(jax.tree.map, lambda p: p.ndim > 1)
    adamw = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=decay if weight_decay else None)
    if state_dtype == "bfloat16":
        adamw = with_half_state(adamw)
    return with_masters(adamw if clip is None else optax.chain(optax.clip_by_global_norm(clip), adamw))


@struct.dataclass
class Masters:
    """Optimiser state of parameters in low precision: their float32 masters, and the optimiser's own state of these."""

    masters: Any
    inner: optax.OptState


def with_masters(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx` on float32 masters of parameters in bfloat16 or float16; `tx` itself where all are float32.

    A step of Adam at 1e-6 is below half a unit in bfloat16's last place of most weights, and would be rounded away:
    gradients are taken to float32, the masters are updated, and the parameters are the masters rounded, exactly.
    """

    def init(params):
        if not any(_low(x) for x in jax.tree.leaves(params)):
            return tx.init(params)
        masters = float32(params)
        return Masters(masters, tx.init(masters))

    def update(grads, state, params):
        if not isinstance(state, Masters):
            return tx.update(grads, state, params)
        updates, inner = tx.update(float32(grads), state.inner, state.masters)
        masters = optax.apply_updates(state.masters, updates)
        # In float32, p + (rounded master - p) is the rounded master to a bit beyond the parameters' precision.
        step = jax.tree.map(lambda m, p: m.astype(p.dtype).astype(jnp.float32) - p.astype(jnp.float32), masters, params)
        return step, Masters(masters, inner)

    return optax.GradientTransformation(init, update)


@struct.dataclass
class HalfState:
    """An optimiser's state, its float32 arrays in bfloat16."""

    count: jax.Array  # i32 scalar, updates: seeds the rounding
    inner: optax.OptState


def with_half_state(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx`, whose state is kept in bfloat16 between updates and is float32 within them.

    Rounded stochastically, up or down with the odds that keep the mean: a moving average with a decay of 0.999 moves by
    less than bfloat16's 8 bits can tell, and rounded to the nearest would stand still.
    """

    def init(params):
        return HalfState(jnp.zeros((), jnp.int32), _rounded(tx.init(params), jax.random.key(0)))

    def update(grads, state, params):
        whole = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, state.inner)
        updates, inner = tx.update(grads, whole, params)
        return updates, HalfState(state.count + 1, _rounded(inner, jax.random.key(state.count)))

    return optax.GradientTransformation(init, update)


def _rounded(tree, key):
    leaves, form = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(form, [round_randomly(x, k) if _wide(x) else x for x, k in zip(leaves, keys)])


def round_randomly(x: jax.Array, key: jax.Array) -> jax.Array:
    """float32 -> bfloat16, to one of the two neighbours, so that the mean is x: random bits are added below the last
    that stays, and what is left of them is cut off."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    bits = bits + jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    high = (bits >> 16).astype(jnp.uint16)
    return jnp.where(jnp.isfinite(x), jax.lax.bitcast_convert_type(high, jnp.bfloat16), x.astype(jnp.bfloat16))


def _wide(x) -> bool:
    return x.dtype == jnp.float32 and x.ndim > 0


def _low(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4


def float32(tree: Any) -> Any:
    """The tree with arrays of fewer bits in float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if _low(x) else x, tree)
