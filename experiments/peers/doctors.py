"""Our alarms beside rldoctor's detectors and post-training-toolkit's insights, on runs whose trouble is known.

    python3 -m venv .venv-doctors
    .venv-doctors/bin/pip install -r experiments/peers/doctors.txt
    TOOLKIT=CHECKOUT .venv/bin/python -m experiments.peers.doctors OUT 5     # seeds 0 to 4
    TOOLKIT=CHECKOUT .venv/bin/python -m experiments.peers.doctors OUT 5 5   # 5 to 9

The runs are of rldoctor's own simulator, twelve scenarios of 400 steps with an evaluation every 25; CHECKOUT is one of
github.com/microsoft/post-training-toolkit, whose name on PyPI holds an empty package. Prints what is in
docs/your_log.md: what each says of the first seed, and over all seeds how often the planted trouble is found and
something else said. A warning of rldoctor, a medium insight of the toolkit and an alarm of ours count as said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from entropy_rl import tables
from entropy_rl.logs import alarms, live
from entropy_rl.logs import read as logs

PYTHON = Path(".venv-doctors/bin/python")
# What is planted (a detector of rldoctor's) -> the names by which the toolkit and we would say it.
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
}  # fmt: skip
# Said beside what is planted and true of these runs too: training has stopped, or gains what held-out does not, or the
# little that it gains is format; with so much clipped the entropy has fallen.
TOO = {
    "entropy_collapse": {"plateau"},
    "saturated_groups": {"plateau"},
    "too_hard": {"format", "reward_composition"},
    "kl_blowup": {"plateau"},
    "reward_hacking": {"plateau"},
    "length_hacking": {"plateau", "reward_hacking", "overfit"},
    "clip_saturation": {"entropy_collapse", "grpo_entropy_collapse", "grpo_entropy_drop"},
}
WHO = ("rldoctor", "toolkit", "ours")


def ours(log: Path) -> tuple[list[str], str]:
    """Alarms, and the ceiling with its interval."""
    points = logs.read(str(log)).runs[0]
    law = live.law_of(points, draws=200)
    low, high = law["interval"]["ceiling"]
    forbidden = next((sign["name"] for sign in law["signs"] if sign["forbids"]), None)
    said = f"no law ({forbidden})" if forbidden else f"{law['ceiling']:.2f} [{low:.2f}, {high:.2f}]"
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


def main(folder: str, seeds: str = "1", first: str = "0") -> None:
    """Writes the runs of some seeds, from the first on, into the folder and prints two tables."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    script = Path(__file__).parent / "their_side.py"
    subprocess.run([str(PYTHON), str(script), folder, seeds, first], check=True)
    said = json.loads((Path(folder) / "said.json").read_text())
    rows = []
    for name, one in said.items():
        one["ours"], law = ours(Path(folder) / f"{name}.jsonl")
        if name.endswith(f"-{first}"):
            cells = [", ".join(one[who]) or "nothing" for who in WHO]
            rows.append([name.removesuffix(f"-{first}"), *cells, law])
    print(tables.table(["planted", *WHO, "ceiling"], rows, "l"))
    print(tables.table(["", "found", "something else said", "of healthy runs"], counts(said), "lrrr"))


if __name__ == "__main__":
    main(*sys.argv[1:])
