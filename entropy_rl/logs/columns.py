"""Names of metrics: which column of a log is the entropy, the score and the step.

The patterns are those of the trainers' own source code, the trainer beside each; other logs need a name given.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from entropy_rl.errors import InputError, nearest


def choose(
    where: str, counts: dict[str, int], name: str | None, patterns: list[str], role: str, notes: list[str]
) -> str:
    """The column `name`, or the first that a pattern finds, in order of trust; rivals of it go to notes.

    Args:
      where: the run, as messages name it.
      counts: number of cells by column.
      role: what the column is for: the name of the option that names it.

    Raises:
      InputError: no such column, or none that looks like it.
    """
    if name is not None:
        if name in counts:
            return name
        raise InputError(f"{where}: no column {name!r} for {role}{nearest(name, counts)}: there are {some(counts)}")
    candidates = [n for n in counts if not (n.endswith("/n") and n[:-2] in counts)]
    for pattern in patterns:
        # a metric logged now and then is rarely the one that was watched
        if found := sorted(fnmatch.filter(candidates, pattern), key=lambda name: -counts[name]):
            if len(found) > 1:
                notes.append(f"{role} could also be {some(found[1:])}")
            return found[0]
    raise InputError(
        f"{where}: no column looks like {role}: name it (--config.{role}=NAME), or if it was not logged, log it: "
        f"there are {some(counts, 20)}"
    )


def choose_step(counts: dict[str, int]) -> str | None:
    """The first of STEPS that is in about as many rows as any other of them: some stand in rows of training only."""
    steps = {name: counts[name] for name in STEPS if name in counts}
    return next((name for name, n in steps.items() if n >= 0.9 * max(steps.values())), None)


def scores(counts: dict[str, int], least: int) -> list[str]:
    """The columns that look like scores and have at least so many cells, most trusted first."""
    return [name for pattern in SCORES for name in fnmatch.filter(counts, pattern) if counts[name] >= least]


def some(things: Iterable[Any], most: int = 8) -> str:
    """The first few of a list, as text."""
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


# Shell patterns, in the order in which they are trusted. All entropies are nats per token.
ENTROPIES = [
    "policy/entropy_sequence",  # this project: mean over sequences of token means, the law's H
    "train_entropy/all",  # Entropy-Mechanism-of-RL: the same
    "policy/entropy",  # this project: token mean
    "actor/entropy",  # verl: token mean by default
    "actor/entropy_loss",  # older verl: the entropy itself, in spite of its name
    "entropy",  # TRL, in trainer_state.json
    "train/entropy",  # TRL, in W&B and TensorBoard
    "train/entropy_loss",  # OpenRLHF: the entropy itself; only with an entropy coefficient, which may be 0
    "entropy_loss",  # OpenRLHF in its progress bar; slime
    "policy/policy_entropy",  # SkyRL
    "policy/entropy_avg",  # open-instruct (record_entropy), TRL's PPO; its objective/entropy is a sum over tokens
    "train/approx_entropy",  # NeMo RL
    "approx_entropy",
    *("entropy/all/mean", "entropy/mean"),  # prime-rl, older prime-rl
    "actor/train/entropy",  # Tunix, where its loss reports one: by default it logs none
    *("rollout/entropy", "*/entropy", "*/entropy/mean", "policy_entropy", "mean_entropy", "H"),
]
SCORES = [
    "eval/*/pass@1",  # this project, prime-rl
    *("val-core/*/acc/mean@*", "val-core/*/mean@*", "val-core/*"),  # verl
    "val/test_score/*",  # older verl
    *("eval/eval_*_pass1", "eval_*_pass1"),  # OpenRLHF
    *("eval/all/pass_at_1", "eval/all/avg_score", "eval/*/avg_score"),  # SkyRL
    *("validation/accuracy", "validation/*accuracy*"),  # NeMo RL
    "eval/*/avg@*",  # prime-rl
    "eval/objective/verifiable_correct_rate",  # open-instruct
    "eval/scores",  # open-instruct
    *("rewards/eval/score/mean", "eval/rewards/overall", "rewards/eval/overall"),  # Tunix, older Tunix
    *("pass@1", "*/pass@1", "accuracy", "*accuracy*"),
    *("eval_reward", "eval/reward"),  # TRL
    # training rewards come last: which prompts were drawn moves them at every step
    *("critic/score/mean", "critic/rewards/mean"),  # verl
    "rollout/reward",  # this project
    *("reward", "train/reward"),  # TRL; OpenRLHF and NeMo RL
    *("reward/avg_raw_reward", "rollout/raw_reward"),  # SkyRL, slime
    *("train/agg/effective/reward/mean", "reward/all/mean", "reward/mean"),  # prime-rl and older
    *("objective/verifiable_correct_rate", "scores", "objective/scores"),  # open-instruct; TRL's PPO
    *("rewards/train/score/mean", "train/rewards/overall", "rewards/train/overall"),  # Tunix, older Tunix
    *("score", "R"),
]
STEPS = [
    "step",  # this project, TRL, verl
    *("training/global_step", "train/global_step", "trainer/global_step", "global_step"),  # verl; TRL, OpenRLHF; SkyRL
    *("training_step", "Step", "_step"),  # open-instruct; W&B
]
