"""DAPO (arXiv:2503.14476): clip-higher, dynamic sampling, token mean, soft overlong penalty.

python -m experiments.train_rl --config=configs/rl/dapo.py --config.init=runs/sft --workdir=runs/rl

The paper: clips 0.2 and 0.28, 16 samples, 16 updates a rollout, a cache of 4,096 of 20,480 tokens, dual clip 10 in
its scripts. Here 4 updates and no penalty: responses have a format of fixed length. `:paper` sets samples, updates,
and a fifth of the longest response as cache.
Time: about 90 s on 2 CPU cores. Expect, as in configs/sweeps/controls.py (400 steps), pass@1 .70
for GRPO's .61 with two to three times its rollouts; expect it to stop for want of groups whose rewards differ once most
problems are solved.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("ppo", clip_low=0.2, clip_high=0.28, dual_clip=10.0),
        filter_rounds=10,
        paper={"rollout__samples": 16, "updates": 16, "overlong_cache": 5},
    )
