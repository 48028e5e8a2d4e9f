"""Our alarms beside rldoctor's detectors and post-training-toolkit's insights, on runs whose trouble is known.

    python3 -m venv .venv-doctors
    .venv-doctors/bin/pip install -r experiments/studies/doctors/doctors.txt
    TOOLKIT=CHECKOUT .venv/bin/python -m experiments.studies.doctors.compare OUT 5     # seeds 0 to 4
    TOOLKIT=CHECKOUT .venv/bin/python -m experiments.studies.doctors.compare OUT 5 5   # 5 to 9

The runs are twelve that we planted (planted.py), 400 steps with an evaluation every 10; with a fourth argument,
`simulated`, the twelve scenarios of rldoctor's own simulator. CHECKOUT is one of
github.com/microsoft/post-training-toolkit, whose name on PyPI holds an empty package. Prints what is in
docs/your_log.md: what each says of the first seed, and over all seeds how often the planted trouble is found and
something else said. A warning of rldoctor, a medium insight of the toolkit and an alarm of ours count as said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from entropy_rl import tables
from entropy_rl.logs import alarms, live
from entropy_rl.logs import read as logs
from experiments.studies.doctors import planted

PYTHON = Path(".venv-doctors/bin/python")
# What is planted, by rldoctor's name where it has one -> the names by which the toolkit and we would say it.
SAME = {
    "entropy_collapse": {"grpo_entropy_collapse", "grpo_entropy_drop", "mode_collapse_entropy", "collapse"},
    "advantage_collapse": {"grpo_reward_collapse", "yaml_grpo_group_reward_collapse", "zero_variance"},
    "reward_hacking": {"reward_hacking_suspected", "grpo_reward_without_quality", "overfit"},
    "length_pathology": {"grpo_length_drift", "grpo_reward_length_correlation", "length",
                         "response_truncation_rate_high"},
    "kl_drift": {"kl_instability", "grpo_kl_divergence", "yaml_kl_divergence_high", "kl"},
    "clip_saturation": {"grpo_clip_ratio_high", "clip_fraction_high", "clipping"},
    "gradient_pathology": {"gradient_explosion", "gradient_instability", "gradient_spikes", "gradient"},
    "plateau": {"plateau"},
    "reward_composition": {"reward_model_imbalance", "format"},
    "explosion": {"entropy_explosion", "explosion"},
    "sampler_gap": {"sampler_gap"},
}  # fmt: skip
# Said beside what is planted and true of these runs too: training has stopped, or gains what held-out does not, or the
# little that it gains is format; with so much clipped the entropy has fallen; entropy is gone and held-out reward too.
TOO = {
    "entropy_collapse": {"plateau"},
    "saturated_groups": {"plateau"},
    "too_hard": {"format", "reward_composition"},
    "kl_blowup": {"plateau"},
    "reward_hacking": {"plateau"},
    "training alone": {"entropy_collapse", "grpo_entropy_collapse", "grpo_entropy_drop", "collapse", "plateau"},
    "length_hacking": {"plateau", "reward_hacking", "overfit"},
    "clip_saturation": {"entropy_collapse", "grpo_entropy_collapse", "grpo_entropy_drop"},
    "collapse": {"plateau"},
    "explosion": {"plateau"},
}
WHO = ("rldoctor", "toolkit", "ours")


def ours(log: Path) -> tuple[list[str], str]:
    """Alarms, and the ceiling with its interval: by a line where exp is rejected and a line is not."""
    points = logs.read(str(log)).runs[0]
    law = live.law_of(points, draws=200)
    told = law["identifiability"]
    curve = "linear" if told["exp_rejected"] and not told["linear_rejected"] else "exp"
    fitted = law["curves"][curve]
    low, high = fitted["interval"]["ceiling"]
    forbidden = next((sign["name"] for sign in law["signs"] if sign["forbids"]), None)
    said = f"no law ({forbidden})" if forbidden else f"{fitted['ceiling']:.3f} [{low:.3f}, {high:.3f}] by {curve}"
    return [alarm.name for alarm in alarms.find(points, law)], said


def counts(said: Mapping[str, Mapping[str, Sequence[str]]]) -> list[list[str]]:
    """For each tool: found of planted, runs in which something else is said, and things said of healthy runs."""
    rows = []
    for who in WHO:
        found = others = healthy = planted = 0
        for name, one in said.items():
            right = set(one["planted"]).union(*(SAME[trouble] for trouble in one["planted"]))
            planted += bool(one["planted"])
            found += bool(right & set(one[who]))
            others += bool(one["planted"] and set(one[who]) - right - TOO.get(name.rpartition("-")[0], set()))
            healthy += bool(not one["planted"] and one[who])
        rest = len(said) - planted
        rows.append([who, f"{found} of {planted}", f"{others} of {planted}", f"{healthy} of {rest}"])
    return rows


def main(folder: str, seeds: int, first: int, runs: str) -> None:
    """Writes the runs of some seeds, from the first on, into the folder and prints two tables."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    theirs = [str(PYTHON), str(Path(__file__).parent / "their_side.py"), folder]
    if runs == "planted":
        planted.write(Path(folder), seeds, first)
    else:
        theirs += [str(seeds), str(first)]
    subprocess.run(theirs, check=True)
    said = json.loads((Path(folder) / "said.json").read_text())
    laws = {}
    for name, one in said.items():
        one["ours"], laws[name] = ours(Path(folder) / f"{name}.jsonl")
    always = {who: set.intersection(*(set(one[who]) for one in said.values())) for who in WHO}
    rows = []
    for name in (name for name in said if name.endswith(f"-{first}")):
        run = name.removesuffix(f"-{first}")
        cells = [", ".join(_but(said[name][who], always[who])) or "nothing" for who in WHO]
        truth = ", ".join(said[name]["planted"]) or "nothing"
        rows.append([run, truth, *cells, laws[name]])
    print(tables.table(["run", "planted", *WHO, "ceiling"], rows, "l"))
    print("... of all: " + "; ".join(f"{who}: {', '.join(sorted(names))}" for who, names in always.items() if names))
    print(tables.table(["", "found", "something else said", "of healthy runs"], counts(said), "lrrr"))
    if runs == "planted":
        right = sum(map(_holds, laws, laws.values()))
        print(f"{right} of {len(laws)} say the ceiling that is planted, or that none is")


def _but(names: Sequence[str], always: set[str]) -> list[str]:
    """The names, those that are said of every run as one."""
    return ["..."] * bool(always) + [name for name in names if name not in always]


def _holds(name: str, said: str) -> bool:
    """Whether the ceiling's interval holds what is planted; that there is no law, where there is none."""
    ceiling = planted.RUNS[name.rpartition("-")[0]].ceiling
    if ceiling is None or said.startswith("no law"):
        return ceiling is None and said.startswith("no law")
    low, high = said.partition("[")[2].partition("]")[0].split(",")
    return float(low) <= ceiling <= float(high)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.studies.doctors.compare")
    parser.add_argument("folder")
    parser.add_argument("seeds", nargs="?", type=int, default=1)
    parser.add_argument("first", nargs="?", type=int, default=0)
    parser.add_argument("runs", nargs="?", choices=("planted", "simulated"), default="planted")
    main(**vars(parser.parse_args()))
