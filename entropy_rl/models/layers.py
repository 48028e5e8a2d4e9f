"""Blocks that are alike as one block in a loop, whose program is compiled once for all of them (`scan_layers`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def alike(kinds: Sequence[Hashable]) -> list[range]:
    """Places of equal kinds next to each other, as long as they can be: [a, a, b, a] -> [0 1] [2] [3]."""
    starts = [i for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]
    return [range(i, j) for i, j in zip(starts, [*starts[1:], len(kinds)])]


def form(tree: Any) -> Hashable:
    """What trees have in common that can be stacked: names, shapes and types."""
    return jax.tree.structure(tree), tuple((x.shape, x.dtype) for x in jax.tree.leaves(tree))


def loop(step: Callable[[Any, Any], tuple[Any, Any]], x: Any, given: Sequence[Any]) -> tuple[Any, list[Any]]:
    """`x, made = step(x, each)` for each of the trees `given`, which have one `form`: the last x and what was made.

    The trees are stacked, a copy in memory, and what is made is taken apart again by `split`, whose derivative is one
    concatenation where that of an index would be a sum of as many arrays as there are layers.
    """
    x, made = jax.lax.scan(step, x, jax.tree.map(lambda *parts: jnp.stack(parts), *given))
    leaves, structure = jax.tree.flatten(made)
    parts = [[y[0] for y in jax.lax.split(leaf, (1,) * len(given))] for leaf in leaves]
    return x, [jax.tree.unflatten(structure, each) for each in zip(*parts)]
