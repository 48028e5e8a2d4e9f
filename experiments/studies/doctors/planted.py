"""Twelve runs of which the truth is known, in TRL's columns: by the law, against it, and with a trouble of their own.

400 steps with an evaluation every 10; entropy and rewards have autocorrelated noise (rho .5; of scores .012, as of 500
problems with 3 attempts each). Where nothing else is said, reward is b - a exp(H) of the entropy H of its step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.coverage import ar1

STEPS, EVERY, RHO = 400, 10, 0.5
CEILING = 0.6
T = np.linspace(0, 1, STEPS)
RAMP = np.clip((T - 0.3) / 0.6, 0, 1)


class Truth(NamedTuple):
    """A run without noise: entropy and held-out score [STEPS], other columns, what is wrong, and the ceiling if any.

    Troubles go by rldoctor's names where it has one.
    """

    H: NDArray
    R: NDArray
    columns: dict[str, NDArray] = {}
    trouble: tuple[str, ...] = ()
    ceiling: float | None = CEILING


def law(H: NDArray, gain: float = 0.4) -> NDArray:
    """R = b - a exp(H) with its ceiling at CEILING, that gains so much over the run."""
    return CEILING - gain * np.expm1(H) / (np.exp(H[0]) - np.exp(H.min()))


FALLING = 1.2 - 1.1 * T
FAST = 1.2 * np.exp(-9 * T) + 0.004
UP = law(FALLING)

RUNS = {
    "by the law": Truth(FALLING, UP),
    "low from the start": Truth(0.3 - 0.27 * T, law(0.3 - 0.27 * T)),
    "spent, reward rises": Truth(1.2 - 1.17 * T, law(1.2 - 1.17 * T)),
    "by a line": Truth(2 - 1.8 * T, CEILING - 0.2 * (2 - 1.8 * T)),
    "entropy held": Truth(0.6 + 0 * T, 0.2 + 0.4 / (1 + np.exp(4 - 7 * T)), ceiling=None),
    "collapse": Truth(FAST, law(FAST), trouble=("entropy_collapse",)),
    "explosion": Truth(0.8 - 1.5 * np.minimum(T, 0.3) + 1.5 * RAMP, 0.3 + 0.2 * np.minimum(T, 0.3) - 0.2 * RAMP,
                       trouble=("explosion",), ceiling=None),
    "training alone": Truth(FALLING, 0.3 + 0.3 * np.minimum(T, 0.3) - 0.15 * RAMP, {"reward": UP},
                            trouble=("reward_hacking",), ceiling=None),
    "cut off": Truth(FALLING, UP, {"completions/clipped_ratio": 0.5 * RAMP}, trouble=("length_pathology",)),
    "groups alike": Truth(FALLING, UP, {"frac_reward_zero_std": 0.2 + 0.7 * RAMP}, trouble=("advantage_collapse",)),
    "tokens clipped": Truth(FALLING, UP, {f"clip_ratio/{part}_mean": share * RAMP for part, share in
                            (("low", 0.4), ("high", 0.03), ("region", 0.43))}, trouble=("clip_saturation",)),
    "sampler is another": Truth(FALLING, UP, {"sampling/sampling_logp_difference/mean": 0.3 * RAMP},
                                trouble=("sampler_gap",)),
}  # fmt: skip


def rows(truth: Truth, seed: int) -> Iterator[dict[str, Any]]:
    """As TRL logs them; what the run says nothing of is as in a healthy one."""
    rng = np.random.default_rng(seed)
    train = truth.columns.get("reward", truth.R)
    healthy = {
        "reward_std": np.sqrt(train * (1 - train)),
        "frac_reward_zero_std": train**8 + (1 - train) ** 8,
        "kl": 0.02 + 0.2 * T,
        "clip_ratio/low_mean": 0.03 + 0 * T,
        "clip_ratio/high_mean": 0.03 + 0 * T,
        "clip_ratio/region_mean": 0.06 + 0 * T,
        "grad_norm": 0.5 + 0 * T,
        "completions/mean_length": 400 + 80 * T,
        "completions/clipped_ratio": 0.01 + 0 * T,
        "sampling/sampling_logp_difference/mean": 0.004 + 0 * T,
    }
    noise = ar1(rng, RHO, 3, STEPS)
    shown = {name: v * np.exp(0.05 * rng.standard_normal(STEPS)) for name, v in (healthy | truth.columns).items()}
    shown |= {"entropy": truth.H * np.exp(0.02 * noise[0]), "reward": train + 0.02 * noise[1]}
    shown["rewards/accuracy_reward/mean"] = shown["reward"]
    score = truth.R + 0.012 * noise[2]
    for step in range(STEPS):
        row = {"step": step} | {name: round(float(values[step]), 6) for name, values in shown.items()}
        evaluated = step % EVERY == 0 or step == STEPS - 1
        yield row | ({"eval/accuracy": round(float(score[step]), 6)} if evaluated else {})


def write(folder: Path, seeds: int, first: int) -> None:
    """NAME-SEED.jsonl of every run and seed, and planted.json with what is wrong with each."""
    planted = {}
    for name, truth in RUNS.items():
        for seed in range(first, first + seeds):
            planted[f"{name}-{seed}"] = list(truth.trouble)
            lines = (json.dumps(row) + "\n" for row in rows(truth, seed))
            (folder / f"{name}-{seed}.jsonl").write_text("".join(lines))
    (folder / "planted.json").write_text(json.dumps(planted))
