"""Negative-sample reinforcement (W-REINFORCE, arXiv:2506.01347): positive advantages weigh a tenth.

python -m experiments.train_rl --config=configs/rl/nsr.py --config.init=runs/sft --workdir=runs/rl

Time: about 70 s on 2 CPU cores. Expect, with weight.args.positive=0.1 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.066 nats a token, pass@1 0.33 -> 0.59.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, weight=common.choice("sign_scale", positive=0.1))
