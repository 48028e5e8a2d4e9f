import json

import numpy as np
import pytest

from configs.laws import coverage as configs
from entropy_rl.errors import InputError
from experiments import coverage


def test_rows_and_files(tmp_path):
    """Intervals hold where naive ones fail, for one run and for several."""
    config = configs.get_config("smoke")
    config.curves, config.points, config.rho, config.others, config.runs = 60, (40,), (0.8,), ("log", "power"), (3,)
    rows = coverage.run(config, tmp_path / "out")
    assert json.loads((tmp_path / "out/coverage.json").read_text()) == rows
    assert [(row["curve"], row["runs"]) for row in rows] == [("exp", 1), ("log", 1), ("power", 1), ("exp", 3)]
    for row in rows:
        assert row["a"] >= 78 and row["b"] >= 78  # 90 % of 60 curves has a standard error of 4 %
    assert rows[0]["naive a"] < 65 and rows[1]["ceiling"] == "-"
    lines = (tmp_path / "out/coverage.md").read_text().splitlines()
    assert lines[0].startswith("| curve | runs |") and len(lines) == 2 + len(rows)
    assert coverage.run(config, tmp_path / "again") == rows


def test_planted_noise_is_what_it_says():
    noise = coverage.ar1(np.random.default_rng(0), 0.8, 20_000, 3)
    np.testing.assert_allclose(np.cov(noise.T), 0.8 ** np.abs(np.subtract.outer(range(3), range(3))), atol=0.03)


def test_every_curve_can_be_planted():
    for name in coverage.TRUTH:
        curve, x, truth = coverage.plant(name, 20)
        assert len(truth) == curve.parameters and np.isfinite(curve.predict(x, *truth)).all()
    assert set(coverage.TRUTH) == set(coverage.CURVES)


@pytest.mark.parametrize(("key", "value"), [("curves", 3), ("noise", 0.0), ("seed", -1)])
def test_bad_values_are_named(tmp_path, key, value):
    config = configs.get_config("smoke")
    config[key] = value
    with pytest.raises(InputError, match=f"config.{key}"):
        coverage.run(config, tmp_path)
    config = configs.get_config("smoke")
    config.others = ("expp",)
    config.curves = 10
    with pytest.raises(InputError, match="did you mean 'exp'"):
        coverage.run(config, tmp_path)
