"""The control of Clip-Cov: as many positive-advantage tokens dropped at random (arXiv:2511.05993).

python -m experiments.train_rl --config=configs/rl/random_clip.py --config.init=runs/sft --workdir=runs/rl

Same constants as configs/rl/clip_cov.py.
Time: about 70 s on 2 CPU cores. Expect, as in configs/sweeps/controls.py (400 steps), pass@1 .61
as GRPO, at the same entropy.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("random_clip", frac=0.02, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0),
        paper={"loss__args__frac": 2e-4},
    )
