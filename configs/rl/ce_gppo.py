"""CE-GPPO (arXiv:2509.20712): GPPO with weights for the gradients beyond the lower and the upper clip.

python -m experiments.train_rl --config=configs/rl/ce_gppo.py --config.init=runs/sft --workdir=runs/rl

The paper: clips 0.2, weights 0.5 and 1 (1.5B model; 0.75 and 1 for 7B), and a dual clip of 10 in its code (`:paper`).
Time: about 70 s on 2 CPU cores. Expect, with loss.args.beta_low=0.5 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.066 nats a token, pass@1 0.33 -> 0.60.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("ce_gppo", clip_low=0.2, clip_high=0.2, beta_low=0.5, beta_high=1.0),
        paper={"loss__args__dual_clip": 10.0},
    )
