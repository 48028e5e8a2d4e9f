"""Mixtures of experts as in Qwen3-MoE: a router picks k of E small MLPs for each token.

    p = softmax(x W_r)  in float32;  S = the k largest of p;  y = sum_{e in S} w_e down_e(act(x gate_e) * (x up_e))

with w = p, or p / sum_S p (`norm_topk`): transformers' modeling_qwen3_moe.py, which differs in that it multiplies by
W_r in the type of activations. An expert takes all tokens that chose it: there is no capacity and none is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from entropy_rl.errors import InputError
from entropy_rl.parallel.sharding import ROWS, row_shards

# How products with the experts' kernels are made of rows that are sorted by expert: jax.lax.ragged_dot, which TPUs have
# kernels for, and which multiplies every row with every expert on CPU (jax 0.10: masked, E times the work); or blocks
# of rows that have one expert each, batched, the last of each expert filled up with zeros.
GROUPED = ("blocks", "ragged")
TILE = 512  # rows and columns of a tile of the TPU's kernel, at most
BLOCK, FEW = 64, 16  # rows of a block, at most, and those below which copies of kernels cost more than filling up
AXIS = "tensor"  # of a mesh, which cuts experts


def check(m: Any) -> None:
    """InputError that names what a config.Config says of experts and cannot be."""
    if m.grouped not in GROUPED:
        raise InputError(f"grouped={m.grouped!r}: must be one of {', '.join(GROUPED)}")
    if not m.experts:
        for field in ("experts_per_token", "d_expert", "sparse"):
            if getattr(m, field):
                raise InputError(f"{field}={getattr(m, field)} of a model without experts: give experts")
        return
    if not 0 < m.experts_per_token <= m.experts:
        raise InputError(f"experts_per_token={m.experts_per_token}: must be 1 to {m.experts}, the experts of a layer")
    if m.d_expert < 1:
        raise InputError(f"d_expert={m.d_expert}: give the width of an expert, 1 or more")
    if m.sparse and not any(m.sparse):
        raise InputError(f"sparse={m.sparse}: no layer has experts: give experts=0")
    if m.mlp_bias:
        raise InputError("mlp_bias with experts is not supported: give mlp_bias=False")


def active(m: Any, size: int) -> int:
    """Parameters that a token is multiplied with, of `size`: of the experts those that it goes to."""
    layers = sum(map(m.has_experts, range(m.layers)))
    return size - layers * 3 * m.d_model * m.d_expert * (m.experts - m.experts_per_token)


class Route(NamedTuple):
    """Where the tokens of a layer went."""

    prob: jax.Array  # f32[B, T, E], the router's
    chosen: jax.Array  # i32[B, T, k], the likeliest first


def chosen_of(routes: tuple[Route, ...]) -> jax.Array:
    """What Transformer takes as `chosen`: i32[B, T, L, k] of L routes."""
    return jnp.stack([r.chosen for r in routes], axis=2)


def summed(x: jax.Array, axis: int) -> jax.Array:
    """The sum over a short axis that is not the last, for which XLA's own takes 40 times as long on CPU."""
    return reduce(jnp.add, (jnp.squeeze(part, axis) for part in jnp.split(x, x.shape[axis], axis)))


# What `loads` gives: [B, E], and router_entropy [B, T].
LOADS = ("expert_count", "expert_prob")


def loads(routes: tuple[Route, ...], mask: jax.Array) -> dict[str, jax.Array]:
    """Where tokens went, row by row, summed over the layers with experts; nothing of a model without them.

    Args:
      routes: of L layers, [B, T, ...].
      mask: bool[B, T], the tokens that count.

    Returns:
      expert_count f32[B, E]: choices of each expert; expert_prob f32[B, E]: sums of the router's probabilities;
      router_entropy f32[B, T]: that of its distribution, a mean over layers, nats.
    """
    if not routes:
        return {}
    prob = jnp.stack([r.prob for r in routes])  # [L, B, T, E]
    inside = mask[None, :, :, None]
    hit = jnp.stack([summed(jax.nn.one_hot(r.chosen, prob.shape[-1]), -2) for r in routes])
    entropy = -jnp.sum(prob * jnp.log(jnp.maximum(prob, 1e-30)), axis=-1)
    return {
        "expert_count": jnp.sum(jnp.where(inside, hit, 0.0), axis=(0, 2)),
        "expert_prob": jnp.sum(jnp.where(inside, prob, 0.0), axis=(0, 2)),
        "router_entropy": jnp.mean(entropy, axis=0),
    }


def load_loss(scores: dict[str, jax.Array], each: int) -> jax.Array:
    """E sum_e f_e P_e over all rows and layers: transformers' load_balancing_loss_func (modeling_qwen3_moe.py; Switch
    Transformer, arXiv:2101.03961, Eqs 4 to 6), which Qwen3-MoE adds with router_aux_loss_coef.

    f_e is the number of choices of expert e per token, P_e the mean of its probability; k where the load is even.

    Args:
      scores: of `loads`.
      each: k, experts a token.
    """
    count, prob = (jnp.sum(scores[name], axis=0) for name in LOADS)
    rows = jnp.maximum(jnp.sum(count) / each, 1.0)
    return len(count) * jnp.sum(count / rows * prob / rows)


