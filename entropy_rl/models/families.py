"""Model families of Hugging Face folders: config.json to and from our Config, and the names of tensors.

A family is a row of `FAMILIES`. Spellings of transformers 4 and 5 are both read (`rope_theta` or `rope_parameters`,
`rope_scaling`, `torch_dtype` or `dtype`); what would change the model and is not supported is refused by name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from entropy_rl.errors import InputError, nearest
from entropy_rl.models import rope
from entropy_rl.models.transformer import Config


@dataclasses.dataclass(frozen=True)
class Family:
    """What a family's config.json leaves unsaid, and the flags of our Config that make it."""

    model_type: str
    flags: Callable[[Mapping[str, Any]], dict[str, bool]]
    head_dim: int | None = None  # where the file has none; None: hidden_size / heads
    rope_theta: float = 1e4


def _attention_bias(c):
    return {"qkv_bias": bool(c.get("attention_bias")), "o_bias": bool(c.get("attention_bias"))}


FAMILIES = {
    "Qwen2ForCausalLM": Family("qwen2", lambda c: {"qkv_bias": True, "qk_norm": False}),
    "Qwen3ForCausalLM": Family("qwen3", lambda c: {"qk_norm": True, **_attention_bias(c)}, head_dim=128),
    "LlamaForCausalLM": Family(
        "llama", lambda c: {"qk_norm": False, "mlp_bias": bool(c.get("mlp_bias")), **_attention_bias(c)}
    ),
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}

# Keys of a llama3 or yarn scaling in config.json, and in rope.Scaling.
_SCALING = {
    "factor": "factor",
    "original_max_position_embeddings": "original_context",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
    "truncate": "truncate",
}
_REQUIRED = {
    "linear": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
}


def read_json(path: Path, *, missing: str | None = None) -> Any:
    """The content of a JSON file; InputError where it is damaged, or missing and `missing` says what to do."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        if missing is None:
            return {}
        raise InputError(f"{path} is missing: {missing}") from None
    except NotADirectoryError:
        raise InputError(f"{path.parent} is not a folder: give that of a Hugging Face model") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise InputError(f"{path} is not JSON ({e}): copy it again") from None


def read_config(path: str | Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
      InputError: there is none, such as in the folder of an adapter, or it is no JSON.
    """
    adapter = Path(path) / "adapter_config.json"
    if adapter.is_file() and not (Path(path) / "config.json").exists():
        base = read_json(adapter).get("base_model_name_or_path")
        raise InputError(
            f"{path} is an adapter of {base}, not a model: merge it into its base (peft's merge_and_unload, then "
            "save_pretrained) and give that folder"
        )
    return read_json(Path(path) / "config.json", missing="give the folder of a Hugging Face model")


def context_length(path: str | Path) -> int | None:
    """Tokens of the longest context that the folder's model is made for; None where it does not say."""
    return read_config(path).get("max_position_embeddings")


def to_config(raw: Mapping[str, Any], where: str) -> Config:
    """Our Config of a config.json.

    Args:
      raw: its content. where: names it in messages.

    Raises:
      InputError: an architecture, rope type, activation or attention that is not supported, or a key that is missing.
    """
    family = _family(raw, where)
    if raw.get("hidden_act", "silu") != "silu":
        raise InputError(f"{where}: hidden_act {raw['hidden_act']!r} is not supported: silu is")
    kinds = {kind for kind in raw.get("layer_types") or [] if kind != "full_attention"}
    if kinds or raw.get("use_sliding_window"):
        raise InputError(
            f"{where}: sliding-window attention is not supported: only models with full attention in all layers are"
        )
    if raw.get("quantization_config"):
        raise InputError(f"{where}: quantised weights are not supported: give the folder of the unquantised model")
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in names:
        if not isinstance(raw.get(name), int):
            raise InputError(f"{where} has no whole number {name!r}: copy the folder's config.json again")
    heads = raw["num_attention_heads"]
    head_dim = raw.get("head_dim") or family.head_dim or raw["hidden_size"] // heads
    dtype = _dtype(raw, where)
    theta, scaling = _rope(raw, family, where)
    return Config(
        vocab_size=raw["vocab_size"],
        d_model=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=heads,
        kv_heads=raw.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        d_ff=raw["intermediate_size"],
        tied=bool(raw.get("tie_word_embeddings", False)),
        rope_theta=theta,
        rope_scaling=scaling,
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        dtype=dtype,
        param_dtype=dtype,
        **family.flags(raw),
    )


