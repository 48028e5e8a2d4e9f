"""RL with a verifiable reward: sample groups, verify, learn, repeat.

    python -m experiments.train_rl --config=configs/rl/grpo.py --config.init=runs/sft --workdir=runs/grpo

One step, in order: checkpoint, evaluation, rollout (with dynamic sampling until enough groups have rewards that
differ), critiques and refinements (Critique-GRPO), diversity (DARLING), scores that the algorithm needs (reference,
critic, the learner's own log-probabilities), advantages, entropy record (of own samples, before the update, at
temperature 1), coefficients, updates. Which problems, which noise, which order of mini-batches: functions of (seed,
step), so a killed run that is started again with the same command gives the same rows and parameters, bit for bit on a
CPU. What of the papers' setting it leaves out: rollouts that go on while the learner learns.

On several hosts it is the same command on each, with --distributed: launching.md.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.alarms import EntropyAlarm
from entropy_rl.data.order import problem_at
from entropy_rl.errors import InputError
from entropy_rl.metrics import Writer
from entropy_rl.parallel import processes
from entropy_rl.sampling import warp
from entropy_rl.training import collect
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.rollouts import Rollout
from experiments.lib import launch
from experiments.lib.progress import progress
from experiments.rl import parts, states
from experiments.rl.learn import Change, Learner


def run(config: ConfigDict, workdir: str, collector: Callable[..., Any] | None = None) -> None:
    """Trains a policy by RL; writes metrics, evaluations, samples and checkpoints to `workdir`.

    Args:
      config, workdir: of the run.
      collector: who samples and rewards, made and called as Collector is; None: Collector, whose rewards are the
        task's.

    Raises:
      InputError: a bad value, a workdir that belongs to another config, a gradient that is not finite, or too few
        groups whose rewards differ.
    """
    p = parts.make(config)
    # before there is a workdir: a bad config.init leaves none behind
    state = None if processes.agree((Path(workdir) / "config.json").exists()) else states.first(config, p)
    workdir = launch.open_workdir(config, workdir)
    key = jax.random.key(config.seed)
    collect_step, learn = (collector or Collector)(config, p, key), Learner(config, p, key)
    measure_change, view = Change(config, p), p.adaptation.view

    with Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
        restored = checkpoints.restore_latest(states.saved(states.abstract(p)))
        if restored:
            start, state, meta = restored
            state = states.loaded(state)
            alarm = EntropyAlarm(**meta["alarm"])
            learn.control = meta.get("control", learn.control)
        else:
            start, state = 0, state or states.first(config, p)
            alarm = EntropyAlarm(**config.alarm)
        if start == config.steps:
            return

        def save(step):
            writer.flush()
            checkpoints.save(step, states.saved(state), {"alarm": dataclasses.asdict(alarm), "control": learn.control})

        def finish(step, row, updates):
            """Writes the row of an update once its numbers are there; stops the run if they are not finite."""
            updates = processes.fetch(updates)
            row = {k: float(v) for k, v in processes.fetch(row).items()}
            row |= {k: float(np.mean([u[k] for u in updates])) for k in updates[0]}
            if row["update/finite"] < 1:
                if config.updates * config.epochs == 1:
                    save(step)  # the update was not applied: this is the state before it
                raise InputError(
                    f"loss or gradient is not finite at step {step} (loss {row['update/loss']}): the last checkpoint "
                    f"in {workdir} is good; lower optimizer.learning_rate or check the rewards, in a new workdir"
                )
            writer.scalars(step, row)
            bar.note({"entropy": row["policy/entropy_sequence"], "reward": row["rollout/reward"]})
            bar.update()
            if message := alarm.observe(step, row["policy/entropy_sequence"], row["rollout/reward"]):
                processes.say(message)

        with Writer.resume(workdir, start) as writer, progress(config.steps, start, "RL") as bar:
            pending = None
            for step in range(start, config.steps):
                at_checkpoint = step > start and step % config.checkpoint.every == 0
                at_eval = step % config.eval.every == 0
                if pending and (at_checkpoint or at_eval):
                    pending = finish(*pending)
                if at_checkpoint:
                    save(step)
                policy = view(state.policy.params)
                if at_eval:
                    p.evaluator(writer, step, policy)

                clock = time.perf_counter()
                try:
                    rollout, groups, row = collect_step(policy, step)
                except InputError:
                    pending = finish(*pending) if pending else None
                    save(step)
                    raise
                if pending:  # sampling waited for that update, so its numbers cost nothing now
                    pending = finish(*pending)
                if at_eval:
                    writer.samples(step, texts(groups, config.samples))
                sampled = time.perf_counter()
                measure = config.change.every and step % config.change.every == 0
                before = measure_change.before(policy, rollout) if measure else None
                del policy
                state, updates, learned, advantage = learn(state, rollout, step)
                row |= learned
                if measure:
                    row |= measure_change(before, view(state.policy.params), rollout, advantage)
                row |= {"time/rollout": sampled - clock, "time/learn": time.perf_counter() - sampled}
                pending = step, row, updates
            finish(*pending)
            policy = view(state.policy.params)
            p.evaluator(writer, config.steps, policy)
            p.evaluator.last(writer, config.steps, policy)
            save(config.steps)


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


if __name__ == "__main__":
    launch.main(run, distributed=True)
