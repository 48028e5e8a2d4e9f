"""Log-probability and entropy from hidden states and the head matrix, a tile of logits at a time.

Logits of a real vocabulary are the largest arrays of a training step: 4,096 tokens x 151,936 words are 2.5 GB, three
times over with the gradient. Here a tile of them lives at a time. The forward pass keeps, for each token, the running
maximum m and sums S = sum e^(z - m) and E = sum e^(z - m) (z - m) over the words so far (the online softmax,
arXiv:1805.02867, with a second sum for the entropy); the backward pass makes each tile again and sends it through both
matrix products at once. Operands keep their type; products are accumulated, and statistics kept, in float32.
"""

from __future__ import annotations

import dataclasses
import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entropy_rl.models.attention import soft_cap

WORDS = 2048  # in a tile
ELEMENTS = 1 << 24  # of a tile at most, in float32 64 MB: tokens are cut where there are more
ROWS, VOCAB, WIDTH = ("data", "fsdp"), "tensor", "fsdp"  # what the axes of a mesh cut (sharding.py)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the head lies: which of its axes is the vocabulary's, and over which mesh axes things are cut."""

    vocab_axis: int = 0  # 0: [V, d], an embedding; 1: [d, V], a kernel
    rows: tuple[str, ...] = ()
    vocab: tuple[str, ...] = ()
    width: tuple[str, ...] = ()
    words: int = WORDS
    elements: int = ELEMENTS
    cap: float | None = None  # of logits, transformer.Config.logit_cap


