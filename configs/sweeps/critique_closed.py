"""Does a critique in the loop keep the policy wide? Closed Countdown, every source and way of learning, rates tuned.

    python -m experiments.sweep --config=configs/sweeps/critique_closed.py:tune --workdir=runs/closed --workers=2
    python -m experiments.sweep --config=configs/sweeps/critique_closed.py --workdir=runs/closed --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/closed --config.k=256 \\
        --workdir=runs/closed-table

The first of three worlds; the others are configs/sweeps/small_english.py and critique_smollm2.py. Arms are SOURCE_WAY:
who is heard (none: retried without words; random: a critique of another attempt; indicative: the verdict; oracle: the
solver's first wrong step and why; learned: a critique model's; self: the policy's own; hint: the solver's with the step
that would be right, a leak) and what is learnt from it (refined: the retry on the question alone, Critique-GRPO; joint:
under its critique too; sdpo: self-distillation from it beside GRPO's loss; turns: several attempts in one context). And
GRPO; grpo_slow, GRPO at 2e-4, where most arms with critiques have their best rate and entropy falls more slowly by
itself; as many fresh samples; budgets of one, two, four and eight retries a group; a critique that is withdrawn
half-way; entropy bonus, Clip-Cov, MaxRL, pass@k training and UCPO, alone and with the solver's critique.

`:tune` has four learning rates of every arm, on the validation split with one seed and as many steps as the runs
themselves; without it, each arm has the best of the four in pass@1 over the last three evaluations, from the folder of
the tuning: `:runs/closed`. `:untuned` has the third rate of all, to begin at once. MAIN's arms have eight seeds, the
others three; MAIN's come first, and `:main,tune`, `:main,runs/closed` have no others. `:smoke` takes two tiny steps of
every arm. The start is that of configs/sweeps/critique_learn.py.
Time: 46 arms, 160 runs to tune and 198 after it; by critique_learn.py one to three minutes a run on a core, so 5 to 10
hours of two cores; starts and the critique model half an hour.
"""

from __future__ import annotations

from typing import Any

from configs.common import part
from configs.sweeps import controls, critique, critique_learn

RATES = (1e-4, 2e-4, 3e-4, 4e-4)
HALVED = ("sdpo",)  # ways whose rates are half of these
SOURCES: dict[str, dict[str, Any]] = {
    "none": {"critique.source": "none"},
    "random": {"critique.source": "random"},
    "indicative": {"critique.source": "indicative"},
    "oracle": {"critique.source": "oracle"},
    "learned": critique.LEARNED | {"critique.level": "hint"},  # all it says
    "self": {"critique.source": "self"},
    "hint": {"critique.source": "oracle", "critique.level": "hint"},
}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "refined": ("critique_joint", {"critique.learn": "refined"}),
    "joint": ("critique_joint", {}),
    "sdpo": ("sdpo", {"distillation.outcome": 1.0}),
    "turns": ("critique_turns", {}),
}
# beside no critiques and beside the solver's, learnt as refined rows
CONTROLS: dict[str, dict[str, Any]] = {
    "entropy_bonus": {"entropy_coef.args.value": 0.01},
    "clip_cov": {"loss.args.frac": 0.01},
    "max_rl": {"advantage.name": "max_rl"},
    "pass_at_k": {"advantage.name": "pass_at_k"},
    "ucpo": {"weight.name": "ucpo"},
}
BUDGETS = {1: (1, 1), 2: (2, 1), 4: (4, 1), 8: (4, 2)}  # retries of a group: attempts and critiques of each
# in the order of their runs; without the learned one, which needs a critique model
MAIN = ("grpo", "fresh", *(f"{source}_refined" for source in SOURCES if source != "learned"))
MAIN += ("oracle_joint", "oracle_sdpo", "oracle_turns", "grpo_slow")