class Layout(NamedTuple):
    """N = tokens x k choices in the S >= N rows of a grouped product.

    Attributes:
      source: i32[S], the choice that lies in a row; N: none.
      place: i32[N], the row of a choice.
      sizes: i32[E], choices of each expert.
      owner: i32[S / block], expert of each block of rows.
    """

    source: jax.Array
    place: jax.Array
    sizes: jax.Array
    owner: jax.Array


def layout(chosen: jax.Array, experts: int, block: int) -> Layout:
    """Choices i32[N] in rows sorted by expert, each expert's a multiple of `block`.

    A choice of expert E is none, and has a row behind all others that nothing lies in. (E + 1) N must be below 2^31, as
    expert and place are sorted as one number.
    """
    count = len(chosen)
    blocks = -(-count // block) + (experts if block > 1 else 0)
    sizes = jnp.sum(chosen[:, None] == jnp.arange(experts)[None], axis=0, dtype=jnp.int32)
    filled = -(-sizes // block)  # in blocks
    ends = jnp.cumsum(filled)
    owner = jnp.minimum(jnp.sum(ends[None] <= jnp.arange(blocks)[:, None], axis=1), experts - 1)
    shift = (ends - filled) * block - (jnp.cumsum(sizes) - sizes)  # of an expert's rows, against sorted choices
    behind = (ends[-1:] * block) - jnp.sum(sizes, keepdims=True)
    expert, order = jnp.divmod(jnp.sort(chosen * count + jnp.arange(count)), count)  # one operand: twice as fast
    at = jnp.arange(count) + jnp.concatenate([shift, behind])[expert]
    place = jnp.zeros(count, jnp.int32).at[order].set(at, unique_indices=True)
    lies = jnp.where(expert < experts, at, blocks * block)
    source = jnp.full(blocks * block, count, jnp.int32).at[lies].set(order, mode="drop")
    return Layout(source, place, sizes, owner)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def spread(x: jax.Array, source: jax.Array, place: jax.Array, each: int) -> jax.Array:
    """Rows of a layout, of tokens [T, d] with `each` choices: [S, d], 0 where there is none. The gradient is made of
    gathers, where that of an index would be a scatter, slow on CPU and in no fixed order on GPUs."""
    return jnp.where((source < len(place))[:, None], x[jnp.minimum(source, len(place) - 1) // each], 0)


def _spread_backward(each, places, g):
    return summed(g[places[1]].reshape(-1, each, g.shape[1]), 1), None, None


spread.defvjp(lambda x, source, place, each: (spread(x, source, place, each), (source, place)), _spread_backward)


@jax.custom_vjp
def gathered(y: jax.Array, source: jax.Array, place: jax.Array) -> jax.Array:
    """Each choice's row of a layout: [S, d] -> [N, d]."""
    return y[place]


gathered.defvjp(
    lambda y, source, place: (y[place], (source, place)), lambda places, g: (spread(g, *places, 1), None, None)
)


@jax.custom_vjp
def ragged_product(x: jax.Array, kernel: jax.Array, sizes: jax.Array) -> jax.Array:
    """jax.lax.ragged_dot, [S, n], [E, n, m], i32[E] -> [S, m]; the gradient of `kernel` by jax's own kernel on TPUs.

    XLA has none there (libtpu 0.0.42): it multiplies every row with every expert, masked, E times the arithmetic.
    """
    return jax.lax.ragged_dot(x, kernel, sizes)


def _ragged_backward(kept, g):
    x, kernel, sizes = kept

    def plain(x, g, sizes):
        return jax.linear_transpose(lambda k: jax.lax.ragged_dot(x, k, sizes), kernel)(g)[0]

    of_kernel = jax.lax.platform_dependent(x, g, sizes, tpu=outer_products, default=plain)
    return jax.lax.ragged_dot(g, kernel.swapaxes(1, 2), sizes), of_kernel, None


ragged_product.defvjp(lambda *given: (ragged_product(*given), given), _ragged_backward)


def outer_products(x: jax.Array, g: jax.Array, sizes: jax.Array, interpret: bool = False) -> jax.Array:
    """x^T g of each expert's rows: [S, n], [S, m], i32[E] -> [E, n, m], by jax's kernel for TPUs (megablox)."""
    from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm

    tile = min(TILE, 128 * -(-len(x) // 128))
    x, g = (jnp.pad(a, ((0, -len(x) % tile), (0, 0))) for a in (x, g))
    tiles = tile, *(min(TILE, a.shape[1]) for a in (x, g))
    return tgmm(x.swapaxes(0, 1), g, sizes, g.dtype, tiles, interpret=interpret)


def grouped_product(x: jax.Array, kernel: jax.Array, rows: Layout, how: str) -> jax.Array:
    """Each row with its expert's kernel: [S, n], [E, n, m] -> [S, m]."""
    if how == "ragged":
        filled = (jnp.arange(len(x)) < jnp.sum(rows.sizes))[:, None]  # what lies behind may be given any value
        return jnp.where(filled, ragged_product(jnp.where(filled, x, 0), kernel, rows.sizes), 0)
    of_block = x.reshape(len(rows.owner), -1, x.shape[1])
    return jnp.einsum("bsn,bnm->bsm", of_block, kernel[rows.owner]).reshape(len(x), -1)


def block_size(choices: int, experts: int, how: str) -> int:
    """Rows of a block, a power of 2; 1 for what needs no blocks.

    Filling up, of E blocks at most, doubles the work at most up to FEW rows, as each block has a copy of its expert's
    kernels; beyond that it adds a quarter at most.
    """
    if how == "ragged":
        return 1
    size = 1
    while size < BLOCK and (2 if size < FEW else 8) * size * experts <= choices:
        size *= 2
    return size


def mixture(
    x: jax.Array,
    chosen: jax.Array,
    share: jax.Array,
    kernels: tuple[jax.Array, ...],
    activation: Callable,
    how: str,
) -> jax.Array:
    """sum_j share_j times what the j-th chosen expert makes of a token: [B, T, d], i32[B, T, k], f32[B, T, k],
    (gate, up [E, d, f], down [E, f, d]) -> f32[B, T, d]. A choice of expert E adds nothing."""
    gate, up, down = kernels
    rows = layout(chosen.reshape(-1), len(gate), block_size(chosen.size, len(gate), how))
    product = lambda x, kernel: checkpoint_name(grouped_product(x, kernel, rows, how), "linear")  # noqa: E731
    y = spread(x.reshape(-1, x.shape[-1]), rows.source, rows.place, chosen.shape[-1])
    y = product(activation(product(y, gate)) * product(y, up), down)
    y = gathered(y, rows.source, rows.place).reshape(*chosen.shape, -1)
    return summed(share[..., None] * y.astype(jnp.float32), -2)


def over(mesh: Mesh, run: Callable) -> Callable:
    """`mixture` with experts cut over the axis tensor and rows over data and fsdp, its other arguments bound.

    A device has the rows of its neighbours on the axis too and does what of them is its own experts'; the sum over
    the axis is all that is sent. Nothing says how many choices will be its own, so that it has room for all.
    """

    def own(x, chosen, share, kernels):
        count = len(kernels[0])
        chosen = chosen - jax.lax.axis_index(AXIS) * count
        chosen = jnp.where((chosen >= 0) & (chosen < count), chosen, count)
        return jax.lax.psum(run(x, chosen, share, kernels), AXIS)

    rows = PartitionSpec(ROWS)
    specs = (rows, rows, rows, PartitionSpec(AXIS))
    return jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)


def check_mesh(m: Any, mesh: Mesh) -> None:
    """InputError where the mesh does not divide the experts of a config.Config."""
    if m.experts % mesh.shape[AXIS]:
        raise InputError(
            f"mesh.tensor={mesh.shape[AXIS]} does not divide the {m.experts} experts of a layer: give a divisor of both"
        )


class Kernel(nn.Module):
    """The parameter `kernel` alone; variance 1 / n over the last axis but one, n long."""

    shape: tuple[int, ...]
    param_dtype: Any

    @nn.compact
    def __call__(self) -> jax.Array:  # noqa: D102
        axes = tuple(range(len(self.shape) - 2))
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=axes)
        return self.param("kernel", init, self.shape, self.param_dtype)


class Experts(nn.Module):
    """The sparse MLP of a block: [B, T, d] -> [B, T, d], and its Route.

    Given choices i32[B, T, k] take the place of the router's own; their weights are of its probabilities all the same.
    """

    config: Any  # config.Config
    activation: Callable
    mesh: Mesh | None = None  # over which experts and rows are cut, where that is known

    @nn.compact
    def __call__(self, x: jax.Array, chosen: jax.Array | None = None) -> tuple[jax.Array, Route]:  # noqa: D102
        m = self.config
        kernel = lambda name, *shape: Kernel(shape, m.param_dtype, name=name)()  # noqa: E731
        router = kernel("router", m.d_model, m.experts)
        wide = (m.experts, m.d_model, m.d_expert)
        kernels = kernel("gate", *wide), kernel("up", *wide), kernel("down", m.experts, m.d_expert, m.d_model)
        prob = jax.nn.softmax(x.astype(jnp.float32) @ router.astype(jnp.float32), axis=-1)
        if chosen is None:
            _, chosen = jax.lax.top_k(jax.lax.stop_gradient(prob), m.experts_per_token)
            # kept with the products that are laid out by it: made again, it might be another one by a last bit
            chosen = checkpoint_name(chosen, "linear")
        share = jnp.take_along_axis(prob, chosen, axis=-1)
        if m.norm_topk:
            share = share / jnp.sum(share, axis=-1, keepdims=True)
        kernels = tuple(k.astype(m.dtype) for k in kernels)
        run = partial(mixture, activation=self.activation, how=m.grouped)
        if self.mesh is not None and len(x) % row_shards(self.mesh) == 0:
            run = over(self.mesh, run)
        return run(x, chosen, share, kernels).astype(x.dtype), Route(prob, chosen)
