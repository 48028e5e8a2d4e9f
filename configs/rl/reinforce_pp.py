"""REINFORCE++ (arXiv:2501.03262): no groups, rewards whitened over the tokens of the whole batch.

python -m experiments.train_rl --config=configs/rl/reinforce_pp.py --config.init=runs/sft --workdir=runs/rl

The paper adds a token KL of 0.01 in the reward (`:paper`).
Time: about 70 s on 2 CPU cores. Expect, as in configs/sweeps/controls.py (400 steps), pass@1 .60
for GRPO's .61, no difference that its interval sees.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        advantage=common.choice("reinforce_pp"),
        paper={"kl__coef__args__value": 0.01, "kl__place": "reward", "kl__estimator": "k1"},
    )
