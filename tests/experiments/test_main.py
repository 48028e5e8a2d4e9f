"""`python -m experiments`: the list of what can be launched."""

import subprocess
import sys
from pathlib import Path

from experiments import __main__ as module

ROOT = Path(__file__).parents[2]


def test_every_script_is_listed_under_a_use():
    """Mutation: a script that USES does not name, which would be listed under `other`."""
    files = {p.stem for p in (ROOT / "experiments").glob("*.py") if 'if __name__ == "__main__"' in p.read_text()}
    names = [name for text in module.USES.values() for name in text.split()]
    assert files - {"__main__"} == set(module.scripts()) <= set(names) and len(names) == len(set(names))


def test_the_command_prints_a_line_for_each_and_loads_no_jax():
    """Mutation: `import jax` at the head of __main__.py, or scripts that are imported for their docstrings."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "experiments"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in module.USES] == list(module.USES)
    listed = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert listed.keys() == module.scripts().keys()
    assert all(len(line.split()) > 3 and len(line) <= 140 for line in listed.values())
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "experiments" in imported and not imported & {"jax", "flax", "matplotlib", "tensorflow"}
