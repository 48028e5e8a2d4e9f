"""RL with a verifiable reward: sample groups, verify, learn, repeat.

    python -m experiments.train_rl --config=configs/rl/grpo.py --config.init=runs/sft --workdir=runs/grpo

What of the papers' setting it leaves out: no reference policy, no value critic, no filter of groups without variance
(they get zero advantage and stay in the token count). One step, in order: checkpoint, evaluation, rollout, entropy
record (before the update, at temperature 1), updates. Which problems, which noise, which order of mini-batches:
functions of (seed, step), so a killed run that is started again with the same command gives the same rows and
parameters, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import entropy, learner, objectives, sharding
from entropy_rl.advantages import ADVANTAGES
from entropy_rl.alarms import EntropyAlarm
from entropy_rl.checkpoints import Checkpoints
from entropy_rl.errors import InputError
from entropy_rl.logprobs import choice_logits
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS
from entropy_rl.methods import collect
from entropy_rl.metrics import Writer
from entropy_rl.rollouts import minibatches
from entropy_rl.sampling import warp
from experiments import build, checks, launch
from experiments.evaluation import Evaluator
from experiments.progress import progress


def run(config: ConfigDict, workdir: str) -> None:
    """Trains a policy by RL; writes metrics, evaluations, samples and checkpoints to `workdir`.

    Raises:
      InputError: a bad value, a workdir that belongs to another config, or a gradient that is not finite.
    """
    task, model, mesh, tx, schedule, loss, advantage, weight, evaluator = parts(config)
    advantage, weight = jax.jit(advantage), jax.jit(weight)
    r = config.rollout
    key = jax.random.key(config.seed)

    def first_state():
        state = learner.init_state(model, tx, mesh, key)
        if config.init is not None:
            state = learner.with_params(state, build.initial_params(config.init, state))
        return state

    # before there is a workdir: a bad config.init leaves none behind
    state = None if (Path(workdir) / "config.json").exists() else first_state()
    workdir = launch.open_workdir(config, workdir)

    update = learner.make_update(
        objectives.policy(model.apply, loss, temperature=r.temperature),
        tx,
        microbatches=config.microbatches,
        record=objectives.policy_record,
    )
    coefs = {"entropy": jnp.float32(config.entropy_coef)}
    place = partial(jax.device_put, device=sharding.rows(mesh))
    record = jax.jit(entropy.record)
    logits_at = jax.jit(lambda params, tokens: choice_logits(model.apply(params, tokens)[0]))
    measure_change = jax.jit(entropy.measured_change)
    length = task.prompt_length + task.response_length
    sampling = {
        "samples": r.samples,
        "slots": r.slots,
        "max_new": task.response_length,
        "prompt_length": task.prompt_length,
        "warp": partial(warp.temperature, value=r.temperature),
        "sharding": sharding.rows(mesh),
    }

    with Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
        restored = checkpoints.restore_latest(learner.abstract_state(model, tx, mesh))
        if restored:
            start, state, meta = restored
            alarm = EntropyAlarm(**meta["alarm"])
        else:
            start, state = 0, state or first_state()
            alarm = EntropyAlarm(**config.alarm)
        if start == config.steps:
            return

        def save(step):
            writer.flush()
            checkpoints.save(step, state, {"alarm": dataclasses.asdict(alarm)})

        def finish(step, row, updates):
            """Writes the row of an update once its numbers are there; stops the run if they are not finite."""
            updates = jax.device_get(updates)
            row = {k: float(v) for k, v in jax.device_get(row).items()}
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
                print(message, flush=True)

        with Writer.resume(workdir, start) as writer, progress(config.steps, start, "RL") as bar:
            pending = None
            for step in range(start, config.steps):
                at_checkpoint = step > start and step % config.checkpoint.every == 0
                at_eval = step % config.eval.every == 0
                if pending and (at_checkpoint or at_eval):
                    pending = finish(*pending)
                if at_checkpoint:
                    save(step)
                if at_eval:
                    evaluator(writer, step, state.params)

                clock = time.perf_counter()
                problems = [task[(step * r.prompts + i) % len(task)] for i in range(r.prompts)]
                groups = collect.attempt(
                    model, state.params, task, problems, jax.random.fold_in(key, step), **sampling
                )
                rollout = collect.to_rollout(groups, length=length, pad_id=task.tokenizer.pad_id)
                if pending:  # sampling waited for that update, so its numbers cost nothing now
                    pending = finish(*pending)
                sampled = time.perf_counter()
                per_row = np.asarray(advantage(rollout.reward, rollout.group))
                decisions = task.decisions(rollout.tokens, rollout.mask)
                row = record(
                    rollout.entropy, rollout.sampler_logp, per_row[:, None] * rollout.mask, rollout.mask, decisions
                )
                row |= collect.summary(task, groups)
                if at_eval:
                    writer.samples(step, texts(groups, config.samples))

                at_change = config.change.every and step % config.change.every == 0
                if at_change:
                    some = slice(0, config.change.rows)
                    before = logits_at(state.params, rollout.tokens[some])
                updates = []
                for epoch in range(config.epochs):
                    split = config.updates > 1 or config.epochs > 1
                    rng = np.random.default_rng((config.seed, step, epoch)) if split else None
                    for batch in minibatches(rollout, per_row, weight, count=config.updates, rng=rng):
                        batch = jax.tree.map(place, batch)
                        state, metrics = update(state, batch, key, coefs)
                        updates.append(metrics)
                if at_change:
                    after = logits_at(state.params, rollout.tokens[some])
                    row |= measure_change(before, after, rollout.mask[some])
                row |= {
                    "update/learning_rate": schedule(step * config.updates * config.epochs),
                    "time/rollout": sampled - clock,
                    "time/learn": time.perf_counter() - sampled,
                }
                pending = step, row, updates
            finish(*pending)
            evaluator(writer, config.steps, state.params)
            save(config.steps)


def parts(config: ConfigDict) -> tuple:
    """Task, model, mesh, optimiser, schedule, loss, advantage, weight, evaluator: here a bad value is an InputError."""
    check(config)
    r = config.rollout
    task = build.task(config, split="train")
    model = build.model(config, task.tokenizer.vocab_size)
    mesh = build.mesh(config)
    rows = r.prompts // config.updates * r.samples
    checks.rows(mesh, "the responses of a mini-batch (rollout.prompts / updates * rollout.samples)", rows)
    slots = min(r.slots, r.prompts * r.samples)
    checks.rows(mesh, "the slots (rollout.slots, or rollout.prompts * samples)", slots)
    tx, schedule = build.optimizer(config, config.steps * config.updates * config.epochs)
    mask = np.array([[False, True, True], [False, False, False]])  # tried on: two responses, one of them empty
    x, group = np.zeros(mask.shape, np.float32), np.zeros(len(mask), np.int32)
    loss = build.bind(POLICY_LOSSES, config.loss, "policy loss", x, x, x, mask, key=jax.random.key(0))
    advantage = build.bind(ADVANTAGES, config.advantage, "advantage", x[:, 0], group)
    weight = build.bind(WEIGHTS, config.weight, "weight", mask)
    return task, model, mesh, tx, schedule, loss, advantage, weight, Evaluator(config, model, mesh)


def check(config: ConfigDict) -> None:
    """InputError for values that would fail late or mean nothing."""
    checks.positive(
        config,
        *("steps", "updates", "epochs", "microbatches", "checkpoint.every", "checkpoint.keep", "eval.every"),
        *("rollout.prompts", "rollout.samples", "rollout.slots", "rollout.temperature", "change.rows"),
    )
    checks.seed(config)
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "change.every", "samples")
    checks.require(config, "a finite number", lambda x: True, "entropy_coef")
    checks.require(config, "a share of the first entropy, from 0 to below 1", lambda x: 0 <= x < 1, "alarm.collapse")
    checks.require(config, "a multiple of the first entropy, above 1", lambda x: x > 1, "alarm.explosion")
    prompts, samples = config.rollout.prompts, config.rollout.samples
    if prompts % config.updates:
        raise InputError(f"config.updates={config.updates} does not divide rollout.prompts={prompts}: choose a divisor")
    if (prompts // config.updates * samples) % config.microbatches:
        raise InputError(
            f"config.microbatches={config.microbatches} does not divide the {prompts // config.updates * samples} "
            "responses of a mini-batch (rollout.prompts / updates * rollout.samples): choose a divisor"
        )


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
    launch.main(run)
