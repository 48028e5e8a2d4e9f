"""Model families of Hugging Face folders: config.json to and from our Config. Tensors' names: models/tensor_names.py.

A family is a row of `FAMILIES`. Spellings of transformers 4 and 5 are both read (`rope_theta` or `rope_parameters`,
`rope_scaling`, `torch_dtype` or `dtype`); what would change the model and is not supported is refused by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from entropy_rl.errors import InputError
from entropy_rl.files import read_json
from entropy_rl.models import rope_config
from entropy_rl.models.config import Config


@dataclasses.dataclass(frozen=True)
class Family:
    """What a family's config.json leaves unsaid, and the flags of our Config that make it.

    Attributes:
      model_type: that of its config.json.
      flags: fields of our Config, of what is read there.
      windows: window of each layer, 0 where there is none, of what is read there and its path for messages.
      defaults: what transformers takes for keys that are not there.
      fused: whether q, k, v lie as one matrix in the file, and gate and up as another.
      partial: whether it reads partial_rotary_factor.
    """

    model_type: str
    flags: Callable[[Mapping[str, Any]], dict[str, Any]]
    windows: Callable[[Mapping[str, Any], str], tuple[int, ...]]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fused: bool = False
    partial: bool = False


def _attention_bias(c):
    return {"qkv_bias": bool(c.get("attention_bias")), "o_bias": bool(c.get("attention_bias"))}


def _llama(c):
    return {"qk_norm": False, "mlp_bias": bool(c.get("mlp_bias")), **_attention_bias(c)}


def _smollm3(c):
    every, layers = c["no_rope_layer_interval"], c["num_hidden_layers"]
    rotated = c.get("no_rope_layers") or [(i + 1) % every for i in range(layers)]
    return {"rotated": tuple(map(bool, rotated[:layers])), **_llama(c)}


def _olmo2(c):
    return {"qk_norm": True, "qk_norm_whole": True, "norms": "after", **_attention_bias(c)}


def _gemma(c):
    caps = {"attention_cap": c.get("attn_logit_softcapping"), "logit_cap": c.get("final_logit_softcapping")}
    norms = {"norms": "both", "norm_offset": 1.0}
    return {"embed_scale": True, "query_scalar": c["query_pre_attn_scalar"], **norms, **caps, **_attention_bias(c)}


def _qwen3_moe(c):
    """Experts in every `decoder_sparse_step`-th layer but those of `mlp_only_layers`; transformers 5 writes num_experts
    as num_local_experts. router_aux_loss_coef is the trainer's and not read."""
    count = c.get("num_local_experts", c.get("num_experts", 128)) or 0
    every, dense = c["decoder_sparse_step"], c.get("mlp_only_layers") or ()
    sparse = tuple(i not in dense and (i + 1) % every == 0 for i in range(c["num_hidden_layers"]))
    flags = {"qk_norm": True, **_attention_bias(c)}
    if not count or not any(sparse):
        return flags
    shape = {"experts": count, "experts_per_token": c["num_experts_per_tok"], "d_expert": c["moe_intermediate_size"]}
    return {**flags, **shape, "sparse": sparse, "norm_topk": bool(c["norm_topk_prob"])}


def _no_windows(c, where):
    return _by_layer(c, where, None, lambda i: False)


def _all_windows(c, where):
    """Mistral and Phi-3, which read no layer_types."""
    if len(set(c.get("layer_types") or [])) > 1:
        raise InputError(f"{where}: layer_types of several kinds are not supported for model_type {c['model_type']!r}")
    return (c.get("sliding_window") or 0,) * c["num_hidden_layers"]


def _last_windows(c, where):
    """Qwen2 and Qwen3."""
    window = c["sliding_window"] if c.get("use_sliding_window") else None
    return _by_layer(c, where, window, lambda i: window is not None and i >= c["max_window_layers"])


