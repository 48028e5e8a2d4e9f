import json

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.laws import analyse as module
from entropy_rl.laws.analyse import analyse, headroom, marks, plain, series
from entropy_rl.laws.curves import CURVES


def planted(name="exp", n=60, start=0.3, end=0.03, sd=0.01, seed=0, a=1.2, b=1.8):
    H = np.geomspace(start, end, n)
    return np.arange(n), H, CURVES[name].predict(H, a, b) + sd * np.random.default_rng(seed).standard_normal(n)


def test_law_json_has_its_schema():
    law = analyse(*planted(), level=0.8, draws=200)
    assert law["n"] == law["fitted"] == 60
    assert law["H"] == {"min": pytest.approx(0.03), "max": pytest.approx(0.3)}
    assert set(law["curves"]) == set(CURVES) and law["left_out"] == {}
    for name, curve in law["curves"].items():
        numbers = {"a", "b", "ceiling", "rmse", "r2", "heldout_rmse", "blocked_rmse", "delta_aic", "delta_bic"}
        assert numbers | {"x", "shape", "interval"} == set(curve) - {"band"}
        assert ("band" in curve) == (name in ("exp", "linear"))
        assert set(curve["shape"]) == {s.name for s in CURVES[name].shape}
        assert set(curve["interval"]) == {"a", "b", "ceiling"} | set(curve["shape"])
    assert law["curves"]["log"]["ceiling"] is None
    assert law["ceiling"] == law["curves"]["exp"]["ceiling"]
    assert law["interval"]["level"] == 0.8
    for key in ("a", "b", "ceiling"):
        low, high = law["interval"][key]
        assert low < law["curves"]["exp"][key] < high
        assert law["interval"][key] == law["curves"]["exp"]["interval"][key]
    assert min(c["delta_bic"] for c in law["curves"].values()) == 0
    assert json.loads(json.dumps(law, allow_nan=False)) == law


def test_order_of_rows_does_not_matter_but_the_step_does():
    step, H, R = planted(seed=4)
    shuffled = np.random.default_rng(0).permutation(60)
    assert analyse(step[shuffled], H[shuffled], R[shuffled], draws=200) == analyse(step, H, R, draws=200)
    assert analyse(step[::-1], H, R, draws=200) != analyse(step, H, R, draws=200)


def test_a_function_of_the_seed():
    data = planted()
    assert analyse(*data, draws=200, seed=1) == analyse(*data, draws=200, seed=1)
    assert analyse(*data, draws=200, seed=1)["interval"] != analyse(*data, draws=200, seed=2)["interval"]


def test_weights_reach_every_part():
    step, H, R = planted()
    w = np.linspace(1, 9, 60)
    law, even = analyse(step, H, R, draws=200, weights=w), analyse(step, H, R, draws=200)
    for key in ("heldout_rmse", "blocked_rmse", "a"):
        assert law["curves"]["exp"][key] != even["curves"]["exp"][key]
    assert law["interval"]["a"] != even["interval"]["a"]
    assert law["identifiability"]["separation"] != even["identifiability"]["separation"]


def test_effort_is_what_curves_in_steps_are_fitted_to():
    step = np.arange(40)
    H = np.geomspace(0.3, 0.03, 40)
    flops = 1e15 * step.astype(float) ** 1.5
    R = CURVES["sigmoid"].predict(flops, 0.5, 0.8, 3e16, 1.1) + 0.002 * np.random.default_rng(0).standard_normal(40)
    law = analyse(step, H, R, effort=flops, draws=200)
    assert law["curves"]["sigmoid"]["shape"]["mid"] == pytest.approx(3e16, rel=0.1)
    assert law["curves"]["sigmoid"]["ceiling"] == pytest.approx(0.8, abs=0.02)
    assert law["curves"]["sigmoid"]["delta_bic"] == 0  # the best of all
    assert law["curves"]["exp"]["interval"] == analyse(step, H, R, draws=200)["curves"]["exp"]["interval"]


def test_the_power_law_does_without_step_0_and_bad_curves_are_named():
    step, H, R = planted()
    H[-1] = 0.0
    law = analyse(step, H, R, draws=200)
    assert "not finite for H from 0" in law["left_out"]["log"] and "log" not in law["curves"]
    assert "power" in law["curves"]


