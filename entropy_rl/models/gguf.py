"""GGUF files, as llama.cpp and its kin use them, to Hugging Face folders.

    gguf.convert("SmolLM2-135M-Instruct.Q4_1.gguf", "runs/smollm2/model")
    model, params = hf.load("runs/smollm2/model")

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; it is parsed, and its blocks are dequantised, by
the package `gguf` of the llama.cpp project. Architectures llama, qwen2 and qwen3; pre-tokenizers of PRE. What is not
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from entropy_rl import files
from entropy_rl.errors import InputError, lookup
from entropy_rl.models import hf, rope
from entropy_rl.models.families import DTYPES, from_config, tensor_names
from entropy_rl.models.transformer import Config, Transformer

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# Hyper-parameters (ARCHITECTURE.NAME) that are read here, or that change nothing of the model.
_READ = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base", "rope.scaling.type"),
    *("rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.finetuned"),
    *("rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"),
)
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
# Kinds of tokens (tokenizer.ggml.token_type). Unused ones fill the vocabulary up to the embedding's rows.
_NORMAL, _CONTROL, _USER, _UNUSED = 1, 3, 4, 5


@dataclasses.dataclass(frozen=True)
class Pre:
    """A pre-tokenizer of llama.cpp as the tokenizer.json has it that it was made from.

    Attributes:
      split: parts of its pre-tokenizer before the one that makes characters of bytes.
      gpt2: whether that one also splits by GPT-2's pattern.
      nfc: whether texts are put into Unicode's normal form C first.
      whole: whether a word of the vocabulary is a token without regard to the merges (ignore_merges).
      bos: whether the begin token comes first where the file does not say.
    """

    split: tuple[Mapping[str, Any], ...] = ()
    gpt2: bool = False
    nfc: bool = False
    whole: bool = False
    bos: bool = False


def _pattern(digits: str) -> Mapping[str, Any]:
    """The words of tiktoken's cl100k, with runs of so many digits."""
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    return {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}


_LLAMA3 = Pre(split=(_pattern(r"\p{N}{1,3}"),), whole=True, bos=True)
# tokenizer.ggml.pre: the names and groups of llama.cpp's src/llama-vocab.cpp
PRE = {
    "gpt-2": Pre(gpt2=True),
    "smollm": Pre(split=({"type": "Digits", "individual_digits": True},), gpt2=True),
    "qwen2": Pre(split=(_pattern(r"\p{N}"),), nfc=True),
    "llama-bpe": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama3": _LLAMA3,
}


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
    file = _File(Path(path))
    kind = jnp.dtype(lookup(DTYPES, dtype, "dtype"))
    config = dataclasses.replace(_config(file), dtype=kind, param_dtype=kind)
    leaves = _leaves(file, config, kind)
    texts = _tokenizer(file, config.vocab_size)
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


_NEEDED = object()


class _File:
    """A GGUF file of a supported architecture: its keys, and its tensors by name."""

    def __init__(self, path: Path):
        try:
            import gguf
        except ImportError:
            raise InputError("reading a GGUF file needs gguf: pip install 'entropy_rl[gguf]'") from None
        self.path, self.dequantise = path, gguf.dequantize
        self._reader = _opened(path, gguf.GGUFReader)
        if self._reader.byte_order != "I":
            raise InputError(f"{path} is of another byte order than this machine: convert it there, or fetch another")
        kind = self.get("general.type", str, "model")
        if kind != "model":
            raise InputError(f"{path} holds no model but: {kind}: give the file of a model")
        self.architecture = self.get("general.architecture", str)
        if self.architecture not in ARCHITECTURES:
            there = ", ".join(ARCHITECTURES)
            raise InputError(f"{path}: architecture {self.architecture!r} is not supported: {there} are")
        if self.get("split.count", int, 1) > 1:
            raise InputError(f"{path} is one part of several: join them (llama-gguf-split --merge) and give the whole")
        for key in self._reader.fields:
            start, _, name = key.partition(".")
            if start == self.architecture and name not in _READ:
                raise InputError(f"{path}: {key}={self.get(key)} is not supported: give another model")
        self.tensors = {x.name: x for x in self._reader.tensors}

    def get(self, key: str, kind: type | None = None, default: Any = _NEEDED) -> Any:
        """The value of a key, of a type; floats as the shortest decimal that is the float32 of the file."""
        if key not in self._reader.fields:
            if default is _NEEDED:
                raise InputError(f"{self.path} has no key {key}: fetch it again, or give another file")
            return default
        try:
            value = self._reader.fields[key].contents()
        except UnicodeDecodeError as e:
            raise InputError(f"{self.path} is damaged (the text of {key}: {e}): fetch it again") from None
        if isinstance(value, float):
            value = float(str(np.float32(value)))
        if kind is float and type(value) is int:
            value = float(value)
        if kind is not None and type(value) is not kind:
            raise InputError(f"{self.path}: {key} is {str(value)[:80]}, not one {kind.__name__}: give another file")
        return value

    def hyper(self, name: str, kind: type, default: Any = _NEEDED) -> Any:
        """The value of a hyper-parameter of the architecture."""
        return self.get(f"{self.architecture}.{name}", kind, default)

    def read(self, name: str) -> np.ndarray:
        """A tensor in float32, in transformers' order of dimensions."""
        x = self.tensors[name]
        try:
            with np.errstate(all="ignore"):  # what is not finite is named below
                values = self.dequantise(x.data, x.tensor_type)
        except NotImplementedError:
            what = f"{self.path}: tensor {name} is of type {x.tensor_type.name}"
            raise InputError(f"{what}, which the package gguf cannot dequantise: give a file of another type") from None
        values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: tensor {name} has values that are not finite: fetch the file again")
        return values


