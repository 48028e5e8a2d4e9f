"""UCPO (arXiv:2605.00365): among a group's right responses the less likely ones weigh more.

python -m experiments.train_rl --config=configs/rl/ucpo.py --config.init=runs/sft --workdir=runs/rl

tau = .2 of the weight is shared out by 1 / q, q the softmax of mean log-probabilities: the paper's, where q ranges over
responses of thousands of tokens; means over some 20 tokens differ more, so it does no less here; `:paper` says the
same.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, tau=0.2), pass@1
.641 and pass@64 .814 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    weight = common.choice("ucpo", tau=0.2, base="token_mean")
    return base.recipe(arg, weight=weight, paper={})
