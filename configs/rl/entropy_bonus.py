"""GRPO with an entropy bonus of constant strength, L - alpha H (baseline of arXiv:2505.22617, section 4).

python -m experiments.train_rl --config=configs/rl/entropy_bonus.py --config.init=runs/sft --workdir=runs/rl

The paper tried 1e-4 and 1e-3 (no effect), 5e-3 (stable) and 1e-2 (explodes) on a vocabulary of 150,000; with 39
tokens 0.03 is mild and 0.1 explodes after 400 steps (`:paper` has 5e-3).
Time: about 70 s on 2 CPU cores. Expect, with entropy_coef.args.value=0.01 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.072 nats a token, pass@1 0.33 -> 0.59.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        entropy_coef=common.choice("constant", value=0.03),
        paper={"entropy_coef__args__value": 5e-3},
    )
