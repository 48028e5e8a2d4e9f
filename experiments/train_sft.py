"""Supervised fine-tuning on demonstrations made on the fly, or on lessons from a critique dataset.

    python -m experiments.train_sft --config=configs/sft/countdown.py --workdir=runs/sft
    python -m experiments.train_sft --config=configs/sft/critique_model.py --config.init=runs/sft \
        --config.lessons.path=runs/said --workdir=runs/critique

Which demonstrations, which noise: functions of (seed, step), so a checkpoint is arrays and a step number, and a killed
run that is started again with the same command gives the same parameters and the same rows, bit for bit on a CPU.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.losses.weights import token_mean
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel import processes, sharding
from entropy_rl.training import learner, objectives
from entropy_rl.training.loop import loop
from entropy_rl.training.rollouts import Batch
from experiments.lib import build, checks, launch, policies, workdirs
from experiments.lib.evaluation import Evaluator, greedy
from experiments.lib.policies import first_policy
from experiments.lib.progress import progress
from experiments.rl import critique


def run(config: ConfigDict, workdir: str) -> None:
    """Trains a policy by imitation; writes metrics, evaluations and checkpoints to `workdir`.

    Raises:
      InputError: a bad value, or a workdir that belongs to another config.
    """
    begins = not processes.broadcast((Path(workdir) / "config.json").exists())
    lessons, model, mesh, tx, schedule, evaluator = parts(config)
    adaptation = build.adaptation(config, model)
    abstract = learner.abstract_state(model, tx, mesh, adaptation.adapt)
    checks.state_fits(mesh, abstract)
    base = policies.Base(config, model, mesh)
    workdir = workdirs.open_workdir(config, workdir, knobs=workdirs.KNOBS)
    for line in greedy(config) if begins else ():
        processes.log(line)

    update = learner.make_update(
        objectives.nll(adaptation.over(token_scores(model, mesh=mesh)), load=build.load(config, model)),
        tx,
        microbatches=build.microbatches(mesh, config.batch, config.microbatches),
        record=objectives.nll_record,
    )
    weight = jax.jit(token_mean)
    place = partial(processes.put_global, sharding=sharding.batch_sharding(mesh))
    key = jax.random.key(config.seed)

    clock = None

    def collect(writer, step, state):
        nonlocal clock
        clock = clock or time.perf_counter()
        tokens, mask = lessons.demonstrations(config.seed, step, config.batch)
        return jax.tree.map(place, Batch(tokens=tokens, mask=mask, weight=weight(mask)))

    def learn(writer, step, state, batch):
        nonlocal clock
        state, row = update(state, batch, key, {})
        if (step + 1) % config.log_every and step + 1 < config.steps:
            return state, row  # only dispatched: the next batch is made meanwhile
        row = jax.block_until_ready(row)
        seconds, clock = time.perf_counter() - clock, time.perf_counter()
        row |= build.left_out(lessons, taught=True)
        return state, row | {"update/learning_rate": float(schedule(step)), "time/log_interval": seconds}

    def evaluate(writer, step, state, last):
        policy = adaptation.view(state.params)
        evaluator(writer, step, policy)
        if last:
            evaluator.last(writer, step, policy)

    loop(
        workdir,
        learn,
        collect=collect,
        evaluate=evaluate,
        **policies.lean(base, abstract),
        first=lambda: first_policy(config, model, tx, mesh),
        **workdirs.pace(config, workdir),
        wanting=partial(evaluator.lacks_last, workdir),
        progress=partial(progress, desc="imitation"),
        shown={"nll": "sft/nll", "entropy": "policy/entropy"},
    )


def parts(config: ConfigDict) -> tuple:
    """What is taught, model, mesh, optimiser, schedule, evaluator: here a bad value is an InputError."""
    checks.positive(config, "steps", "batch", "log_every")
    checks.not_negative(config, "microbatches")
    checks.positive(config, "checkpoint.every", "checkpoint.keep", "eval.every")
    checks.seed(config)
    if config.microbatches and config.batch % config.microbatches:
        raise InputError(
            f"config.microbatches={config.microbatches} does not divide batch={config.batch}: choose a divisor"
        )
    task = build.task(config)
    model = build.trained_model(config, task.tokenizer.vocab_size)
    mesh = build.mesh(config)
    checks.rows(mesh, "the demonstrations of a step (batch)", config.batch)
    build.microbatches(mesh, config.batch, config.microbatches)
    tx, schedule = build.optimizer(config, config.steps)
    if "lessons" in config:
        task = critique.make_lessons(config, task)
    build.say_untaught(task)
    build.load(config, model)
    return task, model, mesh, tx, schedule, Evaluator(config, model, mesh)


if __name__ == "__main__":
    launch.main(run, distributed=True)
