"""A policy from wherever it lies, parameters alone: of a run, of one of its checkpoints, of a Hugging Face folder, of
an adapter that PEFT saved."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.models import hf, lora, peft
from entropy_rl.models.families import architecture
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.training import checkpoints, learner
from entropy_rl.training.state import adapters, heated, on_base
from experiments.lib import build, workdirs

Policy = tuple[Transformer, Any]  # model, parameters
HOW = ("dtype", "param_dtype", *workdirs.COMPUTES)  # how a model computes, whatever its shape


def load_policy(
    config: ConfigDict,
    path: str | Path | None,
    mesh: jax.sharding.Mesh,
    vocab_size: int,
    *,
    step: int | None = None,
    key: str = "init",
    model: Transformer | None = None,
) -> Policy:
    """A model and its parameters on their shards; no optimiser's state is made.

    Of a workdir it is the shape that its config.json tells, and that of `config.model` where there is none; how it
    computes (HOW) is said by `config.model.args` first. Adapters (models/lora.py) are merged onto their base.

    Args:
      config: with `model`, `seed`, and the run's `lora` where the workdir `path` has no config.json.
      path: a run's workdir, a Hugging Face folder, or that of an adapter (models/peft.py) whose base is the folder
        `config.model.path`; None: the folder `config.model.path`, else random weights.
      mesh: where the parameters go.
      vocab_size: of the task's tokenizer.
      step: of a workdir's checkpoint; None: the latest.
      key: of `path` in the config, for messages.
      model: another shape than this one is refused, and it computes as this one does.

    Raises:
      InputError: nothing is there; it is of another shape or vocabulary, or of a folder whose tokens the task does not
        speak; a damaged config.json.
    """
    if path is None:
        model = model or build.model(config, vocab_size)
        if build.from_folder(config):
            return model, hf.load_params(build.folder(config), hf.abstract_params(model, mesh))
        return model, random_params(model, mesh, config.seed)
    if peft.is_adapter(path):
        there, params, adapter = _of_adapter(config, path, mesh, vocab_size, step, key, model)
        return there, _merged({**params, lora.LORA: adapter.tree}, 1.0)
    about = _origin(path, key)
    if about is None:
        return _of_folder(config, path, mesh, vocab_size, step, key, model)
    model, params, scale = _of_run(config, about or config, path, mesh, vocab_size, step, key, model)
    return model, params if scale is None else _merged(params, scale)


def load_adapted(
    config: ConfigDict, path: str | Path, mesh: jax.sharding.Mesh, vocab_size: int, key: str
) -> tuple[Transformer, Any, float]:
    """Of the run in the workdir `path`: its model, parameters with adapters apart, and the scale of their product.

    Raises:
      InputError: as `load_policy`; a run that began with no folder, or has no adapters; a base that is no longer the
        folder's, as of a run that began with another one's policy.
    """
    run = trained(path, key) or config
    model, params, scale = _of_run(config, run, path, mesh, vocab_size, None, key, None)
    if scale is None or not build.from_folder(run):
        raise InputError(f"config.{key}={path} trained no adapters of a folder: export the model")
    base = hf.load_params(build.folder(run), hf.abstract_params(model, mesh))
    same = jax.jit(lambda a, b: jnp.all(jnp.array(jax.tree.leaves(jax.tree.map(jnp.array_equal, a, b)))))
    if not same(base["params"], params["params"]):
        raise InputError(
            f"config.{key}={path} has its adapters on other weights than those of {run.model.path}, as it began with "
            "another policy: export the model"
        )
    return model, params, scale


def _of_run(config, run, path, mesh, vocab_size, step, key, model) -> tuple[Transformer, Any, float | None]:
    """Model and parameters as they were trained of the run, whose config is `run`, and the scale of its adapters."""
    if model is None:
        shape = config.copy_and_resolve_references()
        shape.model = _as_asked(run.model, config)
        if build.from_folder(shape):
            _same_tokens(config, shape.model.path, f"config.{key}={path} began with the folder {shape.model.path}")
        model = build.model(shape, vocab_size)
    adaptation = build.adaptation(run, model)
    return model, _params_of_run(run, model, mesh, adaptation.adapt, path, key, step), adaptation.scale


def _merged(params: Any, scale: float) -> Any:
    """Adapters merged onto their base, on its shards."""
    where = jax.tree.map(lambda x: x.sharding, {"params": params["params"]})
    return jax.jit(partial(lora.merge, scale=scale), out_shardings=where)(params)


def first_policy(config: ConfigDict, shape: Transformer, tx: Any, mesh: jax.sharding.Mesh) -> learner.TrainState:
    """A policy before its first update: that of `config.init`, or of the model's folder, or random.

    `config.init` is whatever `load_policy` takes. A run with adapters like these goes on with them, as it does with a
    folder's of the same rank on the same kernels; any other adapters are merged, and these are new.
    """
    key, adapt = jax.random.key(config.seed), build.adaptation(config, shape).adapt
    if config.init is None and not build.from_folder(config):
        return learner.init_state(shape, tx, mesh, key, adapt)
    params, adapters = _start(config, shape, mesh)
    return learner.state_of(shape, tx, mesh, params, key, adapt, adapters)


def _start(config: ConfigDict, shape: Transformer, mesh: jax.sharding.Mesh) -> tuple[Any, Any]:
    """(the plain parameters, the adapters) that a run starts with; None for adapters that are new, or none."""
    path, adaptation = config.get("init"), build.adaptation(config, shape)
    if path is not None and peft.is_adapter(path):
        _, params, adapter = _of_adapter(config, path, mesh, shape.config.vocab_size, None, "init", shape)
        if adaptation.adapt is not None:
            ours = lora.flat(hf.abstract_params(shape, None, adaptation.adapt)[lora.LORA])
            if adapter.rank == config.lora.rank and adapter.kernels == {k.rpartition("/")[0] for k in ours}:
                # this run's alpha / rank is not the folder's: what is left of that goes into B
                return params, lora.scaled({lora.LORA: adapter.tree}, 1.0 / adaptation.scale)[lora.LORA]
        return _merged({**params, lora.LORA: adapter.tree}, 1.0), None
    of = None if path is None else _origin(path, "init")
    if path is not None and _adapters(config) == _adapters(of):  # it goes on with that run's adapters
        params = _params_of_run(of or config, shape, mesh, adaptation.adapt, path)
        if lora.LORA in params:  # that run's alpha may have been another, as a folder's may
            params = lora.scaled(params, build.adaptation(of, shape).scale / adaptation.scale)
        return {"params": params["params"]}, params.get(lora.LORA)
    _, params = load_policy(config, path, mesh, shape.config.vocab_size, model=shape)
    return params, None


class Base:
    """The plain parameters below the adapters of a run (models/lora.py), which its checkpoints do not hold.

    They are those that the run started with: of the folder that its config names, of the run that it began from, or
    random. Checkpoints have their checksums, by which a start that is another one by now is found out.

    Args:
      config: of the run.
      model, mesh: its model, and where the parameters go.
      heat: what `state.heated` did to them.
    """

    def __init__(self, config: ConfigDict, model: Transformer, mesh: jax.sharding.Mesh, heat: float = 1.0):
        self._config, self._model, self._mesh, self._heat = config, model, mesh, heat
        self._sums: list[int] | None = None

    def meta(self, params: Any) -> dict[str, Any]:
        """What a checkpoint of adapted parameters tells of their base; nothing of plain ones."""
        if lora.LORA not in params:
            return {}
        if self._sums is None:
            self._sums = _sums(params)
        return {BASE: self._sums}

    def params(self, meta: dict[str, Any]) -> Any:
        """The base on its shards, for the adapters of a checkpoint with this meta.

        Raises:
          InputError: it is not there, or not the one that the adapters were trained on.
        """
        params, _ = _start(self._config, self._model, self._mesh)
        if self._heat != 1:
            heat = heated(params, self._heat, self._model.config)
            params = jax.tree.map(lambda x, y: jax.device_put(x, y.sharding), heat, params)
        if meta.get(BASE) not in (None, _sums(params)):
            start = self._config.get("init") or self._config.model.get("path") or "random weights"
            raise InputError(
                f"the adapters of this run were trained on other weights than {start} holds now: put those back, "
                "or give another --workdir"
            )
        self._sums = meta.get(BASE)
        return params


def lean(base: Base, abstract: learner.TrainState) -> dict[str, Any]:
    """What training/loop.loop is told of a train state of shapes `abstract`, so that its checkpoints hold adapters
    without their base; of a state without adapters it is as it was."""
    return {
        "pack": lambda state: (adapters(state), base.meta(state.params)),
        "unpack": lambda tree, meta: on_base(tree, partial(base.params, meta)),
        "abstract": adapters(abstract),
        "before": abstract,
    }


BASE = "base"  # key of a checkpoint's meta: checksums of the parameters below the adapters


def _sums(params: Any) -> list[int]:
    return checkpoints.sums({"params": params["params"]}).tolist()


def _params_of_run(config, model, mesh, adapt, path, key="init", step=None) -> Any:
    """The parameters of a run's checkpoint, adapters and all; `config` is the run's."""
    abstract = hf.abstract_params(model, mesh, adapt)
    about = checkpoints.about(path, step) if adapt is not None else None
    if about is None or any(name.startswith("params.params.") for name in about[0]):
        return build.restored(path, abstract, key, step)
    if not (Path(path) / "config.json").is_file():
        raise InputError(
            f"config.{key}={path} holds adapters and not what they are on, which its config.json tells: copy that too"
        )
    adapters = build.restored(path, {lora.LORA: abstract[lora.LORA]}, key, step)
    base = Base(config, model, mesh, heat=config.get("init_temperature", 1.0))
    return {**base.params(about[1]), **adapters}


def _origin(path: str | Path, key: str) -> ConfigDict | None:
    """The config of the run in a workdir; an empty one where it tells none, None where `path` is a model's folder."""
    about = trained(path, key)
    is_folder = about is None and not (Path(path) / "checkpoints").is_dir() and (Path(path) / "config.json").is_file()
    return None if is_folder else about or ConfigDict()


