"""RLP, or plain pretraining, on worked arithmetic or a text file: methods/rlp.

    python -m experiments.rlp --config=configs/rlp.py --config.init=runs/base --workdir=runs/rlp
    python -m experiments.rlp --config=configs/rlp.py:path=MODEL,text=FILE --workdir=runs/rlp

The text is worked arithmetic with steps removed (worked.py), which a model of Countdown's words reads, or any file
(documents.py), which the model of a Hugging Face folder reads. A step of RLP: thoughts before a token of each of
`documents` documents (of worked text the result, steps left out), what they are worth, updates on the tokens of
thoughts, and a move of the average that predicts without a thought. A step of pretraining (objective cpt): updates on
all tokens of `documents` documents as they are. Both read the same stream: step s has documents s * documents and on,
of the run's seed.

Writes metrics.jsonl (rollout/* of RLP's thoughts: methods/rlp.summary; text/tokens, those that updates have seen since
the start, of which thoughts have a share), evals.jsonl (task "worked" or "text": the same on held-out documents,
without a thought by the policy itself; `reduction`, ce_without - ce_with; `says`, of worked text alone, the share of
thoughts whose last step has the result; `nll`, nats a token of held-out text as it is), samples.jsonl, and after the
last update problems.jsonl: a row a held-out document. Which documents, which noise: functions of (seed, step), so a
killed run goes on with the same command.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.advantages import ADVANTAGES
from entropy_rl.errors import InputError
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import token_mean
from entropy_rl.masking import masked_mean
from entropy_rl.methods.rlp import documents, worked
from entropy_rl.methods.rlp import thoughts as rlp
from entropy_rl.metrics import Writer
from entropy_rl.models import families, lora
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel import processes, sharding
from entropy_rl.sampling import warp
from entropy_rl.streams import stream
from entropy_rl.training import learner, objectives
from entropy_rl.training.loop import REMEDY, averaged, loop
from entropy_rl.training.rollouts import Batch, minibatches
from entropy_rl.training.state import State, loaded, saved
from entropy_rl.training.step import given
from experiments.lib import build, checks, launch, policies, workdirs
from experiments.lib.progress import progress

Text = worked.Worked | documents.Documents


def run(config: ConfigDict, workdir: str) -> None:
    """Trains on text; writes metrics, evaluations, samples and checkpoints to `workdir`.

    Raises:
      InputError: a bad value, a workdir that belongs to another config, or a gradient that is not finite.
    """
    trainer = {"rlp": Rlp, "cpt": Pretraining}[checked(config).objective](config)
    workdir = workdirs.open_workdir(config, workdir, knobs=(*workdirs.KNOBS, "samples"))
    tokens = 0

    def unpack(tree, meta):
        nonlocal tokens
        tokens = meta["tokens"]
        return loaded(tree, partial(trainer.base.params, meta))

    def learn(writer, step, state, _):
        nonlocal tokens
        clock = time.perf_counter()
        state, row = trainer.step(state, step)
        tokens += row.pop("tokens")
        return state, row | {"text/tokens": tokens, "time/step": time.perf_counter() - clock}

    loop(
        workdir,
        learn,
        evaluate=lambda writer, step, state, last: trainer.evaluate(writer, step, state.policy.params, last),
        pack=lambda state: (saved(state), {"tokens": tokens} | trainer.base.meta(state.policy.params)),
        unpack=unpack,
        abstract=saved(trainer.abstract),
        before=saved(trainer.abstract, base=True),
        first=trainer.first,
        **workdirs.pace(config, workdir),
        remedy=f"the last checkpoint in {workdir} is good; {REMEDY}",
        progress=partial(progress, desc=config.objective.upper()),
        shown={"loss": "update/loss"},
    )


class Trainer:
    """What both objectives share: text, model, optimiser, and the evaluation on held-out text."""

    baseline = False  # whether an average of parameters is kept

    def __init__(self, config: ConfigDict):
        c = self._config = config
        self._text, self._held_out = texts(c)
        self._model = build.trained_model(c, self._text.tokenizer.vocab_size)
        self._mesh = build.mesh(c)
        checks.rows(self._mesh, "the held-out documents (eval.problems)", c.eval.problems)
        checks.rows(self._mesh, "the documents of a mini-batch (documents / updates)", c.documents // c.updates)
        microbatches = build.microbatches(self._mesh, self.rows, c.microbatches)
        self._tx, self._schedule = build.optimizer(c, c.steps * c.updates)
        self._how = {"tx": self._tx, "microbatches": microbatches}
        self._place = partial(processes.put_global, sharding=sharding.batch_sharding(self._mesh))
        self._score = jax.jit(token_scores(self._model, mesh=self._mesh))
        self._key = jax.random.key(c.seed)
        self._adaptation = build.adaptation(c, self._model)
        self.base = policies.Base(c, self._model, self._mesh)
        policy = learner.abstract_state(self._model, self._tx, self._mesh, self._adaptation.adapt)
        self.abstract = State(policy, None, lora.trainable(policy.params) if self.baseline else None)
        checks.state_fits(self._mesh, self.abstract)

    @property
    def rows(self) -> int:
        """Rows of an update."""
        return self._config.documents // self._config.updates

    def first(self) -> State:
        """A state before its first update; the average is made at the first step."""
        return State(policies.first_policy(self._config, self._model, self._tx, self._mesh))

    def think(self, text: Text, questions: worked.Questions, key, params, baseline, samples) -> rlp.Thoughts:
        """Thoughts of `params`, the policy as it is sampled with, before tokens of documents."""
        return rlp.think(
            self._model,
            params,
            baseline,
            questions.contexts,
            questions.results,
            key,
            score=self._score,
            delimiters=text.delimiters,
            context_length=text.context_length,
            max_new=text.thought_length,
            place=self._place,
            rows=self._config.rollout.slots,
            samples=samples,
            slots=self._config.rollout.slots,
            warp=partial(warp.temperature, value=self._config.rollout.temperature),
            mesh=self._mesh,
        )

    def evaluate(self, writer: Writer, step: int, params: Any, last: bool = False) -> None:
        """Held-out documents with and without a thought, and as they are; a row a document of the `last`."""
        c, text, clock = self._config, self._held_out, time.perf_counter()
        params = self._adaptation.view(params)
        key = jax.random.fold_in(stream(self._key, "evaluation"), step)
        questions = text.questions(0, c.eval.problems)
        thoughts = self.think(text, questions, key, params, params, c.eval.samples)
        decode = text.tokenizer.decode
        texts = [[decode(x.tokens) for x in group] for group in thoughts.completions]
        results = [decode([token]) for token in questions.results]
        tokens, mask = text.documents(0, c.eval.problems)
        scores = self._score(params, self._place(tokens), self._place(mask))
        nll = -masked_mean(processes.fetch(scores["logp"]), mask)
        values = rlp.summary(thoughts)
        values["reduction"] = values.pop("reward")  # the policy's own prediction stands in for the average's
        names = ["level", "ce_without", "ce_with"]
        columns = [questions.levels, -thoughts.without, -thoughts.with_thought.mean(axis=1)]
        if text.says:
            says = np.array([[text.says(t, result) for t in group] for group, result in zip(texts, results)])
            values["says"] = says.mean()
            names, columns = [*names, "says"], [*columns, says.mean(axis=1)]
        values |= {"nll": nll, "time/eval": time.perf_counter() - clock}
        writer.evals(step, text.name, values, c.eval.problems)
        kept = range(min(c.samples, len(texts)))
        context = [decode(prompt) for prompt in thoughts.prompts]
        rows = [{"prompt": context[i], "response": f"{texts[i][0]} {results[i]}"} for i in kept]
        writer.samples(step, [row | {"reward": thoughts.rewards[i, 0]} for i, row in zip(kept, rows)])
        if last:
            about = [
                {"id": f"{text.name}/{c.eval.split}/{i}"} | dict(zip(names, row)) for i, row in enumerate(zip(*columns))
            ]
            writer.problems(step, text.name, about)


class Rlp(Trainer):
    """Thoughts that are paid by what they predict."""

    baseline = True

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        c, text = self._config, self._text
        checks.require(c, "2 or more: a thought is compared with others", lambda x: x >= 2, "rollout.samples")
        checks.require(c, "a number from 0 to 1", lambda x: 0 <= x <= 1, "tau")
        mask = np.array([[False, True, True], [False, False, False]])
        x, row = np.zeros(mask.shape, np.float32), np.zeros(len(mask), np.float32)
        tokens = {"entropy": x, "advantage": x, "truncated": row > 0, "mask": mask, "refined": row > 0}
        loss = build.bind(POLICY_LOSSES, c.loss, "policy loss", x, x, x, mask, key=self._key, data=tokens)
        bound = build.bind(ADVANTAGES, c.advantage, "advantage", row, row.astype(np.int32), data=tokens)
        self._advantage = jax.jit(given(bound, "mask"))
        self._weight = jax.jit(build.weight(c.weight, mask, tokens))
        width = text.context_length + len(text.delimiters[0])
        self._length = width + text.thought_length
        groups, parts = c.documents // c.updates, self._how["microbatches"]
        shared = build.shared_prompts(self._mesh, groups, c.rollout.samples, parts, width)
        score = token_scores(self._model, temperature=c.rollout.temperature, mesh=self._mesh, **shared)
        self._update = learner.make_update(
            objectives.policy(self._adaptation.over(score), loss),
            group_size=shared["samples"],
            record=objectives.policy_record,
            **self._how,
        )
        self._follow = jax.jit(partial(rlp.follow, tau=c.tau))

    @property
    def rows(self) -> int:
        """Thoughts of an update."""
        return super().rows * self._config.rollout.samples

    def step(self, state: State, step: int) -> tuple[State, dict[str, Any]]:
        """(the state after the updates of a step, what is logged)."""
        c, policy, phi, view = self._config, state.policy, state.reference, self._adaptation.view
        if phi is None:
            phi = rlp.follow(None, lora.trainable(policy.params), c.tau)
        questions = self._text.questions(step * c.documents, c.documents)
        key = jax.random.fold_in(stream(self._key, "rollout"), step)
        average = view(lora.joined(policy.params, phi))
        thoughts = self.think(self._text, questions, key, view(policy.params), average, c.rollout.samples)
        rollout = thoughts.rollout(self._length, self._text.tokenizer.pad_id)
        advantage = np.asarray(self._advantage(rollout.reward, rollout.group, rollout.mask))
        row = {f"rollout/{k}": v for k, v in rlp.summary(thoughts).items()}
        row["policy/entropy"] = masked_mean(rollout.entropy, rollout.mask)
        row["update/learning_rate"] = self._schedule(step * c.updates)
        coefs, updates = {"entropy": jnp.float32(0), "kl": jnp.float32(0)}, []
        rng = np.random.default_rng((c.seed, step)) if c.updates > 1 else None
        for batch in minibatches(rollout, advantage, self._weight, count=c.updates, rng=rng):
            policy, metrics = self._update(policy, jax.tree.map(self._place, batch), self._key, coefs)
            phi = self._follow(phi, lora.trainable(policy.params))
            updates.append(metrics)
        row |= averaged(updates)
        row["tokens"] = int((rollout.tokens != self._text.tokenizer.pad_id).sum()) + len(rollout.reward)  # and results
        return State(policy, None, phi), row


class Pretraining(Trainer):
    """Next-token prediction of the text as it is."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        objective = objectives.nll(self._adaptation.over(token_scores(self._model, mesh=self._mesh)))
        self._update = learner.make_update(objective, record=objectives.nll_record, **self._how)
        self._weight = jax.jit(token_mean)

    def step(self, state: State, step: int) -> tuple[State, dict[str, Any]]:
        """(the state after the updates of a step, what is logged)."""
        c, policy = self._config, state.policy
        tokens, mask = self._text.documents(step * c.documents, c.documents)
        updates = []
        for t, m in zip(np.split(tokens, c.updates), np.split(mask, c.updates)):
            batch = jax.tree.map(self._place, Batch(tokens=t, mask=m, weight=self._weight(m)))
            policy, metrics = self._update(policy, batch, self._key, {})
            updates.append(metrics)
        row = {"update/learning_rate": self._schedule(step * c.updates)} | averaged(updates)
        row["tokens"] = int((tokens != self._text.tokenizer.pad_id).sum())
        return State(policy), row


