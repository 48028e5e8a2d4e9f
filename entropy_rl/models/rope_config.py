"""Rotary positions in a Hugging Face config.json, of transformers 4 and 5, to and from those of our Config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entropy_rl.errors import InputError, nearest
from entropy_rl.models import rope
from entropy_rl.models.config import Config

# Keys of a scaling in config.json that are called otherwise in rope.Scaling.
_OURS = {"original_max_position_embeddings": "original_context"}
_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor", "max_position_embeddings"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor", "original_max_position_embeddings", "factor"),
}
# Those that are written; of yarn and longrope also what is optional.
_WRITTEN = {
    **{kind: _REQUIRED[kind] for kind in ("linear", "llama3")},
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "truncate"),
    "longrope": (*_REQUIRED["longrope"], "attention_factor"),
}
# And those that are read: of dynamic this one follows from another key.
_READ = {**_WRITTEN, "dynamic": ("factor", "original_max_position_embeddings")}


def read(raw: Mapping[str, Any], where: str, *, local: bool, partial: bool) -> dict[str, Any]:
    """rope_theta, rope_scaling, rotary_dim and local_theta of our Config.

    Args:
      raw: config.json, with its family's defaults. where: names it in messages.
      local: whether layers with a window have a theta of their own.
      partial: whether the family reads partial_rotary_factor.

    Raises:
      InputError: a rope type, or a key of one, that is not supported, or that is missing.
    """
    given = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    local_theta = None
    if local:  # by kind of layer, in transformers 5; rope_theta beside it in 4
        of_local = given.get("sliding_attention") or {}
        if of_local.get("rope_type", "default") != "default":
            raise InputError(f"{where}: a rope type of sliding_attention other than 'default' is not supported")
        local_theta = float(of_local.get("rope_theta") or raw["rope_local_base_freq"])
        given = dict(given.get("full_attention") or ({} if "sliding_attention" in given else given))
    theta = float(given.get("rope_theta") or raw.get("rope_theta") or 1e4)
    kind = given.get("rope_type") or given.get("type") or "default"
    if raw["model_type"] == "phi3" and kind in ("su", "yarn"):
        kind = "longrope"  # what it was called before
    head_dim = raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]
    part = given.get("partial_rotary_factor") or raw.get("partial_rotary_factor") or 1.0
    if part != 1 and not partial:
        raise InputError(f"{where}: rotary positions on a part of the head are not supported for {raw['model_type']!r}")
    turned = int(head_dim * part)
    out = {"rope_theta": theta, "local_theta": local_theta, "rotary_dim": turned if turned < head_dim else None}
    if kind == "default":
        return out
    if kind not in rope.KINDS:
        supported = ", ".join(["default", *rope.KINDS])
        raise InputError(f"{where}: rope type {kind!r} is not supported{nearest(kind, rope.KINDS)}: {supported} are")
    longest = raw.get("max_position_embeddings")
    if kind == "yarn":
        for key in ("mscale", "mscale_all_dim"):
            if given.get(key):
                raise InputError(f"{where}: yarn with {key} is not supported")
    if kind == "dynamic":
        given["max_position_embeddings"] = given["original_max_position_embeddings"] = longest
    if kind == "longrope" and raw.get("original_max_position_embeddings"):
        given["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
    if kind in ("yarn", "longrope") and given.get("original_max_position_embeddings") is None:
        given["original_max_position_embeddings"] = longest
    if kind == "longrope" and given.get("factor") is None and longest:
        given["factor"] = longest / given["original_max_position_embeddings"]
    for key in _REQUIRED[kind]:
        if given.get(key) is None:
            raise InputError(f"{where}: rope type {kind!r} without {key}: add it to its rope parameters")
    for key in ("short_factor", "long_factor"):
        if key in given:
            given[key] = tuple(map(float, given[key]))
            if len(given[key]) != turned // 2:
                there = f"half of what is rotated of a head has {turned // 2}"
                raise InputError(f"{where}: {key} has {len(given[key])} numbers: {there}")
    values = {_OURS.get(key, key): given[key] for key in _READ[kind] if given.get(key) is not None}
    return out | {"rope_scaling": rope.Scaling(kind, **values)}


def made(m: Config, *, partial: bool) -> dict[str, Any]:
    """rope_parameters of a model, as transformers 5 writes them; the rest as in `read`."""
    parameters: dict[str, Any] = {"rope_theta": m.rope_theta, "rope_type": "default"}
    if s := m.rope_scaling:
        values = {key: getattr(s, _OURS.get(key, key)) for key in _WRITTEN[s.kind]}
        parameters |= {"rope_type": s.kind, **{k: v for k, v in values.items() if v is not None}}
    if m.rotary_dim and partial:
        parameters["partial_rotary_factor"] = m.rotary_dim / m.head_dim
    if m.local_theta is not None:
        local = {"rope_theta": m.local_theta, "rope_type": "default"}
        parameters = {"full_attention": parameters, "sliding_attention": local}
    return parameters


def plain(s: rope.Scaling) -> rope.Scaling:
    """The scaling without what its kind does not read."""
    return rope.Scaling(s.kind, **{key: getattr(s, key) for key in (_OURS.get(k, k) for k in _READ[s.kind])})
