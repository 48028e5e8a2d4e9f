"""RL from self-feedback (RLSF, arXiv:2507.21931): the policy's confidence in its answers is the only reward.

    python -m experiments.self_feedback --config=configs/rlsf.py --config.init=runs/sft --workdir=runs/dpo
    python -m experiments.self_feedback --config=configs/rlsf.py:reward_model --config.init=runs/sft --workdir=runs/rm

Questions of the training split are answered by CoT-decoding (methods/cot_decoding.py), and a question's branches become
preference pairs (methods/self_feedback.py). Two arms learn from them:

    dpo           rounds: the policy of the round before branches on new questions, and is taught the pairs by DPO, with
                  itself before the round as the reference.
    reward_model  the starting policy branches once, a copy of it with a value head learns the pairs (Bradley-Terry),
                  and train_rl runs with that model's reward, read at the response's last token, in place of the task's.
                  The configuration is PPO with a critic and a KL to the start; any recipe of configs/rl would do.

No answer is verified in training and no reference answer is read: only the held-out evaluations know what is right. A
Countdown prompt states its target, which is the question; that a response reaches it is checked nowhere here.

Writes what train_rl writes; in the arm dpo a step is a round. The reward model's numbers are in reward_model.json. A
killed run goes on: dpo from its last round, reward_model from its last checkpoint, with the reward model that was made.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import learner, objectives, processes, sharding
from entropy_rl.checkpoints import Checkpoints
from entropy_rl.data.order import problem_at
from entropy_rl.errors import InputError
from entropy_rl.losses.preference import PREFERENCE_LOSSES
from entropy_rl.methods import collect, self_feedback
from entropy_rl.methods.cot_decoding import SPANS, Branch, branch
from entropy_rl.metrics import Writer
from entropy_rl.models.scoring import last_values, token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.rollouts import Batch, Rollout
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import generate
from entropy_rl.tasks.base import Task
from experiments import build, checks, launch, parts, train_rl
from experiments.evaluation import BATCH, Evaluator

ARMS = ("dpo", "reward_model")
Rows = dict[str, np.ndarray]


def run(config: ConfigDict, workdir: str) -> None:
    """Trains in the arm `config.arm`.

    Raises:
      InputError: a bad value, a start that is not there, a workdir of another config, or no pair to learn from.
    """
    checks.one_of(config, "arm", ARMS)
    checks.positive(config, "questions", "branches.k")
    checks.require(config, "a number from 0 to 1", lambda x: 0 <= x <= 1, "branches.threshold")
    checks.one_of(config, "branches.span", SPANS)
    if config.arm == "dpo":
        by_preference(config, workdir)
    else:
        check_reward_model(config)
        train_rl.run(config, workdir, partial(Judge, Path(workdir)))


def by_preference(config: ConfigDict, workdir: str) -> None:
    """Rounds of branching and DPO."""
    loop = Preference(config)
    folder = launch.open_workdir(config, workdir)
    with Checkpoints(folder / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
        restored = checkpoints.restore_latest(loop.abstract)
        done, state, _ = restored or (-1, None, {})  # checkpoint t: round t is done; 0 is the start
        if done == config.rounds:
            return
        with Writer.resume(folder, done + 1) as writer:
            for number in range(done + 1, config.rounds + 1):
                state = loop.round(number, state, writer)
                if number == config.rounds:
                    loop.evaluator.last(writer, number, state.params)
                writer.flush()
                checkpoints.save(number, state, {})


def questions(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, params: Any, first: int
) -> tuple[list[list[int]], list[list[Branch]]]:
    """(prompts, branches) of `config.questions` training problems from place `first` of the run's order on."""
    c, prompts, out = config, [], []
    for start in range(0, c.questions, BATCH):
        some = [problem_at(task, c.seed, first + i) for i in range(start, min(start + BATCH, c.questions))]
        prompts += [task.tokenizer.encode(p.prompt) for p in some]
        out += branch(
            *(model, params, task, some),
            k=c.branches.k,
            span=c.branches.span,
            max_new=task.response_length,
            prompt_length=task.prompt_length,
            slots=min(c.rollout.slots, len(some) * c.branches.k),
            mesh=mesh,
        )
    return prompts, out


