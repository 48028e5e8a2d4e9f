"""Critiques of a policy's attempts by the solver: what critique models and refiners are taught.

python -m experiments.make_critiques --config=configs/critique/make.py --config.init=runs/sft --workdir=runs/said

`config.init` is a policy with the words of critiques (`--config.task.args.talk=True` in its imitation). For a Hugging
Face folder, in natural language: `--config=configs/critique/make.py:path=MODEL,task=TASK`.
AutoMathCritique, arXiv:2411.16579; its dataset has 76,321 rows.
Time: about 20 s on 2 CPU cores. Expect about 27,000 rows, a third of them right, two thirds of the wrong ones with a
step after which the target is out of reach.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` makes a few from an untrained policy; `:path=MODEL,task=TASK` asks a folder, as in configs/rl/hf.py."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5), talk=True)
    del c.eval
    c.critique = common.conversation()
    of_folder = common.of_folder(c, given, "smoke" in variants)
    c.init = placeholder(str)  # workdir of the policy; None: random weights, or those of the folder model.path
    c.generators = ()  # workdirs of further policies, of the same shape, whose attempts are criticised too
    # who criticises: oracle, arithmetic, self, workdirs of critique models, folders
    c.annotators = ("arithmetic",) if of_folder else ("oracle",)
    c.first = 0  # of the problems, by its place in the training split
    c.problems = 6144
    c.samples = 4  # attempts a problem (rg1)
    c.resample = ConfigDict({"paths": 1, "temperature": 1.3})  # right ones a problem, from a random step on (rg2)
    c.planted = 2048  # problems that get a planted mistake (rg3)
    c.filter = ConfigDict({"tries": 0, "least": 1, "level": "reason"})  # soft: kept if `least` of `tries` mend it
    c.most = 0  # rows, drawn at random; 0: all
    c.rollout = common.rollout()
    if "smoke" in variants:
        c.model.name = "test"
        c.update(problems=8, samples=2, planted=8)
        c.filter.update(tries=1, least=0)  # it mends nothing
    return c
