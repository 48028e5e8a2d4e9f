"""ASPO (arXiv:2510.06062): positive tokens weigh 1 / r in place of r, at most 3.

python -m experiments.train_rl --config=configs/rl/aspo.py --config.init=runs/sft --workdir=runs/rl

Clips of .2 and the cap of 3 for either sign are those of the paper's code (Archer2.0); `:paper` says the same; its
wider clips for tokens of high entropy and its KL are left out.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, cap=3), pass@1
.658 and pass@64 .816 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(arg, loss=common.choice("aspo", clip_low=0.2, clip_high=0.2, cap=3.0), paper={})
