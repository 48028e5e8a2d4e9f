"""Claims about entropy and reasoning, held against runs: a verdict on each, by a rule, with the files behind it.

    python -m experiments.retest --config=configs/retest.py --workdir=OUT
    python -m experiments.retest --config=configs/retest.py --config.runs=runs/mine,runs/others --workdir=OUT

Without config.runs the curated runs of notebooks/data are tested. Folders, and archives of entropy_rl/logs/archive.py,
are searched to any depth for runs of train_rl, self_train and the like, and for json results (test_time.json, dual.json
and such); what a run is, its config.json says, and never its name. experiments/claims/table.py lists the claims, and
claims/verdicts.py has the rule.

Writes OUT/retest.md, OUT/retest.json (every test with its interval, every run and file behind a verdict) and
OUT/figures/retest_*.png. A claim for which there are too few runs is undecided, and the page says what is missing;
broken files are left out and named. Nothing is trained, and a second run writes the same.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from entropy_rl import files
from entropy_rl.errors import InputError
from entropy_rl.laws.analyse import plain
from entropy_rl.logs import archive
from experiments.claims import arms, data, drawings, page
from experiments.claims.table import CLAIMS
from experiments.claims.verdicts import UNDECIDED, How
from experiments.lib import checks, launch, workdirs

DEFAULT = Path("notebooks/data")


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Tests every claim, writes, prints the verdicts; returns what is in retest.json.

    Raises:
      InputError: a folder that is not there, a value out of range, a workdir that cannot be written.
    """
    checks.require(config, "a number between 0 and 1", lambda x: 0 < x < 1, "level")
    checks.whole(config, 100, "draws")
    checks.whole(config, 2, "least")
    checks.not_negative(config, "margin")
    checks.seed(config)
    how = How(config.level, config.draws, config.seed, config.margin, config.least)
    places = {archive.unpack(folder): folder for folder in _folders(config.runs)}
    names = {str(place): page.shown(folder) for place, folder in places.items() if place != folder}
    found = data.read(list(places))
    studies = arms.studies(found.runs)
    verdicts = [(claim, claim.test(found, studies, how)) for claim in CLAIMS]
    for _, verdict in verdicts:
        if verdict.verdict == UNDECIDED and not verdict.missing:
            verdict.missing.append(f"all tests are open: fewer than {how.least} seeds or runs, or intervals too wide")

    folder, commit = Path(workdir), workdirs.git_commit() or page.UNKNOWN
    command = f"python -m experiments.{Path(sys.argv[0]).stem} {shlex.join(sys.argv[1:])}".strip()
    content = _renamed(plain(page.as_json(verdicts, found, studies, how, command, commit)), names)
    pictures = _draw(verdicts, folder)
    text = page.page(verdicts, found, studies, how, pictures, command, commit)
    files.write(folder / "retest.md", _renamed(text, names))
    files.write(folder / "retest.json", page.dumps(content))
    for claim, verdict in verdicts:
        if claim.id != page.QUESTION:
            print(f"{verdict.verdict:13} {claim.text}")
    print(f"from {len(found.runs)} runs; {len(found.notes)} note(s) on what was left out")
    print(f"wrote {folder / 'retest.md'} and {folder / 'retest.json'}")
    return content


def _folders(runs: str | None) -> list[Path]:
    """The folders to be searched; InputError for none."""
    if runs is None:
        own = launch.ROOT / DEFAULT
        return [DEFAULT if DEFAULT.is_dir() else own]
    folders = [Path(part.strip()) for part in runs.split(",") if part.strip()]
    if not folders:
        raise InputError(f"config.runs={runs!r}: give a folder, or several between commas")
    inside = [(a, b) for a in folders for b in folders if a != b and a.resolve() in (b.resolve(), *b.resolve().parents)]
    if inside:
        raise InputError(f"{inside[0][1]} is in {inside[0][0]}: its runs would count twice; give one of them")
    return list(dict.fromkeys(folders))


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """`value` with parts of its strings replaced: the folders that were given, for those of unpacked archives."""
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
    elif isinstance(value, dict):
        return {_renamed(k, names): _renamed(v, names) for k, v in value.items()}
    elif isinstance(value, list):
        return [_renamed(v, names) for v in value]
    return value


def _draw(verdicts: page.Verdicts, folder: Path) -> dict[str, str]:
    """{id: path from the page} of the figures that there are numbers for."""
    drawn = {"verdicts": drawings.verdicts(verdicts)}
    for claim, verdict in verdicts:
        if verdict.plots and claim.id in drawings.FIGURES:
            drawn[claim.id] = drawings.FIGURES[claim.id](verdict.plots)
    for name, figure in drawn.items():
        with files.replacing(folder / "figures" / f"retest_{name}.png") as new:
            figure.savefig(new, format="png", dpi=90)
    return {name: f"figures/retest_{name}.png" for name in drawn}


if __name__ == "__main__":
    launch.main(run)
