"""What narrows self-distillation: the right answer that the teacher is shown, or being taught by one that knows more?

    python -m experiments.sweep --config=configs/sweeps/narrowing.py --workdir=runs/narrowing --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/narrowing --config.k=64 \\
        --workdir=runs/narrowing-table

Self-distillation from feedback (SDPO, arXiv:2601.20802) has taken the place of refined rows. Of teachers that are shown
a sampled right attempt, arXiv:2606.26091 reports pass@1 as with RL, pass@k flat and less diversity. A critique is
feedback too, and shows no answer. So GRPO's loss alone (grpo), and with a teacher beside it that has seen: a right
sibling (sibling), the solver's critique of the failed attempt (critique), both (both), or a critique of another attempt
(random: a teacher that knows nothing); and the first two teachers without GRPO's loss (sibling_only, critique_only) at
SDPO's lower rate. grpo_slow: GRPO's loss at half the rate, as a teacher may do no more than slow it.

What decides: at the end, paired by seed, 90 % intervals of ln different right solutions a problem (`distinct_count`),
pass@64, and ln token entropy, each less grpo's. Solutions of sibling below -.1 and those of critique above: what is
shown narrows, and a critique is the cure. Both below, and random not: being taught narrows. All three below: any
pull to a teacher does. All within .1: no narrowing here, to an effect of that size. Where solutions fall and the
interval of token entropy holds 0, token entropy does not show it, which is the claim of 2606.26091 that we could not
read.

The start is made as that of configs/sweeps/critique.py, or its folder is given as
`--config=configs/sweeps/narrowing.py:START`; five seeds, outermost. `:smoke` has one seed of two tiny steps from a
start without lessons.
Time: .6 to 1.5 minutes a run on a core of a 2-core AMD EPYC, 40 runs; the start 20 minutes. Expect (docs/results/
retest.md): beside GRPO's loss no teacher narrows, and half the rate widens more than each of them; without it solutions
are lost while token entropy rises.
"""

from __future__ import annotations

from typing import Any

from configs.common import part
from configs.sweeps import critique

RATE = 7e-4  # of GRPO with one update a rollout; SDPO alone keeps its own
ARMS: dict[str, dict[str, Any]] = {
    "grpo": {"distillation.coef": 0.0, "critique.source": "off", "critique.refined": 1},
    "grpo_slow": {"distillation.coef": 0.0, "critique.source": "off", "critique.refined": 1}
    | {"optimizer.learning_rate": RATE / 2},
    "sibling": {"distillation.outcome": 1.0, "critique.source": "off"},
    "critique": {"distillation.outcome": 1.0, "distillation.siblings": False},
    "both": {"distillation.outcome": 1.0},
    "random": {"distillation.outcome": 1.0, "distillation.siblings": False, "critique.source": "random"},
    "sibling_only": {"critique.source": "off"},
    "critique_only": {"distillation.siblings": False},
}
START = ("sft", "said", "start")


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The start, unless `arg` is the folder of one, and the arms; `smoke`: two steps of a tiny model each."""
    if arg == "smoke":
        first = part("start", "train_sft", "sft/countdown:smoke", {"task.args.talk": True})
        small = (run(arm, {"init": "{workdir}/start", "seed": 0}, "start") for arm in ARMS)
        return [first, *(one | {"config": f"{one['config']}:smoke"} for one in small)]
    made = [] if arg else [one for one in critique.get_runs() if one["name"] in START]
    start, after = arg or "{workdir}/start", [] if arg else ["start"]
    return made + [run(arm, critique.shared(seed, start), *after) for seed in range(5) for arm in ARMS]


def run(arm: str, shared: dict[str, Any], *after: str) -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    rate = {} if arm.endswith("_only") else {"optimizer.learning_rate": RATE}
    return part(f"{arm},seed={shared['seed']}", "train_rl", "rl/sdpo", shared | rate | ARMS[arm], *after)