def texts(config: ConfigDict) -> tuple[Text, Text]:
    """(what is learnt, what is held out) of `config.text`, by who reads it.

    Raises:
      InputError: a file that is not there or has no text for it; fewer windows than held-out documents; a context,
        thought and token that are longer than the model's context.
    """
    c = config
    if not build.from_folder(c):
        return worked.make("train", seed=c.seed, **c.text), worked.make(c.eval.split, **c.text)
    path = build.folder(c)
    make = partial(documents.make, tokenizer=build.tokenizer(path), **c.text)
    train = make(seed=c.seed)
    longest = train.context_length + train.thought_length + sum(map(len, train.delimiters[:2])) + 1
    if (context := families.context_length(path)) is not None and longest > context:
        raise InputError(
            f"config.text: a window and a thought take {longest} tokens, and the context of {path} has {context}: "
            "lower text.window or text.thought"
        )
    held_out = make(split=c.eval.split)
    if (there := len(held_out.windows)) < c.eval.problems:
        raise InputError(
            f"config.eval.problems={c.eval.problems}: the split {c.eval.split} of {c.text.path} has {there} windows, "
            "which would come again: lower it, or give more text"
        )
    return train, held_out


def checked(config: ConfigDict) -> ConfigDict:
    """The config; InputError for a value that would fail late or mean nothing."""
    checks.positive(
        config,
        *("steps", "documents", "updates", "log_every", "rollout.samples", "rollout.slots", "rollout.temperature"),
        *("checkpoint.every", "checkpoint.keep", "eval.every", "eval.problems", "eval.samples"),
    )
    checks.not_negative(config, "samples", "microbatches")
    checks.seed(config)
    checks.one_of(config, "objective", ("rlp", "cpt"))
    if config.documents % config.updates:
        raise InputError(
            f"config.updates={config.updates} does not divide documents={config.documents}: choose a divisor"
        )
    return config


if __name__ == "__main__":
    launch.main(run)
