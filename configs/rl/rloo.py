"""RLOO (arXiv:2402.14740): the baseline of a response is the mean reward of the others in its group.

python -m experiments.train_rl --config=configs/rl/rloo.py --config.init=runs/sft --workdir=runs/rl

Strictly on-policy, where the ratio is 1 and the loss is REINFORCE's. The paper has k = 2 or 4 samples and a KL of
0.03 to the reference in the reward (`:paper`); here 8 samples and none.
Time: about 70 s on 2 CPU cores. Expect, as in configs/sweeps/controls.py (400 steps, four updates a
rollout), pass@1 .61 as GRPO.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        updates=1,
        advantage=common.choice("rloo"),
        loss=common.choice("reinforce"),
        paper={"rollout__samples": 4, "kl__coef__args__value": 0.03, "kl__place": "reward", "kl__estimator": "k1"},
    )
