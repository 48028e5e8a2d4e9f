import json

import numpy as np
import pytest

from entropy_rl.laws.analyse import analyse, series
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.together import together


def runs_of(offsets, a=1.2):
    """Runs of 60 points on R = 1.8 + offset - a exp(H) with noise 0.01, and the analysis of each."""
    runs, H = {}, np.geomspace(0.3, 0.03, 60)
    for seed, offset in enumerate(offsets):
        noise = 0.01 * np.random.default_rng(seed).standard_normal(60)
        runs[f"run{seed}"] = series(np.arange(60), H, CURVES["exp"].predict(H, a, 1.8 + offset) + noise)
    return runs, {name: analyse(r.step, r.H, r.R, draws=200) for name, r in runs.items()}


def test_runs_together():
    runs, each = runs_of([0.0, 0.0, 0.0])
    law = together(runs, each, draws=500)
    assert law["n"] == 180 and law["interval"]["runs"] == 3
    assert law["curves"]["exp"]["a"] == pytest.approx(1.2, abs=0.05)
    assert law["curves"]["exp"]["left_out_rmse"] == pytest.approx(0.01, rel=0.3)
    assert "may share one curve" in law["verdict"] and law["agreement"]["p"] > 0.01
    assert json.loads(json.dumps(law, allow_nan=False)) == law
    apart = together(*runs_of([0.0, 0.1, 0.2]), draws=500)
    assert "do not share one curve" in apart["verdict"]
    assert apart["agreement"]["spread"] == pytest.approx(0.1, rel=0.1)
    width = lambda law: np.ptp(law["interval"]["b"])  # noqa: E731
    assert width(apart) > 5 * width(law)


def test_runs_that_allow_no_law_are_named():
    runs, each = runs_of([0.0, 0.0], a=-0.5)
    assert "2 of 2 runs allow no law (run0, run1)" in together(runs, each, draws=200)["verdict"]
