"""OPO (arXiv:2505.23585): strictly on-policy, with the mean of rewards weighted by length as the baseline.

python -m experiments.train_rl --config=configs/rl/opo.py --config.init=runs/sft --workdir=runs/rl

One update a rollout and the plain policy gradient, as the paper has it; its learning rate means nothing at this scale,
so there is no `:paper`.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 6e-4), pass@1 .623 and
pass@64 .782 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, updates=1, advantage=common.choice("opo"), loss=common.choice("reinforce"))
