"""Critique-GRPO whose refinements count on their forking tokens alone (arXiv:2506.03106 with arXiv:2506.01939).

python -m experiments.train_rl --config=configs/rl/critique_forks.py --config.init=runs/start --workdir=runs/rl

As configs/rl/critique_grpo.py; of the tokens of refined rows the fifth with the highest entropy learns, of own samples
every token. --config.weight.args.frac=1.0 is Critique-GRPO.
Time: about a minute on one core. Expect what configs/rl/critique_grpo.py says; the two have not been compared yet.
"""

from configs import common
from configs.rl import critique_grpo


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the constants of Critique-GRPO's paper."""
    c = critique_grpo.get_config(arg)
    c.weight = common.choice("refined_forks", frac=0.2)
    return c
