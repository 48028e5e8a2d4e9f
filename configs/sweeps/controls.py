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

from configs.common import imitation, part
from entropy_rl import metrics
from entropy_rl.errors import InputError

# What all runs of a phase share. Half the prompts of configs/rl/base.py a rollout, mixed levels for a hard tail.
SHARED = {"task.args.levels": (3, 4, 5), "rollout.prompts": 32, "optimizer.warmup": 10}

# Control, which is its recipe too: the strengths that were tried, as dotted overrides.
GRID: dict[str, list[dict[str, Any]]] = {
    "grpo": [{"updates": 4, "optimizer.learning_rate": lr} for lr in (2e-4, 3e-4, 5e-4)],
    "grpo_slow": [{"updates": 4, "optimizer.learning_rate": 2e-4}],
    "clip_higher": [{"loss.args.clip_high": x} for x in (0.28, 0.5, 1.0)],
    "clip_cov": [{"loss.args.frac": x} for x in (0.01, 0.02, 0.05)],
    "random_clip": [{"loss.args.frac": 0.01}],  # the strength that is chosen for clip_cov, whose control it is
    "kl_cov": [{"loss.args.frac": x} for x in (0.02, 0.05, 0.1)],
    "gspo": [{"loss.args.clip_low": x, "loss.args.clip_high": x * 4 / 3} for x in (3e-3, 1e-2, 3e-2)],
    "cispo": [{"loss.args.clip_high": x} for x in (0.2, 1.0, 4.0)],
    "gppo": [{"loss.args.clip_high": x} for x in (0.28, 0.5)],
    "ce_gppo": [{"loss.args.beta_low": x} for x in (0.25, 0.5, 0.75)],
    "steer": [{"loss.args.weight_low": 1 - x, "loss.args.weight_high": 1 + x} for x in (0.2, 0.5, 0.9)],
    "high_entropy_tokens": [{"weight.args.frac": x} for x in (0.2, 0.35, 0.5)],
    "entropy_bonus": [{"entropy_coef.args.value": x} for x in (0.01, 0.03, 0.06)],
    "entropy_adaptive": [{"entropy_coef.args.target": x} for x in (0.05, 0.1, 0.2)],
    "entropy_target": [{"entropy_coef.args.target": x} for x in (0.05, 0.1, 0.2)],
    "entropy_advantage": [{"entropy_advantage.alpha": x} for x in (0.1, 0.4, 1.0)],
    "kl_reference": [{"kl.coef.args.value": x} for x in (0.01, 0.03, 0.1)],
    "nsr": [{"weight.args.positive": x} for x in (0.1, 0.3, 0.5)],
    "qae": [{"advantage.args.k": x} for x in (0.3, 0.5, 0.7)],
    "dapo": [{"loss.args.clip_high": 0.28}],
    "dr_grpo": [{"weight.args.length": 24}],
    "ppo": [{}],
    # the updates and the rate of the others, for the law of several algorithms on one start
    "rloo": [{"updates": 4, "optimizer.learning_rate": 3e-4}],
    "reinforce_pp": [{}],
}

