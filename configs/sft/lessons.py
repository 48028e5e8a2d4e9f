"""Solutions, critiques and refinements in one policy: where reinforcement learning with critiques starts from.

python -m experiments.train_sft --config=configs/sft/lessons.py --config.init=runs/sft \
    --config.lessons.path=runs/said --workdir=runs/start

Time: about 5 minutes on 2 CPU cores. Expect, of failed attempts at validation problems: .27 repaired without a
critique (.25 by a fresh sample), .27 with the verdict, .32 with the first wrong step, .37 with a hint; with half the
steps, rate and share of refinements no critique helps, as the policy has not learnt to read one.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.sft import countdown


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = countdown.get_config(arg)
    c.task.args.update(levels=(3, 4, 5), talk=True)
    c.lessons = ConfigDict(
        {
            "path": placeholder(str),  # workdir of experiments.make_critiques
            "solve": 0.3,  # shares of what is taught (critique/lessons.py)
            "critique": 0.1,
            "refine": 0.6,
            "refined": 0.0,
            "level": "reason",  # what taught critiques say
            "refine_levels": ("none", "verdict", "step", "reason", "hint"),  # what is said before a refinement
            "problem": placeholder(str),  # id of the one problem whose rows are used; None: all
        }
    )
    if not arg:
        c.steps = 14000
    return c
