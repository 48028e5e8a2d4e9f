"""GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): keys, tensors, and the tokenizer in them.

Parsed, and their blocks dequantised, by the package `gguf` of the llama.cpp project. models/gguf.py makes models of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.errors import InputError

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# Hyper-parameters (ARCHITECTURE.NAME) that are read here, or that change nothing of the model.
_READ = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base", "rope.scaling.type"),
    *("rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.finetuned"),
    *("rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"),
)
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


_NEEDED = object()


class File:
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


def tokenizer_files(file: File, rows: int) -> dict[str, str]:
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


def _templates(file: File) -> str | list[dict[str, str]] | None:
    """The chat template, or all of them with their names, as tokenizer_config.json has them."""
    key = "tokenizer.chat_template"
    default, more = file.get(key, str, None), file.get("tokenizer.chat_templates", list, [])
    if not more:
        return default
    named = {"default": default} | {name: file.get(f"{key}.{name}", str) for name in more}
    return [{"name": name, "template": text} for name, text in named.items() if text is not None]
