"""CISPO (arXiv:2506.13585): the clipped ratio as a constant factor, so that no token loses its gradient.

python -m experiments.train_rl --config=configs/rl/cispo.py --config.init=runs/sft --workdir=runs/rl

No lower bound (10 clips nothing) and 0.2 above, as in verl's example; the paper prints no value.
Time: about 70 s on 2 CPU cores. Expect, with loss.args.clip_high=1 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.073 nats a token, pass@1 0.33 -> 0.58.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, loss=common.choice("cispo", clip_low=10.0, clip_high=0.2))
