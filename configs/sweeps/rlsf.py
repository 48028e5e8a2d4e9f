"""Is confidence a reward? RL from self-feedback beside RL with a verifiable reward, from one policy, on Countdown.

    python -m experiments.sweep --config=configs/sweeps/rlsf.py --workdir=runs/rlsf --workers=2
    python -m experiments.compare --config=configs/compare.py:calibration --config.runs=runs/rlsf \
        --workdir=runs/rlsf_table

dpo: pairs by the confidence of the final number, threshold 0.9 (the paper's). dpo_solution: by that of all decisions,
with threshold 0.5, as hardly any branch of the start reaches 0.9 there. reward_model: a Bradley-Terry model of pairs as
dpo's first, then PPO. grpo: the task's reward, for contrast. base: the start. `calibration,<arm>,seed=<k>` measures
each on the test split.

Time: about 10 minutes on a core of a shared 2-core CPU after sft, half of it the measurements.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part

SOLUTION = {"branches.span": "solution", "branches.threshold": 0.5}
DPO = {"rounds": 3, "questions": 512, "updates": 50}
# problems, updates and rate as in the arm reward_model
GRPO = {
    "task.args.levels": (3, 4, 5),
    "task.args.talk": True,
    "rollout.prompts": 32,
    "updates": 4,
    "optimizer.learning_rate": 3e-4,
    "steps": 120,
}
ARMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dpo": ("self_feedback", "rlsf", DPO),
    "reward_model": ("self_feedback", "rlsf:reward_model", {"steps": 120}),
    "grpo": ("train_rl", "rl/grpo", GRPO),
    "dpo_solution": ("self_feedback", "rlsf", DPO | SOLUTION),
}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The policy that all start from and the arms, each followed by its calibration: three seeds."""
    runs = [imitation()]
    for seed in range(3):
        runs.append(calibration("base", seed, "sft"))
        for arm in ARMS:
            runs += [run(arm, seed), calibration(arm, seed, f"{arm},seed={seed}")]
    return runs


def run(arm: str, seed: int) -> dict[str, Any]:
    """Training in one arm."""
    script, config, changes = ARMS[arm]
    shared = {"init": "{workdir}/sft", "seed": seed, "eval.split": "validation", "eval.problems": 96}
    shared |= {} if arm.startswith("dpo") else {"eval.every": 60}
    return part(f"{arm},seed={seed}", script, config, shared | changes, "sft")


def calibration(arm: str, seed: int, of: str) -> dict[str, Any]:
    """Calibration of one policy on the test split."""
    policy = {"init": f"{{workdir}}/{of}", "seed": seed}
    return part(f"calibration,{arm},seed={seed}", "calibrate", "calibrate", policy, of)
