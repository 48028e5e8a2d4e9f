"""Logs as people have them, shortened, each with what it must give; in `cases/`."""

from pathlib import Path

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import read as logs
from tests.logs.writing import one, refused

CASES = Path(__file__).parent / "cases"

READ = [  # file, entropy, score, first and last step, points, first H and R, unit, held out
    ("reward_sum", "entropy", "reward", 1, 16, 16, 0.712882, -3.3125, "reward", False),
    ("trl_console.log", "entropy", "rewards/accuracy_reward/mean", 1, 111, 12, 0.95, 0.2369, "fraction", False),
    ("starts_with_bracket.log", "entropy", "reward", 0, 11, 12, 0.95, 0.5369, "reward", False),
    ("update_reward_mean.jsonl", "entropy", "reward_mean", 1, 12, 12, 1.106667, 0.215625, "fraction", False),
    ("swift_logging.jsonl", "entropy/mean", "rewards/MathAccuracy/mean", 10, 110, 11, 0.8484, 0.4455, "fraction",
     False),
    ("rows_twice.jsonl", "entropy", "reward", 5, 60, 12, 0.8484, 0.4455, "fraction", False),
    ("skyrl_wrapped.jsonl", "policy/policy_entropy", "reward/avg_raw_reward", 1, 12, 12, 0.806768, 0.45797,
     "fraction", False),
    ("trl_eval", "entropy", "eval_reward", 20, 160, 8, 0.695788, -0.486133, "reward", True),
    ("trl_noisy", "entropy", "reward", 20, 400, 20, None, None, "reward", False),
    ("trl", "entropy", "eval_rewards/accuracy_reward/mean", 1, 40, 14, 0.909417, 0.338646, "fraction", True),
    ("prime_train_only", "entropy/all/mean", "train/agg/effective/solver/reward/mean", 1, 12, 12, 0.909417, 0.340946,
     "fraction", False),
    ("slime", "train/entropy_loss", "eval/aime", 0, 39, 14, 0.909417, 0.338646, "fraction", True),
    ("slime_console", "train/entropy_loss", "rollout/raw_reward", 0, 11, 12, 0.909417, 0.340946, "fraction", False),
    ("swift", "entropy/mean", "rewards/MathAccuracy/mean", 1, 12, 12, 0.909417, 0.340946, "fraction", False),
    ("tinker", "optim/entropy", "test/env/all/correct", 0, 39, 14, 0.909417, 0.338646, "fraction", True),
]  # fmt: skip


@pytest.mark.parametrize("case", READ, ids=[case[0] for case in READ])
def test_a_log_gives_what_it_must(case):
    name, entropy, score, first, last, n, H, R, unit, held_out = case
    points = one(CASES / name)
    assert (points.entropy, points.score) == (entropy, score)
    assert (points.step[0], points.step[-1], len(points.R)) == (first, last, n)
    if H is not None:
        np.testing.assert_allclose([points.H[0], points.R[0]], [H, R], atol=1e-5)
    assert (points.unit, points.held_out) == (unit, held_out)
    assert ("TRAINING REWARD, not held out" in points.source) == (not held_out)


def test_a_console_that_was_begun_anew_is_two_tries():
    found = logs.read(CASES / "tee_append_fresh.log")
    names = [f"tee_append_fresh (try {n} of 2)" for n in (1, 2)]
    assert [(run.name, len(run.R)) for run in found.runs] == [(names[0], 20), (names[1], 12)]
    assert [run.R[0] for run in found.runs] == pytest.approx([0.117778, 0.456632], abs=1e-5)
    assert all("goes back to its first step 1 time(s)" in run.source for run in found.runs)
    assert [run.name for run in found.independent()] == [found.runs[0].name]  # the longer


def test_entropy_of_one_file_and_score_of_another():
    points = one(CASES / "marin", join=True)
    assert (points.entropy, points.score) == ("train/current_policy_entropy", "inference.eval/math_full/pass_at_one")
    assert (points.step[1], len(points.R), points.estimator) == (3, 14, "full distribution")
    assert "--config.join=True" in refused(CASES / "marin")


def test_runs_of_wandb_are_joined_by_the_trainers_step(tmp_path):
    """Exports of marin's two runs, whose own Step are not the same. Mutation: the Step of each."""
    n, H = range(20), np.geomspace(0.9, 0.1, 20)
    rows = {"train": ["Step,a - train/policy_entropy", *(f"{i},{H[i]}" for i in n)]}
    names = ("inference.train_step", "inference.eval/math/pass_at_one")
    rows["rollout"] = [f"Step,b - {names[0]},b - {names[1]}", *(f"{3 * i},{i},{1 - H[i]}" for i in n)]
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    points = one(tmp_path, join=True)
    np.testing.assert_array_equal(points.step, n)
    np.testing.assert_allclose(points.R, 1 - points.H)


def test_which_logs_are_to_be_joined_is_said():
    with pytest.raises(InputError, match="of one run add --config.join=True"):
        logs.read([CASES / "marin/train.csv", CASES / "marin/rollout.csv"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("metric_window.csv", "2 point(s) with 'validation_accuracy' and 'entropy', 8 needed"),
        ("metric_window.csv", "--config.score=reward_mean"),
        ("trl_no_entropy", "looks like TRL"),
        ("trl_no_entropy", "log_entropy=True"),
        ("unsloth", "Unsloth's GRPO leaves it out"),
    ],
)
def test_a_log_without_what_is_needed_is_told_what_to_do(name, said):
    assert said in refused(CASES / name)
