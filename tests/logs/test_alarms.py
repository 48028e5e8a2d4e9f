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
    assert "critic/score/mean moved by +0.1" in found["overfit"].evidence
    assert "overfit" not in raised(tmp_path, HELD, RISING, **{"critic/score/mean": RISING})
    assert "overfit" not in raised(tmp_path, HELD, FALLING, score="critic/score/mean")


@pytest.mark.parametrize(
    ("name", "column", "below", "above"),
    [
        ("clipping", "actor/pg_clipfrac", 0.1, 0.3),
        ("length", "response_length/clip_ratio", 0.1, 0.5),
        ("zero_variance", "frac_reward_zero_std", 0.6, 0.9),
        ("sampler_gap", "mismatch_kl/all/mean", 0.001, 0.2),
        ("sampler_gap", "train/gen_kl_error", 0.001, 0.2),
        ("sampler_gap", "debug/vllm_vs_local_logprob_diff_mean", 0.001, 0.2),
        ("sampler_gap", "policy/rollout_train_prob_diff_mean", 0.001, 0.2),
        ("clipping", "policy/ppo_clip_ratio", 0.1, 0.3),
        ("clipping", "ppo_actor/update/clip_ratio/avg", 0.1, 0.3),
        ("zero_variance", "env/all/by_group/frac_mixed", 0.5, 0.1),
        ("zero_variance", "train/baseline_reward/pct_mixed", 0.5, 0.1),
    ],
)
def test_shares(tmp_path, name, column, below, above):
    assert name not in raised(tmp_path, HELD, RISING, **{column: [below] * N})
    found = raised(tmp_path, HELD, RISING, **{column: [below] * (N // 2) + [above] * (N - N // 2)})
    assert column in found[name].evidence and found[name].knobs


def test_groups_of_which_all_or_none_are_solved(tmp_path):
    """Shares, which add up; not counts. Mutation: either of them alone."""
    names = ("batch/solve_none", "batch/solve_all")
    shares = {name: [share] * N for name, share in zip(names, (0.5, 0.4))}
    found = raised(tmp_path, HELD, RISING, **shares)
    assert "batch/solve_none + batch/solve_all: 90%" in found["zero_variance"].evidence
    assert raised(tmp_path, HELD, RISING, **{name: [0.3] * N for name in names}) == {}
    assert raised(tmp_path, HELD, RISING, **{name: [30] * N for name in names}) == {}


def test_a_share_that_may_be_below_is_none(tmp_path):
    """Three late values of which the mean happens to be above. Mutation: error = 0."""
    noisy = 0.6 + 0.1 * np.where(np.arange(N // 3) % 2, 1, -1)
    noisy[-3:] = 0.7
    for shift, names in ((0, set()), (0.2, {"zero_variance"})):
        shares = {"frac_reward_zero_std": [*(shift + noisy)] + [""] * (N - N // 3)}
        assert set(raised(tmp_path, HELD, RISING, **shares)) == names


def test_second_attempts_are_not_the_policys(tmp_path):
    """Alphabetically first, and cut off as they are of problems that failed. Mutation: without "rollout" in the key."""
    truncated = {"refine/truncated": 0.45 + NOISE, "rollout/truncated": 0.1 + NOISE}
    assert raised(tmp_path, HELD, RISING, **truncated) == {}
    assert "rollout/truncated" in raised(tmp_path, HELD, RISING, **(truncated | {"rollout/truncated": 0.5 + NOISE}))[
        "length"
    ].evidence


def test_length_against_the_limit(tmp_path):
    for mean, names in ((950, {"length"}), (500, set())):
        lengths = {"response_length/max": [1000] * N, "response_length/mean": [mean + i % 9 for i in range(N)]}
        assert set(raised(tmp_path, HELD, RISING, **lengths)) == names


FEW = slice(4, None, 6)  # evaluations: 15 of a run


def few(R):
    """Scores at few steps only."""
    return [r if i in range(*FEW.indices(N)) else "" for i, r in enumerate(R)]


def test_few_evaluations_do_not_make_it_blind(tmp_path):
    """Five in the last third: the last eight count, or where they say little the training reward. Mutation: neither."""
    train = {"critic/score/mean": 0.1 + RISING}
    found = raised(tmp_path, HELD, few(FALLING), **train)
    assert "over the last 33% of the run, and val/accuracy by -0.1" in found["overfit"].evidence
    noisy = STILL + 0.05 * np.random.default_rng(1).standard_normal(N)
    falling = 0.9 * np.exp(-5 * T)
    found = raised(tmp_path, falling, few(noisy), **{"critic/score/mean": STILL})
    assert {"collapse", "plateau"} == set(found) and "critic/score/mean moved" in found["collapse"].evidence
    assert raised(tmp_path, falling, few(noisy), **train) == {}


def test_what_training_gains_alone(tmp_path):
    """Held-out stays where it was, and lengths grow. Mutation: EARNED = 0."""
    still, lengths = 0.3 + NOISE, {"response_length/mean": 300 + 900 * T}
    found = raised(tmp_path, HELD, few(still), **{"critic/score/mean": RISING}, **lengths)
    assert set(found) == {"overfit", "length"} and "over all of the run" in found["overfit"].evidence
    assert "grew from 34" in found["length"].evidence
    assert raised(tmp_path, HELD, few(RISING), **{"critic/score/mean": RISING}, **lengths) == {}
    assert "overfit" not in raised(tmp_path, HELD, few(still), **{"critic/score/mean": 5 * RISING})  # not of one unit


def test_far_from_the_reference_for_nothing(tmp_path):
    for kl, R, names in ((3 * T, STILL, {"plateau", "kl"}), (3 * T, RISING, set()), (0.3 * T, STILL, {"plateau"})):
        assert set(raised(tmp_path, HELD, R, kl=kl)) == names
    assert "kl" not in raised(tmp_path, HELD, STILL, **{"actor/ppo_kl": 3 * T})  # of the old policy


def test_gradients_that_jump(tmp_path):
    norm = 0.5 * np.exp(-3 * T)
    assert raised(tmp_path, HELD, RISING, grad_norm=norm) == {}
    norm[[20, 50, 70]] *= [40, 60, 20]
    assert "in 3 steps (6" in raised(tmp_path, HELD, RISING, grad_norm=norm)["gradient"].evidence
    norm[50] = 0.1
    assert raised(tmp_path, HELD, RISING, grad_norm=norm) == {}


def test_a_gain_that_is_for_the_format(tmp_path):
    """By what each function adds to the sum, not by its own scale. Mutation: weights of 1."""
    right, form = 0.3 + 0.05 * T + NOISE, 0.2 + 0.7 * np.minimum(1, 2 * T) - NOISE
    parts = {"rewards/accuracy_reward/mean": right, "rewards/format_reward/mean": form}
    found = raised(tmp_path, HELD, few(RISING), **parts, reward=right + 0.5 * form)
    assert "of what reward gained is for the format: rewards/accuracy_reward/mean +0.0" in found["format"].evidence
    assert "format" not in raised(tmp_path, HELD, few(RISING), **parts, reward=right + 0.02 * form)
    assert "format" not in raised(tmp_path, HELD, few(RISING), **parts, reward=RISING[::-1])


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