def test_a_wide_range_identifies_exp_and_a_narrow_one_does_not():
    wide = analyse(*planted(start=1.5, a=0.3, sd=0.005), draws=200)
    assert wide["identified"] and wide["verdict"].startswith("exp is identified: exp fits")
    low, high = wide["curves"]["exp_rate"]["interval"]["c"]
    assert low < 1 < high and low > 0.3
    narrow = analyse(*planted(), draws=200)
    assert not narrow["identified"] and narrow["verdict"].startswith("exp is not identified: ")
    assert analyse(*planted("quadratic", start=1.5, a=0.3, sd=0.005), draws=200)["best"]["bic"] == "quadratic"


def test_no_law_is_forced_where_reward_falls_or_does_not_move():
    law = analyse(*planted(a=-0.5), draws=200)
    assert law["curves"]["exp"]["a"] < 0
    assert "reward falls as entropy is spent" in law["verdict"] and "no law is forced" in law["verdict"]
    assert analyse(*planted(a=-0.5), draws=200, nonnegative=True)["curves"]["exp"]["a"] == 0
    step, H, _ = planted()
    assert "not established" in analyse(step, H, np.full(60, 0.3), draws=200)["verdict"]
    assert "no law is forced" in analyse(*planted(a=0.05, sd=0.5, seed=5), draws=200)["verdict"]


def test_steps_must_match():
    _, H, R = planted()
    with pytest.raises(InputError, match="step"):
        analyse(np.arange(59), H, R)
    with pytest.raises(InputError, match="step"):
        analyse(np.full(60, np.nan), H, R)
    with pytest.raises(InputError, match="effort"):
        analyse(np.arange(60), H, R, effort=np.zeros(3))


def test_long_runs_are_averaged_in_groups(monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 10)
    run = series(np.arange(20)[::-1], np.arange(20.0), np.ones(20), np.r_[np.full(10, 3.0), np.ones(10)])
    assert run.H.tolist() == [18.5 - 2 * i for i in range(10)]  # sorted by step, then pairs
    assert run.w.tolist() == [2] * 5 + [6] * 5 and run.step.tolist() == [0.5 + 2 * i for i in range(10)]
    weighted = series([0, 1, *range(2, 20)], np.r_[1.0, 4.0, np.ones(18)], np.ones(20), np.r_[3.0, 1.0, np.ones(18)])
    assert weighted.H[0] == pytest.approx((3 * 1 + 4) / 4)
    law = analyse(*planted(n=20), draws=200)
    assert law["n"] == 20 and law["fitted"] == 10


def test_headroom_by_hand():
    H = np.array([np.log(3.0), 0.5, 0.3, np.log(2.0)])
    run = series(np.arange(4), H, 4 - 2 * np.exp(H))
    law = module.fit(CURVES["exp"], H, run.R)
    interval = module.Intervals(0.9, a=(1.0, 3.0), b=(0, 0), ceiling=(0, 0), rho=0.0, block=1)
    left = headroom(run, law, interval)
    assert left["left"] == pytest.approx(2 * (2 - 1)) and left["interval"] == pytest.approx([1.0, 3.0])
    assert left["entropy_spent"] == pytest.approx(1 - np.log(2) / np.log(3))
    assert left["gain_had"] == pytest.approx((3 - 2) / (3 - 1))


def test_marks_by_hand():
    # 13 points: 1/12 of the steps is the second, 1/3 the fifth
    H, R = np.full(13, 0.2), np.full(13, 0.7)
    H[[0, 1, 4]], R[[0, 1, 4]] = [1.0, 0.6, 0.4], [0.2, 0.3, 0.6]
    first, second = marks(series(np.arange(13), H, R))
    assert first["step"] == pytest.approx(1) and second["step"] == pytest.approx(4)
    assert (first["entropy"], second["entropy"]) == (pytest.approx(0.4 / 0.8), pytest.approx(0.6 / 0.8))
    assert (first["gain"], second["gain"]) == (pytest.approx(0.1 / 0.5), pytest.approx(0.4 / 0.5))
    still = marks(series(np.arange(13), np.full(13, 0.3), np.linspace(1, 0, 13)))
    assert still[0]["entropy"] is None and still[0]["gain"] is None


def test_plain_has_no_numpy_and_no_infinities():
    value = {"a": np.float64(1), "b": [np.inf, np.nan], "c": (np.int64(2), np.bool_(True)), "_d": object(), 3: None}
    assert json.dumps(plain(value)) == '{"a": 1.0, "b": [null, null], "c": [2, true], "3": null}'
