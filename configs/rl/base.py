"""What the RL recipes share: sizes and rates for Countdown on a laptop, and the two variants that each has."""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def recipe(arg: str, *, updates: int = 4, paper: dict[str, Any] | None = None, **changes) -> ConfigDict:
    """GRPO with `updates` optimiser steps a rollout, and what a recipe changes of it.

    Args:
      arg: "", "smoke" (two steps of a tiny model that nothing has trained) or "paper".
      updates: 1 (strictly on-policy) at a learning rate of 7e-4, or 4 at 3e-4; higher rates destroy the policy.
      paper: what `:paper` puts in place of the constants that mean the same at this scale; {}: they are the paper's.
      **changes: dotted keys, written with two underscores for a dot; a value for a name is put in whole.
    """
    c = common.base()
    common.training(c)
    c.init = placeholder(str)  # workdir of the run whose policy to start from; None: random weights
    c.init_temperature = 1.0  # above 1: that policy with its logits divided by this, a start with more entropy
    c.steps = 200
    c.rollout = common.rollout()
    c.rollout.prompts = 64
    c.rollout.samples = 8  # a prompt: the group
    c.updates = updates  # optimiser mini-batches that a rollout is split into
    c.advantage = common.choice("grpo", eps=1e-4)
    c.loss = common.choice("ppo", clip_low=0.2, clip_high=0.2)
    common.policy_gradient(c)
    c.optimizer = common.optimizer(7e-4 if updates == 1 else 3e-4)
    chosen = changes | ((paper or {}) if arg == "paper" else {})
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in chosen.items()})
    if common.smoke(c, arg, () if paper is None else ("paper",)):
        c.rollout.update(prompts=4, samples=2)
        c.change.every = 1
        c.filter_rounds = 0  # an untrained policy is never right, so no groups would differ
    return c
