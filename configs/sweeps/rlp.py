"""Does thinking while reading help later? RLP (arXiv:2510.01265) against plain reading, before the same post-training.

    python -m experiments.sweep --config=configs/sweeps/rlp.py --workdir=runs/rlp --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/rlp --config.baseline=base \
        --config.k=8 --workdir=runs/rlp-table
    python -m experiments.compare --config=configs/compare.py:text --config.runs=runs/rlp --workdir=runs/rlp-table

A policy that was taught Countdown reads worked arithmetic for a while: enough to write thoughts, not to write them all
well (base). Then it goes on in three ways: not at all, by next-token prediction of the same stream at a rate that
decays, as many tokens as RLP's updates see, thoughts included (cpt), and by RLP (rlp). Each is then taught Countdown
alike: a few demonstrations, and GRPO.

`:early` is RLP alone, from a base that has read less, of a text whose steps have gaps: four in five thoughts end in
another number than the result, and predict it worse than no thought does.

Outcome: from base, RLP takes the cross-entropy of results after a thought from 1.5 to 0.7 nats, reading on leaves it;
after post-training no difference to base. With `:early` thoughts become short instead of right. Numbers:
notebooks/field.md.

Time: about half a minute a run on a core of a shared 2-core CPU, 26 runs; 5 with `:early`.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part, variant

STEPS = 100  # of RLP and of cpt

READING = {"objective": "cpt", "log_every": 50, "checkpoint.every": 500}
BASE = READING | {
    "init": "{workdir}/sft",
    "seed": 9,  # the text that it reads is not read again
    "documents": 64,
    "updates": 1,
    "steps": 800,
    "eval.every": 400,
    "optimizer.learning_rate": 3e-3,
    "optimizer.warmup": 50,
    "optimizer.decay_to": 0.05,
}
CPT = READING | {"documents": 768, "log_every": 1, "optimizer.learning_rate": 1e-3, "optimizer.decay_to": 0.1}
GAPS = {"text.whole": 0.5}
ARMS: dict[str, dict[str, Any] | None] = {"base": None, "cpt": CPT, "rlp": {}}
COUNTDOWN = {"task.args.levels": (3, 4, 5), "task.args.talk": True}
SFT = COUNTDOWN | {
    "steps": 300,
    "eval.split": "validation",
    "eval.every": 300,
    "optimizer.learning_rate": 1e-3,
    "optimizer.warmup": 30,
}
GRPO = COUNTDOWN | {
    "steps": 100,
    "rollout.prompts": 32,
    "updates": 4,
    "optimizer.learning_rate": 3e-4,
    "eval.every": 50,
    "eval.last.problems": 510,
    "change.every": 0,
}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The policy, the base, and three seeds of the arms: reading on, demonstrations, reinforcement; `:early`: RLP."""
    early = variant(arg, "early")
    runs = [
        imitation(),
        part("base", "rlp", "rlp", BASE | (GAPS | {"steps": 300, "eval.every": 300} if early else {}), "sft"),
    ]
    for seed in range(3):
        for arm, how in ARMS.items():
            text = {"init": "{workdir}/base", "seed": seed, "steps": STEPS, "eval.every": 20}
            if early and arm == "rlp":
                text |= GAPS | {"steps": 30, "eval.every": 5}
                runs.append(part(f"rlp_text.{seed}", "rlp", "rlp", text, "base"))
            if early:
                continue
            start = "base"
            if how is not None:
                start = f"{arm}_text.{seed}"
                runs.append(part(start, "rlp", "rlp", text | how, "base"))
            taught = f"{arm}_sft.{seed}"
            first = SFT | {"init": f"{{workdir}}/{start}", "seed": seed}
            runs.append(part(taught, "train_sft", "sft/countdown", first, start))
            then = GRPO | {"init": f"{{workdir}}/{taught}", "seed": seed}
            runs.append(part(f"{arm},seed={seed}", "train_rl", "rl/grpo", then, taught))
    return runs
