"""The sampling half of an RL step: problems, responses, rewards."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.order import problem_at
from entropy_rl.sampling import warp
from entropy_rl.training import collect
from entropy_rl.training.rollouts import Rollout
from experiments.rl import parts


class Collector:
    """Step -> rollout: problems, responses and rewards, pure in (seed, step)."""

    def __init__(self, config: ConfigDict, p: parts.Parts, key: jax.Array):
        self._r, self._p, self._key, self._rounds = config.rollout, p, key, config.filter_rounds
        self._until, self._seed = config.critique.until, config.seed
        self._sampling = {
            "samples": self._r.samples,
            "slots": self._r.slots,
            "max_new": p.task.response_length,
            "prompt_length": p.task.prompt_length,
            "warp": partial(warp.temperature, value=self._r.temperature),
            "mesh": p.mesh,
        }

    def __call__(self, params: Any, step: int) -> tuple[Rollout, list[collect.Group], dict[str, float]]:
        """(rollout, its groups, what is logged of all groups that were sampled)."""
        r, task, rounds = self._r, self._p.task, self._rounds
        key = jax.random.fold_in(self._key, step)

        def sample(number):
            first = (step * max(rounds, 1) + number) * r.prompts
            problems = [problem_at(task, self._seed, first + i) for i in range(r.prompts)]
            noise = jax.random.fold_in(key, number) if number else key
            return collect.attempt(self._p.model, params, task, problems, noise, **self._sampling)

        row = {}
        if rounds:
            groups, sampled = collect.informative(sample, count=r.prompts, rounds=rounds)
            row["rollout/groups_sampled"] = float(len(sampled))
        else:
            groups = sampled = sample(0)
        row["rollout/tokens"] = float(sum(len(c.tokens) for g in sampled for c in g.completions))
        if self._p.refiner and not 0 < self._until <= step:
            rng = np.random.default_rng((self._seed, step, 1))
            # 1 << 30: apart from the rounds of dynamic sampling
            groups, refined = self._p.refiner(params, groups, rng, jax.random.fold_in(key, 1 << 30))
            row |= refined
        rewards = None
        if self._p.diversity:
            rewards, measured = self._p.diversity(groups)
            row |= measured
        rollout = collect.to_rollout(
            groups,
            length=task.prompt_length + task.response_length,
            pad_id=task.tokenizer.pad_id,
            penalty=self._p.penalty,
            rewards=rewards,
        )
        return rollout, groups, row | collect.summary(task, sampled)


def texts(groups: list[collect.Group], count: int) -> list[dict]:
    """A few responses as rows of samples.jsonl: the first of each of the first groups."""
    return [
        {
            "prompt": g.problem.prompt,
            "response": g.texts[0],
            "reward": g.rewards[0],
            "entropy": float(g.completions[0].entropy.mean()),
        }
        for g in groups[:count]
    ]
