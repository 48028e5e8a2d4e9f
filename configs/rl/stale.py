"""GRPO on rollouts of four steps ago, as asynchronous trainers have them, under truncated importance sampling.

python -m experiments.train_rl --config=configs/rl/stale.py --config.init=runs/sft --workdir=runs/rl

The policy of four steps ago samples; `policy/sampler_gap` is how far it is behind. pi_old is the learner's own and
tokens weigh min(pi / pi_sampler, 2), the usual cap. `--config.importance.name=off` has pi_old of the policy that
sampled (plain PPO); `recompute` corrects nothing; the others are in entropy_rl/losses/importance.py. The same with
`--config.rollout.dtype=bfloat16` or `--config.rollout.param_dtype=bfloat16`, alone or together, for a sampler of fewer
bits. There is no single paper, so no `:paper`.
Time: about 90 s on 2 CPU cores. Expect: not measured yet; configs/sweeps/mismatch.py has it as an arm.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, rollout__lag=4, importance=common.choice("token_cap"))
