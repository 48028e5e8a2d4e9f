"""GRPO (arXiv:2402.03300) with PPO's clip and DAPO's token mean, on Countdown, after configs/sft/countdown.py.

python -m experiments.train_rl --config=configs/rl/grpo.py --config.init=runs/sft --workdir=runs/rl

No KL to a reference and no entropy bonus, as in arXiv:2505.22617: nothing holds the entropy. One update a rollout;
`--config.updates=4 --config.optimizer.learning_rate=3e-4` takes four.
Time: about 70 s on 2 CPU cores. Expect entropy 0.29 -> 0.04 nats a token, held-out pass@1 0.28 -> 0.66, pass@8 0.80
-> 0.74.
"""

from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, updates=1)
