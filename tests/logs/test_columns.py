from pathlib import Path

import pytest

from entropy_rl.logs import columns, trainers

NOISE = ["loss", "kl", "grad_norm", "reward_std", "learning_rate", "entropy_coef", "response_length/mean", "epoch"]
TRAINERS = [  # trainer, its names; entropy, score, held out, estimator
    ("verl", "actor/entropy actor/entropy_loss critic/score/mean critic/score/max critic/rewards/mean "
     "val-aux/gsm8k/reward/mean@8 val-core/gsm8k/acc/mean@8 val-core/gsm8k/acc/best@8/mean "
     "val-core/gsm8k/acc/maj@8/mean val-aux/num_turns/mean", "actor/entropy", "val-core/gsm8k/acc/mean@8", True,
     trainers.FULL),
    ("verl", "actor/entropy_loss actor/pg_loss critic/score/mean critic/rewards/mean", "actor/entropy_loss",
     "critic/score/mean", False, trainers.FULL),
    ("TRL", "train/entropy train/reward train/rewards/accuracy_reward/mean train/rewards/accuracy_reward/std "
     "eval/reward eval/rewards/accuracy_reward/mean eval/entropy eval/mean_token_accuracy "
     "train/rewards/format_reward/mean",
     "train/entropy", "eval/rewards/accuracy_reward/mean", True, trainers.FULL),
    ("prime-rl", "entropy/all/mean entropy/all/std entropy/all/max entropy/math/mean eval/aime/all/solver/avg@16 "
     "eval/aime/effective/solver/avg@16 eval/aime/effective/solver/pass@16 train/agg/effective/solver/reward/mean "
     "mismatch_kl/all/mean", "entropy/all/mean", "eval/aime/effective/solver/avg@16", True, trainers.FULL),
    ("Tinker cookbook", "optim/entropy env/all/reward/total env/all/correct env/all/format", "optim/entropy",
     "env/all/correct", False, trainers.SAMPLED),
    ("AReaL", "ppo_actor/update/entropy/avg ppo_actor/update/entropy/max ppo_actor/task_reward/avg rollout/reward "
     "eval-rollout/reward", "ppo_actor/update/entropy/avg", "eval-rollout/reward", True, trainers.FULL),
    ("marin", "train/policy_entropy train/current_entropy train/current_policy_entropy "
     "inference.rollout/math/avg_reward inference.eval/math/pass_at_one inference.eval/math/success_rate",
     "train/current_policy_entropy", "inference.eval/math/pass_at_one", True, trainers.FULL),
    ("torchtitan", "trainer/entropy/mean trainer/entropy/max rollout_reward/_mean rollout_reward/_max "
     "validation_reward/_mean validation_reward/_min", "trainer/entropy/mean", "validation_reward/_mean", True,
     trainers.FULL),
    ("xtuner", "entropy/old_lobprob entropy/rollout rollout/reward", "entropy/old_lobprob", "rollout/reward", False,
     trainers.UNKNOWN),
    ("slime", "train/entropy_loss rollout/raw_reward rollout/rewards eval/aime eval/aime-truncated_ratio eval/step "
     "train/step", "train/entropy_loss", "eval/aime", True, trainers.FULL),
    ("ROLL", "critic/entropy/mean critic/rewards/mean critic/score/mean val_correct/all/mean val_correct/aime/mean",
     "critic/entropy/mean", "val_correct/all/mean", True, trainers.UNKNOWN),
    ("EasyR1", "actor/entropy_loss reward/accuracy reward/overall reward/format val/accuracy_reward val/reward_score "
     "val/format_reward", "actor/entropy_loss", "val/accuracy_reward", True, trainers.SAMPLED),
    ("open-instruct", "policy/entropy_avg objective/entropy eval/scores eval/pass_at_1 scores "
     "objective/verifiable_correct_rate eval/sequence_lengths", "policy/entropy_avg", "eval/pass_at_1", True,
     trainers.FULL),
    ("ms-swift", "entropy/mean entropy/max reward rewards/MathAccuracy/mean rewards/Format/mean global_step/max_steps",
     "entropy/mean", "rewards/MathAccuracy/mean", False, trainers.FULL),
    ("EasyDeL", "mean_entropy reward_mean reward_std mean_kl", "mean_entropy", "reward_mean", False, trainers.FULL),
    ("NeMo RL", "train/approx_entropy train/reward validation/accuracy train/baseline_reward/pct_0",
     "train/approx_entropy", "validation/accuracy", True, trainers.SAMPLED + ", importance-weighted"),
    ("OpenRLHF", "train/entropy_loss train/reward train/ppo_kl eval/eval_math500_pass1 eval/eval_math500_pass4",
     "train/entropy_loss", "eval/eval_math500_pass1", True, trainers.FULL),
    ("SkyRL", "policy/policy_entropy reward/avg_raw_reward reward/avg_pass_at_8 eval/all/avg_score "
     "eval/all/pass_at_1", "policy/policy_entropy", "eval/all/pass_at_1", True, trainers.FULL),
    ("tunix", "actor/train/entropy rewards/train/score/mean rewards/eval/score/mean rewards/eval/score/max",
     "actor/train/entropy", "rewards/eval/score/mean", True, trainers.UNKNOWN),
    ("EasyR1", "actor/entropy_loss actor/pg_loss reward/accuracy reward/overall timing_s/step perf/mfu/actor "
     "critic/score/mean", "actor/entropy_loss", "reward/accuracy", False, trainers.SAMPLED),
    ("rLLM", "actor/entropy actor/pg_loss critic/score/mean timing_s/step batch/solve_none batch/solve_all "
     "val/test_score/aime", "actor/entropy", "val/test_score/aime", True, trainers.SAMPLED),
    ("entropy_rl", "policy/entropy policy/entropy_sequence policy/entropy_p90 policy/entropy_low "
     "entropy/change_measured rollout/answer_entropy rollout/solved rollout/reward eval/countdown/pass@1 "
     "eval/countdown/pass@8 "
     "eval/countdown/pass@1/level3 eval/countdown/entropy eval/countdown/distinct eval/countdown/length",
     "policy/entropy_sequence", "eval/countdown/pass@1", True, trainers.SEQUENCES),
]  # fmt: skip


