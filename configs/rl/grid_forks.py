"""80/20 (arXiv:2506.01939) on grids: DAPO's loss on the fifth of the tokens with the highest entropy.

python -m experiments.train_rl --config=configs/rl/grid_forks.py --config.init=runs/sft --workdir=runs/rl

As configs/rl/high_entropy_tokens.py, on a task where every token but the last is a choice. runs/sft is a run of
configs/sft/grid.py. --config.weight.args.frac=1.0 learns from every token.
Time: about 40 s on one core. Expect pass@1 0.68 -> 0.78 in 100 steps with 32 prompts a rollout, and
0.83 with all tokens.
"""

from configs import common
from configs.rl import high_entropy_tokens


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = high_entropy_tokens.get_config(arg)
    c.task = common.choice("grid", levels=(3, 5, 7))
    return c
