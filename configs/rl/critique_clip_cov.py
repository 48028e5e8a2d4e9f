"""Critique-GRPO with Clip-Cov on the own samples (arXiv:2506.03106 and arXiv:2505.22617 together; ours).

python -m experiments.train_rl --config=configs/rl/critique_clip_cov.py --config.init=runs/start --workdir=runs/rl

Time: about 100 s on 2 CPU cores. Expect what notebooks/critique_and_entropy.ipynb says of oracle_clip_cov.
`--config.critique.source=off` is Clip-Cov alone, with the advantage and the task of configs/rl/critique_grpo.py.
"""

from configs import common
from configs.rl import critique_grpo


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = critique_grpo.get_config(arg)
    c.loss = common.choice("shaped_clip_cov", gamma=0.1, frac=0.02, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0)
    return c
