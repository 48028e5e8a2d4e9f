"""The learning half of an RL step: a rollout in, the next state and what is logged out."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.advantages import at_last_token, shape_by_entropy
from entropy_rl.entropy import record as entropy
from entropy_rl.losses.kl import KL
from entropy_rl.masking import masked_mean
from entropy_rl.models.logprobs import choice_logits
from entropy_rl.parallel import processes, sharding
from entropy_rl.training import learner, objectives
from entropy_rl.training.rollouts import Rollout, minibatches
from experiments.rl.parts import Parts
from experiments.rl.states import State


class Learner:
    """Rollout -> next state: scores, advantages, the entropy record, coefficients, updates.

    Attributes:
      control: states of the controllers, by the name of their coefficient; goes into checkpoints.
    """

    def __init__(self, config: ConfigDict, p: Parts, key: jax.Array):
        self._config, self._p, self._key = config, p, key
        self.control = {"entropy": p.entropy.init(), "kl": p.kl.init()}
        cut = {"microbatches": config.microbatches, "group_size": p.group_size}
        current = config.weight_policy == "current"
        self._in_reward = config.kl.place == "reward"
        self._update = learner.make_update(
            objectives.policy(p.score, p.loss, kl=config.kl.estimator, weight=p.weight if current else None),
            p.tx,
            record=objectives.policy_record,
            **cut,
        )
        if p.critic:
            self._update_critic = learner.make_update(
                objectives.value(p.critic.score, clip=p.critic.clip),
                p.critic.tx,
                record=objectives.value_record,
                **cut,
            )
            self._value = jax.jit(p.critic.score)
            self._gae = jax.jit(p.critic.advantage)
        else:
            self._advantage = jax.jit(p.advantage)
        self._weight = jax.jit(p.weight)
        self._score = jax.jit(p.score)
        self._shape = jax.jit(partial(shape_by_entropy, **config.entropy_advantage))
        self._record = jax.jit(entropy.record)
        self._place = partial(processes.put_global, sharding=sharding.batch_sharding(p.mesh))

    def __call__(self, state: State, rollout: Rollout, step: int) -> tuple[State, list[dict], dict, np.ndarray]:
        """(state after the updates of this step, their metrics, what is logged once a step, advantages f32[B, T])."""
        config, p = self._config, self._p
        fields, row = self._scores(state, rollout)
        distance = np.zeros_like(rollout.sampler_logp)
        kl_coef = self._coefficient("kl", row.get("policy/ref_kl_rollout", 0.0))
        if p.reference:
            row["update/kl_coef"] = kl_coef
            if self._in_reward:
                old, ref = rollout.sampler_logp, fields.pop("ref_logp")
                distance = np.where(rollout.mask, KL[config.kl.estimator](old, ref), 0.0)
        advantage = self._credit(rollout, fields, kl_coef * distance)
        advantage = (advantage[:, None] if advantage.ndim == 1 else advantage) * rollout.mask
        if config.entropy_advantage.alpha:
            advantage = np.asarray(self._shape(advantage, rollout.entropy))
        decisions = p.task.decisions(rollout.tokens, rollout.mask)  # None: not known by rule
        # the law's H is that of own samples; refinements have an entry of their own
        refined = rollout.mask & rollout.refined[:, None]
        own = rollout.mask & ~refined
        decisions = None if decisions is None else decisions & own
        row |= self._record(rollout.entropy, rollout.sampler_logp, advantage, own, decisions, rollout.group)
        if rollout.refined.any():
            row["policy/entropy_refined"] = masked_mean(rollout.entropy, refined)
        entropy_coef = self._coefficient("entropy", float(row["policy/entropy_sequence"]))
        coefs = {"entropy": jnp.float32(entropy_coef), "kl": jnp.float32(kl_coef)}
        row |= {
            "update/entropy_coef": entropy_coef,
            "update/learning_rate": p.schedule(step * config.updates * config.epochs),
        }
        policy, critic, updates = state.policy, state.critic, []
        warm = p.critic and step < p.critic.warmup
        split = config.updates > 1 or config.epochs > 1
        for epoch in range(config.epochs):
            rng = np.random.default_rng((config.seed, step, epoch)) if split else None
            for batch in minibatches(rollout, advantage, self._weight, count=config.updates, rng=rng, **fields):
                batch = jax.tree.map(self._place, batch)
                metrics = {"update/finite": 1.0, "update/loss": 0.0}
                if not warm:
                    policy, metrics = self._update(policy, batch, self._key, coefs)
                if p.critic:
                    critic, of_critic = self._update_critic(critic, batch, self._key, coefs)
                    metrics = join(metrics, of_critic)
                updates.append(metrics)
        state = State(policy, critic, state.reference)
        every = config.kl.reset_every
        if p.reference and every and (step + 1) % every == 0:
            state = state.replace(reference=jax.tree.map(jnp.copy, policy.params))
        return state, updates, row, advantage

    def _scores(self, state: State, rollout: Rollout) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays that the algorithm needs besides the sampler's, and what is logged of them."""
        config, p, mask, fields, row = self._config, self._p, rollout.mask, {}, {}
        if config.importance_cap:
            old = self._each(self._score, state.policy.params, rollout)["logp"]
            gap = np.where(mask, old - rollout.sampler_logp, 0.0)
            fields |= {"old_logp": old, "importance": np.minimum(np.exp(gap), config.importance_cap)}
            row["policy/sampler_gap"] = masked_mean(np.abs(gap), mask)
            row["policy/sampler_gap_max"] = np.abs(gap).max()
        if p.reference:
            fields["ref_logp"] = self._each(self._score, state.reference, rollout)["logp"]
            estimate = KL["k3"](rollout.sampler_logp, fields["ref_logp"])
            row["policy/ref_kl_rollout"] = float(masked_mean(estimate, mask))
        if p.critic:
            fields["value"] = self._each(self._value, state.critic.params, rollout)["value"]
        return fields, row

    def _each(self, score, params, rollout: Rollout) -> dict[str, np.ndarray]:
        """Scores of all rows, a micro-batch at a time."""
        parts = self._config.updates * self._config.microbatches
        rows = [np.split(x, parts) for x in (rollout.tokens, rollout.mask)]
        done = [processes.fetch(score(params, self._place(t), self._place(m))) for t, m in zip(*rows)]
        return {k: np.concatenate([d[k] for d in done]) for k in done[0]}

    def _credit(self, rollout: Rollout, fields: dict, penalty: np.ndarray) -> np.ndarray:
        """Advantages from rewards less a penalty f32[B, T]; a critic's returns are added to `fields`."""
        if not self._p.critic:
            reward = rollout.reward - penalty.sum(axis=1)
            return np.asarray(self._advantage(reward, rollout.group, rollout.mask))
        reward = np.asarray(at_last_token(rollout.reward, rollout.mask)) - penalty
        advantage, target = self._gae(reward, fields["value"], rollout.mask)
        fields["target"] = np.asarray(target)
        return np.asarray(advantage)

    def _coefficient(self, name: str, observed: float) -> float:
        controller = getattr(self._p, name)
        coefficient, self.control[name] = controller.step(self.control[name], observed)
        return coefficient


