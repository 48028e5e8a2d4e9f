"""Accuracy, entropy and calibration of one policy (RLSF, arXiv:2507.21931; CoT-decoding, arXiv:2402.10200).

python -m experiments.calibrate --config=configs/calibrate.py --config.init=runs/sft --workdir=runs/calibration

The calibration error has 10 equal bins, as in RLSF's code.
On a Hugging Face folder: `--config=configs/calibrate.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about 20 s on one core. Expect, for the policy that configs/sweeps/rlsf.py starts from, a confidence of the final
number of .98 where .56 are right: ECE about 42 %, AUROC .66.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` measures on four problems of a tiny model; `:path=MODEL,task=TASK` is of a folder."""
    variants, given = common.parse(arg, "smoke")
    base = common.base(levels=(3, 4, 5), talk=True)
    c = ConfigDict({"seed": 0, "task": base.task, "model": base.model, "mesh": base.mesh})
    c.init = placeholder(str)  # workdir of the run whose policy it is; None: random weights
    common.of_folder(c, given, "smoke" in variants)
    c.rollout = common.rollout()
    c.eval = ConfigDict({"split": "test", "problems": 384, "samples": 16})
    c.k = 5  # branches of CoT-decoding
    c.bins = 10  # of confidence
    if "smoke" in variants:
        c.model.name = "test"
        c.k = 3
        c.eval.update(problems=4, samples=2)
    return c
