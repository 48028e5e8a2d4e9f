"""Only problems that are not yet solved within k attempts teach (after arXiv:2606.15455).

python -m experiments.train_rl --config=configs/rl/unsolved.py --config.init=runs/sft --workdir=runs/rl

A group is left out once the posterior mean of its problem's pass@8 is .9 or more, with a uniform prior and the
rollout's own attempts: of 8, from 3 right ones on. k and the threshold are ours, so there is no `:paper`; its estimate
goes on over the epochs, which problems that come once do not have. Its claim: pass@256 above the base model's.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, threshold=0.9),
pass@1 .467 and pass@64 .955 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    gate = common.choice("unsolved", k=8, threshold=0.9, right=1.0, wrong=1.0, base="token_mean")
    return base.recipe(arg, weight=gate)
