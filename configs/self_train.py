"""Self-training from a base model, vanilla or with a critique in the loop, on a finite pool of problems.

python -m experiments.self_train --config=configs/self_train.py --config.init=runs/base --workdir=runs/vanilla

`config.init` is a run of configs/sft/lessons.py with `--config.task.args.levels=(3,4,5,6)`, which can refine. Add
`--config.critique.source=oracle` for the solver's critiques, `learned` with `critique.model`, `fresh` for as many
further samples without a critique; configs/sweeps/self_train.py has all arms. Samples, temperature, refinements kept
and the barrier are those of the reference code (arXiv:2411.16579, README of WooooDyy/MathCritique).
On a Hugging Face folder: `--config=configs/self_train.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about 3 minutes on one core. Expect, without a critique, held-out pass@1 .30 to .55 in five rounds, pass@64 .98 to
.93 and entropy .32 to .16; with failed attempts shown and retried, whatever is said of them, .02 more of pass@64 and of
entropy (notebooks/tail_narrowing.ipynb).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` makes one round of a tiny model; `:path=MODEL,task=TASK` is of a folder, whose D_0 is empty."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5, 6), talk=True)
    common.training(c, keep=2)
    c.init = placeholder(str)  # workdir of the base model; None: random weights
    c.rounds = 5  # 0: the base model is evaluated, no more
    c.pool = 1024  # problems that are attempted, the same ones in every round
    c.samples = 5  # attempts a problem
    c.temperature = 0.7  # of attempts and refinements
    c.original = 2048  # rows of D_0, the same in every round: solved problems, or lessons where there is a path
    c.lessons = common.lessons(solve=0.0, critique=0.0, refine=1.0)  # path None: D_0 has solutions alone
    c.critique = ConfigDict(
        {
            "source": "off",  # off: failed attempts are thrown away; any other of configs/common.py
            "level": "reason",
            "model": placeholder(str),
            "reference": False,
        }
    )
    c.critique.update(common.conversation())
    c.lora = common.lora()
    of_folder = common.of_folder(c, given, "smoke" in variants)
    c.refine = ConfigDict(
        {
            "samples": 1,  # refinements of a failed attempt
            "reserved": 1,  # right ones that are kept at most
            "slack": 2,  # integers that a refinement may lack (the barrier against shortcuts)
            "revisions": False,  # teach them after attempt and critique too
        }
    )
    c.updates = 300  # a round, whatever the data
    c.batch = 64
    c.microbatches = 1
    c.optimizer = common.optimizer(1e-3, warmup=20, decay_to=0.05, b2=0.98, weight_decay=0.01)
    c.rollout = common.rollout()  # of evaluations: temperature 1
    c.eval.update(problems=512, samples=16, ks=(1, 4, 16))
    c.eval.last = ConfigDict({"problems": 512, "samples": 64})  # into problems.jsonl
    del c.eval["every"]
    if of_folder:  # sizes and rates for a model of 0.1 B parameters or more
        c.update(original=0, pool=256, updates=64, batch=32, microbatches=0)
        c.optimizer = common.optimizer(1e-5, warmup=4, decay_to=0.05, b2=0.98)
        c.rollout.slots = 128
        c.eval.update(problems=128, samples=4, ks=(1, 2, 4))
        c.eval.last.update(problems=128, samples=16)
    if "smoke" in variants:
        c.model.name = "test"
        c.critique.source = "arithmetic" if of_folder else "oracle"
        c.update(rounds=1, pool=8, samples=2, original=4, updates=2, batch=4)
        c.optimizer.warmup = 0
        common.evaluate_little(c)
    return c
