"""MaxRL (arXiv:2602.02710): the advantage is relative to the success rate, so that hard problems count more.

python -m experiments.train_rl --config=configs/rl/max_rl.py --config.init=runs/sft --workdir=runs/rl

A = (R - m) / m for rewards of 0 and 1, 0 where none is right; anything else that changes rewards is refused. There are
no constants, so no `:paper`. Rates are GRPO's; the gradient is larger where problems are hard.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 3e-4), pass@1 .606 and
pass@64 .879 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("max_rl"))
