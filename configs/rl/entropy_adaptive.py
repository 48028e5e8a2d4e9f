"""GRPO with Skywork-OR1's adaptive entropy bonus (arXiv:2505.22312): +- delta a step, on below the target.

python -m experiments.train_rl --config=configs/rl/entropy_adaptive.py --config.init=runs/sft --workdir=runs/rl

The paper: target 0.2, delta 1e-4, at most 5e-3 (`:paper`). Here entropies are lower and bonuses weigh less: target
0.1, delta 2e-3, at most 0.1.
Time: about 70 s on 2 CPU cores. Expect, with entropy_coef.args.target=0.1 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.095 nats a token, pass@1 0.33 -> 0.59.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        entropy_coef=common.choice("adaptive", target=0.1, delta=2e-3, high=0.1),
        paper={"entropy_coef": common.choice("adaptive")},
    )
