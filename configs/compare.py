"""Controls against a baseline: the table of a sweep.

python -m experiments.compare --config=configs/compare.py --config.runs=runs/study --workdir=runs/study_table

Time: about 3 seconds for 80 runs, half of it imports. Outcome: table.json and table.md in the workdir, the latter
printed; experiments/compare.py says what is in them. Where runs of one setting differ by 0.02 from seed to seed
(standard deviation of pass@1), expect 90 % intervals of about +-0.05 from 3 seeds and +-0.03 from 5.
`:smoke` takes fewer bootstrap draws: the same means, rougher intervals.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from entropy_rl.errors import InputError


def get_config(arg=""):
    """`arg` is "" or "smoke"."""
    if arg not in ("", "smoke"):
        raise InputError(f"configs/compare.py knows no variant {arg!r}: leave it out or say :smoke")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with folders such as clip_cov,seed=1 in it: runs of train_rl
    c.baseline = "grpo"
    c.k = 16  # of pass@k, or all attempts where there are fewer
    c.level = 0.9  # nominal coverage of each interval
    c.draws = 200 if arg == "smoke" else 4000
    c.seed = 0  # of the draws
    return c
