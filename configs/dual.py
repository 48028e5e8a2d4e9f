"""Entropy in training and answers under a thinking budget, on the same checkpoints (arXiv:2506.04210; ours).

python -m experiments.dual --config=configs/dual.py --config.runs=runs/dual --config.init=runs/dual/start \\
    --workdir=runs/dual-table

The runs are those of configs/sweeps/dual.py. Without --config.runs the policy of --config.init alone is measured.
On a Hugging Face folder: `--config=configs/dual.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about 4 minutes on one core for 46 checkpoints. Expect, in policies of grpo, accuracy .70
to .15 and answers 4 nats wider after three rounds of `again`, and as much when the first response is only repeated.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` puts an untrained policy through a round and a budget; `:path=MODEL,task=TASK` is of a folder."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5), talk=True)
    of_folder = common.of_folder(c, given, "smoke" in variants)
    c.eval = ConfigDict({"split": "test", "problems": 96})
    c.init = placeholder(str)  # workdir of the policy that all runs start from; None: random weights
    c.runs = ""  # a folder with runs <control>,seed=<k>; "": none, only config.init
    c.steps = (0, 40, 80, 160)  # checkpoints that are measured; 0 is config.init
    c.baseline = "grpo"  # the control that others are compared with
    # the wait word; "wrong" is another that a policy of Countdown can say
    c.word = "Wait" if of_folder else "again"
    c.rounds = 3  # of going on
    c.exact = (64, 256, 1024) if of_folder else (6, 24, 48)  # tokens of a thought of fixed length
    c.chains = 8  # responses a problem, each of which goes on
    c.vote = "answer" if of_folder else "solution"  # in Countdown the question states the answer
    c.interval = 0.9
    c.draws = 2000  # of the bootstraps
    c.rollout = common.rollout()
    if "smoke" in variants:
        c.model.name = "test"
        c.eval.problems = 6
        c.update(chains=2, rounds=1, exact=(4,), draws=100)
    return c
