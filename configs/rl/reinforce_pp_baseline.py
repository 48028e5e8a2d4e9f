"""REINFORCE++-baseline (arXiv:2501.03262): the group's mean off, then whitened over the whole batch.

python -m experiments.train_rl --config=configs/rl/reinforce_pp_baseline.py --config.init=runs/sft --workdir=runs/rl

Time: about 70 s on 2 CPU cores. Expect entropy to fall and pass@1 to rise much as with configs/rl/grpo.py; not run at
length here yet.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("reinforce_pp_baseline"))
