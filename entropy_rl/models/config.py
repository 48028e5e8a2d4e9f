"""The shape of a Transformer (models/transformer.py), and how it is computed."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from entropy_rl.errors import InputError, lookup
from entropy_rl.models import attention, experts, rope


@dataclasses.dataclass(frozen=True)
class Config:
    """Shape of a Transformer. Ready-made ones are in models/presets.py."""

    vocab_size: int
    d_model: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    d_ff: int
    head: str = "lm"  # or "value": one number a token, a critic
    tied: bool = True  # logits = hidden @ embedding^T
    qk_norm: bool = True  # Qwen3
    qkv_bias: bool = False  # Qwen2
    o_bias: bool = False  # with qkv_bias: Llama's and Qwen3's attention_bias
    mlp_bias: bool = False
    rope_theta: float = 1e6
    rope_scaling: rope.Scaling | None = None
    windows: tuple[int, ...] = ()  # of each layer, tokens that are seen, the own one the last; 0, or (): all
    rotated: tuple[bool, ...] = ()  # of each layer, whether q and k get positions; (): in all
    rotary_dim: int | None = None  # of each head, so many first dimensions get positions (Phi-4-mini); None: all
    local_theta: float | None = None  # of layers with a window, unscaled (Gemma 3); None: as the others
    norms: str = "before"  # attention and MLP; "after" (OLMo-2) or "both" (Gemma)
    norm_offset: float = 0.0  # what is added to the norms' scales; 1 (Gemma)
    qk_norm_whole: bool = False  # with qk_norm: over all heads at once (OLMo-2)
    activation: str = "silu"  # a row of ACTIVATIONS
    embed_scale: bool = False  # embeddings times sqrt(d_model) (Gemma)
    query_scalar: float | None = None  # scores are q k / sqrt(query_scalar); None: head_dim
    attention_cap: float | None = None  # c: scores become c tanh(score / c) (Gemma 2)
    logit_cap: float | None = None  # the same of logits
    experts: int = 0  # of each sparse layer (models/experts.py); 0: all layers are dense
    experts_per_token: int = 0
    d_expert: int = 0  # d_ff of an expert
    sparse: tuple[bool, ...] = ()  # of each layer, whether it has experts; (): all, where there are any
    norm_topk: bool = True  # the weights of a token's experts sum to 1
    grouped: str = "blocks"  # one of experts.GROUPED
    norm_eps: float = 1e-6
    dtype: Any = jnp.float32  # of activations
    param_dtype: Any = jnp.float32
    remat: str = "none"  # what the backward pass makes again: a row of REMAT
    scan_layers: bool = False  # whether layers that are alike are a loop over one, but for decode steps (layers.py)
    attention: str = "naive"  # one of attention.ATTENTION

    def __post_init__(self):
        for field in OLD_NAMES:
            object.__setattr__(self, field, current_name(field, getattr(self, field)))
        for field, plain in (("windows", 0), ("rotated", True), ("sparse", True)):
            value = tuple(getattr(self, field))
            if value and len(value) != self.layers:
                raise InputError(f"{field}={value} says something of {len(value)} layers: there are {self.layers}")
            object.__setattr__(self, field, () if all(x == plain for x in value) else value)
        for field in ("d_model", "heads", "kv_heads", "head_dim", "d_ff"):
            if getattr(self, field) < 1:
                raise InputError(f"{field}={getattr(self, field)}: must be 1 or more")
        if self.heads % self.kv_heads:
            raise InputError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}: give a divisor")
        if self.norms not in NORMS:
            raise InputError(f"norms={self.norms!r}: must be one of {', '.join(NORMS)}")
        lookup(ACTIVATIONS, self.activation, "activation")
        experts.check(self)
        if self.rotary_dim is not None and (self.rotary_dim % 2 or not 0 < self.rotary_dim < self.head_dim):
            raise InputError(f"rotary_dim={self.rotary_dim}: must be even and below the head's {self.head_dim}")
        if self.attention_cap is not None and self.attention in attention.UNCAPPED:
            raise InputError(f"attention={self.attention!r} has no soft cap of scores: give naive or chunked")

    def window(self, layer: int) -> int:
        """Tokens that a layer's token sees, its own the last; 0: all."""
        return self.windows[layer] if self.windows else 0

    def has_experts(self, layer: int) -> bool:
        """Whether a layer's MLP is a mixture."""
        return self.experts > 0 and (not self.sparse or self.sparse[layer])


NORMS = ("before", "after", "both")
ACTIVATIONS = {"silu": nn.silu, "gelu_tanh": partial(nn.gelu, approximate=True)}
# What the values of two fields were called, in workdirs of before.
OLD_NAMES = {"remat": {"linear": "save_linear"}, "attention": {"own": "naive", "blocks": "chunked"}}


def current_name(field: str, value: Any) -> Any:
    """`value` of a field of Config, an old name replaced: ("attention", "blocks") -> "chunked"."""
    return OLD_NAMES.get(field, {}).get(value, value) if isinstance(value, str) else value


# What of a block is kept for the backward pass: all; what its linear layers give, so nothing that is as long as the
# context squared; or its input alone, for a quarter more arithmetic. XLA's CPU backend drops the barriers that keep
# recomputation late, so that memory is saved on accelerators only.
REMAT = {
    "none": None,
    "save_linear": jax.checkpoint_policies.save_only_these_names("linear"),
    "block": jax.checkpoint_policies.nothing_saveable,
}
