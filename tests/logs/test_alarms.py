from pathlib import Path

import numpy as np
import pytest

from entropy_rl.laws.analyse import analyse
from entropy_rl.logs import alarms
from tests.logs.writing import one, write_csv

N = 90
T = np.arange(N) / N
NOISE = 0.004 * np.random.default_rng(0).standard_normal(N)
RISING = 0.3 + 0.4 * T + NOISE
STILL = 0.3 + 0.4 * np.minimum(1, 2 * T) + NOISE
FALLING = 0.7 - 0.2 * T + NOISE
HELD = 0.3 + 0.2 * np.cos(3 * T)  # an entropy with nothing to report


def raised(tmp_path, H, R, score="val/accuracy", stop_left=None, **more):
    """Names of the alarms, and them by name."""
    columns = {"step": range(N), "actor/entropy": H, score: R} | more
    points = one(write_csv(tmp_path / "log.csv", list(columns), zip(*columns.values())))
    law = analyse(points.step, points.H, points.R, draws=100) if stop_left else {}
    return {alarm.name: alarm for alarm in alarms.find(points, law, stop_left=stop_left)}


def test_entropy_that_falls_while_reward_rises_is_no_alarm(tmp_path):
    falling = 0.9 * np.exp(-5 * T)
    assert raised(tmp_path, falling, RISING) == {}
    found = raised(tmp_path, falling, STILL)
    assert set(found) == {"collapse", "plateau"}
    assert "entropy fell from 0." in found["collapse"].evidence and "is left" in found["collapse"].evidence
    assert "clip_cov" in found["collapse"].knobs and found["collapse"].step == N - 1
    assert "of 0.365 gained in all" in found["plateau"].evidence


def test_explosion(tmp_path):
    rising = np.where(T < 0.5, 0.5 - 0.4 * T, 0.3 + 2 * (T - 0.5)) + NOISE
    truncated = {"response_length/clip_ratio": 0.1 + 0 * T}
    found = raised(tmp_path, rising, FALLING, **truncated)
    assert "entropy rose from 0.3" in found["explosion"].evidence
    assert "truncated share 0.1" in found["explosion"].evidence
    assert "explosion" not in raised(tmp_path, rising, RISING)


def test_training_up_and_held_out_down(tmp_path):
    found = raised(tmp_path, HELD, FALLING, **{"critic/score/mean": RISING})
    assert "critic/score/mean rose by" in found["overfit"].evidence
    assert "overfit" not in raised(tmp_path, HELD, RISING, **{"critic/score/mean": RISING})
    assert "overfit" not in raised(tmp_path, HELD, FALLING, score="critic/score/mean")


@pytest.mark.parametrize(
    ("name", "column", "below", "above"),
    [
        ("clipping", "actor/pg_clipfrac", 0.1, 0.3),
        ("length", "response_length/clip_ratio", 0.1, 0.5),
        ("zero_variance", "frac_reward_zero_std", 0.6, 0.9),
        ("sampler_gap", "mismatch_kl/all/mean", 0.001, 0.2),
    ],
)
def test_shares(tmp_path, name, column, below, above):
    assert name not in raised(tmp_path, HELD, RISING, **{column: [below] * N})
    found = raised(tmp_path, HELD, RISING, **{column: [below] * (N // 2) + [above] * (N - N // 2)})
    assert column in found[name].evidence and found[name].knobs


def test_length_against_the_limit(tmp_path):
    for mean, names in ((950, {"length"}), (500, set())):
        lengths = {"response_length/max": [1000] * N, "response_length/mean": [mean + i % 9 for i in range(N)]}
        assert set(raised(tmp_path, HELD, RISING, **lengths)) == names


def test_a_stop_rule_in_reward_left(tmp_path):
    H = 0.9 * np.exp(-4 * T)
    R = 0.9 - 0.3 * np.exp(H) + NOISE
    assert "spent" not in raised(tmp_path, H, R, stop_left=1e-4)
    found = raised(tmp_path, H, R, stop_left=0.1)
    assert "0.1 was asked for" in found["spent"].evidence and "by a line" in found["spent"].evidence


def test_every_alarm_has_knobs_and_a_place_in_the_docs():
    text = (Path(__file__).parents[2] / "docs/your_log.md").read_text()
    assert all(f"`{name}`" in text for name in alarms.KNOBS)


def test_a_long_run_is_averaged_before_it_is_resampled(tmp_path, monkeypatch):
    """Of a third of 3000 points 1000 would be drawn; alarms are as of the short run. Mutation: without MOST."""
    sizes, real = [], alarms.bootstrap.resample

    def resample(X, *args, **kwargs):
        sizes.append(len(X))
        return real(X, *args, **kwargs)

    monkeypatch.setattr(alarms.bootstrap, "resample", resample)
    n = 3000
    t = np.arange(n) / n
    R = 0.3 + 0.4 * np.minimum(1, 2 * t) + 0.004 * np.random.default_rng(0).standard_normal(n)
    rows = zip(range(n), 0.9 * np.exp(-5 * t), R)
    points = one(write_csv(tmp_path / "log.csv", ["step", "entropy", "accuracy"], rows))
    assert {alarm.name for alarm in alarms.find(points, {})} == {"collapse", "plateau"}
    assert sizes and max(sizes) <= alarms.MOST
