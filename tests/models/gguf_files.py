"""Writes GGUF files of Hugging Face folders as llama.cpp's convert_hf_to_gguf.py does, for tests and parity.py.

Names of tensors are those of the package gguf, and the order of rows is that of llama.cpp's `permute`.
"""

import inspect
import json
import math
import pathlib

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from entropy_rl.models import families, hf, presets

SHAPES = {
    "llama": {"qk_norm": False, "tied": False},
    "qwen2": {"qk_norm": False, "qkv_bias": True, "tied": True},
    "qwen3": {"qk_norm": True, "tied": True, "head_dim": 16},
}
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
BEGIN, END, THINK = "<|begin|>", "<|end|>", "<think>"
ROOT = pathlib.Path(__file__).parents[2]


def letters(count):
    """A tokenizer of so many tokens with one merge: bytes, !!, and an end token that is the last."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet())[: count - 2], "!!"]
    tokenizer = Tokenizer(models.BPE({x: i for i, x in enumerate(words)}, [("!", "!")]))
    tokenizer.add_special_tokens([END])
    return tokenizer


def random_folder(path, architecture, rows, **shape):
    """A tiny model whose norms and biases are no ones and zeros."""
    model = presets.make("test", rows, **SHAPES[architecture] | shape)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(scale=0.3, size=x.shape).astype(x.dtype), shapes)
    hf.save(path, model, params)
    return path


def tiny(folder, architecture, **changes):
    """Path of a file of a tiny random model in a folder, beside the Hugging Face folder `theirs`."""
    tokenizer = changes.pop("tokenizer", None) or letters(64)
    rows = 1 + max(tokenizer.get_vocab().values())
    random_folder(folder / "theirs", architecture, rows, **changes.pop("shape", {}))
    return write(folder / "model.gguf", folder / "theirs", tokenizer=tokenizer, **changes)


def write(path, folder, *, tokenizer=None, kind="F32", pre="gpt-2", end=END, keys=None, drop=(), tensors=None):
    """Writes a file, and gives its path.

    Args:
      path: the file. folder: of the model.
      tokenizer: a tokenizers.Tokenizer; None: letters, as many as the embedding has rows.
      kind: type of the matrices; all else is F32.
      pre: name of its pre-tokenizer. end: its end token.
      keys: further keys, or others than the folder's; None as a value: there is none.
      drop: names of tensors that are left out. tensors: further ones.
    """
    raw, c = families.read_config(folder), hf.load_config(folder)
    keys, architecture = dict(keys or {}), raw["model_type"]
    spoken = keys.pop("general.architecture", architecture)
    tokenizer = tokenizer or letters(c.vocab_size)
    fields = {**shape(c, architecture, raw), **vocabulary(tokenizer, c.vocab_size), "tokenizer.ggml.pre": pre}
    fields |= {"tokenizer.ggml.eos_token_id": tokenizer.token_to_id(end), "tokenizer.chat_template": TEMPLATE} | keys
    writer = gguf.GGUFWriter(path, spoken)
    for key, value in fields.items():
        if value is not None:
            add(writer, key, value)
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= safetensors.numpy.load_file(file)
    stems = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), c.layers)
    for name, x in weights.items():
        stem, _, part = name.rpartition(".")
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            x = permute(x, c.heads if stem.endswith("q_proj") else c.kv_heads)
        put(writer, f"{stems.get_name(stem)}.{part}", x, kind if x.ndim == 2 else "F32", drop)
    if c.rope_scaling and c.rope_scaling.kind == "llama3":
        put(writer, "rope_freqs.weight", factors(c), "F32", drop)
    for name, x in (tensors or {}).items():
        put(writer, name, x, "F32", drop)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shape(c, architecture, raw):
    """Keys of the architecture."""
    out = {
        "block_count": c.layers,
        "context_length": raw.get("max_position_embeddings", 256),
        "embedding_length": c.d_model,
        "feed_forward_length": c.d_ff,
        "attention.head_count": c.heads,
        "attention.head_count_kv": c.kv_heads,
        "attention.key_length": c.head_dim,
        "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": float(c.norm_eps),
        "rope.freq_base": float(c.rope_theta),
    }
    if (s := c.rope_scaling) and s.kind != "llama3":
        out |= {"rope.scaling.type": s.kind, "rope.scaling.factor": float(s.factor)}
        if s.kind == "yarn":
            out["rope.scaling.original_context_length"] = s.original_context
    return {f"{architecture}.{k}": v for k, v in out.items()}


def vocabulary(tokenizer, rows):
    """Keys of a tokenizer, filled up to the rows of the embedding."""
    by_id = {i: token for token, i in tokenizer.get_vocab(with_added_tokens=True).items()}
    added = tokenizer.get_added_tokens_decoder()
    kinds = [gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED for i in range(rows)]
    for i, token in added.items():
        kinds[i] = gguf.TokenType.CONTROL if token.special else gguf.TokenType.USER_DEFINED
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [by_id.get(i, f"[PAD{i}]") for i in range(rows)],
        "tokenizer.ggml.token_type": [int(kind) for kind in kinds],
        "tokenizer.ggml.merges": [x if isinstance(x, str) else " ".join(x) for x in merges],
    }


def add(writer, key, value):
    """A key of the type that the value has."""
    kinds = {bool: "bool", int: "uint32", float: "float32", str: "string", list: "array"}
    getattr(writer, f"add_{kinds[type(value)]}")(key, value)


def put(writer, name, x, kind, drop):
    """A tensor of a type."""
    if name not in drop:
        kind = gguf.GGMLQuantizationType[kind]
        x = gguf.quants.quantize(np.ascontiguousarray(x, np.float32), kind)
        writer.add_tensor(name, x, raw_dtype=kind)


def permute(x, heads):
    """As llama.cpp's converter, of [heads * D, ...]."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def factors(c):
    """rope_freqs of a Llama 3, as llama.cpp's converter has it."""
    out, s = [], c.rope_scaling
    for i in range(0, c.head_dim, 2):
        wave = 2 * math.pi * c.rope_theta ** (i / c.head_dim)
        smooth = (s.original_context / wave - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
        out.append(1 / ((1 - min(max(smooth, 0), 1)) / s.factor + min(max(smooth, 0), 1)))
    return np.array(out, np.float32)


# Originals: pre-tokenizers as in the tokenizer.json of SmolLM2, GPT-2, Qwen2.5 and Llama 3; patterns from transformers.
def pre_tokenizer(name):
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    tiktoken = inspect.signature(TikTokenConverter.__init__).parameters["pattern"].default
    pattern = {"qwen2": PRETOKENIZE_REGEX, "llama-bpe": tiktoken}.get(name)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    parts = {"smollm": [pre_tokenizers.Digits(individual_digits=True)], "gpt-2": []}
    first = parts[name] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    return pre_tokenizers.Sequence([*first, words]) if first else words


def original(name):
    """A byte-level BPE tokenizer with the pre-tokenizer `name` of llama.cpp, as a tokenizer.json has it."""
    old = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    old.pre_tokenizer, old.decoder = pre_tokenizer(name), decoders.ByteLevel()
    if name == "qwen2":
        old.normalizer = normalizers.NFC()
    inside = name in ("smollm", "gpt-2")  # special tokens in the model's vocabulary, or behind it
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[BEGIN, END] if inside else [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # digits in runs and words that only one pre-tokenizer makes, so that another one gives other ids
    words = [f"{i} {i * i} x{i} WE'LL we'll don't\n\n  caf\u00e9 " for i in range(1000)]
    old.train_from_iterator([*words, (ROOT / "entropy_rl" / "files.py").read_text()] * 2, trainer)
    # a word that no merge leads to: a token only where merges are ignored for whole words
    state = json.loads(old.to_str())
    state["model"]["vocab"]["\u0120unreached"] = old.get_vocab_size()
    old = Tokenizer.from_str(json.dumps(state))
    old.add_special_tokens([BEGIN, END])
    old.add_tokens([AddedToken(THINK, normalized=False)])
    if name == "llama-bpe":
        special = [(BEGIN, old.token_to_id(BEGIN))]
        old.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN}:1 $B:1", special_tokens=special
        )
    return old