def _same_windows(c, where):
    """Qwen3-MoE, which reads no layer_types either: all layers or none."""
    return _all_windows(c if c.get("use_sliding_window") else {**c, "sliding_window": None}, where)


def _unrotated_windows(c, where):
    window = c.get("sliding_window") if c.get("use_sliding_window") else None
    rotated = _smollm3(c)["rotated"]
    return _by_layer(c, where, window, lambda i: window is not None and not rotated[i])


def _local_windows(c, where):
    every = c["sliding_window_pattern"]
    return _by_layer(c, where, c.get("sliding_window"), lambda i: (i + 1) % every > 0)


def _by_layer(c, where, window, default):
    """Windows by `layer_types`, or by `default` of a layer's number where config.json has none."""
    layers = c["num_hidden_layers"]
    kinds = c.get("layer_types") or [f"{'sliding' if default(i) else 'full'}_attention" for i in range(layers)]
    if odd := sorted({str(kind) for kind in kinds} - {"full_attention", "sliding_attention"}):
        raise InputError(f"{where}: layer_types has {odd[0]!r}: full_attention and sliding_attention are supported")
    if len(kinds) != layers:
        raise InputError(f"{where}: layer_types says something of {len(kinds)} layers: there are {layers}")
    local = [kind == "sliding_attention" for kind in kinds]
    if any(local) and not window:
        raise InputError(
            f"{where}: sliding-window attention in some of layer_types, and no window that model_type "
            f"{c['model_type']!r} reads (sliding_window, use_sliding_window): copy the folder's config.json again"
        )
    return tuple(window if x else 0 for x in local)


