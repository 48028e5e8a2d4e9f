"""The update: state in, state out. One pure step for every objective."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from entropy_rl.models.transformer import RULES, Transformer
from entropy_rl.objectives import Coefs, LossFn
from entropy_rl.rollouts import Batch
from entropy_rl.sharding import infer_sharding

Metrics = dict[str, jax.Array]
Update = Callable[["TrainState", Batch, jax.Array, Coefs], tuple["TrainState", Metrics]]


@struct.dataclass
class TrainState:
    """Arrays only: model and optimiser are closed over."""

    step: jax.Array  # i32 scalar, updates applied
    params: Any
    opt_state: optax.OptState


def make_schedule(learning_rate: float, *, warmup: int = 0, steps: int = 0, decay_to: float = 1.0) -> optax.Schedule:
    """Linear warm-up, then constant, or with decay_to < 1 a cosine down to that share at `steps`.

    Args:
      learning_rate: the peak.
      warmup: updates until the peak.
      steps: updates in all; read only with decay_to < 1.
      decay_to: final share of the peak.
    """
    if decay_to < 1.0:
        return optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(warmup, 1), steps, learning_rate * decay_to)
    return optax.linear_schedule(0.0 if warmup else learning_rate, learning_rate, max(warmup, 1))


def make_optimizer(
    schedule: optax.Schedule, *, b1: float = 0.9, b2: float = 0.95, weight_decay: float = 0.0, clip: float | None = 1.0
) -> optax.GradientTransformation:
    """AdamW behind a clip of the global gradient norm; matrices decay, norms and biases do not."""
    decay = partial(jax.tree.map, lambda p: p.ndim > 1)
    adamw = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=decay if weight_decay else None)
    return adamw if clip is None else optax.chain(optax.clip_by_global_norm(clip), adamw)


def abstract_state(model: Transformer, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Shapes, types and shardings of the train state, nothing allocated: what a checkpoint is restored onto."""
    shapes = jax.eval_shape(partial(_init, model, tx), jax.random.key(0))
    shardings = infer_sharding(shapes, RULES, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def init_state(model: Transformer, tx: optax.GradientTransformation, mesh: Mesh, key: jax.Array) -> TrainState:
    """A fresh train state, made on its shards."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(model, tx, mesh))
    return jax.jit(partial(_init, model, tx), out_shardings=shardings)(key)


def with_params(state: TrainState, params: Any) -> TrainState:
    """The state with other parameters, copied: the update donates its state, and the caller keeps his."""
    copy = jax.jit(lambda p: jax.tree.map(jnp.copy, p), out_shardings=jax.tree.map(lambda x: x.sharding, state.params))
    return state.replace(params=copy(params))


def _init(model, tx, key):
    params = model.init(key, jnp.zeros((1, 2), jnp.int32))
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def make_update(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    microbatches: int = 1,
    record: Callable[[Batch, dict], Metrics] | None = None,
) -> Update:
    """One optimiser step on one mini-batch.

    Gradients of micro-batches are added: the batch's weights are those of the whole mini-batch, so their number changes
    neither the gradient nor the metrics. A gradient that is not finite changes nothing but `update/finite`, which is
    0 then.

    Args:
      loss_fn: an objective.
      tx: optimiser.
      microbatches: divides the rows of the batch; less memory, same result.
      record: (batch, out of loss_fn on all rows) -> scalars to be logged.

    Returns:
      Jitted (state, batch, key, coefs) -> (state, metrics); the state is donated.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def update(state, batch, key, coefs):
        if microbatches == 1:
            (loss, out), grads = grad_fn(state.params, batch, key, coefs)
        else:
            # Every microbatches-th row, not a block of rows: each part then has rows from every device.
            cut = lambda x: x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1)  # noqa: E731
            join = lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:])  # noqa: E731

            def add(total, part):
                (loss, out), grads = grad_fn(state.params, part, key, coefs)
                return jax.tree.map(jnp.add, total, (loss, grads)), out

            zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
            (loss, grads), out = jax.lax.scan(add, zero, jax.tree.map(cut, batch))
            out = jax.tree.map(join, out)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        new = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        metrics = {"update/loss": loss, "update/grad_norm": norm, "update/finite": finite.astype(jnp.float32)}
        return state, metrics | (record(batch, out) if record else {})

    return jax.jit(update, donate_argnums=0)
