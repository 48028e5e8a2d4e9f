"""Logits of hidden states and a head's matrix, a tile of them at a time: a pass over all words, and the way back.

Logits of a real vocabulary are the largest arrays of a training step: 4,096 tokens x 151,936 words are 2.5 GB, three
times over with the gradient. Here a tile of them lives at a time, and the backward pass makes each tile again and sends
it through both matrix products at once. Operands keep their type; products are accumulated, and what is kept of a
token is, in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entropy_rl.models.attention import soft_cap
from entropy_rl.parallel.sharding import ROWS, row_shards

WORDS = 2048  # in a tile
ELEMENTS = 1 << 24  # of a tile at most, in float32 64 MB: tokens are cut where there are more
VOCAB, WIDTH = "tensor", "fsdp"  # the axes of a mesh that cut them


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the head lies: which of its axes is the vocabulary's, and over which mesh axes things are cut."""

    vocab_axis: int = 0  # 0: [V, d], an embedding; 1: [d, V], a kernel
    rows: tuple[str, ...] = ()
    vocab: tuple[str, ...] = ()
    width: tuple[str, ...] = ()
    words: int = WORDS
    elements: int = ELEMENTS
    cap: float | None = None  # of logits, config.Config.logit_cap


def cut(
    hidden: jax.Array,
    head: jax.Array,
    *,
    vocab_axis: int = 0,
    mesh: Mesh | None = None,
    words: int = WORDS,
    elements: int = ELEMENTS,
    cap: float | None = None,
) -> tuple[Layout, Mesh | None]:
    """How hidden states and a head are cut into tiles, and over which mesh, None where its axes do not divide the rows.

    Args:
      hidden: [B, T, d].
      head: [V, d], or [d, V] with vocab_axis 1.
      vocab_axis: see `head`.
      mesh: where given, rows are taken to be cut over its axes data and fsdp, the vocabulary over tensor and the width
        d over fsdp (sharding.py), and each device works on what it has: a tile of the head is gathered over fsdp when
        it is needed, and sums of the vocabulary's parts are added over tensor. An axis that does not divide its
        dimension is not cut. None: as the compiler sees fit.
      words: columns of a tile.
      elements: most elements of a tile.
      cap: c: logits are c tanh(hidden @ head / c) instead of hidden @ head; None: they are not.
    """
    layout = Layout(vocab_axis, words=words, elements=elements, cap=cap)
    if mesh is None or mesh.size == 1 or hidden.shape[0] % row_shards(mesh):
        return layout, None
    divides = lambda axis, n: (axis,) if n % mesh.shape[axis] == 0 else ()  # noqa: E731
    layout = dataclasses.replace(
        layout,
        rows=ROWS,
        vocab=divides(VOCAB, head.shape[vocab_axis]),
        width=divides(WIDTH, head.shape[1 - vocab_axis]),
    )
    return layout, mesh


def over(mesh, layout, function, inputs, outputs):
    """`function` on every device's part, and on flat tokens. Of `inputs`, the first of which are hidden states, and
    `outputs` each letter is an array; x: hidden states [B, T, d], h: the head, y: numbers of a token [B, T, ...]."""

    def flat(*args):
        shape = args[0].shape[:2]
        args = [a if k == "h" else a.reshape(-1, *a.shape[2:]) for k, a in zip(inputs, args)]
        return tuple(o if k == "h" else o.reshape(*shape, *o.shape[1:]) for k, o in zip(outputs, function(*args)))

    if mesh is None:
        return flat
    head = (layout.vocab or None, layout.width or None)
    kinds = {
        "x": PartitionSpec(layout.rows),
        "y": PartitionSpec(layout.rows),
        "h": PartitionSpec(*(head if layout.vocab_axis == 0 else head[::-1])),
    }
    specs = [tuple(kinds[k] for k in names) for names in (inputs, outputs)]
    return jax.shard_map(flat, mesh=mesh, in_specs=specs[0], out_specs=specs[1], check_vma=False)


def folded(
    step: Callable, start: Any, operands: Sequence[tuple[jax.Array, jax.Array]], *arrays: jax.Array, layout: Layout
) -> Any:
    """What one pass over a device's words makes of `start`, a tile at a time: total = step(total, ...) of each tile.

    Args:
      step: (total, *logits f32[n, words], column i32[words], new bool[words], *arrays) -> total, of n tokens and the
        words numbered `column`, of which those not `new` were in a tile before.
      start: arrays with a row a token, N.
      operands: pairs of hidden states [N, d] and a head, each of which gives logits.
      *arrays: with a row a token.
    """
    tiles = _Tiles(*operands[0], layout)
    start, arrays, hidden = jax.tree.map(tiles.filled, (start, arrays, [x for x, _ in operands]))

    def words(total, i):
        pieces = [tiles.head(head, i) for _, head in operands]
        _, column, new = pieces[0]

        def tokens(_, j):
            own, xs, more = jax.tree.map(lambda a: tiles.rows(a, j), (total, hidden, arrays))
            z = (tiles.logits(x, piece) for x, (piece, _, _) in zip(xs, pieces, strict=True))
            return None, step(own, *z, column, new, *more)

        return tiles.over_rows(tokens, None)[1], None

    return jax.tree.map(tiles.own, jax.lax.scan(words, start, jnp.arange(tiles.count))[0])