def _adapters(config: ConfigDict | None) -> Any:
    """What is told of the adapters of a run, None without any; "folder" for none at all."""
    if config is None:
        return "folder"
    lora_ = config.get("lora")
    return (lora_.rank, lora_.targets) if lora_ and lora_.rank else None


def random_params(model: Transformer, mesh: jax.sharding.Mesh, seed: int) -> Any:
    """Parameters before any training, made on their shards: those that a run of this seed starts from."""
    where = jax.tree.map(lambda x: x.sharding, hf.abstract_params(model, mesh))
    return jax.jit(model.init, out_shardings=where)(jax.random.key(seed), jnp.zeros((1, 2), jnp.int32))


def trained(path: str | Path, key: str) -> ConfigDict | None:
    """The config of the run in the workdir `path`; None where it has no config.json, or that of a Hugging Face model.

    Raises:
      InputError: it cannot be read, or tells no model.
    """
    about = Path(path) / "config.json"
    if not about.is_file():
        return None
    try:
        read = json.loads(about.read_text())
        if "config" not in read and "model_type" in read:
            return None
        config = ConfigDict(read["config"])
        config.model  # noqa: B018
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            f"config.{key}: {about} is damaged and does not tell the model's shape: give the --workdir of a run"
        ) from e
    return config


