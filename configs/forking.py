"""Does 20 % generalise (arXiv:2506.01939)? The table of a share sweep, and the forks of its policies.

python -m experiments.forking --config=configs/forking.py --config.runs=runs/forking/countdown --workdir=runs/forks

Time: about a minute for 18 runs with three checkpoints each. Outcome: forking.json and forking.md in the workdir, the
latter printed. Expect overlaps with the start's forks, after 100 steps and at a share of 0.2, of 0.60 on
Countdown, 0.43 on grids and 0.83 on sums, where chance has 0.2.
`:smoke` takes fewer bootstrap draws and another baseline.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`arg` is "" or "smoke"."""
    smoke = common.variant(arg, "smoke") == "smoke"
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with folders such as share=0.2,seed=0 in it
    c.baseline = "grpo" if smoke else "share=1"
    c.k = 8  # of pass@k, or all attempts where there are fewer
    c.split = "test"  # whose problems the policies of checkpoints answer
    c.problems = 128
    c.samples = 8
    c.shares = (0.05, 0.1, 0.2, 0.5)  # of overlap and mass
    c.top = 0.2  # the share whose forks are looked at by level, kind and place
    c.level = 0.9  # nominal coverage of each interval
    c.draws = 200 if smoke else 4000
    c.seed = 0  # of the draws, and of the responses
    return c
