"""How fast, how total and how right the answer verifiers are (entropy_rl/answers).

Command: python -m experiments.check_verifiers --config=configs/verifiers.py --workdir=runs/verifiers
Time: about 10 minutes on two CPU cores. Expect no exception, no near miss taken for right, at least 50,000 answers a
  second, and no pair for which the exact grader contradicts the way that it was made.
":smoke" asks a few of each.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is "" or "smoke"."""
    smoke = common.variant(arg, "smoke") == "smoke"
    config = ConfigDict()
    config.seed = 0
    config.speed = 1000 if smoke else 100_000  # responses for each place of the answer
    config.junk = 300 if smoke else 100_000  # strings
    config.pairs = 1 if smoke else 300  # of each kind that math-verify is asked about
    config.slow_pairs = 1 if smoke else 50  # of the kinds that take sympy long
    config.gym = ConfigDict({"problems": 1 if smoke else 40, "seconds": 120.0})  # of each task; for each task
    config.workers = ConfigDict({"count": 2, "seconds": 10.0, "megabytes": 2048})
    return config
