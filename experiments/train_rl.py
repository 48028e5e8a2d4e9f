"""RL with a verifiable reward: sample groups, verify, learn, repeat.

    python -m experiments.train_rl --config=configs/rl/grpo.py --config.init=runs/sft --workdir=runs/grpo

One step, in order: checkpoint, evaluation, rollout (with dynamic sampling until enough groups have rewards that
differ), critiques and refinements (Critique-GRPO), diversity (DARLING), scores that the algorithm needs (reference,
critic, the learner's own log-probabilities), advantages, entropy record (of own samples, before the update, at
temperature 1), coefficients, updates. Which problems, which noise, which order of mini-batches: functions of (seed,
step), so a killed run that is started again with the same command gives the same rows and parameters, bit for bit on a
CPU. Rollouts that go on while the learner learns are played by `rollout.lag`: a policy of so many steps ago samples.

On several hosts it is the same command on each, with --distributed: docs/large_runs.md.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from entropy_rl.entropy.controllers import EntropyAlarm
from entropy_rl.parallel import processes
from entropy_rl.streams import stream
from entropy_rl.training.change import Change
from entropy_rl.training.collect import Collector, texts
from entropy_rl.training.loop import REMEDY, loop
from entropy_rl.training.state import loaded, sampling_params, saved
from entropy_rl.training.step import Learner
from experiments.lib import checks, launch, policies, workdirs
from experiments.lib.build import left_out
from experiments.lib.progress import progress
from experiments.rl import parts, settings

# what may change on the way
KNOBS = (
    *(*workdirs.KNOBS, "samples", "change", "alarm", "reward_model.microbatches"),
    # of the server of critiques all but its model
    *("critique.api.url", "critique.api.key_from", "critique.api.concurrency", "critique.api.timeout"),
    *("critique.api.retries", "critique.api.backoff", "critique.api.max_calls", "critique.api.max_tokens"),
    "critique.api.on_failure",
)


def run(config: ConfigDict, workdir: str, collector: Callable[..., Any] | None = None) -> None:
    """Trains a policy by RL; writes metrics, evaluations, samples and checkpoints to `workdir`.

    Args:
      config, workdir: of the run.
      collector: (parts, key) -> who samples and rewards, called as a Collector is; None: a Collector, whose rewards
        are the task's.

    Raises:
      InputError: a bad value, a state that a device has no memory for, a workdir that belongs to another config, a
        gradient that is not finite, or too few groups whose rewards differ.
    """
    p = parts.make(config, workdir)
    abstract, *copy = parts.held(config, p)
    checks.state_fits(p.mesh, abstract, *copy)
    # before there is a workdir: a bad config.init leaves none behind
    made = [] if processes.broadcast((Path(workdir) / "config.json").exists()) else [parts.first(config, p)]
    workdir = workdirs.open_workdir(config, workdir, knobs=KNOBS)
    key = jax.random.key(config.seed)
    noise = stream(key, "rollout")
    collect_step = collector(p, noise) if collector else Collector(**p.sampling, key=noise)
    learn_step = Learner(**p.learning, key=stream(key, "update"))
    part = config.rollout.prompts * config.rollout.samples // config.updates // p.learning["microbatches"]
    measure_change = Change(p.model, rows=config.change.rows, at_once=part, mesh=p.mesh)
    view = p.adaptation.view
    base = policies.Base(config, p.model, p.mesh, heat=config.init_temperature)
    alarm, learning = EntropyAlarm(**config.alarm), settings.alarm(config)
    for line in settings.odd(config, p.task.response_length) if made else ():  # when it starts, not when it goes on
        processes.log(line)

    def pack(state):
        meta = {"alarm": dataclasses.asdict(alarm), "learning": learning.state, "control": learn_step.control}
        meta |= base.meta(state.policy.params)
        return saved(state), meta | {"places": getattr(collect_step, "places", {})}

    def unpack(tree, meta):
        nonlocal alarm
        alarm = EntropyAlarm(**meta["alarm"])
        learning.state = meta.get("learning", learning.state)
        learn_step.control = meta.get("control", learn_step.control)
        collect_step.places = {int(step): place for step, place in meta.get("places", {}).items()}
        return loaded(tree, partial(base.params, meta))

    def evaluate(writer, step, state, last):
        policy = p.gathered(view(state.policy.params))
        p.evaluator(writer, step, policy)
        if last:
            p.evaluator.last(writer, step, policy)

    def collect(writer, step, state):
        began = time.perf_counter()
        rollout, groups, row = collect_step(p.seen(sampling_params(state)), step)
        row |= {"time/rollout": time.perf_counter() - began} | left_out(p.task)
        if step % config.eval.every == 0:
            writer.samples(step, texts(groups, config.samples))
        before = None
        if config.change.every and step % config.change.every == 0:
            clock = time.perf_counter()
            before = jax.block_until_ready(measure_change.before(view(state.policy.params), rollout))
            row["time/change"] = time.perf_counter() - clock
        return began, rollout, row, before

    def learn(writer, step, state, data):
        clock, (began, rollout, row, before) = time.perf_counter(), data
        # what it gives is only dispatched: without the wait the next rollout would be charged for the update
        done = jax.block_until_ready(learn_step(state, rollout, step, slopes=before is not None))
        row["time/learn"] = time.perf_counter() - clock
        state, updates, learned, slopes = done
        row |= learned
        if before is not None:
            clock = time.perf_counter()
            row |= jax.block_until_ready(measure_change(before, view(state.policy.params), rollout, slopes))
            row["time/change"] += time.perf_counter() - clock
        row |= {k: [u[k] for u in updates] for k in updates[0]}
        return state, row | {"time/step": time.perf_counter() - began}

    def observe(step, row):
        if message := alarm.observe(step, row["policy/entropy_sequence"], row["rollout/reward"]):
            processes.log(message)
        if message := learning.observe(step, row):
            processes.log(message)

    loop(
        workdir,
        learn,
        collect=collect,
        evaluate=evaluate,
        observe=observe,
        pack=pack,
        unpack=unpack,
        abstract=saved(abstract),
        before=saved(abstract, base=True),
        first=lambda: made.pop() if made else parts.first(config, p),
        **workdirs.pace(config, workdir),
        wanting=partial(p.evaluator.lacks_last, workdir),
        single_update=config.updates * config.epochs == 1,
        remedy=f"the last checkpoint in {workdir} is good; {REMEDY} or check the rewards",
        progress=partial(progress, desc="RL"),
        shown={"entropy": "policy/entropy_sequence", "reward": "rollout/reward"},
    )


if __name__ == "__main__":
    launch.main(run, distributed=True)
