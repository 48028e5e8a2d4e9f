"""A decoder-only Transformer, Qwen3-shaped; the other families and the embedded default are settings of it.

RMSNorm, rotary positions, grouped-query attention, SwiGLU; optional norm of q and k (Qwen3), optional bias on q, k, v
(Qwen2), sliding windows (Mistral), layers without positions (SmolLM3), norms after attention and MLP (OLMo-2, Gemma),
soft caps, layers with experts (Qwen3-MoE); tied or untied language-model head, or a value head (a *critic*). Pure:
`model.apply(params, tokens)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from entropy_rl.models import attention, experts, layers, rope
from entropy_rl.models.config import ACTIVATIONS, REMAT, Config
from entropy_rl.models.products import adapted_matmul, head_product, matmul

# Parameter path -> PartitionSpec axes, first match wins (sharding.py). Written for the axes data, fsdp, tensor.
RULES = (
    (r"embed/embedding", ("tensor", "fsdp")),
    (r"experts/(gate|up)/kernel", ("tensor", "fsdp", None)),
    (r"experts/down/kernel", ("tensor", None, "fsdp")),
    (r"router/kernel", (None, None)),
    (r"(q|k|v|gate|up)/kernel", ("fsdp", "tensor")),
    (r"(q|k|v|gate|up)/bias", ("tensor",)),
    (r"(o|down)/kernel", ("tensor", "fsdp")),
    (r"(o|down)/bias", (None,)),
    (r"lm_head/kernel", ("fsdp", "tensor")),
    (r"value_head/kernel", ("fsdp", None)),
    (r"value_head/bias", (None,)),
    (r"norm/scale", (None,)),
    (r"kernel/(a|b)", (None, None)),  # adapters (models/lora.py), which are small
)


@struct.dataclass
class Cache:
    """Keys and values of the tokens so far, one array a layer: `[slots, kv_heads, columns, head_dim]`."""

    k: tuple[jax.Array, ...]
    v: tuple[jax.Array, ...]
    at: jax.Array | None = None  # i32[slots, 1, columns, 1], their positions, of a model with windows
    # Whether keys lie [slots, kv_heads, head_dim, columns], as the products of decode steps read them (`turn`).
    turned: bool = struct.field(default=False, pytree_node=False)

    def turn(self) -> Cache:
        """The same, the other way round."""
        return self.replace(k=tuple(k.swapaxes(2, 3) for k in self.k), turned=not self.turned)


class Dense(nn.Module):
    """x @ kernel (+ x A B) (+ bias): [B, T, n] -> [B, T, features]; kernel [n, features] with variance 1 / n.

    A [n, rank] and B [rank, features] are there where the variables have adapters of this kernel (models/lora.py).
    """

    config: Config
    features: int
    use_bias: bool = False
    project: Callable = matmul

    @nn.compact
    def __call__(self, x):
        m = self.config
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.variance_scaling(1.0, "fan_in", "normal"), shape, m.param_dtype)
        kernel = kernel.astype(m.dtype)
        if self.has_variable("lora", "kernel"):
            a, b = (self.get_variable("lora", "kernel")[key].astype(m.dtype) for key in "ab")
            if self.project is matmul:
                y = adapted_matmul(x, kernel, a, b)
            else:
                y = self.project(x, kernel) + self.project(matmul(x, a), b)
        else:
            y = self.project(x, kernel)
        y = checkpoint_name(y, "linear")
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), m.param_dtype)
            y = y + bias.astype(m.dtype)[None, None]
        return y


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * (scale + offset) over the last axis, statistics in float32."""

    eps: float
    param_dtype: Any
    offset: float = 0.0

    @nn.compact
    def __call__(self, x):
        one = nn.initializers.constant(1.0 - self.offset)
        scale = self.param("scale", one, (x.shape[-1],), self.param_dtype)
        if self.offset:
            scale = scale.astype(jnp.float32) + self.offset
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.eps)
        return (y * scale.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def norm(config: Config, name: str) -> RMSNorm:
    """A norm of the model."""
    return RMSNorm(config.norm_eps, config.param_dtype, config.norm_offset, name=name)


class Attention(nn.Module):
    """Causal grouped-query attention, over the tokens given or over a cache, of all of them or in a window."""

    config: Config
    window: int = 0
    mesh: Mesh | None = None
    turned: bool = False  # whether the cache's keys are (Cache)

    @nn.compact
    def __call__(self, x, angle, cache, column, valid, places):
        m = self.config
        batch, time, _ = x.shape
        scale = None if m.query_scalar is None else m.query_scalar**-0.5

        def project(name, heads):
            y = Dense(m, heads * m.head_dim, use_bias=m.qkv_bias, name=name)(x)
            if m.qk_norm and m.qk_norm_whole and name != "v":
                y = norm(m, f"{name}_norm")(y)
            return y.reshape(batch, time, heads, m.head_dim)

        q, k, v = project("q", m.heads), project("k", m.kv_heads), project("v", m.kv_heads)
        if m.qk_norm and not m.qk_norm_whole:
            q, k = norm(m, "q_norm")(q), norm(m, "k_norm")(k)
        if angle is not None:
            q, k = rope.rotate(q, *angle), rope.rotate(k, *angle)
        # Behind a barrier, or XLA on CPU does the norm and the rotation inside the transposed copies below,
        # unvectorised.
        q, k = jax.lax.optimization_barrier((q, k))
        # [B, kv_heads, ...]: heads in front, so that attention is one batched matrix product
        q = q.reshape(batch, time, m.kv_heads, m.heads // m.kv_heads, m.head_dim).transpose(0, 2, 3, 1, 4)
        k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
        kv = k, v
        near = attention.Near(self.window, *places) if self.window else None
        if column is not None:
            new = k.swapaxes(2, 3) if self.turned else k
            k = jax.lax.dynamic_update_slice_in_dim(cache[0], new, column, axis=3 if self.turned else 2)
            v = jax.lax.dynamic_update_slice_in_dim(cache[1], v, column, axis=2)
            kv = k, v
            seen = valid if near is None else valid & near.seen()[:, 0]
            mixed = attention.attend(q, k, v, seen[:, None, None, None, :], scale, m.attention_cap, self.turned)
        else:
            past = None
            if cache is not None:
                each, past = batch // cache[0].shape[0], valid
                k, v = (jnp.concatenate([jnp.repeat(x, each, axis=0), y], axis=2) for x, y in zip(cache, kv))
            mixed = attention.over_tokens(m.attention, q, k, v, past, near, scale, m.attention_cap, self.mesh)
        mixed = mixed.transpose(0, 3, 1, 2, 4).reshape(batch, time, m.heads * m.head_dim)
        return Dense(m, m.d_model, use_bias=m.o_bias, name="o")(mixed), kv


class Block(nn.Module):
    """x + attention(norm(x)), then x + SwiGLU(norm(x)); or x + norm(attention(x)), or a norm on either side of each.

    A sparse block has experts (models/experts.py) in the place of SwiGLU.
    """

    config: Config
    window: int = 0
    sparse: bool = False
    mesh: Mesh | None = None
    turned: bool = False

    @nn.compact
    def __call__(self, x, angle, cache, column, valid, places, chosen=None):
        m = self.config

        def before(x, name):
            return x if m.norms == "after" else norm(m, f"{name}_norm")(x)

        def after(y, name):
            return y if m.norms == "before" else norm(m, f"{name}_post_norm")(y)

        attend = Attention(m, self.window, self.mesh, self.turned, name="attention")
        y, kv = attend(before(x, "attention"), angle, cache, column, valid, places)
        x = x + after(y, "attention")
        y = before(x, "mlp")
        if self.sparse:
            y, route = experts.Experts(m, ACTIVATIONS[m.activation], self.mesh, name="experts")(y, chosen)
            return x + after(y, "mlp"), kv, route
        wide = partial(Dense, m, m.d_ff, use_bias=m.mlp_bias)
        y = ACTIVATIONS[m.activation](wide(name="gate")(y)) * wide(name="up")(y)
        return x + after(Dense(m, m.d_model, use_bias=m.mlp_bias, name="down")(y), "mlp"), kv, None


class Transformer(nn.Module):
    """Decoder-only language model (`head="lm"`) or critic (`head="value"`). Presets are in models/presets.py."""

    config: Config
    mesh: Mesh | None = None  # see `over`

    def over(self, mesh: Mesh | None) -> Transformer:
        """The same model, which knows the mesh that rows, heads and experts are cut over; InputError where it does not
        divide the experts.

        Without it programs on a mesh are right too: with experts they gather the rows of all devices on each, and
        splash attention is chunked.
        """
        if mesh is None or mesh.size == 1 and self.config.attention != "splash":
            return self
        if self.config.experts:
            experts.check_mesh(self.config, mesh)
        return self.clone(mesh=mesh)

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        *,
        cache: Cache | None = None,
        column: jax.Array | int | None = None,
        valid: jax.Array | None = None,
        logits: bool = True,
        gate: jax.Array | None = None,
        context: int | None = None,
        chosen: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Runs the model.

        Without a cache, attention is causal over the tokens given; padding stands on the right, so it needs no mask: no
        token sees it. With a cache and a column (decoding, T = 1), this token's key and value are written to `column`
        of every slot and each slot attends to the columns that `valid` marks for it. With a cache and no column, the
        tokens follow what the cache holds: they attend to its columns that `valid` marks, and causally to each other;
        a cache of N rows is shared by B / N consecutive rows each, a prompt by its responses. Rotary positions are
        applied before keys are stored, so where in the cache a token lies does not matter; windows go by the positions
        that the cache holds.

        Args:
          tokens: i32[B, T].
          positions: i32[B, T]; None: 0 .. T - 1 in every row.
          cache: of a prefill and earlier steps, B slots; or of N rows, N a divisor of B, without a column.
          column: i32 scalar, where to write in the cache; None: nowhere.
          valid: bool[B, columns], with a cache.
          logits: False: the language-model head is left out and the result is None; `out["hidden"]` and `head_matrix`
            are then what tiled_head.head_stats takes.
          gate: bool[B, T], places where a steered model (models/steering.py) adds its vectors; None: everywhere.
          context: columns of the rows that these tokens are the beginning of, read where frequencies are by length
            (rope.BY_LENGTH); None: those that are here, in the cache and in `tokens`.
          chosen: i32[B, T, sparse layers, experts a token], experts to be used; None: the router's choices.

        Returns:
          result: f32[B, T, vocab_size] logits, or f32[B, T] values for `head="value"`.
          out: dict of intermediates; jit drops those that are not used: `embedded` [B, T, d], `layer_<i>` [B, T, d]
            (the residual stream after each block, and what steering adds), `hidden` [B, T, d] (normed, what the head
            reads), `cache` (this call's keys and values: of the tokens given, or with a column the updated cache),
            `routes` (an experts.Route for each sparse layer).
        """
        m = self.config
        if positions is None:
            positions = jnp.arange(tokens.shape[1])[None]
        embed = nn.Embed(
            m.vocab_size,
            m.d_model,
            embedding_init=nn.initializers.normal(0.02),
            dtype=m.dtype,
            param_dtype=m.param_dtype,
            name="embed",
        )
        x = embed(tokens)
        if m.embed_scale:
            x = x * jnp.asarray(m.d_model**0.5, m.dtype)
        if context is None:
            past = 0 if cache is None else cache.v[0].shape[2]
            context = past + (tokens.shape[1] if column is None else 0)
        turned = m.rotary_dim or m.head_dim
        angle = rope.rotary(positions, turned, m.rope_theta, m.rope_scaling, context)
        near = None if m.local_theta is None else rope.rotary(positions, turned, m.local_theta)
        at = places = None
        if m.windows:
            at = jnp.broadcast_to(positions, tokens.shape)[:, None, :, None].astype(jnp.int32)
            at, places = _places(at, positions, cache, column)
        out: dict[str, Any] = {"embedded": x}
        policy = REMAT[m.remat] if column is None else None  # nothing is differentiated in a decode step
        block = Block if policy is None else nn.remat(Block, policy=policy)
        steer = self.get_variable("steer", "after") if self.has_variable("steer", "after") else None

        def through(block, x, turn, given):
            layer, own, vector = given
            x, kv, route = block(x, turn, layer, column, valid, places, own)
            if vector is not None:
                vector = vector.astype(x.dtype)[None, None]
                x = x + (vector if gate is None else jnp.where(gate[..., None], vector, 0))
            return x, (x, kv, route)

        given, kinds = [], []  # of each layer
        for i in range(m.layers):
            layer = None if cache is None else (cache.k[i], cache.v[i])
            before = sum(map(m.has_experts, range(i)))
            own = chosen[:, :, before] if chosen is not None and m.has_experts(i) else None
            given.append((layer, own, None if steer is None else steer[i]))
            kinds.append((m.window(i), not m.rotated or m.rotated[i], m.has_experts(i)))

        def weights(i):
            return {kind: tree[f"layer_{i}"] for kind, tree in self.variables.items() if f"layer_{i}" in tree}

        keys_turned = cache is not None and cache.turned
        scan = m.scan_layers and column is None and not self.is_initializing()
        forms = [layers.form(weights(i)) if scan else i for i in range(m.layers)]
        made = []
        for run in layers.alike(list(zip(kinds, forms))):
            window, rotated, sparse = kinds[run[0]]
            turn = None if not rotated else near if window and near is not None else angle
            if len(run) > 1:
                one = block(m, window, sparse, self.mesh, parent=None)
                step = lambda x, each: through(partial(one.apply, each[0]), x, turn, each[1])  # noqa: B023, E731
                x, of_run = layers.loop(step, x, [(weights(i), given[i]) for i in run])
                made += of_run
            else:
                one = block(m, window, sparse, self.mesh, keys_turned, name=f"layer_{run[0]}")
                x, of_layer = through(one, x, turn, given[run[0]])
                made.append(of_layer)
        after, kv, routes = zip(*made)
        out |= {f"layer_{i}": y for i, y in enumerate(after)}
        out["cache"], out["routes"] = Cache(*zip(*kv), at, keys_turned), tuple(r for r in routes if r is not None)
        x = norm(m, "final_norm")(x)
        out["hidden"] = x
        if self.has_variable("lora", "lm_head"):  # its adapter's A; B is in head_matrix
            a = self.get_variable("lora", "lm_head")["kernel"]["a"].astype(m.dtype)
            out["hidden"] = jnp.concatenate([x, matmul(x, a)], axis=-1)
        if m.head == "value":
            value = Dense(m, 1, use_bias=True, name="value_head")(x)
            return value[..., 0].astype(jnp.float32), out
        if not logits:
            return None, out
        if m.tied:
            z = head_product(x, embed.embedding.T.astype(m.dtype))
        else:
            z = Dense(m, m.vocab_size, project=head_product, name="lm_head")(x)
        return attention.soft_cap(z, m.logit_cap), out


def _places(own, positions, cache, column):
    """(positions of the keys that this call gives out, as Cache.at; those of queries and of keys, [B | 1, n] each)."""
    if cache is None:
        return own, (positions, positions)
    if column is not None:
        own = keys = jax.lax.dynamic_update_slice_in_dim(cache.at, own, column, axis=2)
    else:
        keys = jnp.concatenate([jnp.repeat(cache.at, len(own) // len(cache.at), axis=0), own], axis=2)
    return own, (positions, keys[:, 0, :, 0])


def head_matrix(config: Config, params: Any) -> tuple[jax.Array, int]:
    """What logits are made with, in the type that the model computes in, and which of its axes is the vocabulary's.

    With adapters of the head it is W above B, and `out["hidden"]` is x beside x A: x W + (x A) B is what the sampler
    computes (Dense), and W + A B would lose what is below half a unit of W's last place.
    """
    p = params["params"]
    matrix, axis = (p["embed"]["embedding"], 0) if config.tied else (p["lm_head"]["kernel"], 1)
    low = params.get("lora", {}).get("lm_head", {}).get("kernel")
    matrix = matrix.astype(config.dtype)
    return (matrix if low is None else jnp.concatenate([matrix, low["b"].astype(config.dtype)])), axis
