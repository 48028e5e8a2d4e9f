"""Adapters as PEFT writes them: a folder with adapter_config.json and adapter_model.safetensors, to be put on its base.

    model, params = hf.load("Qwen2.5-0.5B")
    params = lora.merge(peft.load("adapter", model).onto(params))          peft.save("mine", model, adapted, ...)

    W' = W + s B A          A [rank, in], B [out, rank];  s = alpha / rank, or alpha / sqrt(rank) with use_rslora

W is a linear layer [out, in] of transformers, whose kernel of ours is W^T (models/lora.py), or several of ours, one
below the other, where the family fuses them (Phi-3): each is read with A and its own rows of B; when they are written,
A of the layer is theirs one below the other, and B has that of each in its own rows and columns.

LoRA on linear layers is read, with ranks and alphas of their own where rank_pattern and alpha_pattern say so; what
would be another model (DoRA, trained biases, modules_to_save, a base that its start has changed) is refused by name.
peft itself is not needed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from entropy_rl.errors import InputError
from entropy_rl.files import read_json
from entropy_rl.models import hf
from entropy_rl.models.lora import LORA
from entropy_rl.models.tensor_names import tensor_names
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes

ABOUT, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Keys that change nothing about the numbers: where it came from, how it was trained, what the tensors say themselves.
_SILENT = (
    *("base_model_name_or_path", "revision", "task_type", "peft_type", "peft_version", "auto_mapping"),
    *("inference_mode", "megatron_core", "qalora_group_size", "eva_config", "ensure_weight_tying"),
    *("lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
)
_READ = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias", "init_lora_weights")
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # init_lora_weights that leave the base as it is
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What a folder's adapter adds.

    Attributes:
      tree: {kernel: {"a": f32[in, rank], "b": f32[rank, out]}}, nested like parameters, s put into b.
      rank: of all kernels; None where they have several.
      base: what the folder calls its base; "" for nothing.
    """

    tree: dict[str, Any]
    rank: int | None
    base: str

    @property
    def kernels(self) -> frozenset[str]:
        """Paths such as layer_0/attention/q/kernel."""
        return frozenset(k.rpartition("/")[0] for k in traverse_util.flatten_dict(self.tree, sep="/"))

    def onto(self, params: Any) -> Any:
        """Parameters with this adapter, as lora.add gives them; scale 1 of lora's functions is theirs."""
        return {"params": params["params"], LORA: self.tree}


def is_adapter(path: str | os.PathLike) -> bool:
    """Whether a folder holds an adapter and no weights of a model."""
    path = Path(path)
    return (path / ABOUT).is_file() and not any((path / name).exists() for name in (hf.SINGLE, hf.INDEX))


def base_of(path: str | os.PathLike) -> str:
    """What a folder calls its adapter's base; "" for nothing."""
    about = read_json(Path(path) / ABOUT)
    base = about.get("base_model_name_or_path") if isinstance(about, Mapping) else None
    return base if isinstance(base, str) else ""


class _Part(NamedTuple):
    """A kernel of ours within a linear layer of transformers."""

    kernel: str  # path such as layer_0/attention/q/kernel
    first: int  # row of the layer where it begins
    rows: int
    columns: int


def _layers(model: Transformer, architecture: str | None) -> dict[str, list[_Part]]:
    """Linear layers of transformers by name, such as model.layers.0.self_attn.q_proj, with what of ours they hold."""
    shapes = traverse_util.flatten_dict(hf.abstract_params(model)["params"], sep="/")
    out: dict[str, list[_Part]] = {}
    for kernel, place in tensor_names(model.config, architecture).items():
        if place.transposed and kernel in shapes and "/experts/" not in kernel:  # these take no adapters
            columns, rows = shapes[kernel].shape
            part = _Part(kernel, place.first or 0, rows, columns)
            out.setdefault(place.name.removesuffix(".weight"), []).append(part)
    return out


