"""ERC (arXiv:2512.05591): a token teaches nothing where the entropy of its state has changed too much.

python -m experiments.train_rl --config=configs/rl/erc.py --config.init=runs/sft --workdir=runs/rl

Band .95 to 1.05 of the entropy's ratio, clips .2 and .28 and a dual clip of 10 are its scripts'. Where most states have
an entropy near 0 its ratio moves by more than that within a rollout: ours is .8 to 1.2, which saved runs of its
repository have (`:paper` has .05).
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, band_low=0.2,
band_high=0.2), pass@1 .619 and pass@64 .804 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("erc", band_low=0.2, band_high=0.2, clip_low=0.2, clip_high=0.28, dual_clip=10.0),
        paper={"loss__args__band_low": 0.05, "loss__args__band_high": 0.05},
    )
