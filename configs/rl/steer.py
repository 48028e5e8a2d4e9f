"""STEER (arXiv:2510.10150): token weights from the estimated change of entropy, 1.2 down to 0.8.

python -m experiments.train_rl --config=configs/rl/steer.py --config.init=runs/sft --workdir=runs/rl

Clips 0.2 and 0.28 as in its code.
Time: about 70 s on 2 CPU cores. Expect, with loss.args.weight_low=0.5 loss.args.weight_high=1.5 on levels 3 to 5, 32
prompts a rollout and validation problems (one seed, 160 steps): entropy 0.29 -> 0.073 nats a token, pass@1 0.33 ->
0.60.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    loss = common.choice("steer", weight_low=0.8, weight_high=1.2, clip_low=0.2, clip_high=0.28)
    return base.recipe(arg, loss=loss)