def _opened(path: Path, reader: Any) -> Any:
    """The package's reader of a file. Of a damaged one it raises whatever the first wrong bytes lead to."""
    try:
        with open(path, "rb") as f:
            magic = f.read(4)
    except OSError as e:
        raise InputError(f"{path}: {e.strerror}: give a GGUF file") from None
    if magic != b"GGUF":
        raise InputError(f"{path} is no GGUF file: it does not begin with GGUF")
    try:
        return reader(path)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as e:
        said = str(e).splitlines()[0] if str(e) else type(e).__name__
        if "GGMLQuantizationType" in said:
            raise InputError(
                f"{path}: a tensor is quantised in a type that the package gguf does not know ({said}): give a file of "
                "another type, or upgrade gguf"
            ) from None
        raise InputError(f"{path} is truncated or damaged ({said}): fetch it again") from None


def _config(file: _File) -> Config:
    """The shape of the model, from keys and from which tensors there are."""
    heads, width = file.hyper("attention.head_count", int), file.hyper("embedding_length", int)
    head_dim = file.hyper("attention.key_length", int, width // max(heads, 1))
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
        kv_heads=file.hyper("attention.head_count_kv", int, heads),
        head_dim=head_dim,
        d_ff=file.hyper("feed_forward_length", int),
        tied="output.weight" not in file.tensors,
        qk_norm=file.architecture == "qwen3",
        qkv_bias=file.architecture == "qwen2" or "blk.0.attn_q.bias" in file.tensors,
        o_bias="blk.0.attn_output.bias" in file.tensors,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensors,
        rope_theta=theta,
        rope_scaling=_scaling(file, head_dim, theta),
        norm_eps=file.hyper("attention.layer_norm_rms_epsilon", float),
    )


def _scaling(file: _File, head_dim: int, theta: float) -> rope.Scaling | None:
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


def _llama3(file: _File, head_dim: int, theta: float) -> rope.Scaling:
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


def _tensor(file: _File, name: str) -> Any:
    if name not in file.tensors:
        raise InputError(f"{file.path} lacks tensor {name}: fetch it again, or give another file")
    return file.tensors[name]


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """A parameter that is dequantised when hf.save asks for it as an array."""

    file: _File
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


def _leaves(file: _File, config: Config, dtype: np.dtype) -> dict[str, _Leaf]:
    """Path of each of our parameters -> where it comes from. Each tensor is asked for once, or the first is named."""
    shapes = hf.abstract_params(Transformer(config))
    shapes = {k: x.shape for k, x in traverse_util.flatten_dict(shapes["params"], sep="/").items()}
    leaves, seen, types = {}, {_FREQUENCIES}, set()
    for ours, (name, transposed) in tensor_names(config).items():
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


