"""What each trainer's log is: its marks, its entropies and what they estimate, how to have one logged, known defects.

One row a trainer, in the order in which its names are trusted where a log has those of several. Names are shell
patterns as the trainers' own source code has them. What `columns` finds by rule needs no row here.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Collection

# What a logged entropy is, in nats per token unless said.
FULL = "full distribution"  # -sum p ln p over the vocabulary, mean over tokens
SEQUENCES = "full distribution, mean over sequences of token means"
SAMPLED = "sampled -log p"  # of the tokens drawn: the same mean, more noise
WEIGHTED = SAMPLED + ", importance-weighted"
CROSS = "cross-entropy: -log p of the sampled tokens under a newer policy"
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Erratum:
    """A known defect of a logged entropy: `versions` that have it, what is wrong, its size, and who says so."""

    versions: str
    defect: str
    size: str
    source: str


@dataclasses.dataclass(frozen=True)
class Trainer:
    """A row of TRAINERS.

    Attributes:
      marks: names that only this trainer's logs have, or few others'.
      entropies: name of an entropy -> what it estimates, most trusted first.
      switch: what makes the trainer log an entropy where it does not.
      elsewhere: the file with the numbers, for a console that lacks them.
      temperature: of the entropy, where it is not 1 as the model gives it.
      episodes: axes that count episodes and not steps, in spite of their names.
      of: the trainer that it builds on, whose names it has beside its own.
    """

    marks: tuple[str, ...]
    entropies: dict[str, str]
    switch: str = ""
    elsewhere: str = ""
    temperature: str = ""
    episodes: tuple[str, ...] = ()
    of: str = ""


TRAINERS: dict[str, Trainer] = {
    "entropy_rl": Trainer(
        ("policy/entropy_sequence", "rollout/zero_variance", "rollout/answer_entropy"),
        {"policy/entropy_sequence": SEQUENCES, "policy/entropy": FULL},
    ),
    "Entropy-Mechanism-of-RL": Trainer(("train_entropy/*",), {"train_entropy/all": FULL}),
    "EasyR1": Trainer(
        ("reward/overall", "val/reward_score", "val/overall_reward", "val/*_reward", "reward/format"),
        {"actor/entropy_loss": SAMPLED},
        elsewhere="experiment_log.jsonl",
        of="verl",
    ),
    "rLLM": Trainer(("batch/solve_*", "batch/*/solve_*", "traj/*"), {"actor/entropy": SAMPLED}, of="verl"),
    "ROLL": Trainer(
        ("val_correct/*", "critic/entropy/*", "system/*", "time/step_total"), {"critic/entropy/mean": UNKNOWN}
    ),
    "verl": Trainer(
        ("val-core/*", "val-aux/*", "actor/pg_loss", "actor/entropy", "timing_s/*", "perf/mfu/*", "critic/score/*"),
        {"actor/entropy": FULL, "actor/entropy_loss": FULL},
        switch="actor_rollout_ref.actor.calculate_entropy=True (entropy_coeff may stay 0); in bypass mode there is no "
        "pass of the old policy, and it is the only way",
        elsewhere="trainer.logger=['console','file'] writes JSON lines",
        temperature="at the sampling temperature, by which the logits are divided",
    ),
    "AReaL": Trainer(
        ("ppo_actor/*", "eval-rollout/*"), {"ppo_actor/update/entropy/avg": FULL, "ppo_actor/*entropy/avg": FULL}
    ),
    "marin": Trainer(
        ("inference.*", "train/current_entropy", "train/current_policy_entropy", "train/policy_entropy"),
        {"train/current_policy_entropy": FULL, "train/policy_entropy": SAMPLED, "train/current_entropy": CROSS},
        switch="log_policy_entropy=True (marin PR#5684)",
        elsewhere="entropy is in the W&B run of the train worker, scores in that of the rollout worker: give the "
        "exports of both with --config.join=True",
    ),
    "torchtitan": Trainer(
        ("rollout_reward/*", "validation_reward/*", "trainer/entropy/*"),
        {"trainer/entropy/mean": FULL},
        switch="its DAPO loss, the only one that reports it (torchtitan PR#3848)",
    ),
    "slime": Trainer(
        ("rollout/raw_reward", "train/pg_loss", "train/entropy_loss", "train/pg_clipfrac", "rollout/response_len*"),
        {"train/entropy_loss": FULL, "rollout/entropy": UNKNOWN, "entropy_loss": FULL},
        switch="in miles --observe-training-entropy; slime's train/entropy_loss is always there",
    ),
    "OpenRLHF": Trainer(
        (
            *("eval/eval_*_pass*", "train/policy_loss", "train/ppo_kl", "train/vllm_kl", "train/response_length"),
            "actor_lr",
        ),
        {"train/entropy_loss": FULL, "entropy_loss": FULL},
        switch="an entropy coefficient, entropy_coef=0 (--entropy_loss_coef 0 in older versions): with none it is not "
        "computed",
        temperature="at temperature 1 before PR#1319, whatever that of sampling",
    ),
    "SkyRL": Trainer(
        ("policy/policy_entropy", "reward/avg_raw_reward", "reward/avg_pass_at_*", "eval/all/avg_score"),
        {"policy/policy_entropy": FULL},
    ),
    "open-instruct": Trainer(
        ("objective/verifiable_*", "eval/objective/*", "eval/scores", "val/sequence_lengths*", "policy/entropy_avg"),
        {"policy/entropy_avg": FULL},
        switch="record_entropy=True",
        episodes=("global_step", "train/global_step", "_step", "Step"),
    ),
    "NeMo RL": Trainer(
        ("train/approx_entropy", "approx_entropy", "train/token_mult_prob_error", "train/probs_ratio*", "*KL Error"),
        {"train/approx_entropy": WEIGHTED, "approx_entropy": WEIGHTED},
        elsewhere="what its logger wrote (logger.wandb_enabled, tensorboard_enabled, mlflow_enabled)",
    ),
    "prime-rl": Trainer(
        ("entropy/all/*", "mismatch_kl/*", "train/agg/*", "*/effective/*", "Mismatch KL", "Async Level"),
        {"entropy/all/mean": FULL, "entropy/mean": FULL},
        elsewhere="RUN/metrics.jsonl, which is on by default",
    ),
    "Tinker cookbook": Trainer(
        ("optim/entropy", "env/all/*", "test/env/*", "optim/kl_sample_train*"),
        {"optim/entropy": SAMPLED},
        elsewhere="metrics.jsonl in log_path",
    ),
    "xtuner": Trainer(("entropy/old_l*", "entropy/rollout"), {"entropy/old_l*": UNKNOWN, "entropy/rollout": SAMPLED}),
    "ms-swift": Trainer(
        ("global_step/max_steps", "train_speed(iter/s)"),
        {"entropy/mean": FULL},
        switch="log_entropy true (--log_entropy)",
        elsewhere="logging.jsonl in output_dir",
    ),
    "EasyDeL": Trainer(
        ("mean_entropy", "mean_kl"),
        {"mean_entropy": FULL},
        switch="its 80/20 mask of high-entropy tokens, without which mean_entropy is NaN",
    ),
    "tunix": Trainer(
        ("rewards/*/score/mean", "rewards/overall", "rewards/*/overall", "actor/train/*", "rewards/train/*"),
        {"actor/train/entropy": UNKNOWN, "loss/entropy": UNKNOWN},
        switch="an agentic learner, or PPO with an entropy coefficient: GRPOLearner logs none, though its loss has it "
        "(the same in MaxText)",
    ),
    "TRL": Trainer(
        (
            *("frac_reward_zero_std", "completions/*", "rewards/*/mean", "rewards/*/std", "reward_std", "log_history"),
            *("train/frac_reward_zero_std", "train/completions/*", "train/rewards/*", "completion_length"),
        ),
        {"entropy": FULL, "train/entropy": FULL},
        switch="GRPOTrainer or RLOOTrainer of a newer version, which logs `entropy` (log_entropy=True where it is a "
        "switch); SDPO and SDFT trainers log none, and Unsloth's GRPO leaves it out (unsloth#4445)",
        elsewhere="checkpoint-*/trainer_state.json",
    ),
}
ALIASES = {"TRL": "TRL (or Unsloth, simply, oat, which name it alike)", "slime": "slime (or miles)"}

ERRATA: dict[str, tuple[Erratum, ...]] = {
    "verl": (
        Erratum(
            "<= 0.4.0, FSDP with dynamic batches (fixed in PR#1943, 2025-06)",
            "entropies were not put back in order before the mask",
            "a start of .6 in place of 1.0",
            "thunlp/JustRL#5",
        ),
        Erratum(
            "any, with loss_agg_mode other than token-mean",
            "the entropy is aggregated as the loss is: with seq-mean-token-sum-norm it is entropy x length / cap",
            "a ceiling of .68 [.64, .72] in place of .60 (planted)",
            "verl core_algos.agg_loss",
        ),
    ),
    "OpenRLHF": (
        Erratum(
            "before PR#1319 (merged 2026-09-03)",
            "entropy at temperature 1 while sampling at T",
            "up to 1.03 nats a token at T = .5, .44 at 1.5",
            "OpenRLHF PR#1319",
        ),
    ),
    "SkyRL": (
        Erratum(
            "any so far (#1822 and PR#1969 open in 2026-08)",
            "mean of means over micro-batches and ranks of unequal size",
            "1.5 in place of 1.99 in their example",
            "SkyRL#1822, PR#504",
        ),
    ),
    "TRL": (
        Erratum(
            "PPOTrainer and RLOOTrainer of 2024-25 (#2496, PR#6121), OnlineDPOTrainer (#6809 open)",
            "objective/entropy is a sum over tokens with padding as -1",
            "its sign: negative",
            "trl#2496",
        ),
        Erratum("RLOOTrainer, DPOTrainer", "mean of the means of ranks", "small", "trl PR#5620"),
        Erratum("PR#5596 (closed)", "an entropy bonus under no_grad", "the coefficient has no effect", "trl PR#5596"),
    ),
    "marin": (
        Erratum(
            "train/current_entropy",
            "-log p of the current policy on the sampler's tokens, a cross-entropy that its log-book calls "
            "full-vocabulary",
            "1.58 beside 2.31 at one step",
            "marin rl losses",
        ),
    ),
}
_SAMPLED = Erratum("any", "sampled, not from the full distribution", "noise, no bias", "their source code")
for _name in ("EasyR1", "Tinker cookbook", "rLLM", "NeMo RL", "marin"):
    ERRATA[_name] = (*ERRATA.get(_name, ()), _SAMPLED)


def recognise(names: Collection[str], form: str = "") -> str | None:
    """The trainer most of whose marks are among the names, of equals the first; None where there are none.

    One that builds on that trainer and has a mark of its own there comes before it.

    form: of the log; trainer_state.json is of TRL, or of what builds on transformers as TRL does.
    """
    found = {trainer: sum(bool(fnmatch.filter(names, mark)) for mark in row.marks) for trainer, row in TRAINERS.items()}
    by_trl = found.pop("TRL") or form == "trainer_state"  # others build on it and have its names beside their own
    best = max(found, key=found.__getitem__)
    if found[best] and (own := [name for name, row in TRAINERS.items() if row.of == best and found[name]]):
        best = max(own, key=found.__getitem__)
    return best if found[best] else "TRL" if by_trl else None


def estimator(trainer: str | None, name: str) -> str:
    """What an entropy of this name estimates, as its trainer has it; where none is known the name says nothing."""
    rows = [TRAINERS[trainer], *TRAINERS.values()] if trainer else []
    found = (what for row in rows for pattern, what in row.entropies.items() if fnmatch.fnmatchcase(name, pattern))
    return next(found, UNKNOWN)


def trusted(names: Collection[str]) -> list[str]:
    """The names that are an entropy in some row, those of the recognised trainer first, most trusted first."""
    own = recognise(names)
    rows = [TRAINERS[own]] if own else []
    found = [n for row in (*rows, *TRAINERS.values()) for p in row.entropies for n in fnmatch.filter(names, p)]
    return list(dict.fromkeys(found))


def how_to_log(trainer: str | None) -> str:
    """How to have an entropy logged, for a refusal."""
    if trainer and TRAINERS[trainer].switch:
        return f"this looks like {ALIASES.get(trainer, trainer)}: to log it set {TRAINERS[trainer].switch}"
    return "the switch is calculate_entropy in verl, log_entropy in ms-swift, record_entropy in open-instruct"
