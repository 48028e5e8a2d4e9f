"""GRPO with clip-higher (DAPO, arXiv:2503.14476): a wider upper clip, so that rare tokens may grow.

python -m experiments.train_rl --config=configs/rl/clip_higher.py --config.init=runs/sft --workdir=runs/clip_higher

The paper's clips, 0.2 and 0.28, are of token ratios and mean the same here.
Time: about 70 s on 2 CPU cores. Expect, with loss.args.clip_high=0.5 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.062 nats a token, pass@1 0.33 -> 0.61.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, loss=common.choice("ppo", clip_low=0.2, clip_high=0.28))
