"""Solutions, critiques and refinements in one policy: where reinforcement learning with critiques starts from.

python -m experiments.train_sft --config=configs/sft/lessons.py --config.init=runs/sft \
    --config.lessons.path=runs/said --workdir=runs/start

Time: about 12 minutes on one core. Expect, of failed attempts at validation problems: .30 repaired without a critique
(.31 by a fresh sample), .31 with the verdict, .38 with the first wrong step, .61 with a hint. A policy has to learn to
read critiques: with 5,000 updates it is .27 (.26), .28, .32 and .36.
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
