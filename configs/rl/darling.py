"""DARLING (arXiv:2509.02534): a right response earns more, the more of its group solve the problem in another way.

python -m experiments.train_rl --config=configs/rl/darling.py --config.init=runs/sft --workdir=runs/rl

r = verifier's reward x Div, Div = (n - |class|) / (n - 1) and 0.1 at least, the class by the solution graph of
Countdown (order of steps and of operands forgotten). Advantages without std, PPO's clip, token mean, four updates a
rollout, groups of 8: the paper's, whose learning rate (1e-6) means nothing more here, so there is no `:paper`. Its
predicate is a learned classifier; here `--config.diversity.predicate.name=` solution_graph solution answer ngram
embedding. `--config.diversity.combine.name=none` measures, and learns from the verifier alone.
Time: about a minute on one core. Expect, in 240 steps from the start of configs/sweeps/darling.py, entropy 0.29 to 0.12
(0.06 without it), pass@1 .34 to .61 (.67), pass@128 1.00 to .90 (.85), and twice the classes of right solutions.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(
        arg,
        task__args__levels=(3, 4, 5),
        rollout__prompts=32,
        advantage=common.choice("dr_grpo"),
        diversity__predicate=common.choice("solution_graph"),
    )