def head_stats(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    temperature: float = 1.0,
    *,
    vocab_axis: int = 0,
    mesh: Mesh | None = None,
    words: int = WORDS,
    elements: int = ELEMENTS,
    cap: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """log p(target) under softmax(z / temperature) and the entropy of softmax(z), z = hidden @ head, without all z.

        log p_y = z_y / T - log Z_T        H = log Z_1 - sum_j p_j z_j        (nats)
        dL/dz_j = g_logp / T (1[j = y] - p_T,j) - g_H p_j (log p_j + H)

    Args:
      hidden: [B, T, d], float32 or bfloat16.
      head: [V, d], or [d, V] with vocab_axis 1.
      targets: i32[B, T], each in [0, V).
      temperature: of log p alone, as in logprobs.token_stats.
      vocab_axis: see `head`.
      mesh: where given, rows are taken to be cut over its axes data and fsdp, the vocabulary over tensor and the width
        d over fsdp (sharding.py), and each device works on what it has: a tile of the head is gathered over fsdp when
        it is needed, and sums of the vocabulary's parts are added over tensor. An axis that does not divide its
        dimension is not cut. None: as the compiler sees fit.
      words: columns of a tile.
      elements: most elements of a tile.
      cap: c: z is c tanh(hidden @ head / c) instead; None: it is not.

    Returns:
      (logp, entropy): f32[B, T] both. The gradient goes through both.
    """
    layout, mesh = _cut(Layout(vocab_axis, words=words, elements=elements, cap=cap), head, targets, mesh)
    return _stats(hidden, head, targets, temperature, layout, mesh)


def change_stats(
    hidden: jax.Array,
    head: jax.Array,
    new_hidden: jax.Array,
    new_head: jax.Array,
    targets: jax.Array,
    *,
    vocab_axis: int = 0,
    mesh: Mesh | None = None,
    words: int = WORDS,
    elements: int = ELEMENTS,
    cap: float | None = None,
) -> dict[str, jax.Array]:
    """What a change of logits d = z' - z does to the entropy of softmax(z), in every state, without all z.

        H = log Z - E_p[z]                       first = -Cov_p(z, d)
        second = -1/2 (Var_p(d) + E_p[(z - E z) (d - E d)^2])
        polarity = S_y - E_p[S],  S_i = p_i (z_i - E_p[z])

    with log p_i + H = z_i - E_p[z] put into entropy/theory.py's sums. Each tile's moments are about its own means, and
    are joined as those of two samples are (Chan, Golub and LeVeque 1983), so that an offset of d costs no digits.

    Args:
      hidden, head: before the update, as in `head_stats`; new_hidden, new_head: after it, at the same states.
      targets: i32[B, T], the tokens y that were chosen.
      vocab_axis, mesh, words, elements, cap: as in `head_stats`.

    Returns:
      `entropy`, `new_entropy`, `first`, `second`, `polarity`: f32[B, T], nats.
    """
    layout, mesh = _cut(Layout(vocab_axis, words=words, elements=elements, cap=cap), head, targets, mesh)
    run = _over(mesh, layout, partial(_change, layout=layout), "xhxhy", "yyyyy")
    names = ("entropy", "new_entropy", "first", "second", "polarity")
    return dict(zip(names, run(hidden, head, new_hidden, new_head, targets), strict=True))


def top_stats(
    hidden: jax.Array,
    head: jax.Array,
    count: int,
    temperature: float = 1.0,
    *,
    vocab_axis: int = 0,
    mesh: Mesh | None = None,
    words: int = WORDS,
    elements: int = ELEMENTS,
    cap: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The `count` likeliest words of every state, without all logits.

    Args:
      hidden, head, temperature, vocab_axis, mesh, words, elements, cap: as in `head_stats`.
      count: k, at most V.

    Returns:
      (log p f32[B, T, k] under softmax(z / temperature), numbers i32[B, T, k]), the likeliest first, of equal ones the
      lower number. The gradient goes through log p, as in `logp_at`.
    """
    layout, mesh = _cut(Layout(vocab_axis, words=words, elements=elements, cap=cap), head, hidden, mesh)
    return _choice(hidden, head, jnp.zeros((*hidden.shape[:2], 1), jnp.int32), count, temperature, layout, mesh)


def logp_at(
    hidden: jax.Array,
    head: jax.Array,
    ids: jax.Array,
    temperature: float = 1.0,
    *,
    vocab_axis: int = 0,
    mesh: Mesh | None = None,
    words: int = WORDS,
    elements: int = ELEMENTS,
    cap: float | None = None,
) -> jax.Array:
    """log p of several words of every state under softmax(z / temperature), without all logits.

        log p_y = z_y / T - log Z_T        dL/dz_j = 1/T (sum over i of g_i 1[j = y_i] - p_T,j sum of g)

    Args:
      hidden, head, temperature, vocab_axis, mesh, words, elements, cap: as in `head_stats`.
      ids: i32[B, T, k], numbers of words, each in [0, V).

    Returns:
      f32[B, T, k], nats, with its gradient.
    """
    layout, mesh = _cut(Layout(vocab_axis, words=words, elements=elements, cap=cap), head, hidden, mesh)
    return _choice(hidden, head, ids, 0, temperature, layout, mesh)[0]


def _cut(layout: Layout, head: jax.Array, targets: jax.Array, mesh: Mesh | None) -> tuple[Layout, Mesh | None]:
    """The layout over a mesh, and the mesh, None where the rows do not divide it."""
    if mesh is None or mesh.size == 1 or targets.shape[0] % (mesh.shape[ROWS[0]] * mesh.shape[ROWS[1]]):
        return layout, None
    divides = lambda axis, n: (axis,) if n % mesh.shape[axis] == 0 else ()  # noqa: E731
    layout = dataclasses.replace(
        layout,
        rows=ROWS,
        vocab=divides(VOCAB, head.shape[layout.vocab_axis]),
        width=divides(WIDTH, head.shape[1 - layout.vocab_axis]),
    )
    return layout, mesh


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _stats(hidden, head, targets, temperature, layout, mesh):
    return _stats_forward(hidden, head, targets, temperature, layout, mesh)[0]


def _stats_forward(hidden, head, targets, temperature, layout, mesh):
    run = _over(mesh, layout, partial(_forward, temperature=temperature, layout=layout), "xhy", "yyyy")
    logp, entropy, log_z, log_zt = run(hidden, head, targets)
    return (logp, entropy), (hidden, head, targets, entropy, log_z, log_zt)


def _stats_backward(temperature, layout, mesh, residuals, cotangents):
    run = _over(mesh, layout, partial(_backward, temperature=temperature, layout=layout), "xhyyyyyy", "xh")
    grad_hidden, grad_head = run(*residuals, *cotangents)
    return grad_hidden, grad_head, None


_stats.defvjp(_stats_forward, _stats_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _choice(hidden, head, ids, count, temperature, layout, mesh):
    return _choice_forward(hidden, head, ids, count, temperature, layout, mesh)[0]


def _choice_forward(hidden, head, ids, count, temperature, layout, mesh):
    run = _over(mesh, layout, partial(_chosen, count=count, temperature=temperature, layout=layout), "xhy", "yyy")
    logp, ids, log_z = run(hidden, head, ids)
    return (logp, ids), (hidden, head, ids, log_z)


def _choice_backward(count, temperature, layout, mesh, residuals, cotangents):
    run = _over(mesh, layout, partial(_chosen_backward, temperature=temperature, layout=layout), "xhyyy", "xh")
    return *run(*residuals, cotangents[0]), None


_choice.defvjp(_choice_forward, _choice_backward)


def _over(mesh, layout, function, inputs, outputs):
    """`function` on every device's part, and on flat tokens; x: hidden states, h: the head, y: numbers of a token."""

    def flat(*args):
        shape = args[inputs.index("y")].shape[:2]
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


def _forward(x, head, y, *, temperature, layout):
    """x [N, d], head, y i32[N] -> logp, entropy, log Z_1, log Z_T, f32[N] each."""
    tiles = _Tiles(x, head, layout)
    x, y = tiles.filled(x), tiles.filled(y)

    def words(total, i):
        piece, column, new = tiles.head(head, i)

        def tokens(_, j):
            m, s, e, st, zy = (tiles.rows(a, j) for a in total)
            z = jnp.where(new[None], tiles.logits(tiles.rows(x, j), piece), -jnp.inf)
            top = jnp.maximum(m, jnp.max(z, axis=1))
            shrink, z0 = jnp.exp(m - top), z - top[:, None]
            p = jnp.exp(z0)
            # -inf 0 where a column is not new
            e = shrink * (e + (m - top) * s) + jnp.sum(jnp.where(new[None], p * z0, 0.0), axis=1)
            s = shrink * s + jnp.sum(p, axis=1)
            if temperature != 1.0:
                st = jnp.exp((m - top) / temperature) * st + jnp.sum(jnp.exp(z0 / temperature), axis=1)
            hit = (column[None] == tiles.rows(y, j)[:, None]) & new[None]
            return None, (top, s, e, st, zy + jnp.sum(jnp.where(hit, z, 0.0), axis=1))

        return tiles.over_rows(tokens, None)[1], None

    start = (jnp.full(y.shape, -1e30), *(jnp.zeros(y.shape) for _ in range(4)))
    (m, s, e, st, zy), _ = jax.lax.scan(words, start, jnp.arange(tiles.count))
    if layout.vocab:
        top = jax.lax.pmax(m, layout.vocab)
        shrink = jnp.exp(m - top)
        e = jax.lax.psum(shrink * (e + (m - top) * s), layout.vocab)
        s, zy = jax.lax.psum((shrink * s, zy), layout.vocab)
        st = jax.lax.psum(jnp.exp((m - top) / temperature) * st, layout.vocab)
        m = top
    log_s = jnp.log(s)
    entropy = jnp.maximum(log_s - e / s, 0.0)  # rounding can leave -1e-8 on a certain token
    log_zt = m / temperature + jnp.log(st) if temperature != 1.0 else m + log_s
    return tuple(tiles.own(a) for a in (zy / temperature - log_zt, entropy, m + log_s, log_zt))


def _backward(x, head, y, entropy, log_z, log_zt, g_logp, g_entropy, *, temperature, layout):
    """Gradients of x and head."""

    def slope(z, column, new, y, h, lz, lzt, gl, gh):
        log_p = z - lz[:, None]
        p = jnp.exp(log_p)
        pt = p if temperature == 1.0 else jnp.exp(z / temperature - lzt[:, None])
        hit = column[None] == y[:, None]
        return jnp.where(hit, gl[:, None], 0.0) - gl[:, None] * pt - gh[:, None] * p * (log_p + h[:, None])

    return _pulled(slope, x, head, y, entropy, log_z, log_zt, g_logp / temperature, g_entropy, layout=layout)


def _chosen(x, head, ids, *, count, temperature, layout):
    """x [N, d], head, ids i32[N, k] -> log p_T of these words f32[N, k], the words, and log Z_T f32[N]; with a `count`
    of so many that are likeliest instead."""
    tiles = _Tiles(x, head, layout)
    x, ids = tiles.filled(x), tiles.filled(ids)

    def words(total, i):
        piece, column, new = tiles.head(head, i)

        def tokens(_, j):
            m, s, best, which = (tiles.rows(a, j) for a in total)
            z = jnp.where(new[None], tiles.logits(tiles.rows(x, j), piece) / temperature, -jnp.inf)
            top = jnp.maximum(m, jnp.max(z, axis=1))
            s = jnp.exp(m - top) * s + jnp.sum(jnp.exp(z - top[:, None]), axis=1)
            if count:
                best, which = _likeliest(best, which, z, jnp.broadcast_to(column, z.shape), count)
            else:
                place, there = _place(which, column, new)
                best = jnp.where(there, jnp.take_along_axis(z, place, axis=1), best)
            return None, (top, s, best, which)

        return tiles.over_rows(tokens, None)[1], None

    which = jnp.zeros((len(ids), count), jnp.int32) if count else ids
    start = (jnp.full(len(ids), -1e30), jnp.zeros(len(ids)), jnp.full(which.shape, -jnp.inf), which)
    (m, s, best, which), _ = jax.lax.scan(words, start, jnp.arange(tiles.count))
    if layout.vocab:
        top = jax.lax.pmax(m, layout.vocab)
        s, m = jax.lax.psum(jnp.exp(m - top) * s, layout.vocab), top
        if count:
            every = (jax.lax.all_gather(a, layout.vocab, axis=1, tiled=True) for a in (best, which))
            best, which = _likeliest(best[:, :0], which[:, :0], *every, count)
        else:
            best = jax.lax.pmax(best, layout.vocab)
    log_z = m + jnp.log(s)
    return tuple(tiles.own(a) for a in (best - log_z[:, None], which, log_z))


def _chosen_backward(x, head, ids, log_z, g, *, temperature, layout):
    """Gradients of x and head."""

    def slope(z, column, new, ids, lz, g, total):
        place, there = _place(ids, column, new)
        p = jnp.exp(z / temperature - lz[:, None])
        rows = jnp.arange(len(g))[:, None]
        # a place beyond the tile is dropped
        return (-total[:, None] * p).at[rows, jnp.where(there, place, z.shape[1])].add(g, mode="drop")

    g = g / temperature
    return _pulled(slope, x, head, ids, log_z, g, jnp.sum(g, axis=1), layout=layout)


def _likeliest(best, which, z, names, count):
    """The `count` largest of best [n, a] and z [n, b], and their names; of equal ones those that come first."""
    best, place = jax.lax.top_k(jnp.concatenate([best, z], axis=1), count)
    return best, jnp.take_along_axis(jnp.concatenate([which, names], axis=1), place, axis=1)


def _place(ids, column, new):
    """Where in a tile words i32[n, k] stand, and whether they do, in one of its new columns."""
    place = ids - column[0]
    inside = (place >= 0) & (place < len(column))
    place = jnp.clip(place, 0, len(column) - 1)
    return place, inside & new[place]


def _pulled(slope, x, head, *arrays, layout):
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


def _change(x, head, new_x, new_head, y, *, layout):
    """x, new_x [N, d], the heads, y i32[N] -> what `change_stats` returns, f32[N] each."""
    tiles = _Tiles(x, head, layout)
    x, new_x, y = (tiles.filled(a) for a in (x, new_x, y))

    def words(total, i):
        (piece, column, new), (new_piece, _, _) = tiles.head(head, i), tiles.head(new_head, i)

        def tokens(_, j):
            z, after = (tiles.logits(tiles.rows(a, j), b) for a, b in ((x, piece), (new_x, new_piece)))
            hit = (column[None] == tiles.rows(y, j)[:, None]) & new[None]
            old, old_new, zy = jax.tree.map(lambda a: tiles.rows(a, j), total)
            of_tile = _moments(z, after - z, new), _moments(after, None, new)
            return None, (_joined(old, of_tile[0]), _joined(old_new, of_tile[1]), zy + jnp.sum(jnp.where(hit, z, 0), 1))

        return tiles.over_rows(tokens, None)[1], None

    none = {name: jnp.zeros(y.shape) for name in ("s", "z", "d", "zd", "dd", "zdd", "pp", "ppz")}
    none["m"] = jnp.full(y.shape, -1e30)
    (m, after, zy), _ = jax.lax.scan(words, (none, none, jnp.zeros(y.shape)), jnp.arange(tiles.count))
    if layout.vocab:
        m, after = (_joined_over(a, layout.vocab) for a in (m, after))
        zy = jax.lax.psum(zy, layout.vocab)
    entropy, new_entropy = (jnp.maximum(a["m"] + jnp.log(a["s"]) - a["z"], 0.0) for a in (m, after))
    s = m["s"]
    own = jnp.exp(zy - m["m"]) / s * (zy - m["z"])
    made = entropy, new_entropy, -m["zd"] / s, -0.5 * (m["dd"] + m["zdd"]) / s, own - m["ppz"] / s**2
    return tuple(tiles.own(a) for a in made)


def _moments(z, d, new):
    """Of a tile [n, words], over the columns `new`, weighted by w = e^(z - m): the largest z m; s = sum w; the means z
    and d; zd, dd and zdd, sums of w times products of what differs from the means; pp = sum w^2, ppz with z - mean."""
    d = jnp.zeros_like(z) if d is None else d
    m = jnp.max(jnp.where(new[None], z, -jnp.inf), axis=1)
    w = jnp.where(new[None], jnp.exp(z - m[:, None]), 0.0)
    total = lambda a: jnp.sum(a, axis=1)  # noqa: E731
    s = total(w)
    mean_z, mean_d = total(w * z) / s, total(w * d) / s
    cz, cd = z - mean_z[:, None], d - mean_d[:, None]
    moments = {"zd": total(w * cz * cd), "dd": total(w * cd * cd), "zdd": total(w * cz * cd * cd)}
    return {"m": m, "s": s, "z": mean_z, "d": mean_d, **moments, "pp": total(w * w), "ppz": total(w * w * cz)}


def _joined(a, b):
    """Moments of two parts together."""
    m = jnp.maximum(a["m"], b["m"])

    def scaled(part):
        k = jnp.exp(part["m"] - m)
        power = {"s": 1, "zd": 1, "dd": 1, "zdd": 1, "pp": 2, "ppz": 2}
        return {name: x * k ** power.get(name, 0) for name, x in part.items()}

    a, b = scaled(a), scaled(b)
    s = a["s"] + b["s"]
    share, ez, ed = b["s"] / s, b["z"] - a["z"], b["d"] - a["d"]
    w = a["s"] * share
    z, d = a["z"] + share * ez, a["d"] + share * ed
    cross = lambda name: (1 - share) * b[name] - share * a[name]  # noqa: E731
    return {
        "m": m,
        "s": s,
        "z": z,
        "d": d,
        "zd": a["zd"] + b["zd"] + w * ez * ed,
        "dd": a["dd"] + b["dd"] + w * ed * ed,
        "zdd": a["zdd"] + b["zdd"] + w * (1 - 2 * share) * ez * ed * ed + 2 * ed * cross("zd") + ez * cross("dd"),
        "pp": a["pp"] + b["pp"],
        "ppz": a["ppz"] + (a["z"] - z) * a["pp"] + b["ppz"] + (b["z"] - z) * b["pp"],
    }


def _joined_over(a, axes):
    """Moments of the vocabulary's parts together."""
    parts = jax.tree.map(lambda x: jax.lax.all_gather(x, axes), a)
    count = parts["m"].shape[0]
    return functools.reduce(_joined, [jax.tree.map(lambda x, i=i: x[i], parts) for i in range(count)])


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
