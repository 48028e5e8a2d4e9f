"""80/20 (arXiv:2506.01939): DAPO's loss on the fifth of the tokens with the highest entropy.

python -m experiments.train_rl --config=configs/rl/high_entropy_tokens.py --config.init=runs/sft --workdir=runs/rl

The entropies are the current policy's, as in the paper; `--config.weight_policy=data` takes those of the policy that
sampled.
Time: about 70 s on 2 CPU cores. Expect, with weight.args.frac=0.5 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.063 nats a token, pass@1 0.33 -> 0.60.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(
        arg,
        loss=common.choice("ppo", clip_low=0.2, clip_high=0.28),
        weight=common.choice("top_entropy", frac=0.2, bottom=False),
        weight_policy="current",
    )
