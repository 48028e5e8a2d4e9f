"""Solutions, critiques and refinements in one policy: where reinforcement learning with critiques starts from.

python -m experiments.train_sft --config=configs/sft/lessons.py --config.init=runs/sft \
    --config.lessons.path=runs/said --workdir=runs/start

On a Hugging Face folder: `--config=configs/sft/lessons.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about 12 minutes on one core. Expect, of failed attempts at validation problems: .30 repaired without a critique
(.31 by a fresh sample), .31 with the verdict, .38 with the first wrong step, .61 with a hint. A policy has to learn to
read critiques: with 5,000 updates it is .27 (.26), .28, .32 and .36.
"""

from configs import common
from configs.rl import hf
from configs.sft import countdown


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:path=MODEL,task=TASK` is of a folder, as in configs/rl/hf.py."""
    variants, given = common.parse(arg, "smoke")
    if given:
        c = hf.get_config(f"lessons,part=sft,{arg}")
        c.steps = 1000
        if "smoke" in variants:
            c.steps = 2
            c.prompt.update(prompt_length=192, response_length=24)
        return c
    c = countdown.get_config(arg)
    c.task.args.update(levels=(3, 4, 5), talk=True)
    c.lessons = common.lessons()
    if not arg:
        c.steps = 14000
    return c
