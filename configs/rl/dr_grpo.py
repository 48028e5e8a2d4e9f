"""Dr.GRPO (arXiv:2503.20783): no division by the group's standard deviation, a constant length.

python -m experiments.train_rl --config=configs/rl/dr_grpo.py --config.init=runs/sft --workdir=runs/rl

The paper's constant is the longest response; here that is the 18 tokens of Countdown with four numbers.
Time: about 70 s on 2 CPU cores. Expect entropy to fall and pass@1 to rise much as with configs/rl/grpo.py; not run at
length here yet.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("dr_grpo"), weight=common.choice("fixed_length", length=18))
