"""DPPO (arXiv:2602.04879): tokens whose probability, not ratio, has moved too far are dropped.

python -m experiments.train_rl --config=configs/rl/dppo_tv.py --config.init=runs/sft --workdir=runs/rl

Total variation of the token against the rest, .2 on both sides, ratio as a weight cut at 20: the paper's, and those of
verl and of prime-rl's default loss; `:paper` says the same.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, delta_low=0.2,
delta_high=0.2), pass@1 .643 and pass@64 .809 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(arg, loss=common.choice("dppo_tv", delta_low=0.2, delta_high=0.2, cap=20.0), paper={})
