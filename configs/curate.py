"""Which keys of which runs go to notebooks/data.

python -m experiments.curate --config=configs/curate.py --config.runs=runs/seeds --workdir=notebooks/data/seeds

Time: a second. Expect a folder a run, some tens of kB each.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from entropy_rl.errors import InputError


def get_config(arg=""):
    """There is one variant only."""
    if arg:
        raise InputError(f"configs/curate.py knows no variant {arg!r}: leave it out")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with runs below it
    c.match = "*rl"  # of their paths below it
    c.metrics = ("policy/entropy*", "policy/cov", "entropy/*", "rollout/reward", "rollout/answer_entropy")
    c.evals = ("pass@*", "coverage*", "distinct*", "answer_entropy", "entropy_sequence")
    return c
