"""QAE (arXiv:2509.22611): the baseline is a quantile of the group's rewards instead of their mean.

python -m experiments.train_rl --config=configs/rl/qae.py --config.init=runs/sft --workdir=runs/rl

With 0 or 1 as rewards: in hard groups only rare successes count, in easy ones only failures.
Time: about 70 s on 2 CPU cores. Expect, with advantage.args.k=0.5 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.072 nats a token, pass@1 0.33 -> 0.57.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("quantile", k=0.4))
