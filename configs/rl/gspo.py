"""GSPO (arXiv:2507.18071): one ratio a sequence, the geometric mean of its tokens', and one clip.

python -m experiments.train_rl --config=configs/rl/gspo.py --config.init=runs/sft --workdir=runs/rl

The paper's clips, 3e-4 and 4e-4, are of ratios averaged over thousands of tokens; over some 20 tokens the mean log-
ratio is about ten times as wide, so here they are 3e-3 and 4e-3 (`:paper` has the paper's).
Time: about 70 s on 2 CPU cores. Expect, with loss.args.clip_low=0.03 loss.args.clip_high=0.04 on levels 3 to 5, 32
prompts a rollout and validation problems (one seed, 160 steps): entropy 0.29 -> 0.061 nats a token, pass@1 0.33 ->
0.59.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("gspo", clip_low=3e-3, clip_high=4e-3),
        weight=common.choice("sequence_mean"),
        paper={"loss__args__clip_low": 3e-4, "loss__args__clip_high": 4e-4},
    )
