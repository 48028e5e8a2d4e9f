"""A critique model on held-out problems: verdict, first wrong step, and attempts repaired thanks to it.

python -m experiments.critique_scores --config=configs/critique/scores.py --config.init=runs/start \
    --config.critique.model=runs/critique --workdir=runs/scores

Time: under a minute on 2 CPU cores. Metrics: arXiv:2506.03106, appendix E.2, and arXiv:2411.16579.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` scores a few attempts."""
    c = common.base(levels=(3, 4, 5))
    del c.checkpoint
    c.task.args.talk = True
    c.eval = ConfigDict({"split": "test", "problems": 255, "samples": 8})
    c.init = placeholder(str)  # workdir of the policy that attempts and refines
    c.critique = ConfigDict({"model": placeholder(str)})  # workdir of the critique model; None: the solver's alone
    c.interval = 0.9
    c.draws = 1000  # of the bootstrap
    c.rollout = common.rollout()
    c.optimizer = common.optimizer(1e-3)
    if arg == "smoke":
        c.model.name = "test"
        c.eval.update(problems=6, samples=2)
    return c
