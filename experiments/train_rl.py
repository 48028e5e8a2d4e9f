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
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.entropy.controllers import EntropyAlarm
from entropy_rl.errors import InputError
from entropy_rl.metrics import Writer
from entropy_rl.parallel import processes
from entropy_rl.training.checkpoints import Checkpoints
from experiments.lib import launch
from experiments.lib.progress import progress
from experiments.rl import parts, states
from experiments.rl.collector import Collector, texts
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
    state = None if processes.broadcast((Path(workdir) / "config.json").exists()) else states.first(config, p)
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
                processes.log(message)

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


if __name__ == "__main__":
    launch.main(run, distributed=True)
