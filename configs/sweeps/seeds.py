"""The quickstart over seeds 0, 1, 2: what differs between them is chance.

    python -m experiments.sweep --config=configs/sweeps/seeds.py --workdir=/tmp/seeds --workers=2

`seeds.py:5` runs five of them.
"""

from entropy_rl.errors import InputError


def get_runs(arg="3"):
    """A run per seed."""
    if not arg.isdecimal():
        raise InputError(f"seeds.py:{arg}: give a number of seeds, such as seeds.py:5")
    return [
        {
            "name": f"seed{seed}",
            "script": "experiments.quickstart",
            "config": "configs/quickstart.py",
            "overrides": {"seed": seed},
        }
        for seed in range(int(arg))
    ]
