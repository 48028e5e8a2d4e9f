import numpy as np
import pytest
from scipy.special import chdtrc

from entropy_rl.errors import InputError
from entropy_rl.laws import pool
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.fit import fit
from entropy_rl.laws.pool import agreement, intervals, pooled

EXP = CURVES["exp"]
H = np.geomspace(0.3, 0.03, 30)
A, B = 1.2, 1.8


def runs_of(rng, size, spread=0.0, sd=0.01):
    """Runs with coefficients of their own, `spread` around A and B."""
    own = [(A + spread * rng.standard_normal(), B + spread * rng.standard_normal()) for _ in range(size)]
    return [(H, EXP.predict(H, *of) + sd * rng.standard_normal(30), None) for of in own]


def test_one_fit_to_all_points():
    runs = runs_of(np.random.default_rng(0), 3)
    whole = fit(EXP, np.tile(H, 3), np.concatenate([R for _, R, _ in runs]))
    assert pooled(EXP, runs) == whole
    weighted = [(x, R, np.full(30, float(w))) for (x, R, _), w in zip(runs, (1e6, 1, 1))]
    assert pooled(EXP, weighted).a == pytest.approx(fit(EXP, *runs[0][:2]).a, rel=1e-3)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_coverage_over_runs(size, spread):
    """Where seeds differ and where they do not. Mutation: resample without the widening for few runs."""
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(250):
        found = intervals(EXP, runs_of(rng, size, spread), rng, draws=300)
        pairs = ((found.a, A), (found.b, B), (found.ceiling, B - A))
        hits.append([low <= truth <= high for (low, high), truth in pairs])
    held = np.mean(hits, 0)
    assert (held >= 0.83).all() and (held <= 0.97).all(), held


def test_shapes_bands_and_missing_ceilings():
    rng = np.random.default_rng(2)
    found = intervals(CURVES["exp_rate"], runs_of(rng, 4), rng, at=[0.0, 0.3])
    assert found.shape[0][0] < 1 < found.shape[0][1]
    low, high = found.band
    assert low[0] < B - A < high[0] and low[1] < EXP.predict(0.3, A, B) < high[1]
    assert intervals(CURVES["log"], runs_of(rng, 4), rng).ceiling == (-np.inf, np.inf)


def test_agreement_of_equal_runs_is_uniform_and_of_others_small():
    rng = np.random.default_rng(3)
    equal = [agreement(EXP, runs_of(rng, 3), rng, draws=200) for _ in range(150)]
    assert np.mean([found.p < 0.05 for found in equal]) < 0.12
    assert np.mean([found.p < 0.5 for found in equal]) > 0.25
    other = agreement(EXP, runs_of(rng, 3, spread=0.1), rng)
    assert other.p < 1e-6 and other.pooled_rmse > 2 * other.own_rmse and other.own_rmse == pytest.approx(0.01, rel=0.3)
    shifted = [(H, EXP.predict(H, A, B + d), None) for d in (-0.1, 0.0, 0.1)]
    noisy = [(x, R + 0.01 * rng.standard_normal(30), w) for x, R, w in shifted]
    assert agreement(EXP, noisy, rng).spread == pytest.approx(0.1, rel=0.1)


def test_degrees_of_freedom_of_agreement(monkeypatch):
    """2 coefficients of 3 runs, less those of their mean."""
    monkeypatch.setattr(pool, "_chi2_above", lambda freedom, Q: freedom)
    assert agreement(EXP, runs_of(np.random.default_rng(5), 3), np.random.default_rng(6), draws=100).p == 4


def test_refusals():
    rng = np.random.default_rng(4)
    with pytest.raises(InputError, match="at least 2"):
        intervals(EXP, runs_of(rng, 1), rng)
    with pytest.raises(InputError, match="level 2"):
        intervals(EXP, runs_of(rng, 2), rng, level=2.0)
    with pytest.raises(InputError, match="needs 2 runs"):
        agreement(EXP, runs_of(rng, 1), rng)
    with pytest.raises(InputError, match="without shape"):
        agreement(CURVES["exp_rate"], runs_of(rng, 2), rng)


@pytest.mark.parametrize("freedom", [2, 4, 20, 400])
def test_the_tail_of_chi2_is_scipys(freedom):
    Q = freedom * np.array([0.0, 1e-9, 0.3, 1.0, 1.7, 20.0, 1e4])
    found = [pool._chi2_above(freedom, value) for value in Q]
    np.testing.assert_allclose(found, chdtrc(freedom, Q), rtol=1e-10, atol=1e-290)
