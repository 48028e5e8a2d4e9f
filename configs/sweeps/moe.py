"""Dense against a mixture of experts at equal active parameters: entropy, laws, collapse, gap; with and without replay.

    python -m experiments.sweep --config=configs/sweeps/moe.py --workdir=runs/moe --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/moe --workdir=runs/moe-table

Arms: dense, moe (the router's own choices), moe with the sampler's choices replayed (R3), with those of the policy
before the updates (R2), and with the loss that evens out the load; `_low`: with a sampler in bfloat16, which may choose
other experts than the learner. Five seeds, outermost, each arm from one imitation of its model; levels, rate and
updates are GRPO's, nothing is tuned. `policy/logp_gap`, `moe/...` and the entropy are in each run's metrics.jsonl.
`:smoke` has one seed of two tiny steps. Results: docs/results/law.md.
Time: a minute a run on a core of an idle 2-core CPU, 42 runs. Expect no collapse of its own of the mixture.
"""

from __future__ import annotations

from typing import Any

from configs import common

ARMS: dict[str, dict[str, Any]] = {
    "dense": {},
    "moe": {},
    "moe_r3": {"replay": "sampler"},
    "moe_r2": {"replay": "learner"},
    "moe_load": {"load_coef": 0.001},
    "dense_low": {"rollout.dtype": "bfloat16"},
    "moe_low": {"rollout.dtype": "bfloat16"},
    "moe_low_r3": {"rollout.dtype": "bfloat16", "replay": "sampler"},
}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The two imitations and the arms; `smoke`: two tiny steps each."""
    small = ":smoke" if common.variant(arg, "smoke") else ""
    runs = [
        common.part(f"start_{model}", "train_sft", f"sft/countdown{small}", {"model.name": preset})
        for model, preset in (("dense", "embedded"), ("moe", "moe"))
    ]
    for seed in range(1 if small else 5):
        for arm, changes in ARMS.items():
            kind = arm.partition("_")[0]
            overrides = {"init": "{workdir}/start_" + kind, "seed": seed, **changes}
            overrides |= {"model.name": "embedded" if kind == "dense" else "moe"}
            last = {"eval.last.problems": 512, "eval.last.samples": 64}
            overrides |= {} if small else {"rollout.prompts": 32, "eval.every": 20, **last}
            runs.append(common.part(f"{arm},seed={seed}", "train_rl", f"rl/moe{small}", overrides, f"start_{kind}"))
    return runs