def from_config(m: Config, raw: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """config.json of a model: that of the folder it came from with what changed, or one made from our Config.

    Args:
      m: shape of the model.
      raw: config.json of the folder that it came from; None: there is none.

    Raises:
      InputError: no supported architecture has these flags.
    """
    dtype = next(name for name, kind in DTYPES.items() if jnp.dtype(kind) == jnp.dtype(m.param_dtype))
    if raw:
        out = dict(raw)
        out.pop("torch_dtype", None)
        return out | {"dtype": dtype}
    biased = {"attention_bias": m.qkv_bias}
    if m.qk_norm and m.qkv_bias == m.o_bias and not m.mlp_bias:
        architecture, more = "Qwen3ForCausalLM", biased
    elif not m.qk_norm and m.qkv_bias and not m.o_bias and not m.mlp_bias:
        architecture, more = "Qwen2ForCausalLM", {}
    elif not m.qk_norm and m.qkv_bias == m.o_bias:
        architecture, more = "LlamaForCausalLM", biased | {"mlp_bias": m.mlp_bias}
    else:
        raise InputError("no architecture of transformers has this model's flags: qk_norm, qkv_bias, o_bias, mlp_bias")
    parameters: dict[str, Any] = {"rope_theta": m.rope_theta, "rope_type": "default"}
    if m.rope_scaling:
        given = dataclasses.asdict(m.rope_scaling)
        keys = {"linear": ("factor",)}.get(m.rope_scaling.kind, tuple(_SCALING))
        if m.rope_scaling.kind == "llama3":
            keys = _REQUIRED["llama3"]
        values = {key: given[_SCALING[key]] for key in keys}
        parameters |= {"rope_type": m.rope_scaling.kind, **{k: v for k, v in values.items() if v is not None}}
    return {
        "architectures": [architecture],
        "model_type": FAMILIES[architecture].model_type,
        "vocab_size": m.vocab_size,
        "hidden_size": m.d_model,
        "num_hidden_layers": m.layers,
        "num_attention_heads": m.heads,
        "num_key_value_heads": m.kv_heads,
        "head_dim": m.head_dim,
        "intermediate_size": m.d_ff,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": m.norm_eps,
        "rope_parameters": parameters,
        "tie_word_embeddings": m.tied,
        "dtype": dtype,
        **more,
    }


def tensor_names(m: Config) -> dict[str, tuple[str, bool]]:
    """Path of each of our parameters -> (name of the tensor in the file, whether it lies there transposed).

    A linear layer of torch holds [out, in] where our kernel is [in, out].
    """
    names = {"embed/embedding": ("model.embed_tokens.weight", False), "final_norm/scale": ("model.norm.weight", False)}
    for i in range(m.layers):
        ours, theirs = f"layer_{i}", f"model.layers.{i}"
        names[f"{ours}/attention_norm/scale"] = (f"{theirs}.input_layernorm.weight", False)
        names[f"{ours}/mlp_norm/scale"] = (f"{theirs}.post_attention_layernorm.weight", False)
        for part, folder, biases in (
            ("q k v", "self_attn", m.qkv_bias),
            ("o", "self_attn", m.o_bias),
            ("gate up down", "mlp", m.mlp_bias),
        ):
            for x in part.split():
                path = f"{ours}/attention/{x}" if folder == "self_attn" else f"{ours}/{x}"
                names[f"{path}/kernel"] = (f"{theirs}.{folder}.{x}_proj.weight", True)
                if biases:
                    names[f"{path}/bias"] = (f"{theirs}.{folder}.{x}_proj.bias", False)
        if m.qk_norm:
            for x in "qk":
                names[f"{ours}/attention/{x}_norm/scale"] = (f"{theirs}.self_attn.{x}_norm.weight", False)
    if not m.tied:
        names["lm_head/kernel"] = ("lm_head.weight", True)
    return names


def _family(raw: Mapping[str, Any], where: str) -> Family:
    there = raw.get("architectures") or []
    for name in there:
        if name in FAMILIES:
            return FAMILIES[name]
    for family in FAMILIES.values():  # some folders have the type alone
        if not there and raw.get("model_type") == family.model_type:
            return family
    what = ", ".join(map(str, there)) or f"model_type {raw.get('model_type')!r}"
    raise InputError(f"{where}: architecture {what} is not supported: {', '.join(FAMILIES)} are")


def _dtype(raw: Mapping[str, Any], where: str) -> Any:
    name = str(raw.get("dtype") or raw.get("torch_dtype") or "float32").removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"{where}: dtype {name!r} is not supported: {', '.join(DTYPES)} are")
    return DTYPES[name]


def _rope(raw: Mapping[str, Any], family: Family, where: str) -> tuple[float, rope.Scaling | None]:
    given = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    theta = given.get("rope_theta") or raw.get("rope_theta") or family.rope_theta
    kind = given.get("rope_type") or given.get("type") or "default"
    if raw.get("partial_rotary_factor", given.get("partial_rotary_factor", 1.0)) not in (None, 1, 1.0):
        raise InputError(f"{where}: rotary positions on a part of the head are not supported")
    if kind == "default":
        return float(theta), None
    if kind not in rope.KINDS:
        supported = ", ".join(["default", *rope.KINDS])
        raise InputError(f"{where}: rope type {kind!r} is not supported{nearest(kind, rope.KINDS)}: {supported} are")
    if kind == "yarn":
        for key in ("mscale", "mscale_all_dim"):
            if given.get(key):
                raise InputError(f"{where}: yarn with {key} is not supported")
        if given.get("original_max_position_embeddings") is None:
            given["original_max_position_embeddings"] = raw.get("max_position_embeddings")
    for key in _REQUIRED[kind]:
        if given.get(key) is None:
            raise InputError(f"{where}: rope type {kind!r} without {key}: add it to its rope parameters")
    values = {ours: given[key] for key, ours in _SCALING.items() if given.get(key) is not None}
    return float(theta), rope.Scaling(kind, **values)
