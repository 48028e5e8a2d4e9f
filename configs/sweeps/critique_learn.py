"""Does refining fade where nothing trains it? Ways to learn from the same critiques, of one start.

    python -m experiments.sweep --config=configs/sweeps/critique_learn.py --workdir=runs/critique_learn --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/critique_learn --workdir=runs/table

The start is made as that of configs/sweeps/critique.py, with fewer steps of lessons, so that refining can still get
better; or its folder is given as `--config=configs/sweeps/critique_learn.py:START`. refined: a retry is learnt on the
question alone (Critique-GRPO, arXiv:2506.03106); joint: under its critique too; of a group four retries at most.
joint_more and refined_more: with two critiques an attempt, so eight; joint_hint and refined_hint: so too, of critiques
that say which step would be right in place of the wrong one. turns, turns_each: up to three attempts in one context
with the verdict between them, by the reward of the last or each by its own; turns_critique: with the solver's critique
between them. sdpo: self-distillation from critiques and right siblings (configs/rl/sdpo.py); sdpo_outcome: with the
loss of the advantages beside it. Those of SEEDS have five seeds, the others three, MAIN's first. `retries,ARM,seed=S`
has the run's policy, and `retries,start` that of the start, retry the same failed attempts: those of the start at
held-out problems, after the solver's critique, after the verdict, without words and afresh.
What to look at: `refine/repaired` in the first and last quarter of a run, where what still fails becomes harder; the
retries of the same attempts, where it does not; pass@1, pass@64, tokens.

Time: one to three minutes a run on a core of an idle 2-core CPU, 45 runs; half a minute for the retries of each; the
start five minutes.
"""

from __future__ import annotations

from typing import Any

from configs.common import part
from configs.sweeps import critique

HINT = {"critique.level": "hint", "critique.count": 2}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "refined": ("rl/critique_joint", {"critique.learn": "refined"}),
    "joint": ("rl/critique_joint", {}),
    "joint_more": ("rl/critique_joint", {"critique.count": 2}),
    "refined_more": ("rl/critique_joint", {"critique.learn": "refined", "critique.count": 2}),
    "joint_hint": ("rl/critique_joint", HINT),
    "refined_hint": ("rl/critique_joint", HINT | {"critique.learn": "refined"}),
    "turns": ("rl/critique_turns", {}),
    "turns_each": ("rl/critique_turns", {"critique.credit": "each"}),
    "turns_critique": ("rl/critique_turns", {"critique.source": "oracle"}),
    "sdpo": ("rl/sdpo", {}),
    "sdpo_outcome": ("rl/sdpo", {"distillation.outcome": 1.0}),
}
MAIN = ("refined", "joint", "turns", "sdpo")
SEEDS = dict.fromkeys(("refined", "joint", "joint_more", "refined_more", "joint_hint", "refined_hint"), 5)
START = ("sft", "said", "start")


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The start, unless `arg` is the folder of one, and the arms, seed by seed."""
    parts = [] if arg else [p for p in critique.get_runs() if p["name"] in START]
    for made in parts:
        if made["name"] == "start":
            made["overrides"] |= {"steps": 4000, "eval.every": 4000}
    order = [(arm, seed) for main in (True, False) for seed in range(5) for arm in ARMS if (arm in MAIN) == main]
    order = [(arm, seed) for arm, seed in order if seed < SEEDS.get(arm, 3)]
    runs = [made for arm, seed in order for made in (run(arm, seed, arg), retries(f"{arm},seed={seed}", arg))]
    return [*parts, retries("start", arg), *runs]


def retries(name: str, start: str = "") -> dict[str, Any]:
    """The start's failed attempts at held-out problems, retried by the policy of a run."""
    start = start or "{workdir}/start"
    of = {"init": start if name == "start" else "{workdir}/" + name, "generator": start, "eval.samples": 8}
    after = [] if name == "start" and start != "{workdir}/start" else [name]
    return part(f"retries,{name}", "critique_scores", "critique/scores", of, *after)


def run(arm: str, seed: int, start: str = "") -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    config, changes = ARMS[arm]
    shared = critique.shared(seed, *([start] if start else []))
    return part(f"{arm},seed={seed}", "train_rl", config, shared | changes, *([] if start else ["start"]))
