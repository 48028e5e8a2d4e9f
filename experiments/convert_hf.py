"""A run's policy as a Hugging Face folder, which transformers and inference servers load.

    python -m experiments.convert_hf --config=configs/convert_hf.py --config.source=runs/grpo --workdir=runs/served

The folder is `workdir`/model: config.json, safetensors, and, of a model that came from a folder, its tokenizer and
generation config. Adapters (LoRA) are merged; the weights are the parameters of the latest checkpoint, bit for bit in
their type, or in another one that is asked for. A model of ours that came from no folder is saved as the architecture
that it is (Qwen3, Qwen2 or Llama), without a tokenizer.

With `adapter`, it is `workdir`/adapter instead: the adapters of a LoRA run alone, as peft writes them, for the folder
that the run began with.
"""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.models import families, hf, peft
from experiments.lib import build, checks, launch, policies, workdirs
from experiments.lib.policies import load_policy

FOLDER, ADAPTER = "model", "adapter"


def run(config: ConfigDict, workdir: str) -> Path:
    """Writes the folder and gives its path.

    Raises:
      InputError: a run that is not there or has no checkpoint; a folder that is there already.
    """
    if config.source is None:
        raise InputError("config.source is missing: give the --workdir of a run that has saved a checkpoint")
    check(config)
    trained(config.source)  # before there is a workdir
    workdir = workdirs.open_workdir(config, workdir)
    if config.adapter:
        return export_adapter(config.source, workdir / ADAPTER)
    return export(config.source, workdir / FOLDER, dtype=config.dtype, shard_bytes=config.shard_bytes)


def check(config: ConfigDict) -> None:
    """InputError for a bad value."""
    checks.positive(config, "shard_bytes")
    if config.dtype is not None:
        checks.one_of(config, "dtype", families.DTYPES)


def once(source: str | os.PathLike, folder: Path, config: ConfigDict) -> None:
    """`export`, if the folder is not there already."""
    if not (folder / "config.json").exists():  # a folder that was begun and not finished has another name
        export(source, folder, dtype=config.dtype, shard_bytes=config.shard_bytes)


def trained(source: str | os.PathLike) -> ConfigDict:
    """The config of the run in the workdir `source`."""
    config = policies.trained(source, "source")
    if config is None:
        raise InputError(f"config.source={source} holds no readable config.json: give the --workdir of a run")
    return config


def export(source: str | os.PathLike, folder: Path, *, dtype: str | None, shard_bytes: int) -> Path:
    """Writes the policy of the run in the workdir `source` to `folder`; see hf.save."""
    config = trained(source)
    like = config.model.get("path")
    vocab_size = _vocab_size(config)
    model, params = load_policy(config, source, build.mesh(config), vocab_size, key="source")
    if dtype is not None:
        params = jax.tree.map(lambda x: x.astype(jnp.dtype(families.DTYPES[dtype])), params)
    hf.save(folder, model, params, like=like, shard_bytes=shard_bytes)
    print(f"wrote {folder}", flush=True)
    return folder


def export_adapter(source: str | os.PathLike, folder: Path) -> Path:
    """Writes the adapters of the run in the workdir `source` to `folder`; see peft.save."""
    config = trained(source)
    model, params, scale = policies.load_adapted(config, source, build.mesh(config), _vocab_size(config), "source")
    architecture = families.architecture(config.model.path)
    peft.save(folder, model, params, scale=scale, base=config.model.path, architecture=architecture)
    print(f"wrote {folder}", flush=True)
    return folder


def _vocab_size(config: ConfigDict) -> int:
    like = config.model.get("path")
    return (build.tokenizer(like) if like else build.task(config).tokenizer).vocab_size


if __name__ == "__main__":
    launch.main(run)
