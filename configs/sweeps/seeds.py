"""The quickstart over seeds 0, 1, 2: what differs between them is chance.

    python -m experiments.sweep --config=configs/sweeps/seeds.py --workdir=/tmp/seeds --workers=2

`seeds.py:5` runs five of them.
"""

from configs.common import part
from entropy_rl.errors import InputError


def get_runs(arg="3"):
    """A run per seed."""
    if not arg.isdecimal():
        raise InputError(f"seeds.py:{arg}: give a number of seeds, such as seeds.py:5")
    return [part(f"seed{seed}", "quickstart", "quickstart", {"seed": seed}) for seed in range(int(arg))]
