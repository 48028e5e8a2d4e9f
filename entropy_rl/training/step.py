"""The learning half of a step of RL: `Learner` takes the state to the next, from a rollout (collect.Collector).

Plain keyword arguments, no config: docs/training_step.md has a step of GRPO in twenty lines.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entropy_rl.advantages import at_last_token, check_binary, differential_smoothing, of_one_sign, shape_by_entropy
from entropy_rl.entropy import record as entropy
from entropy_rl.entropy.controllers import Controller, constant
from entropy_rl.errors import InputError, lookup
from entropy_rl.losses.importance import statistics
from entropy_rl.losses.kl import KL
from entropy_rl.masking import masked_mean
from entropy_rl.models import lora
from entropy_rl.models.scoring import Score
from entropy_rl.parallel import processes, sharding
from entropy_rl.training import learner, objectives
from entropy_rl.training.rollouts import Rollout, Weight, minibatches, picks
from entropy_rl.training.state import Critic, State, moved, remembered, teacher_params


@dataclasses.dataclass(frozen=True)
class SelfTeacher:
    """The policy that sees more, as a teacher of the policy.

    Attributes:
      loss: how the policy learns from it.
      likeliest: models/scoring.likeliest, of the policy on the question alone.
      score: models/scoring.token_scores for rows that share no prompt.
      rate: of the mean of parameters that teaches, a step (EMA): 0 is the policy of the start, 1 the policy that
        begins the step, and the state then has no mean.
    """

    loss: objectives.Distillation
    likeliest: Score
    score: Score
    rate: float = 0.05


class Learner:
    """The learning half of a step: scores, advantages, the entropy record, coefficients, updates.

    Attributes:
      control: states of the controllers, by the name of their coefficient ("entropy", "kl"); json, to be put into
        checkpoints and back.
    """

    def __init__(
        self,
        score: Score,
        tx: optax.GradientTransformation,
        *,
        loss: Callable,
        weight: Weight,
        key: jax.Array,
        advantage: Callable | None = None,
        critic: Critic | None = None,
        mesh: jax.sharding.Mesh | None = None,
        seed: int = 0,
        schedule: optax.Schedule | None = None,
        updates: int = 1,
        epochs: int = 1,
        microbatches: int = 1,
        group_size: int = 1,
        entropy_coef: Controller | None = None,
        kl_coef: Controller | None = None,
        kl_estimator: str = "k3",
        kl_place: str = "loss",
        reference: bool = False,
        reference_every: int = 0,
        importance: Callable | None = None,
        current_weight: bool = False,
        entropy_alpha: float = 0.0,
        entropy_kappa: float = 2.0,
        entropy_band: tuple[Controller, Controller] | None = None,
        smoothing: tuple[float, float] = (0.0, 0.0),
        filtered: Score | None = None,
        nucleus: tuple[float, float] | None = None,
        decisions: Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None = None,
        teacher: SelfTeacher | None = None,
        load: objectives.Load | None = None,
        replay: Score | None = None,
    ):
        """Binds the algorithm; nothing is compiled before the first step.

        Args:
          score: of the policy's tokens (models/scoring.token_scores).
          tx: the policy's optimiser.
          loss: a row of losses/policy.POLICY_LOSSES with its hyper-parameters bound.
          weight: of tokens in a mini-batch (losses/weights.compose).
          key: random key of losses that draw.
          advantage: a row of advantages.ADVANTAGES with its hyper-parameters bound, (reward f32[B], group i32[B]) ->
            f32[B] or f32[B, T]; it gets `mask` where its signature names it. None: the critic's.
          critic: a value model and what makes advantages of its values.
          mesh: over which rows are spread; None: all devices.
          seed: of the order of mini-batches.
          schedule: learning rate by number of updates; only logged.
          updates: mini-batches that a rollout is split into; divides the number of prompts.
          epochs: passes over a rollout.
          microbatches: of a mini-batch; less memory, same result.
          group_size: rows that stay in one micro-batch, as in learner.make_update.
          entropy_coef: controller of the coefficient of the entropy bonus; None: 0.
          kl_coef: controller of the coefficient of the KL to the reference; None: 0.
          kl_estimator: a row of losses/kl.KL.
          kl_place: "loss", or "reward": the KL is subtracted from the rewards.
          reference: whether the state has a reference policy.
          reference_every: steps after which the reference becomes the policy; 0: never.
          importance: a row of losses/importance.IMPORTANCE with its hyper-parameters bound: pi_old is then the
            learner's own, by one more forward pass, and tokens are weighted. None: pi_old is the policy that sampled.
          current_weight: `weight` sees the entropy of the current policy, not of the one that sampled.
          entropy_alpha, entropy_kappa: of advantages.shape_by_entropy; alpha = 0: no shaping.
          entropy_band: controllers of the bounds of advantages.of_one_sign; None: nothing is rejected.
          smoothing: `right` and `wrong` of advantages.differential_smoothing; 0 and 0: none.
          filtered: models/scoring.filtered_scores, for losses that want `filtered_logp`.
          nucleus: coefficient and share of objectives.policy's `nucleus`, anchored at the first rollout; None: none.
          decisions: (tokens, mask) -> bool[B, T], tokens that the task knows to be decisions, or None.
          teacher: for rollouts with teacher_tokens (self-distillation); None: none.
          replay: models/scoring.chosen_experts of the policy: all updates of a step, and what is scored before them,
            use the experts that it chose before them (R2). None: those of the rollout where it has some (R3), else
            those that the router chooses at the time.
          load: of the policy's experts (objectives.Load); None: nothing is done about their load.

        Raises:
          InputError: there is no such estimator or place; neither or both of advantage and critic are given; a
            coefficient of the KL without a reference; a loss that wants a filtered policy where none is given.
        """
        if (advantage is None) == (critic is None):
            raise InputError("a Learner needs either an advantage or a critic: give one of them")
        if kl_place not in ("loss", "reward"):
            raise InputError(f"kl_place={kl_place!r}: give 'loss' or 'reward'")
        if kl_coef and not reference and (kl_coef.init() or kl_coef.step({}, 0.0)[0]):
            raise InputError("kl_coef is of the KL to a reference, and there is none: give reference=True")
        self._kl = lookup(KL, kl_estimator, "KL estimator")
        wanted = inspect.signature(loss).parameters if callable(loss) else ()
        if "filtered_logp" in wanted and filtered is None:
            raise InputError("the loss wants filtered_logp: give filtered=scoring.filtered_scores(model)")
        self._wants = {"old_entropy"} & set(wanted)
        self._filtered = jax.jit(filtered) if "filtered_logp" in wanted else None
        mesh = sharding.make_mesh() if mesh is None else mesh
        none = constant(value=0.0)
        self._controllers = {"entropy": entropy_coef or none, "kl": kl_coef or none}
        if entropy_band:
            self._controllers |= {"entropy_low": entropy_band[0], "entropy_high": entropy_band[1]}
        self.control = {name: controller.init() for name, controller in self._controllers.items()}
        self._critic, self._key, self._seed, self._schedule = critic, key, seed, schedule
        self._updates, self._epochs, self._microbatches = updates, epochs, microbatches
        self._reference, self._reference_every = reference, reference_every
        self._in_reward, self._decisions, self._smoothing = kl_place == "reward", decisions, smoothing
        self._importance = jax.jit(given(importance, "advantage")) if importance else None
        self._statistics = jax.jit(statistics)
        cut = {"microbatches": microbatches, "group_size": group_size}
        self._nucleus_coef, self._nucleus = nucleus or (0.0, None)
        self._nucleus_mean = jax.jit(partial(objectives.nucleus_mean, frac=self._nucleus)) if nucleus else None
        how = {"kl": kl_estimator, "weight": weight if current_weight else None, "nucleus": self._nucleus}
        objective = objectives.policy(score, loss, **how, distillation=teacher and teacher.loss, load=load)
        self._replay = jax.jit(replay) if replay else None
        self._teacher = teacher
        if teacher:
            self._likeliest, self._teaching = jax.jit(teacher.likeliest), jax.jit(teacher.score)
        self._slopes = jax.jit(partial(objectives.slopes, objective))
        self._update = learner.make_update(objective, tx, record=objectives.policy_record, **cut)
        if critic:
            of_critic = objectives.value(critic.score, clip=critic.clip)
            self._update_critic = learner.make_update(of_critic, critic.tx, record=objectives.value_record, **cut)
            self._value = jax.jit(critic.score)
            self._gae = jax.jit(critic.advantage)
        else:
            self._advantage = jax.jit(given(advantage, "mask"))
            self._name = getattr(getattr(advantage, "func", advantage), "__name__", "")
        self._weight = jax.jit(weight)
        self._score = jax.jit(score)
        self._shape = None
        if entropy_alpha:
            self._shape = jax.jit(partial(shape_by_entropy, alpha=entropy_alpha, kappa=entropy_kappa))
        self._record = jax.jit(entropy.record)
        self._place = partial(processes.put_global, sharding=sharding.batch_sharding(mesh))

    def __call__(
        self, state: State, rollout: Rollout, step: int, *, slopes: bool = False
    ) -> tuple[State, list[dict], dict, np.ndarray]:
        """Step number `step`.

        Args:
          state: its policy, critic and optimisers' arrays are donated.
          rollout: of collect.Collector, or rollouts.pack.
          step: counts from 0; the order of mini-batches follows from it.
          slopes: return these in place of the advantages.

        Returns:
          (state after the updates, their metrics, what is logged once a step, advantages f32[B, T]). With `slopes` the
          last are those of objectives.slopes, summed over the updates, as `Change` wants them.
        """
        fields, row = self._scores(state, rollout)
        distance = np.zeros_like(rollout.sampler_logp)
        kl_coef = self._coefficient("kl", row.get("policy/ref_kl_rollout", 0.0))
        if self._reference:
            row["update/kl_coef"] = kl_coef
            if self._in_reward:
                old, ref = rollout.sampler_logp, fields.pop("ref_logp")
                distance = np.where(rollout.mask, self._kl(old, ref), 0.0)
        advantage = self._credit(rollout, fields, kl_coef * distance)
        advantage = (advantage[:, None] if advantage.ndim == 1 else advantage) * rollout.mask
        if self._shape:
            advantage = np.asarray(self._shape(advantage, rollout.entropy))
        decisions = self._decisions and self._decisions(rollout.tokens, rollout.mask)  # None: not known by rule
        # the law's H is that of own samples; refinements have entries of their own
        refined = np.zeros_like(rollout.mask) if rollout.refined is None else rollout.mask & rollout.refined[:, None]
        turns = rollout.mask & ~rollout.on_question()[:, None]
        own = rollout.mask & ~refined & ~turns
        decisions = None if decisions is None else decisions & own
        row |= self._record(rollout.entropy, rollout.sampler_logp, advantage, own, decisions, rollout.group)
        for name, rows in (("refined", refined), ("joint", turns)):
            if rows.any():
                row[f"policy/entropy_{name}"] = masked_mean(rollout.entropy, rows)
        if "entropy_low" in self._controllers:
            advantage = self._within_band(advantage, row, rollout.mask)
        if self._importance:
            seen = fields["old_logp"], rollout.sampler_logp, rollout.mask
            fields["importance"] = np.asarray(self._importance(*seen, advantage))
            row |= self._statistics(fields["importance"], *seen)
        entropy_coef = self._coefficient("entropy", float(row["policy/entropy_sequence"]))
        coefs = {"entropy": jnp.float32(entropy_coef), "kl": jnp.float32(kl_coef)}
        row["update/entropy_coef"] = entropy_coef
        if self._nucleus_mean:
            row["update/nucleus_anchor"] = self._anchor(self._own(state, rollout, fields), rollout)
            coefs |= {"nucleus": jnp.float32(self._nucleus_coef), "anchor": jnp.float32(row["update/nucleus_anchor"])}
        policy, critic, updates, past = state.policy, state.critic, [], remembered(state)
        warmup = self._critic.warmup if self._critic else 0
        warm = step < warmup
        if self._schedule:  # the policy's optimiser counts its own updates
            row["update/learning_rate"] = self._schedule((step - warmup) * self._updates * self._epochs) * (not warm)
        slope = np.zeros_like(advantage)
        split = self._updates > 1 or self._epochs > 1
        for epoch in range(self._epochs):
            rng = partial(np.random.default_rng, (self._seed, step, epoch)) if split else lambda: None
            batches = minibatches(rollout, advantage, self._weight, count=self._updates, rng=rng(), **fields)
            for pick, batch in zip(picks(rollout, count=self._updates, rng=rng()), batches):
                batch = jax.tree.map(self._place, batch)
                metrics = {"update/finite": 1.0, "update/loss": 0.0}
                if slopes and not warm:
                    of_update = jax.random.fold_in(self._key, policy.step)
                    own = self._slopes(batch, self._place(rollout.entropy[pick]), of_update, coefs)
                    slope[pick] += processes.fetch(own)
                if not warm:
                    policy, metrics = self._update(policy, batch, self._key, coefs)
                if self._critic:
                    critic, of_critic = self._update_critic(critic, batch, self._key, coefs)
                    metrics = join(metrics, of_critic)
                updates.append(metrics)
        mean = state.teacher
        if mean is not None and self._teacher.rate:
            mean = moved(mean, policy.params, self._teacher.rate)
        state = State(policy, critic, state.reference, past, mean)
        every = self._reference_every
        if self._reference and every and (step + 1) % every == 0:
            state = state.replace(reference=jax.tree.map(jnp.copy, lora.trainable(policy.params)))
        return state, updates, row, slope if slopes else advantage

    def _scores(self, state: State, rollout: Rollout) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays that the algorithm needs besides the sampler's, and what is logged of them."""
        mask, fields, row = rollout.mask, {}, {}
        if self._replay:
            fields["experts"] = self._each(self._replay, state.policy.params, rollout)["experts"]
        own = self._own(state, rollout, fields)
        if self._importance:
            fields["old_logp"] = own(self._score)["logp"]
        if self._filtered:
            fields |= own(self._filtered)
        if self._wants:
            fields["old_entropy"] = rollout.entropy
        if self._reference:
            reference = {**state.policy.params, **state.reference}
            fields["ref_logp"] = self._each(self._score, reference, rollout)["logp"]
            estimate = KL["k3"](rollout.sampler_logp, fields["ref_logp"])
            row["policy/ref_kl_rollout"] = float(masked_mean(estimate, mask))
        if self._critic:
            fields["value"] = self._each(self._value, state.critic.params, rollout)["value"]
        if self._teacher:
            taught, logged = self._of_teacher(state, rollout)
            fields, row = fields | taught, row | logged
        return fields, row

    def _own(self, state: State, rollout: Rollout, fields: dict) -> Callable[[Score], dict[str, np.ndarray]]:
        """score -> that of the policy before the updates, tokens sent to the experts that the updates send them to."""
        experts = fields.get("experts", rollout.experts)
        more = () if experts is None else (None, experts)
        return lambda score: self._each(score, state.policy.params, rollout, *more)

    def _of_teacher(self, state: State, rollout: Rollout) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the teacher says of the policy's likeliest tokens, and how it differs from it on those sampled."""
        if rollout.teacher_tokens is None:
            raise InputError("self-distillation of a rollout without teacher_tokens: give its Collector a distiller")
        ids = self._each(self._likeliest, state.policy.params, rollout)["ids"]
        seen = rollout.replace(tokens=rollout.teacher_tokens, mask=rollout.teacher_mask)
        scores = self._each(self._teaching, teacher_params(state), seen, ids)
        taught = rollout.teacher_mask.any(axis=1)
        # the same tokens, row by row
        gap = scores["logp"][seen.mask] - rollout.sampler_logp[rollout.mask & taught[:, None]]
        mean = lambda x: float(x.mean()) if x.size else 0.0  # noqa: E731
        fields = {"teacher_ids": ids, "teacher_logp": scores["at"], "taught": taught}
        logged = {"distillation/gap": mean(gap), "distillation/teacher_entropy": mean(scores["entropy"][seen.mask])}
        return fields | {"sampler_logp": rollout.sampler_logp}, logged

    def _each(self, score, params, rollout: Rollout, *more: np.ndarray | None) -> dict[str, np.ndarray]:
        """Scores of all rows, a micro-batch at a time."""
        parts = self._updates * self._microbatches
        rows = [[None] * parts if x is None else np.split(x, parts) for x in (rollout.tokens, rollout.mask, *more)]
        done = [processes.fetch(score(params, *jax.tree.map(self._place, row))) for row in zip(*rows)]
        return {k: np.concatenate([d[k] for d in done]) for k in done[0]}

    def _credit(self, rollout: Rollout, fields: dict, penalty: np.ndarray) -> np.ndarray:
        """Advantages from rewards less a penalty f32[B, T]; a critic's returns are added to `fields`."""
        reward = rollout.reward
        if any(self._smoothing):
            right, wrong = self._smoothing
            smoothed = differential_smoothing(reward, rollout.sampler_logp, rollout.mask, right=right, wrong=wrong)
            reward = np.asarray(smoothed)
        if not self._critic:
            reward = reward - penalty.sum(axis=1)
            check_binary(self._name, reward)
            return np.asarray(self._advantage(reward, rollout.compared(), rollout.mask))
        reward = np.asarray(at_last_token(reward, rollout.mask)) - penalty
        advantage, target = self._gae(reward, fields["value"], rollout.mask)
        fields["target"] = np.asarray(target)
        return np.asarray(advantage)

    def _within_band(self, advantage: np.ndarray, row: dict, mask: np.ndarray) -> np.ndarray:
        """Advantages of one sign where the entropy is outside its band; bounds and share are added to `row`."""
        entropy = float(row["policy/entropy_sequence"])
        low, high = (self._coefficient(name, entropy) for name in ("entropy_low", "entropy_high"))
        advantage, rejected = of_one_sign(advantage, entropy, low, high)
        row |= {"update/entropy_low": low, "update/entropy_high": high, "update/rejected": masked_mean(rejected, mask)}
        return np.asarray(advantage)

    def _anchor(self, own: Callable[[Score], dict[str, np.ndarray]], rollout: Rollout) -> float:
        """The nucleus entropy that updates hold: that of the policy at the first step, on its rollout."""
        if "nucleus" not in self.control:
            nucleus = own(self._score)["nucleus"]
            self.control["nucleus"] = {"anchor": float(self._nucleus_mean(nucleus, rollout.mask)[0])}
        return self.control["nucleus"]["anchor"]

    def _coefficient(self, name: str, observed: float) -> float:
        coefficient, self.control[name] = self._controllers[name].step(self.control[name], observed)
        return coefficient


def join(metrics: dict, of_critic: dict) -> dict:
    """Metrics of an update of the policy and one of the critic; the critic's own update under `critic/`."""
    renamed = {k.replace("update/", "critic/"): v for k, v in of_critic.items()}
    return metrics | renamed | {"update/finite": metrics["update/finite"] * of_critic["update/finite"]}


def given(function: Callable, name: str) -> Callable:
    """A function that takes one more argument, and gives it to `function` as `name` if that has such a parameter."""
    if name in inspect.signature(function).parameters:
        return lambda *args: function(*args[:-1], **{name: args[-1]})
    return lambda *args: function(*args[:-1])
