"""Ready-made shapes of the one Transformer. Families of Hugging Face folders are in models/families.py."""

from __future__ import annotations

import dataclasses

from entropy_rl.errors import lookup
from entropy_rl.models.config import Config
from entropy_rl.models.transformer import Transformer


def _of_width(d: int, **more) -> Config:
    """One shape whose width alone changes, for studies of size: 23 d^2 + 5 d parameters besides the embedding."""
    shape = {"vocab_size": 0, "d_model": d, "layers": 2, "heads": 4, "kv_heads": 4, "head_dim": d // 4}
    return Config(**shape, d_ff=5 * d // 2, qk_norm=False, rope_theta=1e4, **more)


PRESETS = {
    # The embedded default: 0.1 M parameters, learns Countdown from scratch on a laptop.
    "embedded": _of_width(64),
    # 0.9 M: four layers, for studies of size on a CPU.
    "small": Config(vocab_size=0, d_model=128, layers=4, heads=4, kv_heads=2, head_dim=32, d_ff=384, rope_theta=1e4),
    # 12 M with a vocabulary of 32,000, two thirds of it embedding: the larger size that other trainers are timed at.
    "medium": Config(vocab_size=0, d_model=256, layers=4, heads=4, kv_heads=2, head_dim=64, d_ff=1024),
    **{f"width{d}": _of_width(d) for d in (32, 48, 64, 88, 128)},
    # The embedded default with 8 experts, of which a token uses 2 of half its width: as many active parameters, but for
    # the routers' 1,024, and 0.28 M in all.
    "moe": _of_width(64, experts=8, experts_per_token=2, d_expert=80),
    # What experiments/plan.py knows without a folder: their config.json (Qwen/Qwen2.5-*, on the Hugging Face hub).
    # In the order of Config: vocab_size, d_model, layers, heads, kv_heads, head_dim, d_ff.
    "qwen2.5-1.5b": Config(151_936, 1536, 28, 12, 2, 128, 8960, qk_norm=False, qkv_bias=True),
    "qwen2.5-7b": Config(152_064, 3584, 28, 28, 4, 128, 18_944, tied=False, qk_norm=False, qkv_bias=True),
    "qwen2.5-32b": Config(152_064, 5120, 64, 40, 8, 128, 27_648, tied=False, qk_norm=False, qkv_bias=True),
    "qwen3-30b-a3b": Config(  # Qwen/Qwen3-30B-A3B
        vocab_size=151_936,
        d_model=2048,
        layers=48,
        heads=32,
        kv_heads=4,
        head_dim=128,
        d_ff=6144,
        tied=False,
        experts=128,
        experts_per_token=8,
        d_expert=768,
        grouped="ragged",
    ),
    # Two layers of almost nothing: for tests and `:smoke` configs.
    "test": Config(vocab_size=0, d_model=32, layers=2, heads=4, kv_heads=2, head_dim=8, d_ff=64, rope_theta=1e4),
}


def make(name: str, vocab_size: int, **overrides) -> Transformer:
    """The preset `name` with the tokenizer's vocabulary and any field of Config changed.

    Raises:
      InputError: there is no such preset.
    """
    config = lookup(PRESETS, name, "model preset")
    return Transformer(dataclasses.replace(config, vocab_size=vocab_size, **overrides))