_QWEN = {"sliding_window": 4096, "max_window_layers": 28}
_GEMMA = {
    **{"head_dim": 256, "num_key_value_heads": 4, "tie_word_embeddings": True, "sliding_window": 4096},
    **{"query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh"},
}
FAMILIES = {
    "Qwen2ForCausalLM": Family("qwen2", lambda c: {"qkv_bias": True, "qk_norm": False}, _last_windows, _QWEN),
    "Qwen3ForCausalLM": Family(
        "qwen3", lambda c: {"qk_norm": True, **_attention_bias(c)}, _last_windows, {"head_dim": 128, **_QWEN}
    ),
    "Qwen3MoeForCausalLM": Family(
        "qwen3_moe",
        _qwen3_moe,
        _same_windows,
        {
            **{"num_key_value_heads": 4, "sliding_window": 4096, "num_experts_per_tok": 8, "decoder_sparse_step": 1},
            **{"moe_intermediate_size": 768, "norm_topk_prob": False},
        },
    ),
    "LlamaForCausalLM": Family("llama", _llama, _no_windows),
    "MistralForCausalLM": Family(
        "mistral", lambda c: {"qk_norm": False}, _all_windows, {"num_key_value_heads": 8, "sliding_window": 4096}
    ),
    "SmolLM3ForCausalLM": Family(
        "smollm3",
        _smollm3,
        _unrotated_windows,
        {
            **{"rope_theta": 2e6, "num_key_value_heads": 4, "tie_word_embeddings": True, "no_rope_layer_interval": 4},
            "max_position_embeddings": 32768,
        },
    ),
    "Olmo2ForCausalLM": Family("olmo2", _olmo2, _no_windows, {"rms_norm_eps": 1e-5}),
    "Gemma3ForCausalLM": Family(
        "gemma3_text",
        lambda c: {"qk_norm": True, **_gemma(c)},
        _local_windows,
        {**_GEMMA, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
    ),
    "Gemma2ForCausalLM": Family(
        "gemma2",
        lambda c: {"qk_norm": False, **_gemma(c)},
        _local_windows,
        {**_GEMMA, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window_pattern": 2},
    ),
    "Phi3ForCausalLM": Family(
        "phi3",
        lambda c: {"qk_norm": False},
        _all_windows,
        {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096},
        fused=True,
        partial=True,
    ),
}
ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}  # theirs: ours
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


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


def architecture(path: str | Path) -> str:
    """Row of FAMILIES that a model folder is of; InputError as of `read_config` and `architecture_of`."""
    return architecture_of(read_config(path), str(Path(path) / "config.json"))


def context_length(path: str | Path) -> int | None:
    """Tokens of the longest context that the folder's model is made for; None where it does not say.

    With dynamic scaling it is `factor` times max_position_embeddings, from where on the frequencies are stretched.
    """
    raw = read_config(path)
    longest, how = raw.get("max_position_embeddings"), raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if longest and "dynamic" in (how.get("rope_type"), how.get("type")):
        return int(longest * how.get("factor", 1))
    return longest


def to_config(raw: Mapping[str, Any], where: str) -> Config:
    """Our Config of a config.json.

    Args:
      raw: its content. where: names it in messages.

    Raises:
      InputError: an architecture, rope type, activation or attention that is not supported, or a key that is missing.
    """
    architecture = architecture_of(raw, where)
    family = FAMILIES[architecture]
    raw = {**family.defaults, **raw, "model_type": family.model_type}
    for key in ("hidden_act", "hidden_activation"):
        if (given := raw.get(key) or "silu") not in ACTIVATIONS:
            raise InputError(f"{where}: {key} {given!r} is not supported: {', '.join(ACTIVATIONS)} are")
    if raw.get("quantization_config"):
        raise InputError(f"{where}: quantised weights are not supported: give the folder of the unquantised model")
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in names:
        if not isinstance(raw.get(name), int) or raw[name] < 1:
            raise InputError(f"{where} has no whole number {name!r} of 1 or more: copy the folder's config.json again")
    if raw.get("use_bidirectional_attention"):
        raise InputError(f"{where}: use_bidirectional_attention is not supported: attention is causal here")
    if architecture == "Gemma3ForCausalLM" and raw.get("attn_logit_softcapping"):
        raise InputError(f"{where}: attn_logit_softcapping is left out by transformers' Gemma 3: set it to null")
    heads = raw["num_attention_heads"]
    dtype = _dtype(raw, where)
    return Config(
        vocab_size=raw["vocab_size"],
        d_model=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=heads,
        kv_heads=raw.get("num_key_value_heads") or heads,
        head_dim=raw.get("head_dim") or raw["hidden_size"] // heads,
        d_ff=raw["intermediate_size"],
        tied=bool(raw.get("tie_word_embeddings", False)),
        activation=ACTIVATIONS[raw.get("hidden_activation") or raw.get("hidden_act") or "silu"],
        windows=family.windows(raw, where),
        norm_eps=raw.get("rms_norm_eps", 1e-6),
        dtype=dtype,
        param_dtype=dtype,
        **rope_config.read(raw, where, local="rope_local_base_freq" in family.defaults, partial=family.partial),
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
    dtype = jnp.dtype(m.param_dtype).name
    if raw:
        out = dict(raw)
        out.pop("torch_dtype", None)
        return out | {"dtype": dtype}
    how = {"remat": "none", "scan_layers": False, "attention": "naive", "grouped": "blocks"}
    plain = dataclasses.replace(m, dtype=m.param_dtype, head="lm", **how)
    if m.rope_scaling:
        plain = dataclasses.replace(plain, rope_scaling=rope_config.plain(m.rope_scaling))
    for architecture in FAMILIES:  # the first that says all of it
        made = _made(m, architecture) | {"dtype": dtype}
        with contextlib.suppress(InputError):
            if to_config(made, architecture) == plain:
                return made
    raise InputError(
        "no architecture of transformers has this model's flags together: qk_norm, qkv_bias, o_bias, mlp_bias, "
        "windows, rotated, norms, activation and so on"
    )


def _made(m: Config, architecture: str) -> dict[str, Any]:
    """config.json with what this architecture can say of the model."""
    family, scaling = FAMILIES[architecture], m.rope_scaling
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == m.activation)
    more = {}
    if architecture not in ("Qwen2ForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM"):
        more["attention_bias"] = m.qkv_bias
    if family.flags in (_llama, _smollm3):
        more["mlp_bias"] = m.mlp_bias
    if family.windows in (_all_windows, _same_windows):
        more["sliding_window"] = max(m.windows, default=None)
        more |= {"use_sliding_window": bool(m.windows)} if family.windows is _same_windows else {}
    elif m.windows:
        kinds = [f"{'sliding' if window else 'full'}_attention" for window in m.windows]
        more |= {"sliding_window": max(m.windows), "layer_types": kinds, "use_sliding_window": True}
    elif family.windows is _local_windows:
        more["layer_types"] = ["full_attention"] * m.layers
    if architecture == "Phi3ForCausalLM" and scaling and scaling.kind == "longrope":
        more["original_max_position_embeddings"] = scaling.original_context  # it reads no other
    if family.flags is _qwen3_moe:
        more |= {"num_experts": m.experts, "num_experts_per_tok": m.experts_per_token, "norm_topk_prob": m.norm_topk}
        more["mlp_only_layers"] = [i for i in range(m.layers) if not m.has_experts(i)]
        more["moe_intermediate_size"] = m.d_expert
    if family.flags is _smollm3:
        more["no_rope_layers"] = [int(x) for x in m.rotated or (True,) * m.layers]
    if family.windows is _local_windows:
        more |= {"query_pre_attn_scalar": m.query_scalar, "hidden_activation": activation}
        more |= {"attn_logit_softcapping": m.attention_cap, "final_logit_softcapping": m.logit_cap}
    return {
        "architectures": [architecture],
        "model_type": family.model_type,
        "vocab_size": m.vocab_size,
        "hidden_size": m.d_model,
        "num_hidden_layers": m.layers,
        "num_attention_heads": m.heads,
        "num_key_value_heads": m.kv_heads,
        "head_dim": m.head_dim,
        "intermediate_size": m.d_ff,
        "hidden_act": activation,
        "max_position_embeddings": scaling.original_context if scaling and scaling.kind == "dynamic" else 32768,
        "rms_norm_eps": m.norm_eps,
        "rope_parameters": rope_config.made(m, partial=family.partial),
        "tie_word_embeddings": m.tied,
        # of no tokenizer; left out, transformers would take ids of its own, some beyond the vocabulary
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
        **more,
    }


def architecture_of(raw: Mapping[str, Any], where: str) -> str:
    """Row of FAMILIES that a config.json names.

    Raises:
      InputError: it names none; the nearest is said where it is one.
    """
    there = [str(name) for name in raw.get("architectures") or []]
    for name in there:
        if name in FAMILIES:
            return name
    for name, family in FAMILIES.items():  # some folders have the type alone
        if not there and raw.get("model_type") == family.model_type:
            return name
    what = ", ".join(there) or f"model_type {raw.get('model_type')!r}"
    hint = ""
    if any("moe" in x.lower() or "mixtral" in x.lower() for x in (*there, str(raw.get("model_type")))):
        hint = " (a mixture of experts)"
    for name in there:
        stem, _, kind = name.partition("For")
        if kind and f"{stem}ForCausalLM" in FAMILIES:
            meant = kind.casefold() == "causallm"
            hint = f" ({stem}ForCausalLM is)" if meant else f" (its language model, saved as {stem}ForCausalLM, is)"
    raise InputError(f"{where}: architecture {what} is not supported{hint}: {', '.join(FAMILIES)} are")


def _dtype(raw: Mapping[str, Any], where: str) -> Any:
    name = str(raw.get("dtype") or raw.get("torch_dtype") or "float32").removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"{where}: dtype {name!r} is not supported: {', '.join(DTYPES)} are")
    return DTYPES[name]
