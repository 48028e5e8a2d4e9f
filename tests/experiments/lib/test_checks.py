import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.parallel.sharding import batch_sharding, make_mesh, replicated
from experiments.lib import checks


def test_positive_numbers_only():
    c = ConfigDict({"n": 0, "x": 0.5, "name": "pppo", "on": True, "sub": {"y": 2, "z": float("nan")}})
    checks.positive(c, "x", "sub.y")
    for key, message in [
        ("n", r"config\.n=0: must be a number above 0"),
        ("sub.z", r"config\.sub\.z=nan"),
        ("on", r"config\.on=True"),
        ("name", r"config\.name='pppo'"),
    ]:
        with pytest.raises(InputError, match=message):
            checks.positive(c, "x", key)


def test_numbers_of_some_least():
    """Mutations: above 0 in place of 0 or more; a fraction taken for whole."""
    c = ConfigDict({"n": 2, "zero": 0, "x": 2.5, "low": -1})
    checks.not_negative(c, "n", "zero", "x")
    checks.whole(c, 2, "n")
    with pytest.raises(InputError, match=r"config\.low=-1: must be a number of 0 or more"):
        checks.not_negative(c, "low")
    for key in ("x", "zero"):
        with pytest.raises(InputError, match=f"config.{key}=.*: must be a whole number of 2 or more"):
            checks.whole(c, 2, key)


def test_a_state_that_does_not_fit(monkeypatch):
    """A device's share of all trees counts, and what is missing is said. Mutation: the whole trees."""
    mesh = make_mesh()
    x = jax.ShapeDtypeStruct((3, 10**9), jnp.float32, sharding=batch_sharding(mesh))
    here = jax.ShapeDtypeStruct((10**9,), jnp.bfloat16, sharding=replicated(mesh))
    monkeypatch.setattr(checks, "device_memory", lambda mesh: 13e9)
    checks.state_fits(mesh, x)
    with pytest.raises(
        InputError, match="on each device, takes 14 GB and there are 13 GB, 1 GB too few: give"
    ):
        checks.state_fits(mesh, x, {"here": here})


def test_memory_of_this_machine():
    assert 1e8 < checks.host_memory() < 1e14 and 0 < checks.device_memory(make_mesh()) <= 1e14
