"""BAPO (arXiv:2510.18927): bounds of the ratio move until positive tokens have their share of the gradient.

python -m experiments.train_rl --config=configs/rl/bapo.py --config.init=runs/sft --workdir=runs/rl

The lower bound rises from .6 to at most .9, then the upper from 1.2 to at most 3, by .05, until positive tokens have
half: constants of paper and code, ratios that mean the same here; `:paper` says the same. The dual clip is the code's
3.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, share=0.5), pass@1
.651 and pass@64 .823 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    loss = common.choice("bapo", low=0.6, low_max=0.9, high=1.2, high_max=3.0, step=0.05, share=0.5, dual_clip=3.0)
    return base.recipe(arg, loss=loss, paper={})
