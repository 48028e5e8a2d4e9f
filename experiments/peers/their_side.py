"""What rldoctor and post-training-toolkit say of logs: `python their_side.py FOLDER SEEDS FIRST`, in their environment.

Writes the runs of rldoctor's own simulator to FOLDER, one a scenario and seed, and their findings to FOLDER/said.json.
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


def main(folder: Path, seeds: int, first: int) -> None:
    """See the module."""
    said = {}
    for name in simulate.SCENARIOS:
        for seed in range(first, first + seeds):
            rows, _ = simulate.simulate(name, seed=seed)
            log = folder / f"{name}-{seed}.jsonl"
            log.write_text("".join(json.dumps(row) + "\n" for row in rows))
            planted = list(simulate.EXPECTED_DETECTIONS[name])
            said[log.stem] = {"planted": planted, "rldoctor": rldoctor(log), "toolkit": toolkit(rows)}
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    sys.path.insert(0, os.environ.get("TOOLKIT", ""))
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
