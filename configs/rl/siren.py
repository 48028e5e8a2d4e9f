"""SIREN (arXiv:2509.25133): the entropy over the nucleus, at the most uncertain tokens, is held at its start.

python -m experiments.train_rl --config=configs/rl/siren.py --config.init=runs/sft --workdir=runs/rl

Loss + .005 (H_n - H_0)^2, the nucleus of .8, the fifth of the tokens where its entropy is highest, mean of response
means, H_0 of the first rollout: the paper's code's (`:paper`). H_n falls by some tenths of a nat here, of which .005 is
nothing beside the policy loss: our coefficient is 1. Logits are made whole.
Time: about 90 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, coef=0.1), pass@1
.645 and pass@64 .823 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(arg, nucleus__coef=1.0, paper={"nucleus__coef": 0.005})
