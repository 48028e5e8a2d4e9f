"""GRPO with a proportional-integral controller that holds the entropy at a target by a bounded bonus.

python -m experiments.train_rl --config=configs/rl/entropy_target.py --config.init=runs/sft --workdir=runs/rl

After EntroPIC (arXiv:2511.15248), which steers the weights of samples where this steers the bonus.
Time: about 70 s on 2 CPU cores. Expect, with entropy_coef.args.target=0.1 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.073 nats a token, pass@1 0.33 -> 0.60.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, entropy_coef=common.choice("target", target=0.1, kp=0.3, ki=0.02, high=0.2))
