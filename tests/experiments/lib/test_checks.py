import pytest
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
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
