"""GRPO of a mixture of experts, 8 of which a token uses 2, or of a dense model with as many active parameters.

python -m experiments.train_sft --config=configs/sft/countdown.py --config.model.name=moe --workdir=runs/sft_moe
python -m experiments.train_rl --config=configs/rl/moe.py --config.init=runs/sft_moe --workdir=runs/rl_moe
python -m experiments.train_rl --config=configs/rl/moe.py:dense --config.init=runs/sft --workdir=runs/rl_dense

Four updates a rollout, so that the router moves between the policy that sampled and the one that is updated:
`--config.replay=sampler` has updates use the sampler's choices of experts (R3), `learner` those of the policy before
the updates (R2); `--config.load_coef=0.001` is Qwen3-MoE's coefficient of the loss that evens out the load.
Time: not measured; two to five minutes on 2 CPU cores are expected. Expect: not known, it was not run to the end yet.
"""

from configs.rl import base


def get_config(arg=""):
    """`:dense` has the dense model; `:smoke` takes two steps, of tiny experts."""
    c = base.recipe("" if arg == "dense" else arg)
    c.model.name = "embedded" if arg == "dense" else "moe"
    return c
