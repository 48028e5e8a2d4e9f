"""entropy_rl/checkpoints.py: what is restored is, bit for bit, what was saved, or it is not used."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from entropy_rl import checkpoints
from entropy_rl.checkpoints import Checkpoints, restore_params
from entropy_rl.errors import InputError


@flax.struct.dataclass
class State:
    step: jax.Array
    params: Any
    opt_state: Any


def make_state(seed=0, width=64, layers=3):
    keys = jax.random.split(jax.random.key(seed), layers)
    params = {
        f"layer_{i}": {"w": jax.random.normal(k, (width, 32)), "b": jax.random.normal(k, (32,), jnp.bfloat16)}
        for i, k in enumerate(keys)
    }
    params["odd"] = {"empty": jnp.zeros((0, 3)), "nan": jnp.array([jnp.nan, -0.0, 1e-45]), "on": jnp.array(True)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    floats = {k: v for k, v in params.items() if k != "odd"}
    return State(jnp.int32(seed), params, tx.init(floats))


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def bits(tree):
    """A copy of every leaf's bytes, in order."""
    return [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with checkpoints 3 and 4 of make_state(3) and make_state(4); tests copy it."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir / "checkpoints") as c:
        for step in (2, 3, 4):
            c.save(step, make_state(step), {"cursor": step, "name": "ä"})
    return workdir


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def restore(workdir, state=None):
    said = []
    with Checkpoints(workdir / "checkpoints", say=said.append) as c:
        return c.restore_latest(abstract(make_state() if state is None else state)), said


def test_bitwise(copy):
    (step, state, meta), said = restore(copy)
    assert (step, meta, said) == (4, {"cursor": 4, "name": "ä"}, [])
    assert isinstance(state, State) and bits(state) == bits(make_state(4))
    assert jax.tree.structure(state) == jax.tree.structure(make_state(4))
    assert sorted(p.name for p in (copy / "checkpoints").iterdir()) == ["3", "4"]  # keep=2


def test_nothing_there(tmp_path):
    assert restore(tmp_path) == (None, [])


def test_restored_state_may_be_donated(copy):
    """A restored array may alias the host memory that it was read into."""
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 if x.dtype != bool else ~x, s), donate_argnums=0)
    with Checkpoints(copy / "checkpoints") as c:
        jax.block_until_ready(overwrite(c.restore_latest(abstract(make_state()))[1]))
        assert bits(c.restore_latest(abstract(make_state()))[1]) == bits(make_state(4))


@pytest.mark.parametrize("size", [7, 1_000_000])
def test_donating_right_after_save(tmp_path, size):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 1.5 + 1, s), donate_argnums=0)
    state = {f"w{i}": jax.random.normal(jax.random.key(i), (size,)) for i in range(4)}
    expected = {}
    with Checkpoints(tmp_path / "checkpoints", keep=5) as c:
        for n in range(4):
            expected[n] = bits(jax.tree.map(lambda x: np.array(x, copy=True), state))
            state = jax.block_until_ready(step(state))  # fresh buffers, which nothing but `state` holds
            expected[n + 1] = [(x.dtype, x.shape, b) for x, (_, _, b) in zip(state.values(), _bits_by_bytes(state))]
            c.save(n + 1, state, {})
            for _ in range(3):
                state = step(state)
            jax.block_until_ready(state)
    with Checkpoints(tmp_path / "checkpoints", keep=5) as c:
        for n in (4, 3, 2, 1):
            at, restored, _ = c.restore_latest(abstract(state))
            assert at == n and bits(restored) == expected[n]
            shutil.rmtree(tmp_path / "checkpoints" / str(n))
            c._manager.reload()
