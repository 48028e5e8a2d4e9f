"""GRPO (arXiv:2402.03300) with PPO's clip and DAPO's token mean, on Countdown, after configs/sft/countdown.py.

python -m experiments.train_rl --config=configs/rl/grpo.py --config.init=runs/sft --workdir=runs/grpo

No KL to a reference and no entropy bonus, as in arXiv:2505.22617: nothing holds the entropy.
Time: about 70 s on 2 CPU cores. Expect entropy 0.29 -> 0.03 nats a token, held-out pass@1 0.31 -> 0.65, pass@8
0.84 -> 0.73.
"""

from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model that nothing has trained."""
    c = common.base()
    c.init = placeholder(str)  # workdir of the run whose policy to start from; None: random weights
    c.steps = 200
    c.rollout = common.rollout()
    c.rollout.prompts = 64
    c.rollout.samples = 8  # a prompt: the group
    c.updates = 1  # optimiser mini-batches that a rollout is split into
    c.epochs = 1  # passes over a rollout
    c.microbatches = 1  # a mini-batch in parts: less memory, the same gradient
    c.advantage = common.choice("grpo", eps=1e-4)
    c.loss = common.choice("ppo", clip_low=0.2, clip_high=0.2)
    c.weight = common.choice("token_mean")
    c.entropy_coef = 0.0  # of an entropy bonus
    c.optimizer = common.optimizer(7e-4)
    c.change = {"every": 10, "rows": 64}  # steps between measurements of an update's entropy change; 0: never
    c.alarm = {"collapse": 0.2, "explosion": 2.0}  # shares of the first entropy
    c.samples = 4  # texts kept at each evaluation
    if common.smoke(c, arg):
        c.rollout.update(prompts=2, samples=2)
        c.change.every = 1
    return c
