"""What an RL run learns and keeps, and how it lies in a checkpoint."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from ml_collections import ConfigDict

from entropy_rl.training import learner
from experiments.lib import build
from experiments.rl.parts import Parts


@struct.dataclass
class State:
    """What a run learns and keeps: arrays only."""

    policy: learner.TrainState
    critic: learner.TrainState | None = None
    reference: Any = None  # parameters


@struct.dataclass
class Saved:
    """A checkpoint of a State with a critic or a reference: the policy's fields come first, where others look."""

    step: Any
    params: Any
    opt_state: Any
    critic: Any
    reference: Any


def first(config: ConfigDict, p: Parts) -> State:
    """A fresh state, or one that starts from the policy of `config.init`; the reference is a copy of it."""
    key = jax.random.key(config.seed)
    policy = build.first_policy(config, p.model, p.tx, p.mesh)
    if config.init_temperature != 1:
        policy = learner.with_params(policy, heated(policy.params, config.init_temperature))
    critic = None
    if p.critic:
        critic = learner.init_state(p.critic.model, p.critic.tx, p.mesh, key)
        # the critic's trunk is the policy's; only its head is new
        trunk = critic.params["params"] | {k: v for k, v in policy.params["params"].items() if k != "lm_head"}
        critic = learner.with_params(critic, {"params": trunk})
    reference = jax.tree.map(jnp.copy, policy.params) if p.reference else None
    return State(policy, critic, reference)


def heated(params: Any, temperature: float) -> Any:
    """A policy whose distribution is softmax(logits / temperature) of the given one: more entropy, the same ranking.

    The last norm's scale is divided by it, and so every logit is, whether or not the head is tied to the embedding.
    """
    norm = params["params"]["final_norm"]
    scaled = jax.tree.map(lambda scale: (scale / temperature).astype(scale.dtype), norm)
    return {**params, "params": {**params["params"], "final_norm": scaled}}


def abstract(p: Parts) -> State:
    """Shapes, types and shardings of a run's state."""
    policy = learner.abstract_state(p.model, p.tx, p.mesh, p.adaptation.adapt)
    critic = learner.abstract_state(p.critic.model, p.critic.tx, p.mesh) if p.critic else None
    return State(policy, critic, policy.params if p.reference else None)


def saved(state: State) -> learner.TrainState | Saved:
    """The tree that a checkpoint holds."""
    policy = state.policy
    if state.critic is None and state.reference is None:
        return policy
    return Saved(policy.step, policy.params, policy.opt_state, state.critic, state.reference)


def loaded(tree: learner.TrainState | Saved) -> State:
    """The inverse of `saved`."""
    if isinstance(tree, learner.TrainState):
        return State(tree)
    return State(learner.TrainState(tree.step, tree.params, tree.opt_state), tree.critic, tree.reference)
