"""What RL trains and carries from step to step, and how it lies in a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from entropy_rl.models import lora
from entropy_rl.models.scoring import Score
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import learner


@dataclasses.dataclass(frozen=True)
class Critic:
    """A value model with an optimiser of its own, and how advantages follow from its values."""

    model: Transformer
    tx: optax.GradientTransformation
    score: Score  # models/scoring.values
    advantage: Callable  # (token reward, value, mask) -> (advantage, returns), f32[B, T]
    clip: float  # of the value loss
    warmup: int = 0  # steps that train the critic alone


@struct.dataclass
class State:
    """Arrays only: the policy and, where the algorithm has them, the critic and the parameters of the reference: of an
    adapted policy its adapters alone, as the base, which no update changes, is the policy's own."""

    policy: learner.TrainState
    critic: learner.TrainState | None = None
    reference: Any = None


@struct.dataclass
class Saved:
    """A checkpoint of a State with a critic or a reference: the policy's fields come first, where others look."""

    step: Any
    params: Any
    opt_state: Any
    critic: Any
    reference: Any


def first_state(
    policy: learner.TrainState,
    *,
    critic: Critic | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: jax.Array | None = None,
    reference: bool = False,
) -> State:
    """The state before the first update.

    Args:
      policy: its train state.
      critic: None: the algorithm has none. Its trunk is a copy of the policy's; only its head is new.
      mesh, key: where the critic's arrays lie, and what its head is drawn from.
      reference: whether a copy of the policy is kept as the reference.
    """
    state = None
    if critic:
        state = learner.init_state(critic.model, critic.tx, mesh, key)
        trunk = {k: v for k, v in policy.params["params"].items() if k != "lm_head"}
        state = learner.with_params(state, {"params": state.params["params"] | trunk})
    return State(policy, state, jax.tree.map(jnp.copy, lora.trainable(policy.params)) if reference else None)


def abstract_state(
    policy: learner.TrainState,
    *,
    critic: Critic | None = None,
    mesh: jax.sharding.Mesh | None = None,
    reference: bool = False,
) -> State:
    """Shapes, types and shardings of `first_state`; `policy` is learner.abstract_state of the policy."""
    state = learner.abstract_state(critic.model, critic.tx, mesh) if critic else None
    return State(policy, state, lora.trainable(policy.params) if reference else None)


def heated(params: Any, temperature: float) -> Any:
    """A policy whose distribution is softmax(logits / temperature) of the given one: more entropy, the same ranking.

    The last norm's scale is divided by it, and so every logit is, whether or not the head is tied to the embedding.
    """
    norm = params["params"]["final_norm"]
    scaled = jax.tree.map(lambda scale: (scale / temperature).astype(scale.dtype), norm)
    return {**params, "params": {**params["params"], "final_norm": scaled}}


def saved(state: State, *, base: bool = False) -> learner.TrainState | Saved:
    """The tree that a checkpoint holds: the policy's own where there is nothing else.

    Of an adapted policy it has the adapters alone, as the base never changes; with `base` all of it, as checkpoints
    had before.
    """
    policy = state.policy if base else adapters(state.policy)
    if state.critic is None and state.reference is None:
        return policy
    return Saved(policy.step, policy.params, policy.opt_state, state.critic, state.reference)


def loaded(tree: learner.TrainState | Saved, base: Callable[[], Any] | None = None) -> State:
    """The inverse of `saved`; `base()` gives the plain parameters below adapters that came without them."""
    if isinstance(tree, learner.TrainState):
        return State(on_base(tree, base))
    policy = learner.TrainState(tree.step, tree.params, tree.opt_state)
    return State(on_base(policy, base), tree.critic, tree.reference)


def adapters(policy: learner.TrainState) -> learner.TrainState:
    """A train state without the base of adapted parameters; as it is without adapters."""
    return policy.replace(params=lora.trainable(policy.params))


def on_base(policy: learner.TrainState, base: Callable[[], Any] | None) -> learner.TrainState:
    """The inverse of `adapters`."""
    if base is None or lora.LORA not in policy.params or "params" in policy.params:
        return policy
    return policy.replace(params={**base(), **policy.params})
