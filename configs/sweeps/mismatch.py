"""What a sampler that is not the learner does to entropy and reward, and which correction helps.

Staleness and number format, each alone and together, under none and under every correction.

    python -m experiments.sweep --config=configs/sweeps/mismatch.py --workdir=runs/mismatch --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/mismatch --workdir=runs/mismatch-table

CAUSES says how the sampler differs: policies of 1, 4 and 16 steps ago, activations in bfloat16, weights rounded to it,
and all three. Under every cause pi_old is the policy that sampled (`off`, plain PPO) or truncated importance sampling;
under a lag of 4 and under all causes every row of losses/importance.py, and DPPO, which needs no pi_old of its own.
GRPO's clip, rate and updates throughout: nothing is tuned, so that a difference is the mismatch's or the correction's.
Three seeds, outermost; the start and levels are those of configs/sweeps/controls.py:2026. `:smoke` has one seed of two
tiny steps. docs/results/mismatch.md has what came out.
Time: 91 runs of 240 steps on 32 prompts x 8, 512 problems x 64 at the end: less than a minute each on an idle core.
"""

from __future__ import annotations

from typing import Any

from configs import common
from entropy_rl.losses.importance import IMPORTANCE

LEVELS = (3, 4, 5, 6)
CAUSES: dict[str, dict[str, Any]] = {
    "none": {},
    "lag1": {"rollout.lag": 1},
    "lag4": {"rollout.lag": 4},
    "lag16": {"rollout.lag": 16},
    "dtype": {"rollout.dtype": "bfloat16"},
    "weights": {"rollout.param_dtype": "bfloat16"},
    "all": {"rollout.lag": 4, "rollout.dtype": "bfloat16", "rollout.param_dtype": "bfloat16"},
}
EVERYWHERE = ("off", "token_cap")
IN_FULL = ("lag4", "all")  # causes under which everything is tried


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The runs; `smoke`: two steps of a tiny model each."""
    small = ":smoke" if common.variant(arg, "smoke") else ""
    shared = {"task.args.levels": LEVELS, "steps": 240, "eval.every": 20, "rollout.prompts": 32}
    shared |= {"optimizer.warmup": 10, "eval.last.problems": 512, "eval.last.samples": 64}
    start = common.imitation("start", LEVELS, talk=False)
    runs = [common.part("start", "train_sft", "sft/countdown:smoke", {}) if small else start]
    for seed in range(1 if small else 3):
        for cause, correction in arms():
            config, how = ("dppo_tv", "off") if correction == "dppo_tv" else ("grpo", correction)
            overrides = {"init": "{workdir}/start", "updates": 4, "optimizer.learning_rate": 3e-4, "seed": seed}
            overrides |= ({"rollout.prompts": 4} if small else shared) | {"importance.name": how} | CAUSES[cause]
            name = f"{cause},{correction},seed={seed}"
            runs.append(common.part(name, "train_rl", f"rl/{config}{small}", overrides, "start"))
    return runs


def arms() -> list[tuple[str, str]]:
    """(cause, correction), as in the names of runs."""
    full = ("off", "dppo_tv", *IMPORTANCE)
    return [(cause, c) for cause in CAUSES for c in (full if cause in IN_FULL else EVERYWHERE)]
