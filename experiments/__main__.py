"""Lists what can be launched, by use: `python -m experiments`."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).parent
USES = {
    "make": "tiny_model make_dataset make_critiques convert_hf convert_gguf",
    "train": "quickstart train_sft train_rl self_feedback rlp self_train",
    "measure": "tokens calibrate critique_scores test_time dual elicit forking coverage",
    "compare": "sweep compare curate fit_laws retest",
    "operate": "plan bench bench_peers check_verifiers",
}


def scripts() -> dict[str, str]:
    """Name -> first line of the docstring, of every file here that has a `__main__` part; none is imported."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def listing() -> str:
    """The scripts by use; those that USES does not name come last, under `other`."""
    left = scripts()
    width = max(map(len, left))
    lines = ["python -m experiments.SCRIPT --config=configs/FILE.py --workdir=FOLDER (more with --help)"]
    for use, names in (*USES.items(), ("other", " ".join(left))):
        if here := [name for name in names.split() if name in left]:
            lines += ["", use, *(f"  {name:<{width}}  {left.pop(name)}" for name in here)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(listing())
