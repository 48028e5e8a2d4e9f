"""QAE (arXiv:2509.22611): the baseline is a quantile of the group's rewards instead of their mean.

python -m experiments.train_rl --config=configs/rl/qae.py --config.init=runs/sft --workdir=runs/rl

With 0 or 1 as rewards: in hard groups only rare successes count, in easy ones only failures.
Time: about 70 s on 2 CPU cores. Expect entropy 0.29 -> 0.03 nats a token and held-out pass@1 0.29 -> 0.63 in 200
steps.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("quantile", k=0.4))
