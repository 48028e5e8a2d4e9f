"""Imitation of solved Countdown problems: where RL starts from.

python -m experiments.train_sft --config=configs/sft/countdown.py --workdir=runs/sft

Time: about 40 s on 2 CPU cores. Expect held-out pass@1 about 0.28 and pass@8 about 0.85 after 2,500 steps.
"""

from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = common.base()
    common.training(c, every=500, keep=2)
    c.init = placeholder(str)  # workdir of a run to start from; None: random weights
    c.steps = 2500
    c.batch = 64  # demonstrations a step
    c.optimizer = common.optimizer(4e-3, warmup=100, decay_to=0.05, b2=0.98, weight_decay=0.01)
    c.microbatches = 1
    c.load_coef = 0.0  # of the loss that evens out the load of a model's experts
    c.log_every = 50  # steps
    c.eval.every = 2500
    c.rollout = common.rollout()
    if common.smoke(c, arg):
        c.batch = 4
    return c
