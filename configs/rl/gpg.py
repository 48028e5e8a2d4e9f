"""GPG (arXiv:2504.02546): the plain policy gradient of R - m, scaled up where few responses have a reward.

python -m experiments.train_rl --config=configs/rl/gpg.py --config.init=runs/sft --workdir=runs/rl

A = (B / m) (R - mean) with m of B responses rewarded, as in verl, where f_norm is 1; `:paper` says the same. One update
a rollout.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 4e-4), pass@1 .633 and
pass@64 .809 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    advantage = common.choice("gpg", f_norm=1.0)
    return base.recipe(arg, updates=1, advantage=advantage, loss=common.choice("reinforce"), paper={})
