"""A critique model on held-out problems: verdict, first wrong step, and attempts repaired thanks to it.

python -m experiments.critique_scores --config=configs/critique/scores.py --config.init=runs/start \
    --config.critique.model=runs/critique --workdir=runs/scores

Metrics: arXiv:2506.03106, appendix E.2, and arXiv:2411.16579.
On a Hugging Face folder: `--config=configs/critique/scores.py:path=MODEL,task=TASK` (docs/systems.md).
Time: half a minute on one core. Expect, with policy and model of configs/sweeps/critique.py: verdicts right in 99 %
(62 % would be by chance), the first wrong step in 70 %; .32 of failed attempts repaired without a critique, .38 with
the first wrong step by the solver, .62 with its hint, .41 with all that the model says.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` scores a few attempts; `:path=MODEL,task=TASK` asks a folder, as in configs/rl/hf.py."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5), talk=True)
    c.eval = ConfigDict({"split": "test", "problems": 510, "samples": 16})
    c.init = placeholder(str)  # workdir of the policy that attempts and refines; None: random weights
    c.generator = placeholder(str)  # workdir of the policy whose attempts are judged and retried; None: that of init
    c.critique = ConfigDict({"model": placeholder(str)})  # workdir of the critique model; None: the solver's alone
    c.critique.update(common.conversation())
    common.of_folder(c, given, "smoke" in variants)
    c.repair = True  # whether failed attempts are tried again after each kind of critique
    c.interval = 0.9
    c.draws = 1000  # of the bootstrap
    c.rollout = common.rollout()
    if "smoke" in variants:
        c.model.name = "test"
        c.eval.update(problems=6, samples=2)
    return c