# Place of the chosen strength in the grid, and pass@1 of all of them on validation problems, over the last three
# evaluations. The learning rate is not a control: all have GRPO's 3e-4, and grpo_slow is there because 2e-4 did better.
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
# The study of 2026. Arm, which is its recipe too: two strengths, each tried at three rates, or one at six.
LEVELS_2026 = (3, 4, 5, 6)
RATES_2026 = {1: (5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 6e-4), 2: (1e-4, 2e-4, 4e-4)}  # by the number of strengths
STRICTLY = ("opo", "gpg")  # one update a rollout: rates twice as high
ARMS_2026: dict[str, list[dict[str, Any]]] = {
    "grpo": [{"updates": 4}],
    "dapo": [{"loss.args.clip_high": x} for x in (0.28, 0.5)],
    "clip_cov": [{"loss.args.frac": x} for x in (0.005, 0.01)],
    "entropy_target": [{"entropy_coef.args.target": x} for x in (0.05, 0.1)],
    "dppo_tv": [{"loss.args.delta_low": x, "loss.args.delta_high": x} for x in (0.1, 0.2)],
    "dppo_kl": [{"loss.args.delta_low": x, "loss.args.delta_high": x} for x in (0.02, 0.05)],
    "sapo": [{"loss.args.tau_pos": x, "loss.args.tau_neg": 1.05 * x} for x in (1.0, 4.0)],
    "gmpo": [{"loss.args.clip_low": x, "loss.args.clip_high": x} for x in (0.2, 0.4)],
    "aspo": [{"loss.args.cap": x} for x in (2.0, 3.0)],
    "bapo": [{"loss.args.share": x} for x in (0.4, 0.5)],
    "lp_reg": [{"loss.args.frac": x} for x in (0.02, 0.1)],
    "erc": [{"loss.args.band_low": x, "loss.args.band_high": x} for x in (0.1, 0.2)],
    "max_rl": [{}],
    "pass_at_k": [{"advantage.args.k": x} for x in (2, 4)],
    "opo": [{}],
    "gpg": [{}],
    "ucpo": [{"weight.args.tau": x} for x in (0.2, 0.5)],
    "differential_smoothing": [{"smoothing.right": x, "smoothing.wrong": x} for x in (0.01, 0.03)],
    "unsolved": [{"weight.args.threshold": x} for x in (0.8, 0.9)],
    "siren": [{"nucleus.coef": x} for x in (0.1, 1.0)],
    "entrocraft": [{"entropy_band.low.args.end": x / 2, "entropy_band.high.args.end": x} for x in (0.1, 0.2)],
}
# Validation pass@1 of each of the `ways`, a mean over the last three evaluations; commit 3352d92, 2026-11-30
VALIDATION_2026: dict[str, tuple[float, ...]] = {
    "grpo": (0.4598, 0.5317, 0.5570, 0.5558, 0.5622, 0.4912),
    "dapo": (0.5641, 0.6024, 0.6208, 0.5643, 0.5996, 0.5955),
    "clip_cov": (0.4966, 0.5221, 0.5158, 0.4588, 0.4959, 0.4375),
    "entropy_target": (0.5317, 0.5570, 0.5622, 0.5317, 0.5547, 0.5330),
    "dppo_tv": (0.5249, 0.5540, 0.5492, 0.5267, 0.5581, 0.5259),
    "dppo_kl": (0.5264, 0.5666, 0.5311, 0.5299, 0.5547, 0.5443),
    "sapo": (0.5140, 0.5537, 0.5028, 0.5169, 0.5620, 0.5122),
    "gmpo": (0.5135, 0.5531, 0.5374, 0.5168, 0.5436, 0.5254),
    "aspo": (0.5303, 0.5586, 0.5552, 0.5265, 0.5617, 0.5439),
    "bapo": (0.5226, 0.5672, 0.5337, 0.5257, 0.5675, 0.5298),
    "lp_reg": (0.5257, 0.5565, 0.5133, 0.5252, 0.5576, 0.5288),
    "erc": (0.5249, 0.5519, 0.5059, 0.5256, 0.5589, 0.4907),
    "max_rl": (0.4399, 0.5073, 0.5252, 0.5270, 0.5146, 0.4771),
    "pass_at_k": (0.5190, 0.5526, 0.5091, 0.4606, 0.4919, 0.4463),
    "opo": (0.4565, 0.5243, 0.5319, 0.5495, 0.4906, 0.4803),
    "gpg": (0.4582, 0.5203, 0.5457, 0.5267, 0.5288, 0.4499),
    "ucpo": (0.5247, 0.5677, 0.5309, 0.5210, 0.5653, 0.5173),
    "differential_smoothing": (0.5340, 0.5653, 0.5365, 0.5280, 0.5555, 0.5329),
    "unsolved": (0.3501, 0.3444, 0.2617, 0.4090, 0.4170, 0.3711),
    "siren": (0.5197, 0.5439, 0.4902, 0.3809, 0.3838, 0.3198),
    "entrocraft": (0.5306, 0.5475, 0.4707, 0.5228, 0.5306, 0.4453),
}
FIVE = ("clip_cov", "random_clip", "kl_cov", "high_entropy_tokens")


