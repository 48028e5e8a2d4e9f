"""Controls against a baseline: the table of a sweep.

python -m experiments.compare --config=configs/compare.py --config.runs=runs/study --workdir=runs/study_table

Time: about 3 seconds for 80 runs, half of it imports. Outcome: table.json and table.md in the workdir, the latter
printed; experiments/compare.py says what is in them. Where runs of one setting differ by 0.02 from seed to seed
(standard deviation of pass@1), expect 90 % intervals of about +-0.05 from 3 seeds and +-0.03 from 5.
`:darling` has the columns of configs/sweeps/darling.py: pass@1 and pass@128 by level, and classes of solutions.
`:smoke` takes fewer bootstrap draws: the same means, rougher intervals.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common

MORE = ("pass@1", "pass@128", "classes")


def get_config(arg=""):
    """`arg` is "", "smoke" or "darling"."""
    common.variant(arg, "smoke", "darling")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with folders such as clip_cov,seed=1 in it: runs of train_rl
    c.baseline = "grpo"
    c.k = 16  # of pass@k, or all attempts where there are fewer
    c.more = ()  # further columns: pass@32, pass@1/level5, coverage, classes, distinct/level3
    c.level = 0.9  # nominal coverage of each interval
    c.draws = 200 if arg == "smoke" else 4000
    c.seed = 0  # of the draws
    if arg == "darling":
        c.k = 128
        c.more = ("pass@8", "classes", *(f"{what}/level{n}" for n in (3, 4, 5) for what in MORE))
    return c
