"""From a config to the things that a script runs: here ConfigDicts end and keyword arguments begin."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import learner
from entropy_rl.checkpoints import restore_params
from entropy_rl.errors import InputError, lookup, nearest
from entropy_rl.models import presets
from entropy_rl.models.transformer import Transformer
from entropy_rl.sharding import make_mesh
from entropy_rl.tasks import base as tasks
from experiments import checks


def bind(table: Mapping[str, Callable], choice: ConfigDict, kind: str, *example, **named) -> Callable:
    """`table[choice.name]` with `choice.args` as keywords.

    Args:
      table: of functions whose hyper-parameters are keywords.
      choice: the name of a row, and the hyper-parameters that it gets.
      kind: what messages call a row.
      *example, **named: arguments that it is tried on, so that a bad value stops the run before it begins.

    Raises:
      InputError: there is no such row; it has no such hyper-parameter, needs another, or refuses a value.
    """
    function = lookup(table, choice.name, kind)
    what = f"{kind} {choice.name!r}"
    parameters = inspect.signature(function).parameters
    known = {k: p.default for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY and k not in named}
    there = f"it has {', '.join(known)}" if known else "it has none"
    for key, value in choice.args.items():
        if key not in known:
            raise InputError(f"{what} has no hyper-parameter {key!r}{nearest(key, known)}: {there}")
        default = known[key]
        numeric = default in (None, inspect.Parameter.empty) or isinstance(default, int | float)
        number = isinstance(value, int | float) and math.isfinite(value) and value >= 0
        if numeric and not number and value is not default:
            raise InputError(f"{what} has {key}={value!r}: give a finite number of 0 or more")
    for key, default in known.items():
        if default is inspect.Parameter.empty and key not in choice.args:
            raise InputError(f"{what} needs a hyper-parameter {key!r}: add it to its args")
    bound = partial(function, **choice.args)
    try:
        out = jax.jit(bound)(*example, **named)
    except ValueError as e:
        if not any(key in str(e) for key in choice.args):  # a bug keeps its traceback
            raise
        raise InputError(f"{what}: {e}") from e
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(out))):
        given = ", ".join(f"{k}={v!r}" for k, v in choice.args.items())
        raise InputError(f"{what} with {given} gives numbers that are not finite: give other values")
    return bound


def task(config: ConfigDict, **overrides) -> tasks.Task:
    """The task of `config.task`, e.g. with another split or size."""
    return tasks.get(config.task.name, **{**config.task.args, **overrides})


def model(config: ConfigDict, vocab_size: int) -> Transformer:
    """The model of `config.model`: a preset and what differs from it."""
    known = presets.PRESETS["embedded"].__dataclass_fields__.keys() - {"vocab_size"}  # the tokenizer's
    for key in config.model.args:
        if key not in known:
            raise InputError(f"model has no field {key!r}{nearest(key, known)}")
    return presets.make(config.model.name, vocab_size, **config.model.args)


def mesh(config: ConfigDict) -> jax.sharding.Mesh:
    """The mesh of `config.mesh`."""
    checks.positive(config, "mesh.fsdp", "mesh.tensor")
    return make_mesh(**config.mesh)


def optimizer(config: ConfigDict, updates: int):
    """`(tx, schedule)` of `config.optimizer` for a run of `updates` updates."""
    c = config.optimizer
    checks.positive(config, "optimizer.learning_rate", *(["optimizer.clip"] if c.clip is not None else []))
    checks.require(config, "a number of 0 or more and below 1", lambda x: 0 <= x < 1, "optimizer.b1", "optimizer.b2")
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "optimizer.weight_decay")
    checks.require(config, "a number from 0 to 1", lambda x: 0 <= x <= 1, "optimizer.decay_to")
    if not 0 <= c.warmup < updates:
        raise InputError(f"config.optimizer.warmup={c.warmup}: must be 0 or more and below the run's {updates} updates")
    schedule = learner.make_schedule(c.learning_rate, warmup=c.warmup, steps=updates, decay_to=c.decay_to)
    return learner.make_optimizer(schedule, b1=c.b1, b2=c.b2, weight_decay=c.weight_decay, clip=c.clip), schedule


def initial_params(path: str, state: learner.TrainState) -> Any:
    """Parameters of the latest checkpoint of the workdir `path`, on the shards of `state`.

    Raises:
      InputError: there is none, or it is of another model.
    """
    if not (Path(path) / "checkpoints").is_dir():
        raise InputError(f"config.init={path} holds no checkpoints: give the --workdir of a finished run, or none")
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state.params)
    try:
        return restore_params(path, abstract)
    except InputError as e:
        raise InputError(f"config.init={path}: {e}") from e
