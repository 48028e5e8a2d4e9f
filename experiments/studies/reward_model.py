"""A reward model that learns preference pairs by confidence, and the rewards that train_rl gets of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.order import problem_at
from entropy_rl.errors import InputError
from entropy_rl.losses.preference import PREFERENCE_LOSSES
from entropy_rl.models.scoring import last_values
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes, sharding
from entropy_rl.sampling.engine import generate
from entropy_rl.training import collect, learner, objectives
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.loop import averaged, taught
from entropy_rl.training.rollouts import Batch, Rollout
from experiments.lib import build, checks
from experiments.lib.policies import first_policy
from experiments.rl import parts
from experiments.studies.pairs import Rows, batches, pair_weight, preferences, questions


def check(config: ConfigDict) -> None:
    """InputError for values of `config.reward_model` that would fail late."""
    checks.positive(config, "reward_model.updates", "reward_model.batch")
    checks.not_negative(config, "reward_model.microbatches")
    checks.require(
        config, "a share of the questions, above 0 and below 1", lambda x: 0 < x < 1, "reward_model.held_out"
    )
    mesh, c = build.mesh(config), config.reward_model
    checks.rows(mesh, "the pairs of an update (reward_model.batch)", c.batch)
    build.microbatches(mesh, c.batch, c.microbatches, "reward_model.microbatches")


class Judge(collect.Collector):
    """Step -> rollout, with rewards of a model that it trains when it is made, or finds."""

    def __init__(self, workdir: Path, config: ConfigDict, p: parts.Parts, key: jax.Array):
        super().__init__(**p.sampling, key=key)
        self._config, self._p = config, p
        self._model = Transformer(dataclasses.replace(p.model.config, head="value"))
        score = last_values(self._model)
        self._reward = jax.jit(lambda *args: score(*args)["reward"].sum(axis=1))
        self._params = self._made(workdir, score)

    def __call__(self, params: Any, step: int) -> tuple[Rollout, list[collect.Group], dict[str, float]]:
        """(rollout, its groups, what is logged); rollout/reward is the reward model's."""
        c, p, tokenizer = self._config, self._p, self._p.task.tokenizer
        # after the questions that the reward model was taught with
        first = c.questions + step * c.rollout.prompts
        problems = [problem_at(p.task, c.seed, first + i) for i in range(c.rollout.prompts)]
        prompts = [tokenizer.encode(q.prompt) for q in problems]
        key = jax.random.fold_in(self._key, step)
        made = generate(p.sampling["model"], params, prompts, key, eos=tokenizer.eos_ids, **self._sampling)
        texts = [[tokenizer.decode(x.tokens) for x in group] for group in made]
        groups = [collect.Group(*of, [0.0] * c.rollout.samples) for of in zip(problems, prompts, made, texts)]
        length = p.task.prompt_length + p.task.response_length
        rollout = collect.to_rollout(groups, length=length, pad_id=tokenizer.pad_id)
        reward = processes.fetch(self._reward(self._params, rollout.tokens, rollout.mask))
        groups = [
            dataclasses.replace(g, rewards=own.tolist()) for g, own in zip(groups, reward.reshape(len(groups), -1))
        ]
        tokens = float(sum(len(x.tokens) for group in made for x in group))
        row = {"rollout/tokens": tokens} | collect.summary(p.task, groups)
        return rollout.replace(reward=np.asarray(reward, np.float32)), groups, row

    def _made(self, workdir: Path, score: Callable) -> Any:
        """Parameters of the reward model."""
        config, p, c = self._config, self._p, self._config.reward_model
        tx, _ = build.optimizer(config, c.updates, "reward_model.optimizer")
        policy = p.adaptation.merged(first_policy(config, p.model, p.tx, p.mesh).params)
        state = learner.init_state(self._model, tx, p.mesh, jax.random.key(config.seed))
        trunk = {k: v for k, v in policy["params"].items() if k != "lm_head"}
        state = learner.with_params(state, {"params": state.params["params"] | trunk})
        with Checkpoints(workdir / "reward_model", keep=1) as checkpoints:
            if restored := checkpoints.restore_latest(learner.abstract_state(self._model, tx, p.mesh)):
                return restored[1].params
            prompts, branches = questions(config, p.task, p.model, p.mesh, policy, 0)
            cut = max(1, round((1 - c.held_out) * len(prompts)))
            train, row = preferences(config, p.task, prompts[:cut], branches[:cut])
            held, _ = preferences(config, p.task, prompts[cut:], branches[cut:])
            if not len(train["margin"]):
                raise InputError(
                    f"no branch is as sure as branches.threshold={config.branches.threshold}, so there is no pair for "
                    "a reward model: lower it, or raise questions"
                )
            loss = build.bind(PREFERENCE_LOSSES, c.loss, "preference loss", *np.zeros((3, 2), np.float32))
            objective = objectives.preference(score, loss, "reward")
            microbatches = build.microbatches(p.mesh, c.batch, c.microbatches, "reward_model.microbatches")
            how = {"microbatches": microbatches, "group_size": 2, "record": objectives.preference_record}
            update = learner.make_update(objective, tx, **how)
            place = partial(processes.put_global, sharding=sharding.batch_sharding(p.mesh))
            lessons = (
                jax.tree.map(place, Batch(**some, weight=pair_weight(some["mask"])))
                for some in batches(train, c.updates, c.batch, np.random.default_rng((config.seed, 1)))
            )
            how = {"where": "in the reward model", "remedy": "lower reward_model.optimizer.learning_rate"}
            state, logged = taught(update, state, lessons, jax.random.key(config.seed), **how)
            last = {f"last/{k}": v for k, v in averaged(logged[-max(1, len(logged) // 10) :]).items()}
            about = row | last | self._held_out(state.params, held)
            (workdir / "reward_model.json").write_text(json.dumps(about, indent=1) + "\n")
            print(f"reward model: {row['pairs/count']:.0f} pairs, held-out accuracy {about['held_out/accuracy']:.3f}")
            checkpoints.save(c.updates, state, {})
        return state.params

    def _held_out(self, params: Any, rows: Rows) -> dict[str, float]:
        """Share of the held-out pairs that the reward model orders as confidence does; NaN without any."""
        parts_ = [slice(i, i + 256) for i in range(0, len(rows["margin"]), 256)]
        reward = [np.asarray(self._reward(params, rows["tokens"][s], rows["mask"][s])) for s in parts_]
        if not reward:
            return {"held_out/pairs": 0.0, "held_out/accuracy": float("nan")}
        r = np.concatenate(reward)
        return {"held_out/pairs": float(len(r) // 2), "held_out/accuracy": float(np.mean(r[0::2] > r[1::2]))}
