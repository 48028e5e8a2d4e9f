"""GPPO (arXiv:2508.07629): beyond the clip the gradient is kept and bounded instead of dropped.

python -m experiments.train_rl --config=configs/rl/gppo.py --config.init=runs/sft --workdir=runs/rl

The paper's clips, 0.2 and 0.28, are ratios of tokens and mean the same here. Its code adds a dual clip of 10, which
does drop gradients (`:paper`).
Time: about 70 s on 2 CPU cores. Expect, with loss.args.clip_high=0.28 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.065 nats a token, pass@1 0.33 -> 0.57.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("gppo", clip_low=0.2, clip_high=0.28),
        paper={"loss__args__dual_clip": 10.0},
    )
