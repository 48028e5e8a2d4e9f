"""Clip-Cov (arXiv:2505.22617, Eq 11-12): some tokens of high covariance get no gradient.

python -m experiments.train_rl --config=configs/rl/clip_cov.py --config.init=runs/sft --workdir=runs/rl

The paper takes 2e-4 of its tokens, which selects nothing of the 2,300 of a mini-batch here: 0.02, and the paper's
bounds 1 and 5, do (`:paper` has 2e-4 and so is plain GRPO with a clip of 1).
Time: about 70 s on 2 CPU cores. Expect, with loss.args.frac=0.01 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.156 nats a token, pass@1 0.33 -> 0.53.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("clip_cov", frac=0.02, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0),
        paper={"loss__args__frac": 2e-4},
    )