def _of_folder(config, path, mesh, vocab_size, step, key, model) -> Policy:
    """The policy of a Hugging Face folder."""
    if step is not None:
        raise InputError(f"config.{key}={path} is the folder of a model and has no checkpoint {step}: give a workdir")
    _same_tokens(config, path, f"config.{key}={path} is the folder of a Hugging Face model")
    shape = config.copy_and_resolve_references()
    shape.model = _as_asked(ConfigDict({"path": str(path), "args": {}}), config)
    there = build.model(shape, vocab_size)
    if model is not None and _computed_as(model, there) != model:
        raise InputError(f"config.{key}={path} is of another shape than config.model: give a policy of the same shape")
    there = model or there
    return there, hf.load_params(path, hf.abstract_params(there, mesh))


def _of_adapter(config, path, mesh, vocab_size, step, key, model) -> tuple[Transformer, Any, peft.Adapter]:
    """An adapter's folder: the model and the parameters of its base, config.model.path, and what it adds."""
    if step is not None:
        raise InputError(f"config.{key}={path} is an adapter's folder and has no checkpoint {step}: give a workdir")
    if not build.from_folder(config):
        base = peft.base_of(path) or "a model that it does not name"
        raise InputError(f"config.{key}={path} is an adapter of {base}: add that model's folder, --config.model.path=")
    there = build.model(config, vocab_size)
    if model is not None and _computed_as(model, there) != model:
        raise InputError(f"config.{key}={path} is on a base of another shape than config.model: give one of the same")
    there = model or there
    adapter = peft.load(path, there, architecture(build.folder(config)))
    params = hf.load_params(build.folder(config), hf.abstract_params(there, mesh))
    processes.log(f"{path}, an adapter of {adapter.base or 'an unnamed base'}, is put on {config.model.path}")
    return there, params, adapter


def _as_asked(model: ConfigDict, config: ConfigDict) -> ConfigDict:
    """`model` of a config, computed as `config.model.args` says."""
    how = {k: v for k, v in config.model.args.items() if k in HOW and v is not None}
    return ConfigDict({**model, "args": {**model.get("args", {}), **how}})


def _computed_as(model: Transformer, other: Transformer) -> Transformer:
    """The other model, computed as this one is."""
    how = {key: getattr(model.config, key) for key in HOW}
    return Transformer(dataclasses.replace(other.config, **how))


def _same_tokens(config: ConfigDict, folder: Any, what: str) -> None:
    """InputError where the task speaks its own words and not those of a folder's tokenizer."""
    if not build.from_folder(config):
        raise InputError(f"{what}, and the task has words of its own: add --config.model.path={folder}")
