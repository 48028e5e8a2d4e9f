"""Is entropy the currency, or a symptom? Five ways to give credit, held at the same entropy by the same controller.

    python -m experiments.sweep --config=configs/sweeps/equal_entropy.py --workdir=runs/equal --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/equal --config.k=64 \\
        --config.baseline=grpo_low --workdir=runs/equal-low
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/equal --config.k=64 \\
        --config.baseline=grpo_high --workdir=runs/equal-high      # and so on, grpo_wide and grpo_widest

R = -a exp(H) + b says that the score is bought with entropy: two policies of equal H score alike, whatever made them.
The methods of 2026 say that pass@k depends on which right answer earns (UCPO, arXiv:2605.00365), on which problems
(2606.15455), on the metric (2508.10751), on a term on right responses (2511.19942). Here UCPO, smoothing and GRPO are
held by the controller of configs/rl/entropy_target.py, at .05 (low) and .1 nats (high), GRPO at .16 (wide) and .22
(widest) too: pass@k training and the gate on unsolved problems keep more than .1 nats by themselves, and an entropy
bonus, which can only widen, leaves them as they are. grpo is left alone. What a run has in the end is below its target.

What decides: of each objective less GRPO at the same target, paired by seed and problem, pass@1 and pass@64 with 90 %
intervals, and the ratio of their entropies. A pair counts if the interval of the ratio lies within 10 % of 1. All
differences of counted pairs within .02 either way: entropy sets the score, and the rest is bookkeeping. One beyond .02:
it does not, and the gain is the objective's. More between low and high than between objectives: both matter, and a
claim about one must hold the other. Fewer than three counted pairs: nothing is decided, and the controller is to blame.

Levels, rate, updates and start are those of configs/sweeps/controls.py:2026; five seeds, outermost. `:smoke` has one
seed of two tiny steps. Three seeds of the five have been run (docs/results/retest.md).
Time: 55 runs of 240 steps, .7 minutes each on a core, and the start.
"""

from __future__ import annotations

from typing import Any

from configs import common

LEVELS = (3, 4, 5, 6)
TARGETS = {"low": 0.05, "high": 0.1, "wide": 0.16, "widest": 0.22}  # nats a token; GRPO alone ends at .057
BOTH = ("low", "high")
HELD = {"grpo": TARGETS, "pass_at_k": ("low",), "ucpo": BOTH, "unsolved": ("low",), "smoothing": BOTH}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "grpo": {},
    "pass_at_k": {"advantage.name": "pass_at_k"},  # of k = 4
    "ucpo": {"weight.name": "ucpo"},
    "unsolved": {"weight.name": "unsolved"},
    "smoothing": {"smoothing.right": 0.02, "smoothing.wrong": 0.02},
}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The imitation and the arms; `smoke`: two steps of a tiny model each."""
    small = ":smoke" if common.variant(arg, "smoke") else ""
    shared = {"task.args.levels": LEVELS, "steps": 240, "eval.every": 20, "rollout.prompts": 32, "optimizer.warmup": 10}
    shared |= {"eval.last.problems": 512, "eval.last.samples": 64}
    start = common.imitation("start", LEVELS, talk=False)
    runs = [common.part("start", "train_sft", "sft/countdown:smoke", {}) if small else start]
    for seed in range(1 if small else 5):
        for arm, (config, changes) in arms().items():
            overrides = {"init": "{workdir}/start", "updates": 4, "optimizer.learning_rate": 3e-4, "seed": seed}
            overrides |= ({"rollout.samples": 4} if small else shared) | changes
            runs.append(common.part(f"{arm},seed={seed}", "train_rl", f"rl/{config}{small}", overrides, "start"))
    return runs


def arms() -> dict[str, tuple[str, dict[str, Any]]]:
    """{name: (recipe, what it changes)}."""
    held = {
        f"{name}_{level}": ("entropy_target", {"entropy_coef.args.target": TARGETS[level]} | changes)
        for name, changes in OBJECTIVES.items()
        for level in HELD[name]
    }
    return {"grpo": ("grpo", {})} | held
