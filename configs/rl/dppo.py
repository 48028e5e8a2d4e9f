"""DPPO (arXiv:2602.04879): tokens whose probability, not ratio, has moved too far are dropped.

python -m experiments.train_rl --config=configs/rl/dppo.py --config.init=runs/sft --workdir=runs/rl

Total variation of the token against the rest, .2 on both sides, ratio as a weight cut at 20: the paper's, and those of
verl and of prime-rl's default loss, so there is no `:paper`. `--config.loss="{'name': 'dppo_kl', 'args': {'delta_low':
0.05, 'delta_high': 0.05, 'cap': 20.0}}"` is the variant by binary KL.
Time: about 70 s on 2 CPU cores. Expect: not measured yet; configs/sweeps/controls.py:2026 has it as an arm.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, loss=common.choice("dppo_tv", delta_low=0.2, delta_high=0.2, cap=20.0))
