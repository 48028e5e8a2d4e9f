"""Pass@k training (arXiv:2508.10751): the advantage of a response in pass@k, over all sets of k of its group.

python -m experiments.train_rl --config=configs/rl/pass_at_k.py --config.init=runs/sft --workdir=runs/rl

The closed form, not the sampled one. k = 4 of groups of 8 is ours: the values of the paper's runs are not in our
sources, so there is no `:paper`. For rewards of 0 and 1.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, k=2), pass@1 .628
and pass@64 .862 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, advantage=common.choice("pass_at_k", k=2 if arg == "smoke" else 4, eps=1e-6))