def _tokenizer(file: _File, rows: int) -> dict[str, str]:
    """Texts of the tokenizer's files and of generation_config.json, by name."""
    key = "tokenizer.ggml."
    model = file.get(key + "model", str)
    if model != "gpt2":
        raise InputError(f"{file.path}: tokenizer {model!r} is not supported: byte-level BPE ('gpt2') is")
    name = file.get(key + "pre", str)
    if name not in PRE:
        raise InputError(f"{file.path}: pre-tokenizer {name!r} is not supported: {', '.join(PRE)} are")
    pre = PRE[name]
    if file.get(key + "add_space_prefix", bool, False):
        raise InputError(f"{file.path}: {key}add_space_prefix is not supported with byte-level BPE: give another model")
    tokens, kinds = (file.get(key + x, list) for x in ("tokens", "token_type"))
    if len(tokens) != len(kinds) or len(tokens) > rows:
        counts = f"{len(tokens)} tokens, {len(kinds)} kinds of them and {rows} rows of the embedding"
        raise InputError(f"{file.path} has {counts}: fetch it again")
    if odd := sorted(set(kinds) - {_NORMAL, _CONTROL, _USER, _UNUSED}):
        token = tokens[kinds.index(odd[0])]
        raise InputError(f"{file.path}: token {token!r} is of kind {odd[0]}, which byte-level BPE has not")
    ids: dict[str, int] = {}
    for i, (token, kind) in enumerate(zip(tokens, kinds)):
        if kind != _UNUSED and ids.setdefault(token, i) != i:
            raise InputError(f"{file.path} has token {token!r} twice, {ids[token]} and {i}: fetch it again")
    merges = [tuple(x.split(" ")) for x in file.get(key + "merges", list)]
    if odd := [x for x in merges if len(x) != 2]:
        raise InputError(f"{file.path}: merge {' '.join(odd[0])!r} is not of two tokens: fetch it again")

    def special(which: str, needed: bool = False) -> int | None:
        i = file.get(f"{key}{which}_token_id", int, _NEEDED if needed else None)
        if i is not None and not (0 <= i < len(tokens) and kinds[i] != _UNUSED):
            raise InputError(f"{file.path}: {key}{which}_token_id={i} is no token of its vocabulary: fetch it again")
        return i

    bos, eos, pad, unk = special("bos"), special("eos", needed=True), special("padding"), special("unknown")
    first = [bos] if file.get(key + "add_bos_token", bool, pre.bos) else []
    last = [eos] if file.get(key + "add_eos_token", bool, False) else []
    if None in first:
        raise InputError(
            f"{file.path} has no key {key}bos_token_id, and texts begin with that token: give another file"
        )
    made = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind == _CONTROL,
            }
            for i, (token, kind) in enumerate(zip(tokens, kinds))
            if kind in (_CONTROL, _USER)
        ],
        "normalizer": {"type": "NFC"} if pre.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*pre.split, _bytes(use_regex=pre.gpt2)]},
        "post_processor": _around(tokens, first, last) if first or last else _bytes(),
        "decoder": _bytes(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre.whole,
            "vocab": ids,
            "merges": merges,
        },
    }
    text = json.dumps(made, ensure_ascii=False)
    _check(file.path, text)
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "unk_token": unk}
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{k: tokens[i] for k, i in named.items() if i is not None},
        "model_max_length": file.hyper("context_length", int),
        "clean_up_tokenization_spaces": False,
    }
    if templates := _templates(file):
        about["chat_template"] = templates
    ends = list(dict.fromkeys(i for i in (eos, special("eot"), special("eom")) if i is not None))
    generation = {"bos_token_id": bos, "eos_token_id": ends, "pad_token_id": pad}
    generation = {k: v for k, v in generation.items() if v is not None}
    return {
        "tokenizer.json": text,
        "tokenizer_config.json": json.dumps(about, indent=2, ensure_ascii=False),
        "generation_config.json": json.dumps(generation, indent=2),
    }


def _bytes(use_regex: bool = True) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _around(tokens: list[str], first: list[int], last: list[int]) -> dict[str, Any]:
    """The post-processor that puts tokens before and after each text."""

    def parts(sequence: str, number: int) -> list[dict[str, Any]]:
        before, after = ([{"SpecialToken": {"id": tokens[i], "type_id": number}} for i in x] for x in (first, last))
        return [*before, {"Sequence": {"id": sequence, "type_id": number}}, *after]

    return {
        "type": "TemplateProcessing",
        "single": parts("A", 0),
        "pair": parts("A", 0) + parts("B", 1),
        "special_tokens": {tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in first + last},
    }


def _check(path: Path, text: str) -> None:
    """InputError where `tokenizers` does not take the file, such as for a merge of tokens that there are not."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError("writing a tokenizer.json needs tokenizers: pip install 'entropy_rl[gguf]'") from None
    try:
        Tokenizer.from_str(text)
    except Exception as e:  # tokenizers raises plain Exception
        raise InputError(f"{path}: its tokenizer is damaged ({e}): fetch it again") from e


def _templates(file: _File) -> str | list[dict[str, str]] | None:
    """The chat template, or all of them with their names, as tokenizer_config.json has them."""
    key = "tokenizer.chat_template"
    default, more = file.get(key, str, None), file.get("tokenizer.chat_templates", list, [])
    if not more:
        return default
    named = {"default": default} | {name: file.get(f"{key}.{name}", str) for name in more}
    return [{"name": name, "template": text} for name, text in named.items() if text is not None]