def preferences(config: ConfigDict, task: Task, prompts: list, branches: list) -> tuple[Rows, dict[str, float]]:
    """Rows of all pairs, and what is logged of them and of the branches."""
    sure = [[b.confidence for b in group] for group in branches]
    chosen = [self_feedback.pairs(own, config.branches.threshold) for own in sure]
    length = task.prompt_length + task.response_length
    rows = self_feedback.to_rows(prompts, branches, chosen, length=length, pad_id=task.tokenizer.pad_id)
    made = [b.completion for group in branches for b in group]
    return rows, {
        "branches/confidence": float(np.mean(sure)),
        "branches/threshold_share": float(np.mean(np.array(sure) >= config.branches.threshold)),
        "branches/no_answer": float(np.mean([not b.answer for group in branches for b in group])),
        "branches/tokens": float(sum(len(c.tokens) for c in made)),
        "pairs/count": float(len(rows["margin"]) // 2),
        "pairs/margin": float(rows["margin"].mean()) if len(rows["margin"]) else 0.0,
        # of the paths that would be decoded greedily, at temperature 1
        "policy/entropy_sequence": float(np.mean([c.entropy.mean() for c in made])),
    }


def batches(rows: Rows, count: int, size: int, rng: np.random.Generator) -> Iterator[Rows]:
    """`count` batches of `size` pairs, in passes of random order."""
    order, there = np.zeros(0, int), len(rows["margin"]) // 2
    for _ in range(count):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(there)])
        pick, order = order[:size], order[size:]
        places = np.stack([2 * pick, 2 * pick + 1], axis=1).reshape(-1)
        yield {k: x[places] for k, x in rows.items()}


def pair_weight(mask: np.ndarray) -> np.ndarray:
    """1 / pairs on every token: the loss is the mean over pairs."""
    return np.float32(2 / len(mask)) * mask


class Preference:
    """The parts of the arm dpo; making it finds what is wrong with the config."""

    def __init__(self, config: ConfigDict):
        checks.positive(config, "updates", "batch", "microbatches", "checkpoint.keep")
        checks.require(config, "a number of 0 or more", lambda x: x >= 0, "rounds")
        checks.seed(config)
        self._config = config
        self._task = task = build.task(config, split="train")
        self._model = build.model(config, task.tokenizer.vocab_size)
        self._mesh = mesh = build.mesh(config)
        checks.rows(mesh, "the pairs of an update (batch)", config.batch)
        tx, _ = build.optimizer(config, max(config.rounds, 1) * config.updates)
        loss = build.bind(PREFERENCE_LOSSES, config.loss, "preference loss", *np.zeros((3, 2), np.float32))
        self.evaluator = Evaluator(config, self._model, mesh)
        self.abstract = learner.abstract_state(self._model, tx, mesh)
        self._first = partial(build.first_policy, config, self._model, tx, mesh)
        score = token_scores(self._model, mesh=mesh)
        self._update = learner.make_update(
            objectives.preference(score, loss),
            tx,
            microbatches=config.microbatches,
            together=2,
            record=objectives.preference_record,
        )
        self._score = jax.jit(lambda *args: score(*args)["logp"])
        self._place = partial(processes.place, sharding=sharding.rows(mesh))
        self._state = self._first()  # a bad config.init is found before there is a workdir

    def round(self, number: int, state: learner.TrainState | None, writer: Writer) -> learner.TrainState:
        """The state after round `number`, from the one before; round 0 is the start."""
        c, clock = self._config, time.perf_counter()
        if number == 0:
            state, self._state = self._state, None
        else:
            first = (number - 1) * c.questions
            found = questions(c, self._task, self._model, self._mesh, state.params, first)
            rows, row = preferences(c, self._task, *found)
            row["time/rollout"] = time.perf_counter() - clock
            clock = time.perf_counter()
            if len(rows["margin"]):
                state, trained = self._teach(number, state, rows)
                row |= trained
            else:
                print(f"round {number}: no branch is as sure as {c.branches.threshold}, so there is no pair to learn")
            writer.scalars(number, row | {"time/learn": time.perf_counter() - clock})
        values = self.evaluator(writer, number, state.params)
        print(
            f"round {number}: held-out pass@1 {values['pass@1']:.3f}, coverage {values['coverage']:.3f}, "
            f"entropy {values['entropy']:.3f}"
        )
        return state

    def _teach(self, number: int, state: learner.TrainState, rows: Rows) -> tuple[learner.TrainState, dict[str, float]]:
        """The state after the round's updates, and the mean of what they logged."""
        c, reference, said = self._config, jax.tree.map(jnp.copy, state.params), []
        before, rng = int(state.step), np.random.default_rng((c.seed, number))
        for some in batches(rows, c.updates, c.batch, rng):
            batch = Batch(**some, weight=pair_weight(some["mask"]))
            batch = jax.tree.map(self._place, batch)
            batch = batch.replace(ref_logp=self._score(reference, batch.tokens, batch.mask))
            state, row = self._update(state, batch, jax.random.key(c.seed), {})
            said.append(row)
        finite(int(state.step) - before, c.updates, f"in round {number}", "optimizer")
        return state, means(said)


