"""Policies against a baseline: accuracy, entropy, calibration.

python -m experiments.compare_calibration --config=configs/compare_calibration.py --config.runs=runs/rlsf \
    --workdir=runs/rlsf_table

Time: about 20 seconds for 15 policies. Outcome: table.md, which is printed, table.json and reliability.png in the
workdir.
`:smoke` takes fewer bootstrap draws, and GRPO as the baseline.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`arg` is "" or "smoke"."""
    common.variant(arg, "smoke")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with folders such as calibration,grpo,seed=0 in it
    c.baseline = "grpo" if arg else "base"
    c.level = 0.9  # nominal coverage of each interval
    c.draws = 100 if arg else 1000
    c.bins = 10  # of confidence
    c.seed = 0  # of the draws
    return c
