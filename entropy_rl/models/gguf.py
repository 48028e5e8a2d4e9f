"""GGUF files, as llama.cpp and its kin use them, to Hugging Face folders.

    gguf.convert("SmolLM2-135M-Instruct.Q4_1.gguf", "runs/smollm2/model")
    model, params = hf.load("runs/smollm2/model")

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; it is parsed, and its blocks are dequantised, by
the package `gguf` of the llama.cpp project (data/gguf.py). Architectures llama, qwen2 and qwen3. What is not
known is refused by name, every hyper-parameter of the architecture included: none is left out of the model in silence.

llama.cpp's converter changes these, and they are changed back: the rows of q and k of a llama (its rotary embedding
turns neighbouring dimensions, transformers' those half a head apart); Llama 3's rope scaling, which the file holds as a
tensor of factors; eps and theta, which it holds in float32. What the file does not hold is lost: a token that looks
special is special, and of the tokens that end a response those are left that the file names.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from entropy_rl import files
from entropy_rl.data.gguf import File, tokenizer_files
from entropy_rl.errors import InputError, lookup
from entropy_rl.models import hf, rope
from entropy_rl.models.config import Config
from entropy_rl.models.families import DTYPES, from_config
from entropy_rl.models.tensor_names import tensor_names
from entropy_rl.models.transformer import Transformer

# Parts of the names of tensors: transformers' and GGUF's.
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_INSIDE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"self_attn.{x}_norm": f"attn_{x}_norm" for x in "qk"},
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
}
_FREQUENCIES = "rope_freqs.weight"


def convert(
    path: str | Path, folder: str | Path, *, dtype: str = "float32", shard_bytes: int = 5_000_000_000
) -> Config:
    """Writes the Hugging Face folder of a GGUF file, all of it or nothing, and gives the model's Config.

    The folder has config.json, safetensors, tokenizer.json, tokenizer_config.json with the chat template, and
    generation_config.json. One tensor is dequantised at a time, and `shard_bytes` of them are held.

    Args:
      path: the file.
      folder: a new or empty one.
      dtype: of the weights, a row of families.DTYPES. float32 holds what F32, F16, BF16 and the dequantised blocks say
        exactly; in the others it is rounded to the nearest.
      shard_bytes: see hf.save.

    Raises:
      InputError: a file that is missing, truncated or no GGUF; an architecture, hyper-parameter, rope scaling, type of
        a tensor, tokenizer, pre-tokenizer or kind of token that is not supported; a key or tensor that is missing; a
        tensor that is not asked for, misshapen or not finite; a folder with files in it.
    """
    file = File(Path(path))
    kind = jnp.dtype(lookup(DTYPES, dtype, "dtype"))
    config = dataclasses.replace(_config(file), dtype=kind, param_dtype=kind)
    leaves = _leaves(file, config, kind)
    texts = tokenizer_files(file, config.vocab_size)
    raw = from_config(config) | {"max_position_embeddings": file.hyper("context_length", int)}
    # null where there is none: left out, transformers would take ids of its own
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        raw[f"{name}_token_id"] = file.get(f"tokenizer.ggml.{key}_token_id", int, None)
    with tempfile.TemporaryDirectory() as like:  # from where hf.save takes them, so that all appears at once
        for name, text in ({"config.json": json.dumps(raw, indent=2)} | texts).items():
            files.write(Path(like) / name, text)
        params = {"params": traverse_util.unflatten_dict(leaves, sep="/")}
        hf.save(folder, Transformer(config), params, like=like, shard_bytes=shard_bytes)
    return config


def _config(file: File) -> Config:
    """The shape of the model, from keys and from which tensors there are."""

    def count(name: str, *default: int) -> int:
        if (n := file.hyper(name, int, *default)) < 1:
            raise InputError(f"{file.path}: {file.architecture}.{name} is {n}, not 1 or more: fetch it again")
        return n

    heads, width = count("attention.head_count"), count("embedding_length")
    kv_heads, head_dim = count("attention.head_count_kv", heads), count("attention.key_length", width // heads)
    if heads % kv_heads:
        where = f"{file.path}: {file.architecture}.attention.head_count={heads}"
        raise InputError(f"{where} is no multiple of head_count_kv={kv_heads}: fetch it again")
    for name in ("attention.value_length", "rope.dimension_count"):
        if (other := file.hyper(name, int, head_dim)) != head_dim:
            where = f"{file.path}: {file.architecture}.{name}={other}"
            raise InputError(f"{where} is not supported beside heads of {head_dim}: give another model")
    embedding = _tensor(file, "token_embd.weight")
    rows = int(embedding.shape[-1])
    if (said := file.hyper("vocab_size", int, rows)) != rows:
        raise InputError(f"{file.path}: vocab_size is {said}, the embedding has {rows} rows: fetch the file again")
    layers = file.hyper("block_count", int)
    if layers > len(file.tensors):  # before a shape is made of them all
        where = f"{file.path}: {file.architecture}.block_count={layers}"
        raise InputError(f"{where} is more than its {len(file.tensors)} tensors: fetch it again")
    theta = file.hyper("rope.freq_base", float, 1e4)  # the format's own default
    return Config(
        vocab_size=rows,
        d_model=width,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        d_ff=count("feed_forward_length"),
        tied="output.weight" not in file.tensors,
        qk_norm=file.architecture == "qwen3",
        qkv_bias=file.architecture == "qwen2" or "blk.0.attn_q.bias" in file.tensors,
        o_bias="blk.0.attn_output.bias" in file.tensors,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensors,
        rope_theta=theta,
        rope_scaling=_scaling(file, head_dim, theta),
        norm_eps=file.hyper("attention.layer_norm_rms_epsilon", float),
    )


def _scaling(file: File, head_dim: int, theta: float) -> rope.Scaling | None:
    kind = file.hyper("rope.scaling.type", str, "none")
    if kind not in ("none", "linear", "yarn"):
        raise InputError(f"{file.path}: rope scaling {kind!r} is not supported: none, linear and yarn are")
    if kind == "none":
        return _llama3(file, head_dim, theta) if _FREQUENCIES in file.tensors else None
    if _FREQUENCIES in file.tensors:
        raise InputError(f"{file.path}: {_FREQUENCIES} beside rope scaling {kind!r} is not supported")
    factor = file.hyper("rope.scaling.factor", float)
    if kind == "linear":
        return rope.Scaling(kind, factor)
    return rope.Scaling(
        kind,
        factor,
        file.hyper("rope.scaling.original_context_length", int),
        beta_fast=file.hyper("rope.scaling.yarn_beta_fast", float, 32.0),
        beta_slow=file.hyper("rope.scaling.yarn_beta_slow", float, 1.0),
    )


def _llama3(file: File, head_dim: int, theta: float) -> rope.Scaling:
    """The scaling whose factors the file has, with the constants of all of Llama 3.1 to 3.3 but for the factor."""
    factors = file.read(_FREQUENCIES)
    scaling = rope.Scaling("llama3", float(factors.max()), 8192, 1.0, 4.0)
    want = rope.base(head_dim, theta) / rope.frequencies(head_dim, theta, scaling)[0]
    if factors.shape != want.shape or not np.allclose(factors, want, rtol=1e-5, atol=0):
        raise InputError(
            f"{file.path}: the factors in {_FREQUENCIES} are not those of Llama 3.1's rope scaling, and others are not "
            "supported: give another model"
        )
    return scaling


def _tensor(file: File, name: str) -> Any:
    if name not in file.tensors:
        raise InputError(f"{file.path} lacks tensor {name}: fetch it again, or give another file")
    return file.tensors[name]


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """A parameter that is dequantised when hf.save asks for it as an array."""

    file: File
    name: str
    transposed: bool
    heads: int  # whose rows are to be put back; 0: none
    dtype: Any
    nbytes: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        x = self.file.read(self.name)
        if self.heads:
            x = _unpermuted(x, self.heads)
        with np.errstate(over="ignore"):
            y = x.astype(self.dtype)
        if self.dtype != np.float32 and not np.isfinite(y.astype(np.float32)).all():
            raise InputError(f"{self.file.path}: tensor {self.name} goes beyond {self.dtype}: give another dtype")
        return y.T if self.transposed else y


def _unpermuted(x: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k, [heads * D, ...]: of a head (0, D/2, 1, D/2 + 1, ...) to (0, 1, ..., D - 1); biases as well."""
    half = x.shape[0] // heads // 2
    return x.reshape(heads, half, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def _theirs(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight."""
    stem, _, end = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{end}"
    number, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{_INSIDE[part]}.{end}"


def _leaves(file: File, config: Config, dtype: np.dtype) -> dict[str, _Leaf]:
    """Path of each of our parameters -> where it comes from. Each tensor is asked for once, or the first is named."""
    shapes = hf.abstract_params(Transformer(config))
    shapes = {k: x.shape for k, x in traverse_util.flatten_dict(shapes["params"], sep="/").items()}
    leaves, seen, types = {}, {_FREQUENCIES}, set()
    for ours, (name, transposed, _) in tensor_names(config).items():
        theirs = _theirs(name)
        x = _tensor(file, theirs)
        there, asked = tuple(x.shape.tolist()[::-1]), shapes[ours][::-1] if transposed else shapes[ours]
        if there != asked:
            raise InputError(f"{file.path}: tensor {theirs} has shape {there}, and its keys ask for {asked}")
        heads = {"q": config.heads, "k": config.kv_heads}.get(ours.split("/")[-2], 0)
        heads *= file.architecture == "llama"
        leaves[ours] = _Leaf(file, theirs, transposed, heads, dtype, int(np.prod(there)) * dtype.itemsize)
        if x.tensor_type not in types:  # an unknown type is found before anything is written
            file.read(theirs)
            types.add(x.tensor_type)
        seen.add(theirs)
    if extra := sorted(file.tensors.keys() - seen):
        raise InputError(f"{file.path} has tensor {extra[0]}, which a {file.architecture} has not: give another model")
    return leaves