def finite(applied: int, wanted: int, where: str, key: str) -> None:
    """InputError where updates were not applied, as their gradient was not finite."""
    if applied < wanted:
        raise InputError(
            f"loss or gradient is not finite {where} ({wanted - applied} of {wanted} updates): lower "
            f"{key}.learning_rate, in a new workdir"
        )


def means(rows: list[dict[str, jax.Array]]) -> dict[str, float]:
    """Means of scalars that were logged."""
    rows = jax.device_get(rows)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def check_reward_model(config: ConfigDict) -> None:
    """InputError for values of `config.reward_model` that would fail late."""
    checks.positive(config, "reward_model.updates", "reward_model.batch", "reward_model.microbatches")
    checks.require(
        config, "a share of the questions, above 0 and below 1", lambda x: 0 < x < 1, "reward_model.held_out"
    )


class Judge:
    """Step -> rollout as train_rl.Collector, with rewards of a model that it trains when it is made, or finds."""

    def __init__(self, workdir: Path, config: ConfigDict, p: parts.Parts, key: jax.Array):
        self._config, self._p, self._key = config, p, key
        r = config.rollout
        self._model = Transformer(dataclasses.replace(p.model.config, head="value"))
        score = last_values(self._model)
        self._reward = jax.jit(lambda *args: score(*args)["reward"].sum(axis=1))
        self._sampling = {
            "samples": r.samples,
            "slots": r.slots,
            "max_new": p.task.response_length,
            "prompt_length": p.task.prompt_length,
            "warp": partial(warp.temperature, value=r.temperature),
            "mesh": p.mesh,
        }
        self._params = self._made(workdir, score)

    def __call__(self, params: Any, step: int) -> tuple[Rollout, list[collect.Group], dict[str, float]]:
        """(rollout, its groups, what is logged); rollout/reward is the reward model's."""
        c, p, tokenizer = self._config, self._p, self._p.task.tokenizer
        # after the questions that the reward model was taught with
        first = c.questions + step * c.rollout.prompts
        problems = [problem_at(p.task, c.seed, first + i) for i in range(c.rollout.prompts)]
        prompts = [tokenizer.encode(q.prompt) for q in problems]
        key = jax.random.fold_in(self._key, step)
        made = generate(p.model, params, prompts, key, eos=tokenizer.eos_ids, **self._sampling)
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
        policy = build.first_policy(config, p.model, p.tx, p.mesh).params
        state = learner.init_state(self._model, tx, p.mesh, jax.random.key(config.seed))
        trunk = {k: v for k, v in policy["params"].items() if k != "lm_head"}
        state = learner.with_params(state, {"params": state.params["params"] | trunk})
        with Checkpoints(workdir / "reward_model", keep=1) as checkpoints:
            if restored := checkpoints.restore_latest(learner.abstract_state(self._model, tx, p.mesh)):
                return restored[1].params
            prompts, branches = questions(config, p.task, p.model, p.mesh, policy, 0)
            cut = max(1, round((1 - c.held_out) * len(prompts)))
            taught, row = preferences(config, p.task, prompts[:cut], branches[:cut])
            held, _ = preferences(config, p.task, prompts[cut:], branches[cut:])
            if not len(taught["margin"]):
                raise InputError(
                    f"no branch is as sure as branches.threshold={config.branches.threshold}, so there is no pair for "
                    "a reward model: lower it, or raise questions"
                )
            loss = build.bind(PREFERENCE_LOSSES, c.loss, "preference loss", *np.zeros((3, 2), np.float32))
            objective = objectives.preference(score, loss, "reward")
            how = {"microbatches": c.microbatches, "together": 2, "record": objectives.preference_record}
            update = learner.make_update(objective, tx, **how)
            place, said = partial(processes.place, sharding=sharding.rows(p.mesh)), []
            for some in batches(taught, c.updates, c.batch, np.random.default_rng((config.seed, 1))):
                batch = jax.tree.map(place, Batch(**some, weight=pair_weight(some["mask"])))
                state, logged = update(state, batch, jax.random.key(config.seed), {})
                said.append(logged)
            finite(int(state.step), c.updates, "in the reward model", "reward_model.optimizer")
            last = {f"last/{k}": v for k, v in means(said[-max(1, len(said) // 10) :]).items()}
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


if __name__ == "__main__":
    launch.main(run)