@pytest.mark.parametrize("case", TRAINERS, ids=[f"{case[0]}{n}" for n, case in enumerate(TRAINERS)])
def test_what_a_trainers_log_gives(case):
    trainer, names, entropy, score, held_out, estimator = case
    counts = dict.fromkeys([*NOISE, *names.split()], 20)
    assert columns.entropies(counts)[0] == entropy
    assert columns.scores(counts, 8)[0] == score
    assert columns.held_out(score) == held_out
    assert trainers.recognise(counts) == trainer
    assert trainers.estimator(trainer, entropy) == estimator


@pytest.mark.parametrize(
    "name",
    "reward_std rewards/accuracy/min val/accuracy/max format_accuracy rewards/Format/mean mean_token_accuracy "
    "frac_reward_zero_std response_length/mean eval_loss eval/runtime val/num_turns critic/advantages/mean "
    "rewards/margins logits/chosen eval/step valid_answer_rate kl_reward_coef reward_threshold".split(),
)
def test_what_is_no_score(name):
    assert name not in columns.scores({name: 20, "x": 20})


@pytest.mark.parametrize(
    "name",
    "valid/accuracy valid_acc dev_acc dev/reward held_out/pass@1 heldout_reward eval/math500/mean validation/gsm8k "
    "val_exact_match val_acc_pct evals/aime24 test_rew".split(),
)
def test_what_was_held_out_by_other_names(name):
    """Mutation: eval, val, test and validation only."""
    assert columns.scores({"train/reward": 20, name: 20})[0] == name and columns.held_out(name)
    assert not columns.is_training(name)


def test_the_mean_over_tasks_before_one_task():
    names = ["eval/aime/accuracy", "eval/average/accuracy"]
    assert columns.scores(dict.fromkeys(names, 9)) == names[::-1]


@pytest.mark.parametrize(
    "name",
    "entropy_nats policy/entropy[nats] generation_entropy actor/entropy@mean logits_entropy entropy_bits".split(),
)
def test_what_is_an_entropy(name):
    assert columns.entropies({name: 20}) == [name]


def test_what_may_count_steps():
    want = ["Iterations", "train_steps", "rl_step", "n_updates", "epoch"]
    assert columns.likely_steps(["time_per_step", "epoch", "steps_per_second", "loss_step", *want[:-1]]) == want


@pytest.mark.parametrize("name", ["reward_mean", "mean_reward", "avg_reward", "Reward", "train/reward", "R", "SCORE"])
def test_what_is_one(name):
    assert columns.scores({name: 20}) == [name] and not columns.held_out(name)


def test_the_order_of_kinds():
    """Whatever stands in the log first; and few cells of the better kind lose to many, of held-out ones."""
    kinds = "eval/accuracy eval/correct eval/pass@1 eval/avg@4 eval/mean@4 eval/score eval/reward eval/pass@4".split()
    assert columns.scores(dict.fromkeys(reversed(kinds), 20), 8) == kinds
    assert columns.scores({"eval/accuracy": 3, "eval/reward": 20, "train/accuracy": 99}, 8) == [
        "eval/reward",
        "eval/accuracy",
        "train/accuracy",
    ]


@pytest.mark.parametrize(
    "name",
    "answer_entropy entropy_coef cross_entropy entropy_loss_coef entropy/change_measured entropy/std entropy_p90 "
    "policy/entropy_low high_entropy_fraction semantic_entropy entropy_bonus entropy/max".split(),
)
def test_what_is_no_entropy(name):
    assert columns.entropies({name: 20}) == []


def test_entropies_by_rule():
    want = "x/entropy/all/mean y/entropy x/entropy/math/mean x/entropy_loss x/approx_entropy eval/entropy".split()
    assert columns.entropies(dict.fromkeys(sorted(want), 9)) == want


def test_every_erratum_is_in_the_docs():
    text = (Path(__file__).parents[2] / "docs/your_log.md").read_text()
    for trainer, rows in trainers.ERRATA.items():
        assert trainer in text
        for row in rows:
            assert row.source.split(",")[0] in text


def test_columns_are_explained():
    counts = dict.fromkeys(["step", "actor/entropy", "val/accuracy", "critic/score/mean", "actor/pg_clipfrac", "lr"], 9)
    said = {name: role for name, _, role in columns.explain(counts, counts | {"lr": 9}, 8)}
    assert said["actor/entropy"] == "entropy, choice 1 (estimator: full distribution)"
    assert said["val/accuracy"] == "score, choice 1 (accuracy, held out)"
    assert said["critic/score/mean"] == "score, choice 2 (score, training)"
    assert (said["step"], said["lr"]) == ("step", "not used")
    assert said["actor/pg_clipfrac"] == "for alarms: clip fraction"
