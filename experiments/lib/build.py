"""From a config to the things that a script runs: here ConfigDicts end and keyword arguments begin."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import errors
from entropy_rl.data.prompts import Posed
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.entropy import controllers
from entropy_rl.errors import InputError, nearest
from entropy_rl.losses import weights
from entropy_rl.models import families, hf, lora, peft, presets
from entropy_rl.models.attention import ATTENTION
from entropy_rl.models.config import OLD_NAMES, REMAT
from entropy_rl.models.experts import GROUPED
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.parallel.sharding import make_mesh, row_shards
from entropy_rl.sampling import warp
from entropy_rl.tasks import base as tasks
from entropy_rl.training import learner
from entropy_rl.training.checkpoints import restore_params
from entropy_rl.training.objectives import Load
from entropy_rl.training.optimizer import make_optimizer, make_schedule
from entropy_rl.training.rollouts import Weight
from experiments.lib import checks


def bind(
    table: Mapping[str, Callable],
    choice: ConfigDict,
    kind: str,
    *example,
    data: Mapping[str, Any] | None = None,
    **named,
) -> Callable:
    """`table[choice.name]` with `choice.args` as keywords (errors.bind), tried out.

    Args:
      table: of functions whose hyper-parameters are keywords.
      choice: the name of a row, and the hyper-parameters that it gets.
      kind: what messages call a row.
      *example, **named: arguments that it is tried on, so that a bad value stops the run before it begins.
      data: arrays by name, of which it gets those that its signature names.

    Raises:
      InputError: there is no such row; it has no such hyper-parameter, needs another, or refuses a value.
    """
    data, first, what = data or {}, len(example), f"{kind} {choice.name!r}"
    bound = errors.bind(table, choice.name, choice.args, kind, first=first, given={*named, *data})
    parameters = inspect.signature(bound.func).parameters
    named |= {k: data[k] for k in list(parameters)[first:] if k in data}
    for key, value in choice.args.items():
        default = parameters[key].default
        numeric = default in (None, inspect.Parameter.empty) or isinstance(default, int | float)
        number = isinstance(value, int | float) and math.isfinite(value) and value >= 0
        if numeric and not number and value is not default:
            raise InputError(f"{what} has {key}={value!r}: give a finite number of 0 or more")
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


def weight(choice: ConfigDict, mask: np.ndarray, data: Mapping[str, Any]) -> Weight:
    """The weight of `choice`, tried on `mask` and `data`; its `base`, where it has one, is another choice.

    Raises:
      InputError: there is no such row, or it refuses a hyper-parameter.
    """
    args = dict(choice.get("args") or {})
    if isinstance(args.get("base"), ConfigDict):
        weight(args["base"], mask, data)  # names what is wrong with it
        args["base"] = args["base"].to_dict()
    plain = {k: v for k, v in args.items() if k != "base"}
    bind(weights.WEIGHTS, ConfigDict({"name": choice.name, "args": plain}), "weight", mask, data=data)
    return weights.compose(choice.name, **args)


def controller(choice: ConfigDict, key: str) -> controllers.Controller:
    """The controller of `choice`; `key` names it in messages.

    Raises:
      InputError: there is no such controller, or it refuses its hyper-parameters.
    """
    try:
        make = errors.bind(controllers.CONTROLLERS, choice.name, choice.args, "controller")
    except InputError as e:
        raise InputError(f"{key}: {e}") from e
    for name, value in choice.args.items():
        if not isinstance(value, str) and not (isinstance(value, int | float) and math.isfinite(value)):
            raise InputError(f"{key}: {name}={value!r} must be a finite number")
    try:
        return make()
    except ValueError as e:
        raise InputError(f"{key}: {choice.name!r}: {e}") from e


def task(config: ConfigDict, **overrides) -> tasks.Task:
    """The task of `config.task`, e.g. with another split or size; posed to the model of a folder, if that is the model.

    Problems whose prompts are too long are left out (data/prompts.py), and how many is said. In their place others are
    taken for a `size`, as long as the task has any, so that a task may be smaller than its size.

    Raises:
      InputError: the task refuses an argument; a text task and a model without a tokenizer; prompts and responses that
        are longer than the model's context.
    """
    args = {**config.task.args.to_dict(), **overrides}
    made = tasks.get(config.task.name, **args)
    if "prompt" not in config or not from_folder(config):
        if not hasattr(made, "tokenizer"):
            raise InputError(
                f"task {config.task.name!r} is text and needs a model with a tokenizer: start from configs/rl/hf.py"
            )
        return made
    path = folder(config)
    length, context = config.prompt.prompt_length + config.prompt.response_length, families.context_length(path)
    if context is not None and length > context:
        raise InputError(
            f"config.prompt: prompt_length + response_length = {length} tokens are more than the context of {path}, "
            f"{context}: lower them"
        )
    pose = functools.partial(Posed, tokenizer=tokenizer(path), **config.prompt)
    posed, wanted = pose(made), overrides.get("size")
    while wanted and len(posed) < wanted:
        try:  # as many more as were left out: a task of this size begins with those of a smaller one
            made = tasks.get(config.task.name, **{**args, "size": len(made) + wanted - len(posed)})
        except InputError:  # that is all there are
            break
        posed = pose(made)
    _say_once(posed.said_of_ends)
    if posed.too_long:
        processes.log(
            f"{config.task.name}, split {args.get('split', 'train')}: {posed.too_long} of {posed.seen} problems left "
            f"out, as their prompts have more than prompt.prompt_length={config.prompt.prompt_length} tokens"
        )
    return posed


@functools.cache
def _say_once(line: str) -> None:
    """A process makes a task more than once: for training, for evaluations."""
    if line:
        processes.log(line)


def left_out(task: Any, *, taught: bool = False) -> dict[str, float]:
    """What is logged of problems that are left out, as their prompts, or of `taught` ones their demonstrations, are too
    long: nothing where none can be."""
    if not isinstance(task, Posed):
        return {}
    row = {"data/too_long": float(task.too_long)}
    return row | ({"data/demonstrations_too_long": float(task.untaught)} if taught else {})


def say_untaught(task: Any) -> None:
    """Says how many problems are left out of demonstrations, as these are too long; InputError where all are."""
    if isinstance(task, Posed) and task.untaught:
        processes.log(
            f"{task.untaught} of {task.taught_from} problems left out of imitation, as their demonstrations have more "
            f"than prompt.response_length={task.response_length} tokens"
        )


def from_folder(config: ConfigDict) -> bool:
    """Whether the model is that of a Hugging Face folder: config.model has a `path`, and no preset where it is None."""
    return config.model.get("path") is not None or "name" not in config.model


def spans(config: ConfigDict, key: str, *asked: str) -> None:
    """InputError for a span of CoT-decoding that free text does not have; `key` names it in messages."""
    if from_folder(config) and "solution" in asked:
        raise InputError(
            f"config.{key} has 'solution', the decisions of a response, and which tokens of free text are decisions is "
            "not known: give answer"
        )


def folder(config: ConfigDict) -> str:
    """The folder of the model; InputError where config.model.path is not given."""
    if config.model.path is None:
        raise InputError("config.model.path is missing: give the folder of a Hugging Face model")
    if peft.is_adapter(config.model.path):
        base = peft.base_of(config.model.path) or "a model that it does not name"
        raise InputError(
            f"config.model.path={config.model.path} is an adapter of {base}: give the folder of that model as "
            f"model.path, and --config.init={config.model.path}; or merge it (peft's merge_and_unload)"
        )
    return config.model.path


@functools.lru_cache(maxsize=4)
def tokenizer(path: str) -> FolderTokenizer:
    """The tokenizer of a folder, read once."""
    return FolderTokenizer(path)


def model(config: ConfigDict, vocab_size: int) -> Transformer:
    """The model of `config.model`: a preset or that of a folder (`path`), and what differs from it."""
    known = presets.PRESETS["embedded"].__dataclass_fields__.keys() - {"vocab_size"}  # the tokenizer's
    for key in config.model.args:
        if key not in known:
            raise InputError(f"model has no field {key!r}{nearest(key, known)}")
    for key, words in (("remat", REMAT), ("attention", ATTENTION), ("grouped", GROUPED)):
        if key in config.model.args:
            checks.one_of(config, f"model.args.{key}", words, OLD_NAMES.get(key, {}))
    if not from_folder(config):
        return presets.make(config.model.name, vocab_size, **config.model.args)
    path = folder(config)
    shape = hf.load_config(path, **config.model.args)
    if shape.vocab_size < vocab_size:
        raise InputError(
            f"{path}: the model's vocabulary has {shape.vocab_size} tokens and its tokenizer's {vocab_size}: give a "
            "folder whose tokenizer.json belongs to its weights"
        )
    return Transformer(shape)


def load(config: ConfigDict, made: Transformer) -> Load | None:
    """The loss of `config.load_coef` over a model's experts; None where it has none.

    Raises:
      InputError: a coefficient that is negative, or of a model without experts.
    """
    coef = config.get("load_coef", 0.0)
    if not made.config.experts:
        if coef:
            raise InputError(f"config.load_coef={coef} is of the load of experts, and the model has none: give 0")
        return None
    if not (math.isfinite(coef) and coef >= 0):
        raise InputError(f"config.load_coef={coef}: give a number of 0 or more")
    return Load(coef, made.config.experts_per_token)


def trained_model(config: ConfigDict, vocab_size: int) -> Transformer:
    """`model`, to be trained.

    Raises:
      InputError: as there, or float16: without a scale of the loss the head's gradients of a token mean over half a
        million tokens are below its smallest number, and 93 % of them become 0.
    """
    made = model(config, vocab_size)
    low = [key for key in ("dtype", "param_dtype") if jnp.dtype(getattr(made.config, key)) == jnp.float16]
    if low:
        place = "types" if "types" in config else "model.args"
        remedy = " ".join(f"--config.{place}.{key}=bfloat16" for key in low)
        raise InputError(f"{' and '.join(low)} of the model is float16, in which gradients become 0: give {remedy}")
    return made


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """Which parameters are trained, and those that models run on.

    Attributes:
      adapt: adds adapters, for learner.init_state; None: all parameters are trained.
      scale: of their product; None: there are none.
      view: parameters as they are trained -> as they are sampled with.
    """

    adapt: learner.Adapt | None
    scale: float | None
    view: Callable[[Any], Any]

    def merged(self, params: Any) -> Any:
        """Parameters as they are trained, as plain ones of the same type."""
        return params if self.scale is None else lora.merge(params, self.scale)

    def over(self, score: Callable) -> Callable:
        """A score of parameters as they are trained."""
        return score if self.scale is None else lora.over(score, self.scale)


def adaptation(config: ConfigDict, shape: Transformer) -> Adaptation:
    """That of `config.lora`, where there is one and its rank is not 0."""
    m, adapt, scale = shape.config, None, None
    if "lora" in config:
        checks.whole(config, 0, "lora.rank")
        checks.positive(config, "lora.alpha")
        c = dict(config.lora)
        if c["rank"]:
            adapt, scale = partial(lora.add, rank=c["rank"], targets=c["targets"]), c["alpha"] / c["rank"]
            key = jax.random.key(0)
            jax.eval_shape(adapt, jax.eval_shape(shape.init, key, np.zeros((1, 2), np.int32)), key)  # names bad targets
    return Adaptation(adapt, scale, lora.make_view(m.dtype, m.param_dtype, scale))


def mesh(config: ConfigDict) -> jax.sharding.Mesh:
    """The mesh of `config.mesh`."""
    checks.positive(config, "mesh.fsdp", "mesh.tensor")
    return make_mesh(**config.mesh)


def sampling(config: ConfigDict, task: tasks.Task, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """How `config.rollout` samples responses to a task: keywords of collect.attempt and evaluate.attempt_all."""
    return {
        "max_new": task.response_length,
        "prompt_length": task.prompt_length,
        "slots": config.rollout.slots,
        "warp": partial(warp.temperature, value=config.rollout.temperature),
        "mesh": mesh,
    }


def shared_prompts(
    mesh: jax.sharding.Mesh, groups: int, samples: int, microbatches: int, prompt_length: int
) -> dict[str, int]:
    """`samples` and `prompt_length` of models/scoring: a prompt is run once for as many of its `samples` responses as
    stay together on a device in a micro-batch of a mini-batch of `groups` groups: all, or a divisor of them."""
    rows, parts = groups * samples, microbatches * row_shards(mesh)
    return {"samples": 1 if rows % parts else math.gcd(samples, rows // parts), "prompt_length": prompt_length}


ROWS = 8  # of a micro-batch, where nothing says how many


def microbatches(mesh: jax.sharding.Mesh, rows: int, given: int, key: str = "microbatches", whole: int = 1) -> int:
    """Into how many micro-batches `rows` rows are cut: `given`, or for 0 as many as leave each of them ROWS rows or
    more, and every device as many as any other; `whole` rows next to each other stay on one device.

    Raises:
      InputError: a micro-batch of `given` has rows that the devices cannot share evenly.
    """
    if not given:
        even = (n for n in range(1, rows + 1) if rows % (n * row_shards(mesh) * whole) == 0)
        given = max((n for n in even if rows // n >= ROWS), default=1)
    checks.microbatches(mesh, rows, given, key, whole)
    return given


def optimizer(config: ConfigDict, updates: int, key: str = "optimizer"):
    """`(tx, schedule)` of `config.<key>` for a run of `updates` updates."""
    c = config[key]
    names = {name: f"{key}.{name}" for name in c}
    checks.positive(config, names["learning_rate"], *([names["clip"]] if c.clip is not None else []))
    checks.require(config, "a number of 0 or more and below 1", lambda x: 0 <= x < 1, names["b1"], names["b2"])
    checks.not_negative(config, names["weight_decay"])
    checks.require(config, "a number from 0 to 1", lambda x: 0 <= x <= 1, names["decay_to"])
    if not 0 <= c.warmup < updates:
        raise InputError(f"config.{key}.warmup={c.warmup}: must be 0 or more and below the run's {updates} updates")
    checks.one_of(config, names["state_dtype"], ("float32", "bfloat16"))
    schedule = make_schedule(c.learning_rate, warmup=c.warmup, steps=updates, decay_to=c.decay_to)
    more = {"weight_decay": c.weight_decay, "clip": c.clip, "state_dtype": c.state_dtype}
    return make_optimizer(schedule, b1=c.b1, b2=c.b2, **more), schedule


def restored(path: str | Path, abstract: Any, key: str = "init", step: int | None = None) -> Any:
    """checkpoints.restore_params of the workdir `path`, whose messages name `key` of the config."""
    if not (Path(path) / "checkpoints").is_dir():
        raise InputError(f"config.{key}={path} holds no checkpoints: give the --workdir of a finished run, or none")
    try:
        return restore_params(path, abstract, step=step)
    except InputError as e:
        raise InputError(f"config.{key}={path}: {e}") from e
