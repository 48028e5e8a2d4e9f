"""Ways to compute causal attention over grouped heads; the same sums in all of them."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entropy_rl.parallel.sharding import ROWS, row_shards

# How attention is computed: all scores at once; those of a block of queries at a time, made again in the backward pass;
# by jax.nn.dot_product_attention, whose cudnn is for GPUs and bfloat16; or by jax's kernel for TPUs. `over_tokens` says
# what takes their place where they cannot be used: never all scores at once for what makes none.
ATTENTION = ("naive", "chunked", "xla", "cudnn", "splash")
UNCAPPED = ("xla", "cudnn")  # have no soft cap of scores
BLOCK = 512  # queries, at most; of splash keys too
LANES = 128  # of a TPU: splash's blocks are multiples of it
HEADS = "tensor"  # the axis of a mesh that cuts them


class Near(NamedTuple):
    """A sliding window: a key is seen where its position is above the query's less the window."""

    window: int  # tokens that are seen, the query's own the last
    query: jax.Array  # i32[B | 1, T], positions
    key: jax.Array  # i32[B | 1, S]

    def seen(self) -> jax.Array:
        """bool[B | 1, T, S]."""
        return self.key[:, None, :] > self.query[:, :, None] - self.window


def soft_cap(x: jax.Array, cap: float | None) -> jax.Array:
    """cap tanh(x / cap); x itself where the cap is None."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: jax.Array,
    scale: float | None = None,
    cap: float | None = None,
    turned: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v over what is seen, in float32: q [B, K, G, T, D], k and v [B, K, S, D], seen
    [B | 1, 1, 1, T | 1, S] -> [B, K, G, T, D].

    The division comes after the product with v: it then runs over D numbers a token instead of all the positions that
    it sees, and so does the reduction of its gradient.

    Args:
      q, k, v, seen: as above.
      scale: None: 1 / sqrt(D).
      cap: of the scores, see `soft_cap`.
      turned: k is [B, K, D, S].
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    form = "bkgtd,bkds->bkgts" if turned else "bkgtd,bksd->bkgts"
    score = jnp.einsum(form, q, k, preferred_element_type=jnp.float32) * scale
    score = jnp.where(seen, soft_cap(score, cap), -1e30)
    share = jnp.exp(score - jax.lax.stop_gradient(jnp.max(score, axis=-1, keepdims=True)))
    total = jnp.sum(share, axis=-1, keepdims=True)
    mixed = jnp.einsum("bkgts,bksd->bkgtd", share.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (mixed / total).astype(v.dtype)


def causal(
    first: jax.Array | int, count: int, columns: int, past: jax.Array | None, near: Near | None = None
) -> jax.Array:
    """bool[B | 1, 1, 1, count, columns]: which columns of the keys are seen by tokens first .. first + count - 1.

    The columns are P of what was before, seen where `past` bool[B, P] holds (None: P = 0), and then the tokens' own; of
    them those that are `near` these tokens, if a window is given.
    """
    before = 0 if past is None else past.shape[1]
    seen = (jnp.arange(columns)[None] - before <= first + jnp.arange(count)[:, None])[None]
    if past is not None:
        seen &= jnp.pad(past, ((0, 0), (0, columns - before)), constant_values=True)[:, None]
    if near is not None:
        seen &= near.seen()
    return seen[:, None, None]


def chunked(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    past: jax.Array | None = None,
    near: Near | None = None,
    scale: float | None = None,
    cap: float | None = None,
) -> jax.Array:
    """`attend` over what is `causal`, for at most BLOCK queries at a time: memory grows with the context, not with its
    square. The last block is filled up with queries that are thrown away, fewer than there are blocks."""
    time, columns = q.shape[3], k.shape[2]
    parts = -(-time // BLOCK)
    if parts == 1:
        return attend(q, k, v, causal(0, time, columns, past, near), scale, cap)
    size = -(-time // parts)
    q = jnp.pad(q, ((0, 0),) * 3 + ((0, parts * size - time), (0, 0)))
    blocks = jnp.moveaxis(q.reshape(*q.shape[:3], parts, size, q.shape[4]), 3, 0)
    place = None
    if near is not None:
        place = jnp.pad(near.query, ((0, 0), (0, parts * size - time)), mode="edge")
        place = jnp.moveaxis(place.reshape(-1, parts, size), 1, 0)

    def block(_, part):
        own, first, at = part
        of_block = None if near is None else near._replace(query=at)
        return None, attend(own, k, v, causal(first, size, columns, past, of_block), scale, cap)

    _, mixed = jax.lax.scan(jax.checkpoint(block), None, (blocks, size * jnp.arange(parts), place))
    return jnp.moveaxis(mixed, 0, 3).reshape(q.shape)[:, :, :, :time]


def over_tokens(
    how: str,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    past: jax.Array | None = None,
    near: Near | None = None,
    scale: float | None = None,
    cap: float | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """`attend` over what is `causal`, computed as `how` says, one of ATTENTION.

    Over the tokens given alone (no past) all of them are what they are called. Tokens that follow a past are computed
    as "naive" with "xla", which makes all scores anyway, and as "chunked" with "cudnn", and with "splash" in a window,
    whose columns are then no positions. "splash" is "chunked" too where there is no TPU, or several and no mesh.

    Args:
      how, q, k, v, past, near, scale, cap: as above.
      mesh: over which rows and heads are cut; read by "splash" alone, whose kernel the compiler does not cut.
    """
    window = 0 if near is None else near.window
    if how == "splash" and on_tpu(mesh) and (past is None or not window):
        return splash(q, k, v, past, window, scale, cap, mesh)
    if how in UNCAPPED and past is None:
        return flash(q, k, v, how, window, scale)
    if how in ("chunked", "cudnn", "splash"):
        return chunked(q, k, v, past, near, scale, cap)
    return attend(q, k, v, causal(0, q.shape[3], k.shape[2], past, near), scale, cap)


def flash(
    q: jax.Array, k: jax.Array, v: jax.Array, implementation: str, window: int = 0, scale: float | None = None
) -> jax.Array:
    """Causal attention by jax's own function: q [B, K, G, T, D], k and v [B, K, T, D] -> [B, K, G, T, D].

    With "cudnn", on a GPU in bfloat16, no scores of context x context are kept; "xla" is the same sums anywhere. A
    window is of columns here, which are positions but for an offset.

    Args:
      q, k, v: as above.
      implementation: "xla" or "cudnn".
      window: tokens that are seen, the query's own the last; 0: all.
      scale: None: 1 / sqrt(D).
    """
    batch, kv_heads, groups, time, size = q.shape
    q = q.transpose(0, 3, 1, 2, 4).reshape(batch, time, kv_heads * groups, size)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    local = (window - 1, 0) if window else None
    mixed = jax.nn.dot_product_attention(
        q, k, v, is_causal=True, implementation=implementation, local_window_size=local, scale=scale
    )
    return mixed.reshape(batch, time, kv_heads, groups, size).transpose(0, 2, 3, 1, 4)


def on_tpu(mesh: Mesh | None) -> bool:
    """Whether a program is for TPUs and it is known how it is cut: over the mesh, or not at all on the only device."""
    if mesh is None:
        return jax.default_backend() == "tpu" and jax.device_count() == 1
    return mesh.devices.flat[0].platform == "tpu"


def splash(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    past: jax.Array | None = None,
    window: int = 0,
    scale: float | None = None,
    cap: float | None = None,
    mesh: Mesh | None = None,
    interpret: bool = False,
) -> jax.Array:
    """`attend` over what is `causal` by jax's kernel for TPUs (jax.experimental.pallas.ops.tpu.splash_attention).

    Scores are made a block of at most BLOCK x BLOCK at a time, forward and backward, and blocks that no query sees are
    left out; kept for the backward pass are the result and one number a query and head. Queries and keys are filled up
    to whole blocks. The kernel knows no scale, so that q is multiplied by it, and rounded once more below float32.

    Args:
      q, k, v: [B, K, G, T, D], [B, K, P + T, D].
      past: bool[B, P], which of the first P columns are seen; None: P = 0.
      window: in columns, tokens that are seen, the query's own the last; 0: all; without a past.
      scale, cap: as of `attend`.
      mesh: each device has its rows, and its key-value heads, or else its heads of each, where the mesh divides them.
      interpret: on any device, slowly: for tests.
    """
    run = partial(_splash, window=window, cap=cap, interpret=interpret)
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mesh is None or mesh.size == 1:
        return run(q, k, v, past)
    rows = ROWS if len(q) % row_shards(mesh) == 0 else None
    cuts = [n % mesh.shape[HEADS] == 0 for n in q.shape[1:3]]
    heads = (HEADS, None) if cuts[0] else (None, HEADS) if cuts[1] else (None, None)
    of_q, of_k = PartitionSpec(rows, *heads), PartitionSpec(rows, heads[0])
    specs = of_q, of_k, of_k, None if past is None else PartitionSpec(rows)
    return jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=of_q, check_vma=False)(q, k, v, past)


def _splash(q, k, v, past, window, cap, interpret):
    """`splash` on one device, q multiplied by the scale."""
    from jax.experimental.pallas.ops.tpu import splash_attention as kernels

    batch, kv_heads, groups, time, size = q.shape
    columns = k.shape[2]
    of_q, of_k = _block(time), _block(columns)
    wide = lambda x, block: jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % block), (0, 0)))  # noqa: E731
    q = wide(q.reshape(batch, kv_heads * groups, time, size), of_q)
    k, v = wide(k, of_k), wide(v, of_k)
    shape = q.shape[2], k.shape[2]
    # what fills up the columns lies behind all of them, and only queries that are thrown away see it
    if window:
        mask = kernels.LocalMask(shape, (window - 1, 0), 0)
    else:
        mask = kernels.CausalMask(shape, columns - time)
    blocks = {f"block_{side}{of}": n for of in ("", "_dkv", "_dq") for side, n in (("q", of_q), ("kv", of_k))}
    run = kernels.make_splash_mha(
        kernels.MultiHeadMask([mask] * (kv_heads * groups)),
        block_sizes=kernels.BlockSizes(**blocks),
        attn_logits_soft_cap=cap,
        residual_checkpoint_name="linear",  # for REMAT: as long as the context, as what linear layers give
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    segments = None
    if past is not None:
        seen = jnp.pad(past, ((0, 0), (0, shape[1] - past.shape[1])), constant_values=True)
        segments = kernels.SegmentIds(jnp.ones((batch, shape[0]), jnp.int32), seen.astype(jnp.int32))
    mixed = jax.vmap(run)(q, k, v, segments)
    return mixed[:, :, :time].reshape(batch, kv_heads, groups, time, size)


def _block(length: int) -> int:
    """The smallest multiple of LANES with which as few blocks of at most BLOCK as can be hold `length`."""
    parts = -(-length // BLOCK)
    return LANES * -(-length // (parts * LANES))