def get_runs(arg: str = "final") -> list[dict[str, Any]]:
    """Runs of the phase `arg`: tune or final, 2026 and what belongs to it; before them the imitation of all."""
    if arg.startswith("2026"):
        return study(arg.removeprefix("2026").removeprefix(","))
    if arg not in ("tune", "final"):
        raise InputError(f"controls.py knows no phase {arg!r}: say tune, final, 2026, 2026,final or 2026,smoke")
    return [imitation("start", talk=False), *(tune() if arg == "tune" else final())]


def tune() -> list[dict[str, Any]]:
    """One run for each strength, on the validation split."""
    shared = {"steps": 160, "seed": 100, "eval.split": "validation", "eval.every": 20}
    return [
        run(f"{control},strength={i}", control, SHARED | shared | strength)
        for control, strengths in GRID.items()
        if len(strengths) > 1
        for i, strength in enumerate(strengths)
    ]


def final() -> list[dict[str, Any]]:
    """Runs on the test split with the chosen strengths; seeds outermost, so that each block is a small study."""
    shared = SHARED | {"steps": 400, "eval.every": 20, "eval.last.problems": 512, "eval.last.samples": 16}
    controls = ["grpo", *FIVE, *(c for c in GRID if c not in ("grpo", *FIVE))]
    return [
        run(f"{control},seed={seed}", control, shared | {"seed": seed} | GRID[control][STRENGTH.get(control, 0)])
        for seed in range(5)
        for control in controls
        if seed < 3 or control in ("grpo", *FIVE)
    ]


def run(name: str, arm: str, overrides: dict[str, Any], variant: str = "") -> dict[str, Any]:
    """Reinforcement learning in an arm of either study."""
    recipe = "grpo" if arm == "grpo_slow" else arm
    return part(name, "train_rl", f"rl/{recipe}{variant}", {"init": "{workdir}/start"} | overrides, "start")


def study(phase: str) -> list[dict[str, Any]]:
    """Runs of the study of 2026: "" tunes, "final[=FOLDER]" runs what was best (there), "smoke" two steps."""
    name, _, folder = phase.partition("=")
    if name not in ("", "final", "smoke") or (folder and name != "final"):
        raise InputError(f"the study of 2026 knows no phase {phase!r}: say 2026, 2026,final[=FOLDER] or 2026,smoke")
    if name == "smoke":
        start = part("start", "train_sft", "sft/countdown:smoke", {})
        return [start, *(run(arm, arm, {"optimizer.learning_rate": 1e-4}, ":smoke") for arm in ARMS_2026)]
    start = imitation("start", LEVELS_2026, talk=False)
    shared = {"task.args.levels": LEVELS_2026, "rollout.prompts": 32, "optimizer.warmup": 10, "eval.every": 20}
    if not name:
        tuned = shared | {"steps": 160, "seed": 100, "eval.split": "validation"}
        tries = [(arm, i, way) for arm in ARMS_2026 for i, way in enumerate(ways(arm))]
        return [start, *(run(f"{arm},tune={i}", arm, tuned | way) for arm, i, way in tries)]
    best = {arm: ways(arm)[chosen(folder, arm)] for arm in ARMS_2026}
    best["dapo"]["filter_rounds"] = 30  # of 10 some run runs out before its end; as many are drawn as are needed
    best["grpo_slow"] = {"updates": 4, "optimizer.learning_rate": 2e-4}
    last = shared | {"steps": 400, "eval.last.problems": 512, "eval.last.samples": 64}
    seeds = [(arm, seed, way) for seed in range(5) for arm, way in best.items()]
    return [start, *(run(f"{arm},seed={seed}", arm, last | way | {"seed": seed}) for arm, seed, way in seeds)]


def ways(arm: str) -> list[dict[str, Any]]:
    """The six settings of an arm that are tried: rates within strengths."""
    strengths = ARMS_2026[arm]
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
