"""Dr.GRPO (arXiv:2503.20783): no division by the group's standard deviation, a constant length.

python -m experiments.train_rl --config=configs/rl/dr_grpo.py --config.init=runs/sft --workdir=runs/rl

The paper's constant is the longest response; here that is the 18 tokens of Countdown with four numbers.
Time: about 70 s on 2 CPU cores. Expect, as in configs/sweeps/controls.py (400 steps), pass@1 .60
for GRPO's .61, no difference that its interval sees.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("dr_grpo"), weight=common.choice("fixed_length", length=18))
