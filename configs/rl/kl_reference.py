"""GRPO with a KL to the policy of the start in the loss (baseline of arXiv:2505.22617, section 4).

python -m experiments.train_rl --config=configs/rl/kl_reference.py --config.init=runs/sft --workdir=runs/rl

The paper: 0.001 to 0.1, k3. ProRL (arXiv:2505.24864) resets the reference now and then:
`--config.kl.reset_every=100`.
Time: about 70 s on 2 CPU cores. Expect, with kl.coef.args.value=0.01 on levels 3 to 5, 32 prompts a rollout and
validation problems (one seed, 160 steps): entropy 0.29 -> 0.070 nats a token, pass@1 0.33 -> 0.60.
"""

from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, kl__coef__args__value=0.03)