class Change:
    """What the updates of a step did to the entropy, at the states of some rows, and what theory says of it."""

    def __init__(self, config: ConfigDict, p: Parts):
        self._some = slice(0, config.change.rows)
        self._logits = jax.jit(lambda params, tokens: choice_logits(p.model.apply(params, tokens)[0]))
        self._measure = jax.jit(entropy.measured_change)

    def before(self, params: Any, rollout: Rollout) -> jax.Array:
        """To be called before the updates, and what it gives to be given after them."""
        return self._logits(params, rollout.tokens[self._some])

    def __call__(self, before: jax.Array, params: Any, rollout: Rollout, advantage: np.ndarray) -> dict[str, jax.Array]:
        """What is logged of the change; `advantage` f32[B, T]."""
        tokens, mask, advantage = (x[self._some] for x in (rollout.tokens, rollout.mask, advantage))
        return self._measure(before, self._logits(params, tokens), mask, tokens, advantage)


def join(metrics: dict, of_critic: dict) -> dict:
    """Metrics of an update of the policy and one of the critic; the critic's own update under `critic/`."""
    renamed = {k.replace("update/", "critic/"): v for k, v in of_critic.items()}
    return metrics | renamed | {"update/finite": metrics["update/finite"] * of_critic["update/finite"]}
