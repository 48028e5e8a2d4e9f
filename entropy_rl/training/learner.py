"""The update: state in, state out. One pure step for every objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from entropy_rl.models import lora
from entropy_rl.models.transformer import RULES, Transformer
from entropy_rl.parallel.sharding import laid_out
from entropy_rl.training.objectives import Coefs, Objective
from entropy_rl.training.optimizer import Masters, float32
from entropy_rl.training.rollouts import Batch

Metrics = dict[str, jax.Array]
Update = Callable[["TrainState", Batch, jax.Array, Coefs], tuple["TrainState", Metrics]]


@struct.dataclass
class TrainState:
    """Arrays only: model and optimiser are closed over."""

    step: jax.Array  # i32 scalar, updates applied
    params: Any
    opt_state: optax.OptState


Adapt = Callable[[Any, jax.Array], Any]  # parameters and a key -> parameters with adapters (models/lora.add)


def abstract_state(
    model: Transformer, tx: optax.GradientTransformation, mesh: Mesh, adapt: Adapt | None = None
) -> TrainState:
    """Shapes, types and shardings of the train state, nothing allocated: what a checkpoint is restored onto."""
    shapes = jax.eval_shape(partial(_init, model, tx, adapt), jax.random.key(0))
    return laid_out(shapes, RULES, mesh)


def init_state(
    model: Transformer, tx: optax.GradientTransformation, mesh: Mesh, key: jax.Array, adapt: Adapt | None = None
) -> TrainState:
    """A fresh train state, made on its shards."""
    shardings = _shardings(abstract_state(model, tx, mesh, adapt))
    return jax.jit(partial(_init, model, tx, adapt), out_shardings=shardings)(key)


def state_of(
    model: Transformer,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    params: Any,
    key: jax.Array,
    adapt: Adapt | None = None,
    adapters: Any = None,
) -> TrainState:
    """A train state of plain parameters that lie on their shards; they become its own, and nothing is copied.

    `adapters` are those that `adapt` would make, trained elsewhere.
    """
    wanted = _shardings(abstract_state(model, tx, mesh, adapt))
    if adapters is not None:
        params = {**params, lora.LORA: jax.device_put(adapters, wanted.params[lora.LORA])}
    elif adapt is not None:
        made = jax.jit(lambda p, k: adapt(p, k)[lora.LORA], out_shardings=wanted.params[lora.LORA])
        params = {**params, lora.LORA: made(params, key)}
    opt_state = jax.jit(tx.init, out_shardings=wanted.opt_state)(lora.trainable(params))
    return TrainState(jax.device_put(jnp.zeros((), jnp.int32), wanted.step), params, opt_state)


def with_params(state: TrainState, params: Any) -> TrainState:
    """The state with other parameters, copied: the update donates its state, and the caller keeps his."""
    copy = jax.jit(lambda p: jax.tree.map(jnp.copy, p), out_shardings=_shardings(state.params))
    opt_state = state.opt_state
    if isinstance(opt_state, Masters):
        to_masters = jax.jit(lambda p: float32(lora.trainable(p)), out_shardings=_shardings(opt_state.masters))
        opt_state = opt_state.replace(masters=to_masters(params))
    return state.replace(params=copy(params), opt_state=opt_state)


def _shardings(tree):
    return jax.tree.map(lambda x: x.sharding, tree)


def _init(model, tx, adapt, key):
    params = model.init(key, jnp.zeros((1, 2), jnp.int32))
    if adapt is not None:
        params = adapt(params, jax.random.fold_in(key, 1))
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(lora.trainable(params)))


def make_update(
    objective: Objective,
    tx: optax.GradientTransformation,
    *,
    microbatches: int = 1,
    group_size: int = 1,
    record: Callable[[Batch, dict], Metrics] | None = None,
) -> Update:
    """One optimiser step on one mini-batch.

    Gradients of micro-batches are added: the batch's weights are those of the whole mini-batch, so their number changes
    neither the gradient nor the metrics. Where the loss must see all rows at once (`needs_full_batch`), the scores of
    all micro-batches are made first; the loss is then differentiated with respect to them, on the whole, and these
    derivatives are pulled back through the model, a micro-batch at a time (the chain rule; as in GradCache,
    arXiv:2101.06983). That costs a second forward pass, only with several micro-batches. A gradient that is not finite
    changes nothing but `update/finite`, which is 0 then. Of adapted parameters (models/lora.py) the adapters are
    trained, and the objective's score must be one of adapted parameters (lora.over).

    Args:
      objective: of objectives.py.
      tx: optimiser.
      microbatches: divides the rows of the batch; less memory, same result.
      group_size: rows next to each other that stay in one micro-batch: those that share a prompt.
      record: (batch, out of the loss on all rows) -> scalars to be logged.

    Returns:
      Jitted (state, batch, key, coefs) -> (state, metrics); the state is donated. The key is folded with the number of
      the update.
    """

    # Every microbatches-th row (or `group_size` rows), not a block of rows: each part then has rows from every device.
    def cut(x):
        parts = x.reshape(-1, microbatches, group_size, *x.shape[1:]).swapaxes(0, 1)
        return parts.reshape(microbatches, -1, *x.shape[1:])

    def join(x):
        rows = x.reshape(microbatches, -1, group_size, *x.shape[2:]).swapaxes(0, 1)
        return rows.reshape(-1, *x.shape[2:])

    def at_once(objective, params, batch, key, coefs):
        (loss, out), grads = jax.value_and_grad(objective, has_aux=True)(params, batch, key, coefs)
        return loss, out, grads

    def in_parts(objective, params, batch, key, coefs):
        def add(total, part):
            (loss, out), grads = jax.value_and_grad(objective, has_aux=True)(params, part[0], part[1], coefs)
            return jax.tree.map(jnp.add, total, (loss, grads)), out

        parts = jax.tree.map(cut, batch), jax.random.split(key, microbatches)
        (loss, grads), out = jax.lax.scan(add, (jnp.zeros(()), _zeros(params)), parts)
        return loss, jax.tree.map(join, out), grads

    def in_two_passes(objective, params, batch, key, coefs):
        parts = jax.tree.map(cut, batch)
        _, scores = jax.lax.scan(lambda _, part: (None, objective.score(params, part)), None, parts)
        (loss, out), slopes = jax.value_and_grad(objective.loss, has_aux=True)(
            jax.tree.map(join, scores), batch, key, coefs
        )

        def add(total, part):
            _, pull = jax.vjp(lambda p: objective.score(p, part[0]), params)
            return jax.tree.map(jnp.add, total, pull(part[1])[0]), None

        grads, _ = jax.lax.scan(add, _zeros(params), (parts, jax.tree.map(cut, slopes)))
        return loss, out, grads

    gradient = at_once if microbatches == 1 else in_two_passes if objective.needs_full_batch else in_parts

    def update(state, batch, key, coefs):
        params = lora.trainable(state.params)
        score = lambda part, batch: objective.score(lora.joined(state.params, part), batch)  # noqa: E731
        bound = dataclasses.replace(objective, score=score)
        loss, out, grads = gradient(bound, params, batch, jax.random.fold_in(key, state.step), coefs)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        updates, opt_state = tx.update(grads, state.opt_state, params)
        new = TrainState(state.step + 1, optax.apply_updates(params, updates), opt_state)
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state.replace(params=params))
        state = new.replace(params=lora.joined(state.params, new.params))
        metrics = {"update/loss": loss, "update/grad_norm": norm, "update/finite": finite.astype(jnp.float32)}
        return state, metrics | (record(batch, out) if record else {})

    return jax.jit(update, donate_argnums=0)


def _zeros(tree):
    return float32(jax.tree.map(jnp.zeros_like, tree))  # sums of many parts, in float32 whatever the parts are in
