"""What a change of logits does to the entropy, from hidden states and heads before and after, in tiles of logits."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.models import tiles


def change_stats(
    hidden: jax.Array, head: jax.Array, new_hidden: jax.Array, new_head: jax.Array, targets: jax.Array, **how: Any
) -> dict[str, jax.Array]:
    """What a change of logits d = z' - z does to the entropy of softmax(z), in every state, without all z.

        H = log Z - E_p[z]                       first = -Cov_p(z, d)
        second = -1/2 (Var_p(d) + E_p[(z - E z) (d - E d)^2])
        polarity = S_y - E_p[S],  S_i = p_i (z_i - E_p[z])

    with log p_i + H = z_i - E_p[z] put into entropy/theory.py's sums. Each tile's moments are about its own means, and
    are joined as those of two samples are (Chan, Golub and LeVeque 1983), so that an offset of d costs no digits.

    Args:
      hidden, head: before the update, as in tiled_head.head_stats; new_hidden, new_head: after it, at the same states.
      targets: i32[B, T], the tokens y that were chosen.
      **how: as of tiles.cut.

    Returns:
      `entropy`, `new_entropy`, `first`, `second`, `polarity`: f32[B, T], nats.
    """
    layout, mesh = tiles.cut(hidden, head, **how)
    run = tiles.over(mesh, layout, partial(_change, layout=layout), "xhxhy", "yyyyy")
    names = ("entropy", "new_entropy", "first", "second", "polarity")
    return dict(zip(names, run(hidden, head, new_hidden, new_head, targets), strict=True))


def _change(x, head, new_x, new_head, y, *, layout):
    """x, new_x [N, d], the heads, y i32[N] -> what `change_stats` returns, f32[N] each."""

    def step(total, z, after, column, new, y):
        old, old_new, zy = total
        of_tile, of_new = _moments(z, after - z, new), _moments(after, None, new)
        zy = zy + jnp.sum(jnp.where(tiles.hits(column, new, y), z, 0.0), axis=1)
        return _joined(old, of_tile), _joined(old_new, of_new), zy

    none = {name: jnp.zeros(y.shape) for name in ("s", "z", "d", "zd", "dd", "zdd", "pp", "ppz")}
    none["m"] = jnp.full(y.shape, -1e30)
    start = (none, none, jnp.zeros(y.shape))
    m, after, zy = tiles.folded(step, start, [(x, head), (new_x, new_head)], y, layout=layout)
    if layout.vocab:
        m, after = (_joined_over(a, layout.vocab) for a in (m, after))
        zy = jax.lax.psum(zy, layout.vocab)
    entropy, new_entropy = (jnp.maximum(a["m"] + jnp.log(a["s"]) - a["z"], 0.0) for a in (m, after))
    s = m["s"]
    own = jnp.exp(zy - m["m"]) / s * (zy - m["z"])
    return entropy, new_entropy, -m["zd"] / s, -0.5 * (m["dd"] + m["zdd"]) / s, own - m["ppz"] / s**2


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
