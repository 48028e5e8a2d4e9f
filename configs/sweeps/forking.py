"""Does 20 % of forking tokens generalise (arXiv:2506.01939)? Shares of the most uncertain tokens, task by task.

    python -m experiments.sweep --config=configs/sweeps/forking.py:countdown --workers=2 \
        --workdir=runs/forking/countdown
    python -m experiments.forking --config=configs/forking.py --config.runs=runs/forking/countdown \
        --workdir=runs/forking_countdown

`:countdown` (levels 3 to 5), `:grid` and `:gym` (sums of reasoning-gym, by a tiny model of text) are the
shares of three tasks, three seeds each: all from one imitation, with the same problems, 32 a step with 8 responses
each, 4 updates at 3e-4 (2e-4 of the text model), 100 steps. `share=1` learns from every token; `bottom=0.8` from all
but the fifth with the highest entropy. `:critique` has refinements that count on their forking tokens alone or on all
of them, from a policy that was taught to refine for a third of the updates of configs/sweeps/critique.py.

Time: half a minute a run on a core of a shared 2-core CPU; before `:critique` two minutes of teaching.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part
from configs.rl.gym_forks import SUMS
from configs.sweeps import dual
from entropy_rl.errors import InputError

STEPS = 100
SEEDS = 3
SHARES = {"countdown": (0.05, 0.5, 0.1), "grid": (0.05, 0.5), "gym": ()}  # beside all tokens and the fifth
# Checkpoints along the way are for the overlap with the start (experiments/forking.py).
SHARED = {
    "steps": STEPS,
    "rollout.prompts": 32,
    "eval.every": STEPS,
    "eval.problems": 128,
    "eval.last.problems": 510,
    "eval.last.samples": 8,
    "change.every": 0,
    "checkpoint.every": 50,
    "checkpoint.keep": 4,
}


def get_runs(arg: str = "countdown") -> list[dict[str, Any]]:
    """Runs of the task `arg`, or of `critique`; the first three arms with all seeds come first, as a smaller study."""
    makers = {"countdown": countdown, "grid": grid, "gym": gym, "critique": critique}
    if arg not in makers:
        raise InputError(f"forking.py knows no study {arg!r}: say forking.py:{' or :'.join(makers)}")
    return makers[arg]()


def countdown() -> list[dict[str, Any]]:
    """Imitation, then the shares and the bottom 80 %."""
    task = {"task.args.levels": (3, 4, 5), "task.args.talk": True}
    bottom = {"bottom=0.8": {"weight.args.frac": 0.2, "weight.args.bottom": True}}
    arms = shares(1.0, 0.2) | bottom | shares(*SHARES["countdown"])
    return [imitation(), *runs("rl/high_entropy_tokens", arms, task, "sft")]


def grid() -> list[dict[str, Any]]:
    """Imitation of random ways, then the shares."""
    taught = {"eval.split": "validation", "steps": 1500, "eval.every": 500}
    return [
        part("sft", "train_sft", "sft/grid", taught),
        *runs("rl/grid_forks", shares(1.0, 0.2, *SHARES["grid"]), {}, "sft"),
    ]


def gym() -> list[dict[str, Any]]:
    """A small model of text, imitation of answers, then the shares."""
    folder = {"model.path": "{workdir}/tiny/model"}
    taught = folder | {"eval.split": "validation", "steps": 600, "eval.every": 300}
    return [
        part("tiny", "tiny_model", f"tiny_model:{SUMS}", {}),
        part("sft", "train_sft", f"rl/hf:tiny,part=sft,{SUMS}", taught, "tiny"),
        *runs("rl/gym_forks", shares(1.0, 0.2, *SHARES["gym"]), folder, "sft"),
    ]


def critique() -> list[dict[str, Any]]:
    """Imitation, critiques, lessons, then the solver's critiques on all tokens of a refinement or on its forks."""
    arms = {
        "oracle": {"weight.args.frac": 1.0},
        "oracle_forks": {"weight.args.frac": 0.2},
        "grpo": {"weight.args.frac": 1.0, "critique.source": "off"},
    }
    return [*dual.taught(), *runs("rl/critique_forks", arms, {}, "start")]


def shares(*of: float) -> dict[str, dict[str, Any]]:
    """{name of an arm: its overrides}."""
    return {f"share={share:g}": {"weight.args.frac": share} for share in of}


def runs(config: str, arms: dict[str, dict[str, Any]], task: dict[str, Any], start: str) -> list[dict[str, Any]]:
    """Reinforcement learning in each arm from `start`."""
    shared = task | SHARED | {"init": f"{{workdir}}/{start}"}
    blocks = list(arms.items())[:3], list(arms.items())[3:]
    return [
        part(f"{arm},seed={seed}", "train_rl", config, shared | {"seed": seed} | changes, start)
        for block in blocks
        for seed in range(SEEDS)
        for arm, changes in block
    ]
