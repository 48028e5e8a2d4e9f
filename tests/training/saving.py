"""Trees of arrays in checkpoints, compared by their bits."""

import os

import jax
import numpy as np

from entropy_rl.training.checkpoints import Checkpoints


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def bits(tree):
    """A copy of every leaf's bytes, in order."""
    return [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


def restore(workdir, state):
    """What the latest good checkpoint holds, for a run with such a state, and what was said."""
    said = []
    with Checkpoints(workdir / "checkpoints", say=said.append) as c:
        return c.restore_latest(abstract(state)), said


def halve(path):
    os.truncate(path, path.stat().st_size // 2)