def sentences():
    """Code, digits, accents (composed or not), emoji, other scripts, white space, special tokens, and random ones."""
    out = [
        "def f(x):\n    return x**2 + 12345.678e-9  # tab\there\r\n\r\n\tpass\n",
        "0 00 000 0000 1234567890 x1y22z333 \u0663\u0664\u0665 \u00b2\u00bd \u216b 3,141.59",
        "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m A\u030angstrom \u1e9b\u0323 \ufb01",
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f!!",
        "\u4f60\u597d\uff0c\u4e16\u754c \ud55c\uad6d\uc5b4",
        "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439",
        "\u0645\u0631\u062d\u0628\u0627",
        "  two   three\n\n\n four \t\t five \u00a0\u2003 \n ",
        "It is unreached, unreached unreachedly",
        "I'LL we'll DON'T don't it's IT'S they've 'tis",
        f"{BEGIN}user\nhi{END}\n{THINK} 12 {THINK}x{END}",
        "",
        " ",
        "\n",
        "\x00\x7f\ufffd\ud7ff",
    ]
    rng = np.random.default_rng(0)
    letters = list("ab Z09 \n\t'.,;()=+-<|>\u00e9e\u0301\u4e2d\U0001f600\u0665\u00b2\u00a0\r") + ["'s", "'LL", "12"]
    out += ["".join(rng.choice(letters, rng.integers(1, 40))) for _ in range(1000)]
    return out + (ROOT / "entropy_rl" / "advantages.py").read_text().splitlines(keepends=True)