def hits(column: jax.Array, new: jax.Array, y: jax.Array) -> jax.Array:
    """bool[n, words], where a tile's new columns are the words y i32[n]."""
    return (column[None] == y[:, None]) & new[None]


def pulled(slope, x, head, *arrays, layout):
    """Gradients of x and head from dL/dz = slope(z, column, new, *arrays) of each tile, z its (capped) logits."""
    tiles = _Tiles(x, head, layout)
    x, *arrays = (tiles.filled(a) for a in (x, *arrays))

    def words(carry, i):
        grad_x, grad_head = carry
        piece, column, new = tiles.head(head, i)

        def tokens(total, j):
            xj, *own = (tiles.rows(a, j) for a in (x, *arrays))
            z = tiles.logits(xj, piece)
            g = slope(z, column, new, *own)
            if layout.cap is not None:
                g = g * (1 - jnp.square(z / layout.cap))
            g = jnp.where(new[None], g, 0.0).astype(x.dtype)
            # made once, and not anew by either product
            g = jax.lax.optimization_barrier(g)
            total = total + tiles.grad_piece(xj, g)
            return total, tiles.rows(grad_x, j) + tiles.grad_hidden(g, piece)

        grad, grad_x = tiles.over_rows(tokens, jnp.zeros(piece.shape, jnp.float32))
        return (grad_x, tiles.add(grad_head, grad, i)), None

    start = jnp.zeros(x.shape, jnp.float32), jnp.zeros(head.shape, head.dtype)
    (grad_x, grad_head), _ = jax.lax.scan(words, start, jnp.arange(tiles.count))
    if layout.vocab:
        grad_x = jax.lax.psum(grad_x, layout.vocab)
    return tiles.own(grad_x).astype(x.dtype), grad_head


class _Tiles:
    """Cuts tokens and words; the last tile of words overlaps the one before, and its old columns are masked; the last
    tile of tokens is filled up with zeros, fewer than there are tiles."""

    def __init__(self, x: jax.Array, head: jax.Array, layout: Layout):
        self._axis, self._layout = layout.vocab_axis, layout
        self._vocab = head.shape[self._axis]
        self._words = min(layout.words, self._vocab)
        self.count = -(-self._vocab // self._words)
        self._all = x.shape[0]
        self._parts = min(-(-self._all * self._words // layout.elements), self._all)
        self._tokens = -(-self._all // self._parts)

    def filled(self, array: jax.Array) -> jax.Array:
        """An array with a row a token, and the rows that fill up the last tile."""
        more = self._parts * self._tokens - self._all
        return jnp.pad(array, ((0, more), *((0, 0) for _ in array.shape[1:]))) if more else array

    def own(self, array: jax.Array) -> jax.Array:
        """The rows that are tokens."""
        return array[: self._all]

    def head(self, head: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(the i-th words' part of the head, whole in its width; their numbers; which no tile before had)."""
        start = self._start(i)
        piece = jax.lax.dynamic_slice_in_dim(head, start, self._words, self._axis)
        if self._layout.width:
            piece = jax.lax.all_gather(piece, self._layout.width, axis=1 - self._axis, tiled=True)
        column = start + jnp.arange(self._words)
        new = column >= i * self._words
        if self._layout.vocab:
            column = column + jax.lax.axis_index(self._layout.vocab) * self._vocab
        return piece, column, new

    def add(self, total: jax.Array, grad: jax.Array, i: jax.Array) -> jax.Array:
        """Adds the gradient of the i-th piece, summed over the devices' rows, to that of the head."""
        rows = [a for a in self._layout.rows if a not in self._layout.width]
        if self._layout.width:
            grad = jax.lax.psum_scatter(grad, self._layout.width, scatter_dimension=1 - self._axis, tiled=True)
        if rows:
            grad = jax.lax.psum(grad, tuple(rows))
        start = self._start(i)
        old = jax.lax.dynamic_slice_in_dim(total, start, self._words, self._axis)
        return jax.lax.dynamic_update_slice_in_dim(total, old + grad.astype(total.dtype), start, self._axis)

    def rows(self, array: jax.Array, j: jax.Array) -> jax.Array:
        """The j-th part of the tokens."""
        if self._parts == 1:
            return array
        return jax.lax.dynamic_slice_in_dim(array, j * self._tokens, self._tokens)

    def over_rows(self, f: Any, carry: Any) -> tuple[Any, Any]:
        """(carry, results of all tokens) of f(carry, j) over the parts of the tokens."""
        if self._parts == 1:
            return f(carry, 0)
        carry, out = jax.lax.scan(f, carry, jnp.arange(self._parts))
        return carry, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), out)

    def logits(self, x: jax.Array, piece: jax.Array) -> jax.Array:
        return soft_cap(self._product(x, piece, 1, 1 - self._axis), self._layout.cap)

    def grad_hidden(self, g: jax.Array, piece: jax.Array) -> jax.Array:
        return self._product(g, piece, 1, self._axis)

    def grad_piece(self, x: jax.Array, g: jax.Array) -> jax.Array:
        return self._product(g, x, 0, 0) if self._axis == 0 else self._product(x, g, 0, 0)

    def _start(self, i):
        return jnp.minimum(i * self._words, self._vocab - self._words)

    @staticmethod
    def _product(a, b, over_a, over_b):
        return jax.lax.dot_general(a, b, (((over_a,), (over_b,)), ((), ())), preferred_element_type=jnp.float32)
