"""What RL trains and carries from step to step, and how it lies in a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from entropy_rl.errors import InputError
from entropy_rl.models import lora
from entropy_rl.models.config import Config
from entropy_rl.models.scoring import Score
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import learner
from entropy_rl.training.optimizer import float32


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
    adapted policy its adapters alone, as the base, which no update changes, is the policy's own; where rollouts come
    late, what was trained of the policies before the last steps, the oldest first; and in self-distillation the mean,
    in float32, of what is trained, which teaches."""

    policy: learner.TrainState
    critic: learner.TrainState | None = None
    reference: Any = None
    past: tuple | None = None
    teacher: Any = None


@struct.dataclass
class Saved:
    """A checkpoint of a State: the policy's fields come first, where others look, and what is None has no arrays."""

    step: Any
    params: Any
    opt_state: Any
    critic: Any = None
    reference: Any = None
    past: tuple | None = None
    teacher: Any = None


def first_state(
    policy: learner.TrainState,
    *,
    critic: Critic | None = None,
    mesh: jax.sharding.Mesh | None = None,
    key: jax.Array | None = None,
    reference: bool = False,
    lag: int = 0,
    teacher: bool = False,
) -> State:
    """The state before the first update.

    Args:
      policy: its train state.
      critic: None: the algorithm has none. Its trunk is a copy of the policy's; only its head is new.
      mesh, key: where the critic's arrays lie, and what its head is drawn from.
      reference: whether a copy of the policy is kept as the reference.
      lag: steps by which the policy that samples is behind: the first 1 + lag rollouts are of the policy of the start.
      teacher: whether there is a mean of the policy's parameters, which begins as they are.
    """
    state = None
    if critic:
        state = learner.init_state(critic.model, critic.tx, mesh, key)
        trunk = {k: v for k, v in policy.params["params"].items() if k != "lm_head"}
        state = learner.with_params(state, {"params": state.params["params"] | trunk})
    copy = lambda: jax.tree.map(jnp.copy, lora.trainable(policy.params))  # noqa: E731
    past = tuple(copy() for _ in range(lag)) or None
    return State(policy, state, copy() if reference else None, past, float32(copy()) if teacher else None)


def teacher_params(state: State) -> Any:
    """Parameters of the teacher, in the policy's types: of the mean where there is one, else the policy's own."""
    if state.teacher is None:
        return state.policy.params
    own = lora.trainable(state.policy.params)
    return lora.joined(state.policy.params, jax.tree.map(lambda t, p: t.astype(p.dtype), state.teacher, own))


@partial(jax.jit, donate_argnums=0)
def moved(teacher: Any, params: Any, rate: float) -> Any:
    """teacher + rate (params - teacher), in float32, of the policy's parameters; the old mean is donated."""
    return jax.tree.map(lambda t, p: t + rate * (p.astype(t.dtype) - t), teacher, lora.trainable(params))


def remembered(state: State) -> tuple | None:
    """`past` of the next step's state, to be taken before this step's updates, which donate the policy's arrays."""
    if state.past is None:
        return None
    return (*state.past[1:], jax.tree.map(jnp.copy, lora.trainable(state.policy.params)))


def sampling_params(state: State) -> Any:
    """Parameters of the policy that samples the next rollout: the policy's own, or those of `lag` steps ago."""
    params = state.policy.params
    return params if state.past is None else lora.joined(params, state.past[0])


def abstract_state(
    policy: learner.TrainState,
    *,
    critic: Critic | None = None,
    mesh: jax.sharding.Mesh | None = None,
    reference: bool = False,
    lag: int = 0,
    teacher: bool = False,
) -> State:
    """Shapes, types and shardings of `first_state`; `policy` is learner.abstract_state of the policy."""
    state = learner.abstract_state(critic.model, critic.tx, mesh) if critic else None
    part = lora.trainable(policy.params)
    mean = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32, sharding=x.sharding), part)
    return State(policy, state, part if reference else None, (part,) * lag or None, mean if teacher else None)


def heated(params: Any, temperature: float, model: Config | None = None) -> Any:
    """A policy whose distribution is softmax(logits / temperature) of the given one: more entropy, the same ranking.

    The last norm's scale is divided by it, and so every logit is, whether or not the head is tied to the embedding.

    Args:
      params, temperature: as above.
      model: of the policy, where its norms add to their scales; None: they do not.

    Raises:
      InputError: capped logits, which no parameter divides.
    """
    if model is not None and model.logit_cap is not None and temperature != 1.0:
        raise InputError(f"init_temperature={temperature}: this model's logits are capped, and no norm divides them")
    offset = 0.0 if model is None else model.norm_offset
    norm = params["params"]["final_norm"]
    # rounded once: in bfloat16, scale + 1 would lose bits that the scale has
    heat = lambda x: ((x.astype(jnp.float32) + offset) / temperature - offset).astype(x.dtype)  # noqa: E731
    scaled = jax.tree.map(heat, norm)
    return {**params, "params": {**params["params"], "final_norm": scaled}}


def saved(state: State, *, base: bool = False) -> Saved:
    """The tree that a checkpoint holds.

    Of an adapted policy it has the adapters alone, as the base never changes; with `base` all of it, as checkpoints
    had before.
    """
    policy = state.policy if base else adapters(state.policy)
    parts = policy.step, policy.params, policy.opt_state
    return Saved(*parts, state.critic, state.reference, state.past, state.teacher)


def loaded(tree: Saved, base: Callable[[], Any] | None = None) -> State:
    """The inverse of `saved`; `base()` gives the plain parameters below adapters that came without them."""
    policy = learner.TrainState(tree.step, tree.params, tree.opt_state)
    return State(on_base(policy, base), tree.critic, tree.reference, tree.past, tree.teacher)


def adapters(policy: learner.TrainState) -> learner.TrainState:
    """A train state without the base of adapted parameters; as it is without adapters."""
    return policy.replace(params=lora.trainable(policy.params))


def on_base(policy: learner.TrainState, base: Callable[[], Any] | None) -> learner.TrainState:
    """The inverse of `adapters`."""
    if base is None or lora.LORA not in policy.params or "params" in policy.params:
        return policy
    return policy.replace(params={**base(), **policy.params})