def arms() -> dict[str, tuple[str, dict[str, Any], str]]:
    """{name: (recipe, what it changes, the arm whose tuning it takes)}."""
    of = {
        f"{source}_{way}": (recipe, changes | heard, f"{source}_{way}")
        for way, (recipe, changes) in WAYS.items()
        for source, heard in SOURCES.items()
    }
    off, oracle = {"critique.source": "off"}, of["oracle_refined"][1]
    plain = {"grpo": ("critique_grpo", off, "grpo"), "fresh": ("critique_joint", {"critique.source": "fresh"}, "fresh")}
    plain["fresh"][1]["critique.learn"] = "refined"
    plain["grpo_slow"] = ("critique_grpo", off | {"optimizer.learning_rate": RATES[1]}, "grpo")
    controlled = {}
    for name, changes in CONTROLS.items():
        recipe = "critique_clip_cov" if name == "clip_cov" else "critique_grpo"
        heard = oracle | changes | {"critique.attempts": 4}
        controlled |= {name: (recipe, off | changes, name), f"oracle_{name}": (recipe, heard, f"oracle_{name}")}
    changed = {
        f"oracle_budget{n}": (WAYS["refined"][0], oracle | dict(zip(("critique.attempts", "critique.count"), budget)))
        for n, budget in BUDGETS.items()
    }
    changed["oracle_withdrawn"] = (WAYS["refined"][0], oracle | {"critique.until": critique.STEPS // 2})
    return plain | of | controlled | {name: (*arm, "oracle_refined") for name, arm in changed.items()}


def get_runs(arg: str = "untuned") -> list[dict[str, Any]]:
    """The start and the critique model, and the runs of a phase: tune, untuned, smoke, or the folder of a tuning."""
    phase = arg.removeprefix("main,")
    every = arms()
    order = [*MAIN, *(name for name in every if name not in MAIN and arg == phase)]
    if phase == "smoke":
        first = ("start", "critique_model")
        known = [part(name, "train_sft", "sft/countdown:smoke", {"task.args.talk": True}) for name in first]
        return known + [run(name, f"{every[name][0]}:smoke", every[name][1], {"rollout.samples": 4}) for name in order]
    made = {one["name"]: one for one in critique.get_runs()}
    starts = [one for one in critique_learn.get_runs() if one["name"] in critique_learn.START]
    critic = [made["said_more"], made["critique_model"]]
    shared = {"steps": critique.STEPS, "eval.every": 20}
    if phase == "tune":
        shared |= {"seed": 100, "eval.split": "validation"}
        tuning = [
            run(f"{name},tune={i}", *every[name][:2], shared | {"optimizer.learning_rate": rate})
            for name in order
            if every[name][2] == name
            for i, rate in enumerate(rates(name))
        ]
        return starts + before_use(critic, tuning)
    shared |= {"eval.last.problems": 510, "eval.last.samples": 256}
    best = {name: rates(name)[2 if phase == "untuned" else chosen(phase, every[name][2])] for name in order}
    runs = [
        run(f"{name},seed={seed}", *every[name][:2], shared | {"seed": seed, "optimizer.learning_rate": best[name]})
        for seeds, names in ((range(8), MAIN), (range(3), order[len(MAIN) :]))
        for seed in seeds
        for name in names
    ]
    return starts + before_use(critic, runs)


def before_use(critic: list[dict[str, Any]], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs, with the critique model made just before the first that hears it, if one does."""
    hears = [i for i, one in enumerate(runs) if critic[-1]["name"] in one["after"]]
    return [*runs[: hears[0]], *critic, *runs[hears[0] :]] if hears else runs


def rates(name: str) -> tuple[float, ...]:
    """The learning rates that an arm is tried with."""
    return tuple(rate / 2 for rate in RATES) if name.rpartition("_")[2] in HALVED else RATES


def chosen(folder: str, name: str) -> int:
    """The place of the rate that was best on validation; see `controls.best`."""
    return controls.best([f"{folder}/{name},tune={i}" for i in range(len(RATES))])


def run(name: str, recipe: str, changes: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    after = ["start", *(["critique_model"] if "critique.model" in changes else [])]
    return part(name, "train_rl", f"rl/{recipe}", {"init": "{workdir}/start"} | shared | changes, *after)
