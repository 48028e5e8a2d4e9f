"""From a config to the things that a script runs: here ConfigDicts end and keyword arguments begin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from entropy_rl import learner
from entropy_rl.checkpoints import restore_params
from entropy_rl.errors import InputError, lookup, nearest
from entropy_rl.models import presets
from entropy_rl.models.transformer import Transformer
from entropy_rl.sharding import make_mesh
from entropy_rl.tasks import base as tasks


def bind(table: Mapping[str, Callable], choice: ConfigDict, kind: str) -> Callable:
    """`table[choice.name]` with `choice.args` as keywords.

    Raises:
      InputError: there is no such row, or it has no such hyper-parameter.
    """
    function = lookup(table, choice.name, kind)
    known = inspect.signature(function).parameters
    for key in choice.args:
        if key not in known or known[key].kind is not inspect.Parameter.KEYWORD_ONLY:
            raise InputError(f"{kind} {choice.name!r} has no hyper-parameter {key!r}{nearest(key, known)}")
    return partial(function, **choice.args)


def task(config: ConfigDict, **overrides) -> tasks.Task:
    """The task of `config.task`, e.g. with another split or size."""
    return tasks.get(config.task.name, **{**config.task.args, **overrides})


def model(config: ConfigDict, vocab_size: int) -> Transformer:
    """The model of `config.model`: a preset and what differs from it."""
    known = presets.PRESETS["embedded"].__dataclass_fields__
    for key in config.model.args:
        if key not in known:
            raise InputError(f"model has no field {key!r}{nearest(key, known)}")
    return presets.make(config.model.name, vocab_size, **config.model.args)


def mesh(config: ConfigDict) -> jax.sharding.Mesh:
    """The mesh of `config.mesh`."""
    return make_mesh(**config.mesh)


def optimizer(config: ConfigDict, updates: int):
    """`(tx, schedule)` of `config.optimizer` for a run of `updates` updates."""
    c = config.optimizer
    positive(config, "optimizer.learning_rate")
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
        raise InputError(f"init={path} holds no checkpoints: give the --workdir of a finished run, or none")
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state.params)
    return restore_params(path, abstract)


def positive(config: ConfigDict, *keys: str) -> None:
    """InputError for any of the dotted keys whose value is not a number above 0."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = value[part]
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"config.{key}={value!r}: must be a number above 0")


def check_ks(ks: tuple[int, ...], samples: int) -> None:
    """InputError unless every k of pass@k is a whole number from 1 to `samples`."""
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= samples:
            raise InputError(f"config.eval.ks has {k!r}: pass@k needs 1 <= k <= eval.samples={samples}")
