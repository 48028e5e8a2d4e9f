"""The quickstart: imitation, then GRPO, on Countdown; then the law R = -a exp(H) + b on the held-out curve.

make quickstart
python -m experiments.quickstart --config=configs/quickstart.py --workdir=runs/quickstart

Time: about 3 minutes on 2 CPU cores. Expect entropy 0.29 -> 0.04 nats a token, held-out pass@1 0.30 -> 0.65,
pass@8 0.80 -> 0.73, an R2 of about 0.96 for exp and for linear alike, which this range of H can hardly tell apart.
The law is Eq. 6 of Cui et al. 2025, arXiv:2505.22617.
"""

from ml_collections import ConfigDict

from configs.laws import fit
from configs.rl import grpo
from configs.sft import countdown


def get_config(arg=""):
    """`:smoke` takes a few steps of a tiny model: does everything run."""
    c = ConfigDict()
    c.seed = 0
    c.levels = (4,)  # how many numbers a problem has: any of 3, 4, 5, 6
    c.sft = countdown.get_config(arg)
    c.rl = grpo.get_config(arg)
    c.law = fit.of_a_run(arg)
    for part in (c.sft, c.rl, c.law):
        part.seed = c.get_ref("seed")
    for part in (c.sft, c.rl):
        part.task.args.levels = c.get_ref("levels")
    del c.rl.init  # the folder of the part before
    if arg:
        c.rl.steps = 10  # the least that a curve can be fitted to
    return c