def load(path: str | os.PathLike, model: Transformer, architecture: str | None = None) -> Adapter:
    """The adapter of a folder, for a model of this shape.

    Args:
      path, model: as above.
      architecture: of the base, a row of families.FAMILIES; None: one that fuses no layers.

    Raises:
      InputError: a file that is missing, pickled or damaged; a setting that is not supported; a tensor that is no
        linear layer's of this model, is misshapen, or whose other half is missing.
    """
    path = Path(path)
    where, about = path / ABOUT, read_json(path / ABOUT, missing="give the folder of an adapter that peft saved")
    if not isinstance(about, Mapping):
        raise InputError(f"{where} is no table of settings: copy it again")
    _check(about, where)
    layers = _layers(model, architecture)
    halves: dict[str, dict[str, np.ndarray]] = {}
    for name, x in hf.read_tensors(path, WEIGHTS).items():
        match = _KEY.fullmatch(name)
        if match is None or match[1] not in layers:
            raise InputError(
                f"{path}: tensor {name} is LoRA of no linear layer of the base: give the base that the adapter was "
                "trained on"
            )
        halves.setdefault(match[1], {})[match[2]] = x.astype(np.float32)
    if not halves:
        raise InputError(f"{path / WEIGHTS} has no tensors: copy it again")
    flat, ranks = {}, set()
    for module, there in sorted(halves.items()):
        if len(there) < 2:
            raise InputError(f"{path}: {module} has lora_{min(there)} alone: copy {WEIGHTS} again")
        rank = int(_of(about, "rank_pattern", "r", module, where))
        alpha = _of(about, "alpha_pattern", "lora_alpha", module, where)
        n, m = layers[module][0].columns, sum(part.rows for part in layers[module])
        got, asked = (there["A"].shape, there["B"].shape), ((rank, n), (m, rank))
        if got != asked:
            raise InputError(
                f"{path}: {module} has A and B of shapes {got}, and rank {rank} on the base asks for {asked}: give the "
                "base that the adapter was trained on"
            )
        scale = alpha / (math.sqrt(rank) if about.get("use_rslora") else rank)
        b = np.float32(scale) * there["B"].T
        for part in layers[module]:
            own = b[:, part.first : part.first + part.rows]
            flat |= {f"{part.kernel}/a": there["A"].T, f"{part.kernel}/b": own}
        ranks.add(rank)
    rank = ranks.pop() if len(ranks) == 1 else None
    return Adapter(traverse_util.unflatten_dict(flat, sep="/"), rank, base_of(path))


def save(
    path: str | os.PathLike,
    model: Transformer,
    params: Any,
    *,
    scale: float,
    base: str,
    architecture: str | None = None,
) -> None:
    """Writes adapted parameters' adapters as a folder that peft loads; process 0 writes.

    Args:
      path: a new or empty folder.
      model: the base's.
      params: as lora.add gives them.
      scale: of A B, alpha / rank.
      base: what the folder calls its base.
      architecture: of the base, as in `load`.

    Raises:
      InputError: there are no adapters, or the folder has files in it.
    """
    path = Path(path)
    if LORA not in params:
        raise InputError("these parameters have no adapters: save the model (hf.save)")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there already: give another folder for the adapter")
    given = traverse_util.flatten_dict(processes.fetch(params[LORA]), sep="/")
    tensors, ranks = {}, {}
    for module, parts in _layers(model, architecture).items():
        mine = [part for part in parts if f"{part.kernel}/a" in given]
        if not mine:
            continue
        a = np.concatenate([given[f"{part.kernel}/a"].T for part in mine])
        b, at = np.zeros((sum(part.rows for part in parts), len(a)), a.dtype), 0
        for part in mine:
            own = given[f"{part.kernel}/b"].T
            b[part.first : part.first + part.rows, at : at + own.shape[1]] = own
            at += own.shape[1]
        name, ranks[module] = f"base_model.model.{module}", len(a)
        tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    if jax.process_index() != 0:
        return
    rank = min(ranks.values())
    others = {module: r for module, r in ranks.items() if r != rank}  # of fused layers
    about = {
        **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": True},
        **{"r": rank, "lora_alpha": scale * rank, "lora_dropout": 0.0, "bias": "none", "use_rslora": False},
        **{"use_dora": False, "fan_in_fan_out": False, "modules_to_save": None, "init_lora_weights": True},
        **{"rank_pattern": others, "alpha_pattern": {module: scale * r for module, r in others.items()}},
        "target_modules": sorted(ranks),
    }
    path.mkdir(parents=True, exist_ok=True)
    hf.write_tensors(path / WEIGHTS, tensors)
    (path / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def _check(about: Mapping[str, Any], where: Path) -> None:
    if about.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type {about.get('peft_type')!r} is not supported: LORA is")
    if about.get("bias") not in (None, "none"):
        raise InputError(f"{where}: bias {about['bias']!r} is not supported: adapters without trained biases are")
    start = about.get("init_lora_weights", True)
    if start not in _STARTS:
        raise InputError(
            f"{where}: init_lora_weights {start!r} changes the base: convert the adapter "
            "(path_initial_model_for_weight_conversion of peft's save_pretrained)"
        )
    for key, value in about.items():
        if value and key not in (*_SILENT, *_READ):
            raise InputError(
                f"{where}: {key}={str(value)[:60]} is not supported: merge the adapter into its base (peft's "
                "merge_and_unload, then save_pretrained) and give that folder"
            )


def _of(about: Mapping[str, Any], patterns: str, key: str, module: str, where: Path) -> float:
    """A module's rank or alpha: of the first name in `patterns` that its path ends with, or the common one."""
    given = about.get(patterns) or {}
    found = about.get(key)
    for name, value in given.items() if isinstance(given, Mapping) else ():
        plain = str(name).removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not re.fullmatch(r"[\w.]+", plain):  # peft takes it as a regular expression, which may never end
            raise InputError(f"{where}: {patterns} has {str(name)[:60]!r}, which is no name of a module: write it out")
        if module == plain or (not str(name).startswith("^") and module.endswith(f".{plain}")):
            found = value
            break
    number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found) and found > 0
    if not number or (key == "r" and found != int(found)):
        raise InputError(f"{where}: {key}={str(found)[:60]!r} must be a number above 0: copy it again")
    return found
