"""Critiques at test time: voting, best of n by verdict, critique and refinement side by side or round after round.

python -m experiments.test_time --config=configs/critique/test_time.py --config.init=runs/start \\
    --config.critique.source=learned --config.critique.level=hint --config.critique.model=runs/critique_model \\
    --workdir=runs/test_time

AutoMathCritique (arXiv:2411.16579), section on test time.
On a Hugging Face folder: `--config=configs/critique/test_time.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about half a minute on one core. Expect, with policy and model of configs/sweeps/critique.py, .37 from one sample,
.44 from a vote of 8, .84 from the best of 8 by verdict, .93 from 8 whose refinements get a verdict too, and .75 after
four rounds from one sample, which is worth four samples in tokens (notebooks/critiques_at_test_time.ipynb).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` attempts a few problems with an untrained policy; `:path=MODEL,task=TASK` asks a folder."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5), talk=True)
    c.eval = ConfigDict({"split": "test", "problems": 510, "samples": 32})
    c.init = placeholder(str)  # workdir of the policy, which has been taught to refine; None: random weights
    c.critique = ConfigDict(
        {
            "source": "self",  # learned, self; oracle, arithmetic and random, which know the truth; none
            "level": "reason",  # what is heard of a critique
            "model": placeholder(str),  # of "learned"
            "reference": False,  # whether a model sees the reference solution, and so knows the truth
        }
    )
    c.critique.update(common.conversation())
    of_folder = common.of_folder(c, given, "smoke" in variants)
    c.keep = True  # attempts whose critique says that they are right stay as they are
    c.rounds = 4  # of critique and refinement, one after the other
    c.chains = 8  # samples of a problem from which they start
    c.vote = "answer" if of_folder else "solution"  # in Countdown the question states the answer
    c.interval = 0.9
    c.draws = 1000  # of the bootstrap
    c.rollout = common.rollout()
    if "smoke" in variants:
        c.model.name = "test"
        c.eval.update(problems=6, samples=2)
        c.update(chains=2, rounds=1, draws=100)
    return c
