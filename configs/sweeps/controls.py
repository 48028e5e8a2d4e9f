"""Every entropy control against GRPO on Countdown: the same start, problems, rollouts and updates.

    python -m experiments.sweep --config=configs/sweeps/controls.py:tune  --workdir=runs/controls --workers=2
    python -m experiments.sweep --config=configs/sweeps/controls.py:final --workdir=runs/controls --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/controls --workdir=runs/controls-table

`tune` tries at most three strengths of each control on the validation split, one seed, 160 steps; STRENGTH below holds
those with the best pass@1 over the last three evaluations there, and `final` runs them on the test split: three
seeds each, five for GRPO and the four controls of FIVE, 400 steps. Both phases share
a folder, and so the imitation that all start from.
Time: about 25 minutes and 65 minutes with two workers on 2 idle CPU cores.

The study of 2026 has the methods of 2025 and 2026 beside GRPO, DAPO, Clip-Cov and the entropy target, each tuned in
learning rate and strength with the same budget, six runs on the validation split, at levels 3 to 6:

    python -m experiments.sweep --config=configs/sweeps/controls.py:2026 --workdir=runs/controls2026 --workers=2
    python -m experiments.sweep --config=configs/sweeps/controls.py:2026,final --workdir=runs/controls2026 --workers=2

The second runs which of the six was best in pass@1 over its last three validation evaluations (VALIDATION_2026 below,
or those of another tuning: `2026,final=FOLDER`), with five seeds, 400 steps, 512 test problems x 64 at the end.
`grpo_slow` is GRPO at 2e-4 as it is. `2026,smoke` takes two tiny steps of every arm.
Time: 126 runs of a third of a minute and 110 of one on a core of an idle 2-core CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from entropy_rl import metrics
from entropy_rl.errors import InputError

# What all runs of a phase share. Half the prompts of configs/rl/base.py a rollout, mixed levels for a hard tail.
SHARED = {"init": "{workdir}/start", "task.args.levels": (3, 4, 5), "rollout.prompts": 32, "optimizer.warmup": 10}

# Control: its config and the strengths that were tried, as dotted overrides.
GRID: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "grpo": ("grpo", [{"updates": 4, "optimizer.learning_rate": lr} for lr in (2e-4, 3e-4, 5e-4)]),
    "grpo_slow": ("grpo", [{"updates": 4, "optimizer.learning_rate": 2e-4}]),
    "clip_higher": ("clip_higher", [{"loss.args.clip_high": x} for x in (0.28, 0.5, 1.0)]),
    "clip_cov": ("clip_cov", [{"loss.args.frac": x} for x in (0.01, 0.02, 0.05)]),
    "kl_cov": ("kl_cov", [{"loss.args.frac": x} for x in (0.02, 0.05, 0.1)]),
    "gspo": ("gspo", [{"loss.args.clip_low": x, "loss.args.clip_high": x * 4 / 3} for x in (3e-3, 1e-2, 3e-2)]),
    "cispo": ("cispo", [{"loss.args.clip_high": x} for x in (0.2, 1.0, 4.0)]),
    "gppo": ("gppo", [{"loss.args.clip_high": x} for x in (0.28, 0.5)]),
    "ce_gppo": ("ce_gppo", [{"loss.args.beta_low": x} for x in (0.25, 0.5, 0.75)]),
    "steer": ("steer", [{"loss.args.weight_low": 1 - x, "loss.args.weight_high": 1 + x} for x in (0.2, 0.5, 0.9)]),
    "high_entropy_tokens": ("high_entropy_tokens", [{"weight.args.frac": x} for x in (0.2, 0.35, 0.5)]),
    "entropy_bonus": ("entropy_bonus", [{"entropy_coef.args.value": x} for x in (0.01, 0.03, 0.06)]),
    "entropy_adaptive": ("entropy_adaptive", [{"entropy_coef.args.target": x} for x in (0.05, 0.1, 0.2)]),
    "entropy_target": ("entropy_target", [{"entropy_coef.args.target": x} for x in (0.05, 0.1, 0.2)]),
    "entropy_advantage": ("entropy_advantage", [{"entropy_advantage.alpha": x} for x in (0.1, 0.4, 1.0)]),
    "kl_reference": ("kl_reference", [{"kl.coef.args.value": x} for x in (0.01, 0.03, 0.1)]),
    "nsr": ("nsr", [{"weight.args.positive": x} for x in (0.1, 0.3, 0.5)]),
    "qae": ("qae", [{"advantage.args.k": x} for x in (0.3, 0.5, 0.7)]),
    "dapo": ("dapo", [{"loss.args.clip_high": 0.28}]),
    "dr_grpo": ("dr_grpo", [{"weight.args.length": 24}]),
    "ppo": ("ppo", [{}]),
    # the updates and the rate of the others, for the law of several algorithms on one start
    "rloo": ("rloo", [{"updates": 4, "optimizer.learning_rate": 3e-4}]),
    "reinforce_pp": ("reinforce_pp", [{}]),
}

# Place of the chosen strength in the grid, and pass@1 of all of them on validation problems, over the last three
# evaluations. The learning rate is not a control: all have GRPO's 3e-4, and grpo_slow is there because 2e-4 did better.
# random_clip gets the strength of clip_cov, whose control it is.
STRENGTH = {
    "grpo": 1,  # .613 .580 .544
    "clip_higher": 1,  # .610 .611 .584
    "clip_cov": 0,  # .534 .468 .426
    "kl_cov": 0,  # .586 .564 .550
    "gspo": 2,  # .587 .588 .591
    "cispo": 1,  # .579 .583 .563
    "gppo": 0,  # .572 .565
    "ce_gppo": 1,  # .574 .597 .570
    "steer": 1,  # .597 .605 .575
    "high_entropy_tokens": 2,  # .567 .575 .600
    "entropy_bonus": 0,  # .591 .575 .551
    "entropy_adaptive": 1,  # .580 .588 .523
    "entropy_target": 1,  # .580 .603 .515
    "entropy_advantage": 1,  # .607 .617 .614
    "kl_reference": 0,  # .603 .577 .513
    "nsr": 0,  # .593 .569 .583
    "qae": 1,  # .557 .569 .558
}
# The study of 2026. Arm: its config and two strengths, each tried at three rates, or one at six.
LEVELS_2026 = {"task.args.levels": (3, 4, 5, 6), "rollout.prompts": 32, "optimizer.warmup": 10}
RATES_2026 = {1: (5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 6e-4), 2: (1e-4, 2e-4, 4e-4)}  # by the number of strengths
STRICTLY = ("opo", "gpg")  # one update a rollout: rates twice as high
ARMS_2026: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "grpo": ("grpo", [{"updates": 4}]),
    "dapo": ("dapo", [{"loss.args.clip_high": x} for x in (0.28, 0.5)]),
    "clip_cov": ("clip_cov", [{"loss.args.frac": x} for x in (0.005, 0.01)]),
    "entropy_target": ("entropy_target", [{"entropy_coef.args.target": x} for x in (0.05, 0.1)]),
    "dppo_tv": ("dppo_tv", [{"loss.args.delta_low": x, "loss.args.delta_high": x} for x in (0.1, 0.2)]),
    "dppo_kl": ("dppo_kl", [{"loss.args.delta_low": x, "loss.args.delta_high": x} for x in (0.02, 0.05)]),
    "sapo": ("sapo", [{"loss.args.tau_pos": x, "loss.args.tau_neg": 1.05 * x} for x in (1.0, 4.0)]),
    "gmpo": ("gmpo", [{"loss.args.clip_low": x, "loss.args.clip_high": x} for x in (0.2, 0.4)]),
    "aspo": ("aspo", [{"loss.args.cap": x} for x in (2.0, 3.0)]),
    "bapo": ("bapo", [{"loss.args.share": x} for x in (0.4, 0.5)]),
    "lp_reg": ("lp_reg", [{"loss.args.frac": x} for x in (0.02, 0.1)]),
    "erc": ("erc", [{"loss.args.band_low": x, "loss.args.band_high": x} for x in (0.1, 0.2)]),
    "max_rl": ("max_rl", [{}]),
    "pass_at_k": ("pass_at_k", [{"advantage.args.k": x} for x in (2, 4)]),
    "opo": ("opo", [{}]),
    "gpg": ("gpg", [{}]),
    "ucpo": ("ucpo", [{"weight.args.tau": x} for x in (0.2, 0.5)]),
    "differential_smoothing": (
        "differential_smoothing",
        [{"smoothing.right": x, "smoothing.wrong": x} for x in (0.01, 0.03)],
    ),
    "unsolved": ("unsolved", [{"weight.args.threshold": x} for x in (0.8, 0.9)]),
    "siren": ("siren", [{"nucleus.coef": x} for x in (0.1, 1.0)]),
    "entrocraft": (
        "entrocraft",
        [{"entropy_band.low.args.end": x / 2, "entropy_band.high.args.end": x} for x in (0.1, 0.2)],
    ),
}
# Validation pass@1 of each of the `ways`, a mean over the last three evaluations; commit 3352d92, 2026-11-30
VALIDATION_2026: dict[str, tuple[float, ...]] = {
    "grpo": (.4598, .5317, .5570, .5558, .5622, .4912),
    "dapo": (.5641, .6024, .6208, .5643, .5996, .5955),
    "clip_cov": (.4966, .5221, .5158, .4588, .4959, .4375),
    "entropy_target": (.5317, .5570, .5622, .5317, .5547, .5330),
    "dppo_tv": (.5249, .5540, .5492, .5267, .5581, .5259),
    "dppo_kl": (.5264, .5666, .5311, .5299, .5547, .5443),
    "sapo": (.5140, .5537, .5028, .5169, .5620, .5122),
    "gmpo": (.5135, .5531, .5374, .5168, .5436, .5254),
    "aspo": (.5303, .5586, .5552, .5265, .5617, .5439),
    "bapo": (.5226, .5672, .5337, .5257, .5675, .5298),
    "lp_reg": (.5257, .5565, .5133, .5252, .5576, .5288),
    "erc": (.5249, .5519, .5059, .5256, .5589, .4907),
    "max_rl": (.4399, .5073, .5252, .5270, .5146, .4771),
    "pass_at_k": (.5190, .5526, .5091, .4606, .4919, .4463),
    "opo": (.4565, .5243, .5319, .5495, .4906, .4803),
    "gpg": (.4582, .5203, .5457, .5267, .5288, .4499),
    "ucpo": (.5247, .5677, .5309, .5210, .5653, .5173),
    "differential_smoothing": (.5340, .5653, .5365, .5280, .5555, .5329),
    "unsolved": (.3501, .3444, .2617, .4090, .4170, .3711),
    "siren": (.5197, .5439, .4902, .3809, .3838, .3198),
    "entrocraft": (.5306, .5475, .4707, .5228, .5306, .4453),
}
FIVE = ("clip_cov", "random_clip", "kl_cov", "high_entropy_tokens")


def get_runs(arg: str = "final") -> list[dict[str, Any]]:
    """Runs of the phase `arg`: tune or final, 2026 and what belongs to it; before them the imitation of all."""
    if arg.startswith("2026"):
        return study(arg.removeprefix("2026").removeprefix(","))
    if arg not in ("tune", "final"):
        raise InputError(f"controls.py knows no phase {arg!r}: say tune, final, 2026, 2026,final or 2026,smoke")
    start = {
        "name": "start",
        "script": "experiments.train_sft",
        "config": "configs/sft/countdown.py",
        "overrides": {"task.args.levels": (3, 4, 5), "steps": 3500, "eval.split": "validation"},
    }
    return [start, *(tune() if arg == "tune" else final())]


def tune() -> list[dict[str, Any]]:
    """One run for each strength, on the validation split."""
    shared = {"steps": 160, "seed": 100, "eval.split": "validation", "eval.every": 20}
    return [
        run(f"{control},strength={i}", control, i, shared)
        for control, (_, strengths) in GRID.items()
        if len(strengths) > 1
        for i in range(len(strengths))
    ]


def final() -> list[dict[str, Any]]:
    """Runs on the test split with the chosen strengths; seeds outermost, so that each block is a small study."""
    shared = {"steps": 400, "eval.every": 20, "eval.last.problems": 512, "eval.last.samples": 16}
    controls = ["grpo", *FIVE, *(c for c in GRID if c not in ("grpo", *FIVE))]
    return [
        run(f"{control},seed={seed}", control, STRENGTH.get(control, 0), shared | {"seed": seed})
        for seed in range(5)
        for control in controls
        if seed < 3 or control in ("grpo", *FIVE)
    ]


def run(name: str, control: str, strength: int, shared: dict[str, Any]) -> dict[str, Any]:
    """A run of a control at a place in its grid."""
    config, strengths = GRID["clip_cov" if control == "random_clip" else control]
    if control == "random_clip":
        config, strength = control, STRENGTH.get("clip_cov", 0)
    return {
        "name": name,
        "script": "experiments.train_rl",
        "config": f"configs/rl/{config}.py",
        "overrides": SHARED | shared | strengths[strength],
        "after": ["start"],
    }


def study(phase: str) -> list[dict[str, Any]]:
    """Runs of the study of 2026: "" tunes, "final[=FOLDER]" runs what was best (there), "smoke" two steps."""
    name, _, folder = phase.partition("=")
    if name not in ("", "final", "smoke") or (folder and name != "final"):
        raise InputError(f"the study of 2026 knows no phase {phase!r}: say 2026, 2026,final[=FOLDER] or 2026,smoke")
    small = ":smoke" if name == "smoke" else ""
    start = {"task.args.levels": (3, 4, 5, 6), "steps": 3500, "eval.split": "validation"}
    runs = [arm_run("start", "train_sft", f"configs/sft/countdown.py{small}", {} if small else start)]
    rl = lambda arm: f"configs/rl/{ARMS_2026[arm][0]}.py{small}"  # noqa: E731
    if small:
        smallest = {"init": "{workdir}/start", "optimizer.learning_rate": 1e-4}
        return runs + [arm_run(arm, "train_rl", rl(arm), smallest, "start") for arm in ARMS_2026]
    shared = LEVELS_2026 | {"init": "{workdir}/start"}
    if not name:
        tuned = shared | {"steps": 160, "seed": 100, "eval.split": "validation", "eval.every": 20}
        return runs + [
            arm_run(f"{arm},tune={i}", "train_rl", rl(arm), tuned | way, "start")
            for arm in ARMS_2026
            for i, way in enumerate(ways(arm))
        ]
    best = {arm: ways(arm)[chosen(folder, arm)] for arm in ARMS_2026}
    best["dapo"]["filter_rounds"] = 30  # of 10 some run runs out before its end; as many are drawn as are needed
    best["grpo_slow"] = {"updates": 4, "optimizer.learning_rate": 2e-4}
    last = shared | {"steps": 400, "eval.every": 20, "eval.last.problems": 512, "eval.last.samples": 64}
    return runs + [
        arm_run(f"{arm},seed={seed}", "train_rl", rl(arm if arm in ARMS_2026 else "grpo"), last | way | {"seed": seed},
                "start")
        for seed in range(5)
        for arm, way in best.items()
    ]  # fmt: skip


def ways(arm: str) -> list[dict[str, Any]]:
    """The six settings of an arm that are tried: rates within strengths."""
    strengths = ARMS_2026[arm][1]
    scale = 2.0 if arm in STRICTLY else 1.0
    return [s | {"optimizer.learning_rate": scale * rate} for s in strengths for rate in RATES_2026[len(strengths)]]


def chosen(folder: str, arm: str) -> int:
    """Which of the `ways` had the best pass@1 on validation, as a mean over the last three evaluations.

    Args:
      folder: of the tuning's runs; "": that of VALIDATION_2026.

    Raises:
      InputError: a run of the tuning is not there.
    """
    if not folder:
        return int(np.argmax(VALIDATION_2026[arm]))
    return best([f"{folder}/{arm},tune={i}" for i in range(len(ways(arm)))])


def best(folders: list[str]) -> int:
    """Which of these runs had the best pass@1, as a mean over its last three evaluations.

    Raises:
      InputError: a run is not there, or was not evaluated.
    """
    means = []
    for folder in folders:
        values = [row["value"] for row in metrics.read(folder).evals if row["metric"] == "pass@1"]
        if not values:
            raise InputError(f"{folder} has no evaluations: run the tuning first")
        means.append(np.mean(values[-3:]))
    return int(np.argmax(means))


def arm_run(name: str, script: str, config: str, overrides: dict[str, Any], *after: str) -> dict[str, Any]:
    """A run of the study of 2026."""
    about = {"name": name, "script": f"experiments.{script}", "config": config}
    return about | {"overrides": overrides, "after": list(after)}
