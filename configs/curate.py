"""Which keys of which runs go to notebooks/data.

python -m experiments.curate --config=configs/curate.py --config.runs=runs/seeds --workdir=notebooks/data/seeds

Three variants are for the notebooks of the study of controls, whose runs are folders `<control>,seed=<k>`:
python -m experiments.curate --config=configs/curate.py:controls --config.runs=runs/controls --workdir=notebooks/data/controls
python -m experiments.curate --config=configs/curate.py:changes --config.runs=runs/controls --workdir=notebooks/data/changes
python -m experiments.curate --config=configs/curate.py:tokens --config.runs=runs/tokens --workdir=notebooks/data/tokens
and one for those of the study of the law:
python -m experiments.curate --config=configs/curate.py:laws --config.runs=runs/laws --workdir=notebooks/data/laws
and one for that of critiques in the loop:
python -m experiments.curate --config=configs/curate.py:critique --config.runs=runs/critique --workdir=notebooks/data/critique

Time: a second. Expect a folder a run, some tens of kB each; about 10 kB with `controls` and `changes`.
"""  # noqa: E501  commands on one line, to be copied

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from entropy_rl.errors import InputError


def get_config(arg=""):
    """`:controls`, `:laws`, `:critique` keep a study's curves, `:changes` those of entropy, `:tokens` tokens.json."""
    if arg not in ("", "controls", "changes", "tokens", "laws", "critique"):
        ways = ":controls, :changes, :tokens, :laws or :critique"
        raise InputError(f"configs/curate.py knows no variant {arg!r}: leave it out or say {ways}")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with runs below it
    c.match = "*rl"  # of their paths below it
    c.metrics = ("policy/entropy*", "policy/cov", "entropy/*", "rollout/reward", "rollout/answer_entropy")
    c.evals = ("pass@*", "coverage*", "distinct*", "answer_entropy", "entropy_sequence")
    c.every = 1  # of rows of metrics.jsonl, those at multiples of it
    c.digits = 17  # significant ones; 17 keep every bit
    if arg == "controls":
        c.update(match="*,seed=*", every=10, digits=5)
        c.metrics = ("policy/entropy_sequence", "rollout/reward")
        c.evals = ("pass@1", "pass@8", "distinct_count")  # of 8 attempts, so pass@8 is the coverage
    elif arg == "changes":
        c.update(match="*,seed=0", every=20, digits=5)
        c.metrics, c.evals = ("entropy/change_*",), ()
    elif arg == "laws":
        c.update(match="*mix=*", digits=5)
        c.metrics, c.evals = ("policy/entropy_sequence", "rollout/reward"), ("pass@1", "pass@1/level*")
    elif arg == "critique":
        c.update(match="*,seed=*", every=10, digits=4)
        c.metrics = ("policy/entropy_sequence", "policy/entropy_refined", "rollout/*", "refine/*", "critique/*")
        c.evals = ("pass@1*", "pass@8", "entropy_sequence", "answer_entropy", "distinct_count")
    elif arg == "tokens":
        c.match = "*"
    return c
