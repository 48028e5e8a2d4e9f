"""LoRA as a transformation of parameters: a frozen model and low-rank changes of its kernels (arXiv:2106.09685).

    W' = W + (alpha / rank) A B          W [n, m] frozen, A [n, rank], B [rank, m] trained, B = 0 at the start

Adapted parameters are `{"params": base, "lora": adapters}`; a model computes x W + (x A) B of them (transformer.Dense),
so that neither W' nor its gradient is made: an update costs what activations and adapters do. `merge` gives plain
parameters, which any folder is written from and the sampler reads in float32. Below float32 it reads the adapters apart
as the learner does: W' rounded would lose what is below half a unit of W's last place, and be another policy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from entropy_rl.errors import InputError

LORA = "lora"


def add(params: Any, key: jax.Array, *, rank: int, targets: str) -> Any:
    """Parameters with adapters for every kernel that `targets` is found in.

    Args:
      params: `{"params": ...}` of a Transformer.
      key: of A, which is normal with variance 1 / n; B is 0, so that the model is what it was.
      rank: 1 or more.
      targets: a regular expression over paths such as `layer_0/attention/q/kernel`.

    Raises:
      InputError: no kernel's path has it in it, or an expert's or router's has, or it is no regular expression; a rank
        that is not below both sides.
    """
    kernels = {k: x for k, x in flat(params["params"]).items() if k.endswith("kernel")}
    try:
        chosen = {k: x for k, x in kernels.items() if re.search(targets, k)}
    except re.error as e:
        raise InputError(f"lora.targets={targets!r} is no regular expression: {e}") from e
    if not chosen:
        raise InputError(f"lora.targets={targets!r} is found in no kernel: they are called like {min(kernels)}")
    if mixed := sorted(k for k in chosen if "/experts/" in f"/{k}"):
        raise InputError(
            f"lora.targets={targets!r} is found in {mixed[0]}: experts and routers take no adapters: give attention"
        )
    adapters = {}
    for (name, x), k in zip(sorted(chosen.items()), jax.random.split(key, len(chosen))):
        n, m = x.shape
        if not 0 < rank <= min(n, m):
            raise InputError(f"lora.rank={rank}: must be 1 to {min(n, m)}, the smaller side of {name}")
        a = jax.random.normal(k, (n, rank), jnp.float32) / n**0.5
        adapters |= {f"{name}/a": a, f"{name}/b": jnp.zeros((rank, m), jnp.float32)}
    return {**params, LORA: traverse_util.unflatten_dict(adapters, sep="/")}


def merge(params: Any, scale: float = 1.0) -> Any:
    """Plain parameters: `scale` times A B added to each adapted kernel, in float32; as they are without adapters."""
    if LORA not in params:
        return params
    base, adapters = flat(params["params"]), flat(params[LORA])
    for name in sorted({k.rpartition("/")[0] for k in adapters}):
        change = scale * (adapters[f"{name}/a"] @ adapters[f"{name}/b"])
        base[name] = (base[name].astype(jnp.float32) + change).astype(base[name].dtype)
    return {"params": traverse_util.unflatten_dict(base, sep="/")}


def scaled(params: Any, scale: float) -> Any:
    """Parameters whose adapters a model takes as they are, alpha / rank put into B."""
    if LORA not in params:
        return params
    adapters = {k: x * scale if k.endswith("/b") else x for k, x in flat(params[LORA]).items()}
    return {**params, LORA: traverse_util.unflatten_dict(adapters, sep="/")}


def over(score: Callable, scale: float) -> Callable:
    """A score of adapted parameters, from one that a model makes of them."""
    return lambda params, *args: score(scaled(params, scale), *args)


def trainable(params: Any) -> Any:
    """What an optimiser changes: the adapters, or all there is."""
    return {LORA: params[LORA]} if LORA in params else params


def joined(params: Any, part: Any) -> Any:
    """`params` with what is trained replaced by `part`; what is frozen passes no gradient."""
    return {**jax.lax.stop_gradient(params), **part} if LORA in params else part


def view(params: Any, dtype: Any, scale: float = 1.0) -> Any:
    """Parameters to sample with: matrices in the type that the model computes in, and adapters merged in float32.

    The model casts them at every use, so its numbers are the same; a decode step then reads half the bytes. Routers,
    which it computes with in float32 (models/experts.py), stay as they are.
    """
    narrow = jnp.dtype(dtype).itemsize

    def cast(path, x):
        whole = x.ndim < 2 or "router" in jax.tree_util.keystr(path)
        return x if whole or x.dtype.itemsize <= narrow else x.astype(dtype)

    return jax.tree_util.tree_map_with_path(cast, (scaled if narrow < 4 else merge)(params, scale))


def make_view(dtype: Any, param_dtype: Any, scale: float | None = None) -> Callable[[Any], Any]:
    """`view` compiled; the parameters themselves where they are plain (scale None) and in the model's type."""
    if scale is None and jnp.dtype(param_dtype).itemsize <= jnp.dtype(dtype).itemsize:
        return lambda params: params
    return jax.jit(partial(view, dtype=dtype, scale=scale or 1.0))


def flat(tree: Any) -> dict[str, Any]:
    """Leaves by path, such as layer_0/attention/q/kernel/a."""
    return traverse_util.flatten_dict(tree, sep="/")
