"""SAPO (arXiv:2511.20347): a soft gate on the ratio in place of the clip, narrower for A < 0.

python -m experiments.train_rl --config=configs/rl/sapo.py --config.init=runs/sft --workdir=runs/rl

Temperatures 1 and 1.05 are the paper's, as in verl, TRL and four more trainers. At this scale ratios leave 1 by some
tenths, over which a temperature of 1 hardly bends: ours are 4 and 4.2 (`:paper` has the paper's).
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, tau_pos=4,
tau_neg=4.2), pass@1 .634 and pass@64 .812 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        loss=common.choice("sapo", tau_pos=4.0, tau_neg=4.2),
        weight=common.choice("sequence_mean"),
        paper={"loss__args__tau_pos": 1.0, "loss__args__tau_neg": 1.05},
    )
