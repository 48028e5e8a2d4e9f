"""Differential smoothing (arXiv:2511.19942): right responses earn more the less likely they are, wrong ones less.

python -m experiments.train_rl --config=configs/rl/differential_smoothing.py --config.init=runs/sft --workdir=runs/rl

R - .02 ln pi(y) where right, R + .02 ln pi(y) where wrong. The paper's constants are not in our sources: these are ours
(a response here has some 5 nats at the start, so .1 of reward), and there is no `:paper`. Its claim, on Countdown among
others: pass@1 and pass@k both rise.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, right=0.01,
wrong=0.01), pass@1 .614 and pass@64 .785 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, smoothing__right=0.02, smoothing__wrong=0.02)
