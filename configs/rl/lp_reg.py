"""Lp-Reg (arXiv:2510.03222): unlikely tokens that a min-p filter would keep are held where they were.

python -m experiments.train_rl --config=configs/rl/lp_reg.py --config.init=runs/sft --workdir=runs/rl

The least likely 1 % of the negative tokens, coefficient 1, filter at 2 % of the likeliest token, clips of 1 and 9 are
the paper's code's. A mini-batch here has some 1,400 negative tokens, of which 1 % are mostly ones that the filter
drops: ours is 10 % (`:paper` has 1 %). One more forward pass a rollout, for the filtered policy.
Time: about 90 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, frac=0.1), pass@1
.640 and pass@64 .821 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("lp_reg", frac=0.1, coef=1.0, clip_low=1.0, clip_high=9.0),
        min_p=0.02,
        paper={"loss__args__frac": 0.01},
    )
