"""A table of the runs of a sweep: what each arm ends with, and its difference to a baseline with intervals.

    python -m experiments.compare --config=configs/compare.py --config.runs=FOLDER --workdir=OUT

config.kind says what the runs are, and with it which columns there are:

    attempts     runs of train_rl, or of self_train, whose steps are rounds, in folders `<control>,seed=<k>`, such as
                 `clip_cov,seed=1`, with `eval.last` on (experiments/studies/compare_attempts.py)
    calibration  of experiments.calibrate, `calibration,<arm>,seed=<k>` (experiments/studies/compare_calibration.py)
    text         of experiments.rlp, `<arm>_text.<k>` and `base` (experiments/studies/compare_text.py)

Those files say which columns there are, and which further ones config.more may ask for.

Writes table.json and table.md in OUT (of texts rlp.json and rlp.md), and prints the latter. A run that is not there or
not finished is named, and left out. Differences to the baseline are over the seeds that both have; laws/paired.py says
what their intervals can say. There are no stars: of many 90 % intervals around nothing, one in ten leaves out 0; with
config.together one in ten columns has an arm whose interval does (Bonferroni: of n arms each at 1 - (1 - level) / n).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from entropy_rl import files
from entropy_rl.errors import InputError, nearest
from experiments.lib import checks, launch
from experiments.studies import compare_attempts, compare_calibration, compare_text

# Each has `read`: folder -> (runs, notes); `compare`: (runs, config) -> what the file in json says; `markdown`: of that
# the page; FILE, the name of both without an ending; POSITIVE, knobs that must be above 0; and where there is a figure
# `draw`: (that, path).
KINDS = {"attempts": compare_attempts, "calibration": compare_calibration, "text": compare_text}


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Compares, writes both files, prints the page; returns what is in the one in json.

    Raises:
      InputError: no runs given or found, none of the baseline's is finished, runs that cannot be compared, the same
        seed twice, a value out of range.
    """
    checks.one_of(config, "kind", KINDS)
    kind = KINDS[config.kind]
    checks.positive(config, *kind.POSITIVE)
    checks.seed(config)
    found, notes = kind.read(config.runs)
    if config.baseline not in found:
        there = f"{nearest(config.baseline, found)}: of {', '.join(found)} there are" if found else ": there are none"
        of = re.compile(rf"(calibration,)?{re.escape(config.baseline)}[,:]")
        why = [f" ({note})" for note in notes if of.match(note)][:1]
        raise InputError(f"{config.runs} has no finished run of baseline {config.baseline!r}{there}{''.join(why)}")
    out = kind.compare(found, config)
    out["notes"] = notes + out.get("notes", [])
    text, file = kind.markdown(out), Path(workdir) / kind.FILE
    files.write(file.with_suffix(".md"), text)
    files.write(file.with_suffix(".json"), json.dumps(out, indent=2, ensure_ascii=False))
    if hasattr(kind, "draw"):
        with files.replacing(file.with_name("reliability.png")) as new:
            kind.draw(out, new)
    print(text)
    print(f"\nwrote {file}.json and {file}.md")
    return out


if __name__ == "__main__":
    launch.main(run)
