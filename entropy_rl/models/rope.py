"""Frequencies of rotary positions, and how they are stretched for contexts beyond the one a model was first trained on.

Base: w_i = theta^(-2i / D), i = 0 .. D/2 - 1 (arXiv:2104.09864). The stretched ones follow transformers 5
(modeling_rope_utils), whose checkpoints name them, operation by operation in float32: a last bit of w_i is a radian's
thousandth at position 10,000.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.errors import lookup


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How frequencies are stretched; which numbers are read depends on the kind, a row of `KINDS`.

    Attributes:
      kind: "linear", "dynamic", "llama3", "yarn" or "longrope".
      factor: by which the context grows.
      original_context: tokens of the context before.
      low_freq_factor, high_freq_factor: of llama3.
      beta_fast, beta_slow: of yarn.
      attention_factor: multiplier of cos and sin, of yarn (None: 0.1 ln(factor) + 1) and of longrope (None:
        sqrt(1 + ln(factor) / ln(original_context))).
      truncate: of yarn, whether its range of dimensions is rounded outwards to whole ones.
      short_factor, long_factor: of longrope, D / 2 divisors each.
    """

    kind: str
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()


# Kinds whose frequencies depend on how long the rows are.
BY_LENGTH = ("dynamic", "longrope")


def by_length(scaling: Scaling | None) -> bool:
    """Whether the frequencies depend on how long the rows are."""
    return scaling is not None and scaling.kind in BY_LENGTH


def base(head_dim: int, theta: float) -> np.ndarray:
    """theta^(-2i / D): f32[D / 2]."""
    return (1.0 / np.float32(theta) ** (np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim))).astype(
        "f4"
    )


def linear(head_dim: int, theta: float, s: Scaling, length: int) -> tuple[np.ndarray, float]:
    """w_i / factor: position interpolation (arXiv:2306.15595)."""
    return base(head_dim, theta) / np.float32(s.factor), 1.0


def llama3(head_dim: int, theta: float, s: Scaling, length: int) -> tuple[np.ndarray, float]:
    """Llama 3.1's: long waves by the factor, short ones not at all, those between in proportion.

    With wavelength l = 2 pi / w and context L: w / factor where l > L / low, w where l < L / high, else
    (1 - t) w / factor + t w with t = (L / l - low) / (high - low).
    """
    w = base(head_dim, theta)
    wavelength = np.float32(2 * math.pi) / w
    low, high, context = np.float32(s.low_freq_factor), np.float32(s.high_freq_factor), np.float32(s.original_context)
    smooth = (context / wavelength - low) / (high - low)
    between = (1 - smooth) * w / np.float32(s.factor) + smooth * w
    out = np.where(wavelength > context / low, w / np.float32(s.factor), w)
    middle = (wavelength >= context / high) & (wavelength <= context / low)
    return np.where(middle, between, out).astype(np.float32), 1.0


def yarn(head_dim: int, theta: float, s: Scaling, length: int) -> tuple[np.ndarray, float]:
    """YaRN (arXiv:2309.00071): interpolation for dimensions that turn seldom, none for those that turn often.

    Between the dimensions that turn beta_fast and beta_slow times in the original context a ramp leads from one to the
    other; cos and sin are multiplied by the attention factor.
    """

    def dimension(turns):
        return head_dim * math.log(s.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(s.beta_fast), dimension(s.beta_slow)
    if s.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high += 0.001 if low == high else 0
    ramp = np.clip((np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    w = base(head_dim, theta)
    keep = 1 - ramp
    factor = s.attention_factor
    if factor is None:
        factor = 0.1 * math.log(s.factor) + 1.0 if s.factor > 1 else 1.0
    return (w / np.float32(s.factor) * (1 - keep) + w * keep).astype(np.float32), factor


def dynamic(head_dim: int, theta: float, s: Scaling, length: int) -> tuple[np.ndarray, float]:
    """Dynamic NTK: theta (factor L / C - factor + 1)^(D / (D - 2)) in rows of L tokens, L above the context C.

    Departure: L is how many columns the rows have, filled or not, and one number for a prompt and its response to come,
    so that a response has the same probabilities when it is sampled and when it is trained on. transformers takes the
    longest position of the call, and while it generates leaves cached keys turned as they were with another L.
    """
    if length > s.original_context:
        grown = np.float32(s.factor * length) / np.float32(s.original_context) - np.float32(s.factor - 1)
        theta = float(np.float32(theta) * grown ** np.float32(head_dim / (head_dim - 2)))
    return base(head_dim, theta), 1.0


def longrope(head_dim: int, theta: float, s: Scaling, length: int) -> tuple[np.ndarray, float]:
    """LongRoPE (arXiv:2402.13753): w_i / short_i in rows of at most the original context, w_i / long_i in longer ones.

    How long rows are: as in `dynamic`, where transformers goes over from one to the other within a response.
    """
    factors = np.asarray(s.long_factor if length > s.original_context else s.short_factor, np.float32)
    power = np.float32(theta) ** (np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim))
    factor = s.attention_factor
    if factor is None:
        factor = math.sqrt(1 + math.log(s.factor) / math.log(s.original_context)) if s.factor > 1 else 1.0
    return (1.0 / (factors * power)).astype(np.float32), factor


KINDS = {"linear": linear, "dynamic": dynamic, "llama3": llama3, "yarn": yarn, "longrope": longrope}


def frequencies(head_dim: int, theta: float, scaling: Scaling, length: int = 0) -> tuple[np.ndarray, float]:
    """(w f32[D / 2], multiplier of cos and sin) of a scaling, in rows of `length` tokens where it is `by_length`.

    Raises:
      InputError: there is no such kind.
    """
    return lookup(KINDS, scaling.kind, "rope scaling")(head_dim, theta, scaling, length)


def rotary(
    positions: jax.Array, head_dim: int, theta: float, scaling: Scaling | None = None, length: int = 0
) -> tuple[jax.Array, jax.Array]:
    """cos and sin of position * theta^(-2i / D): i32[B, T] -> f32[B, T, 1, D / 2] each; stretched by a scaling, in rows
    of `length` tokens.

    Behind a barrier: XLA on CPU would compute them again for every head, in every layer and in every fusion.
    """
    half = head_dim // 2
    factor = 1.0
    if scaling is None:
        frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    else:
        frequency, factor = frequencies(head_dim, theta, scaling, length)
    angle = positions[..., None, None].astype(jnp.float32) * frequency.reshape(1, 1, 1, half)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if factor != 1.0:
        cos, sin = cos * factor, sin * factor
    return jax.lax.optimization_barrier((cos, sin))


@jax.custom_vjp
def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary position embedding, halves convention (arXiv:2104.09864; the layout of Llama and Qwen): [B, T, H, D], of
    the first 2 n dimensions where cos and sin are [..., n].

    Its gradient is the rotation back; the derived one would pad and add each half on its own.
    """
    half = cos.shape[-1]
    a, b = x[..., :half].astype(jnp.float32), x[..., half : 2 * half].astype(jnp.float32)
    turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
    return turned if 2 * half == x.shape[-1] else jnp.concatenate([turned, x[..., 2 * half :]], axis=-1)


rotate.defvjp(
    lambda x, cos, sin: (rotate(x, cos, sin), (cos, sin)),
    lambda residuals, g: (rotate(g, residuals[0], -residuals[1]), None, None),
)
