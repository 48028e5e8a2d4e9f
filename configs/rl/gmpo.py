"""GMPO (arXiv:2507.20673): the geometric mean of clipped ratios as the ratio of the response.

python -m experiments.train_rl --config=configs/rl/gmpo.py --config.init=runs/sft --workdir=runs/rl

Clips of .4 on the log-ratio, one-sided, are the paper's and mean the same here; `:paper` says the same. Mean of
response means, as in verl's `geo_mean`.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, clip_low=0.2,
clip_high=0.2), pass@1 .643 and pass@64 .817 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    loss = common.choice("gmpo", clip_low=0.4, clip_high=0.4)
    return base.recipe(arg, loss=loss, weight=common.choice("sequence_mean"), paper={})
