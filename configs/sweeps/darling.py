"""Does a reward for being different keep the tail of pass@k? DARLING (arXiv:2509.02534) and its ablations on Countdown.

    python -m experiments.sweep --config=configs/sweeps/darling.py --workdir=runs/darling --workers=2
    python -m experiments.compare --config=configs/compare.py:darling --config.runs=runs/darling --workdir=runs/table

All arms have DARLING's advantage without std, start from one policy and meet the same problems, 32 a step with 8
responses each, at 3e-4 and 4 updates (of the study of controls, not tuned here). grpo: the verifier's reward;
darling: times Div of solution graphs; darling_correct: right responses among themselves; additive: z-scores added;
ngram4: times the share of 4-grams that no other response has, which the paper saw hacked.

Outcome: darling keeps twice the classes of grpo and costs .06 of pass@1; its pass@128 is .04 higher, which three seeds
do not tell from nothing. additive and ngram4 keep more, and learn much less. All lose what the start could do.

Time: about a minute a run on a core of a shared 2-core CPU, 19 runs after two minutes of imitation.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part

ARMS: dict[str, dict[str, Any]] = {
    "grpo": {"diversity.combine.name": "none"},  # measured, not rewarded
    "darling": {},
    "darling_correct": {"diversity.correct_only": True},
    "additive": {"diversity.combine.name": "additive"},
    "ngram4": {"diversity.predicate.name": "ngram"},
}
# Does any way to keep entropy up do the same? GRPO with an entropy bonus, of the strength of the study of controls.
BONUS = {"entropy_bonus": {"diversity.combine.name": "none", "entropy_coef.args.value": 0.01}}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The policy that all start from, and the arms, three seeds each; seeds outermost; last the arm of BONUS."""
    # at no rate: the last evaluation is of what all start from
    first = run("grpo", 0)["overrides"] | {"steps": 1, "optimizer.learning_rate": 1e-12}
    return [
        imitation(),
        *(run(arm, seed) for seed in range(3) for arm in ARMS),
        part("start", "train_rl", "rl/darling", first, "sft"),
        *(run(arm, seed) for seed in range(3) for arm in BONUS),
    ]


def run(arm: str, seed: int) -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    shared = {
        "init": "{workdir}/sft",
        "task.args.talk": True,
        "steps": 240,
        "seed": seed,
        "change.every": 0,
        "eval.every": 120,
        "eval.last.problems": 255,
        "eval.last.samples": 128,
    }
    return part(f"{arm},seed={seed}", "train_rl", "rl/darling", shared | (ARMS | BONUS)[arm], "sft")
