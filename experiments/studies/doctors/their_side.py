"""What rldoctor and post-training-toolkit say of logs: `python their_side.py FOLDER [SEEDS FIRST]`, where they are.

Of each log in FOLDER/planted.json, to FOLDER/said.json. With SEEDS and FIRST it writes the logs before, by rldoctor's
own simulator, one a scenario and seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rl_doctor import simulate

LOUD = ("WARNING", "CRITICAL")


def rldoctor(log: Path) -> list[str]:
    """Detectors with a warning or worse, by its command."""
    command = [str(Path(sys.executable).parent / "rldoctor"), "diagnose", str(log), "--format", "json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    return [one["detector"] for one in found["findings"] if one["severity"].upper() in LOUD]


def toolkit(rows: list[dict[str, Any]]) -> list[str]:
    """Insights of high or medium severity on what its callback takes from these rows."""
    import pandas as pd
    from post_training_toolkit.integrations.trl import DiagnosticsCallback
    from post_training_toolkit.models import TrainerType, run_heuristics

    names = {**DiagnosticsCallback.BASE_METRIC_MAPPINGS, **DiagnosticsCallback.GRPO_METRIC_MAPPINGS}
    taken = [
        {"step": row["step"]} | {target: row[key] for target, keys in names.items() for key in keys[::-1] if key in row}
        for row in rows
    ]
    found = run_heuristics(pd.DataFrame(taken), trainer_type=TrainerType.GRPO)
    return [one.type for one in found if one.severity in ("high", "medium")]


def write(folder: Path, seeds: int, first: int) -> None:
    """The runs of rldoctor's simulator, and what is planted in them."""
    planted = {}
    for name in simulate.SCENARIOS:
        for seed in range(first, first + seeds):
            planted[f"{name}-{seed}"] = list(simulate.EXPECTED_DETECTIONS[name])
            lines = (json.dumps(row) + "\n" for row in simulate.simulate(name, seed=seed)[0])
            (folder / f"{name}-{seed}.jsonl").write_text("".join(lines))
    (folder / "planted.json").write_text(json.dumps(planted))


def main(folder: Path) -> None:
    """See the module."""
    said = {}
    for name, planted in json.loads((folder / "planted.json").read_text()).items():
        log = folder / f"{name}.jsonl"
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        said[name] = {"planted": planted, "rldoctor": rldoctor(log), "toolkit": toolkit(rows)}
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    sys.path.insert(0, os.environ.get("TOOLKIT", ""))
    if sys.argv[2:]:
        write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    main(Path(sys.argv[1]))
