"""What the ways of experiments/elicit.py stand on: tasks, the base and its samples, the text that is looked into."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.evaluate import attempt_all, per_problem
from entropy_rl.methods.elicit import activations, sae
from entropy_rl.training import collect
from entropy_rl.training.collect import Group
from experiments.lib import build, checks
from experiments.lib.policies import load_policy

ROOM = 1 << 28  # bytes of activations that are made at once
FEW = 4  # blocks of a model of which all are looked into where nothing says which


class Bench:
    """Tasks, base and how they are sampled, for one seed after the other; making it finds what is wrong."""

    def __init__(self, config: ConfigDict):
        check(config)
        self.config = config
        make = partial(build.task, config)
        self.test = make(split=config.eval.split, size=config.eval.problems)
        self.chosen_on = make(split=config.choose.split, size=config.choose.problems)
        self.training = make(split="train", size=config.text.problems)
        self.mesh = build.mesh(config)
        self._load = partial(load_policy, config, mesh=self.mesh, vocab_size=self.test.tokenizer.vocab_size)
        self.model, self.base = self._load(config.init)
        self.layers = layers(config, self.model.config.layers)
        room(self)
        self.seeds = max(len(config.rl), 1)
        for key in ("rl", "cft"):
            for path in config[key]:
                self.restore(path, key)  # before anything is run

    def restore(self, path: str, key: str) -> Any:
        """Parameters of the last checkpoint of a workdir; `key` of the config, for messages."""
        return self._load(path, key=key, model=self.model)[1]

    def rl(self, seed: int) -> Any:
        """The policy of reinforcement learning; without any the base with other random weights, for trying out."""
        if self.config.rl:
            return self.restore(self.config.rl[seed], "rl")
        return jax.tree.map(lambda x: 1.1 * x, self.base)

    def attempts(self, params: Any, task: Task, samples: int, seed: int, stage: int) -> list[Group]:
        """`samples` attempts at every problem; equal (seed, stage) have the same noise."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config.seed), seed), stage)
        how = build.sampling(self.config, task, self.mesh)
        return attempt_all(self.model, params, task, key, samples=samples, **how)

    def accuracy(self, params: Any, seed: int) -> float:
        """pass@1 on the problems that choices are made by, always with the same noise."""
        c = self.config.choose
        groups = self.attempts(params, self.chosen_on, c.samples, seed, 0)
        return float(np.mean([g.rewards for g in groups]))

    def tested(self, params: Any, seed: int, stage: int) -> dict[str, Any]:
        """What becomes of the test problems, as a way's file has it."""
        return summary(self.test, self.attempts(params, self.test, self.config.eval.samples, seed, stage))


def summary(task: Task, groups: list[Group]) -> dict[str, Any]:
    """Right and different right attempts of each problem, tokens a response, share of tokens steered."""
    rows = per_problem(task, groups)
    done = [c for g in groups for c in g.completions]
    steered = sum(int(c.steered.sum()) for c in done if c.steered is not None)
    tokens = sum(len(c.tokens) for c in done)
    return {
        "samples": rows[0]["n"],
        "right": [row["right"] for row in rows],
        "distinct": [row["distinct"] for row in rows],
        "entropy": float(np.concatenate([c.entropy for c in done]).mean()),
        "length": tokens / len(done),
        "steered": steered / tokens,
    }


class Looked:
    """The text that is looked into, and the activations of its tokens."""

    def __init__(self, b: Bench, seed: int):
        task, r = b.training, b.rl(seed)
        length = task.prompt_length + task.response_length

        def text(params, stage):
            groups = b.attempts(params, task, b.config.text.samples, seed, stage)
            return collect.to_rollout(groups, length=length, pad_id=task.tokenizer.pad_id)

        own, theirs = text(b.base, 1), text(r, 2)
        self.theirs, self.entropy = theirs, own.entropy[own.mask]
        shape = b.model.config
        rows = max(1, min(256, ROOM // (4 * len(b.layers) * length * shape.d_model)))
        read = partial(activations.activations, b.model, layers=b.layers, batch=rows)
        self.stream = read(b.base, own)  # [chosen blocks, N, d]
        self.rl_text = read(b.base, theirs)
        self.difference = np.zeros((shape.layers, shape.d_model), np.float32)  # of all blocks, 0 where none is chosen
        self.difference[list(b.layers)] = activations.mean_difference(read(r, theirs), self.rl_text)
        self.right = np.repeat(own.reward >= 1, own.mask.sum(axis=1))
        decisions = task.decisions(own.tokens, own.mask)
        # all of them where the task does not tell
        decisions = np.ones(own.mask.sum(), bool) if decisions is None else np.asarray(decisions)[own.mask]
        self.words = activations.reasoning_words(own.tokens[own.mask], self.entropy, decisions, b.config.sae.words)

        key = jax.random.fold_in(jax.random.key(b.config.seed), seed)
        c = b.config.sae
        how = {"latents": c.latents, "k": c.k, "steps": c.steps, "rows": c.rows, "learning_rate": c.learning_rate}

        @functools.cache
        def autoencoder(layer):
            """The autoencoder after a block, and its quality on an eighth of the tokens, held out."""
            held, at = np.arange(self.stream.shape[1]) % 8 == 0, b.layers.index(layer)
            params = sae.fit(self.stream[at, ~held], jax.random.fold_in(key, layer), **how)
            return params, sae.quality(params, self.stream[at, held], c.k)

        self.autoencoder = autoencoder

    def threshold(self, share: float) -> float:
        """The entropy above which this share of the base's tokens lies."""
        return float(np.quantile(self.entropy, 1 - share))


def layers(config: ConfigDict, there: int) -> tuple[int, ...]:
    """The blocks of `config.layers`; (): all of a small model, the middle one of another.

    Raises:
      InputError: one is not there.
    """
    asked = tuple(config.layers) or (tuple(range(there)) if there <= FEW else (there // 2,))
    for i in asked:
        if not isinstance(i, int) or not 0 <= i < there:
            raise InputError(f"config.layers has {i!r}: this model has blocks 0 to {there - 1}")
    return asked


def room(b: Bench) -> None:
    """InputError where the activations of all tokens, of three texts and models at a time, are more than memory has."""
    tokens = len(b.training) * b.config.text.samples * b.training.response_length
    size = 3 * 4 * len(b.layers) * tokens * b.model.config.d_model
    remedy = "lower text.problems or text.samples, or name fewer blocks in config.layers"
    checks.fits(f"looking into up to {tokens} tokens after {len(b.layers)} blocks", size, checks.host_memory(), remedy)


def check(config: ConfigDict) -> None:
    """InputError for a value out of range."""
    checks.positive(config, "eval.problems", "eval.samples", "choose.problems", "choose.samples", "vector.samples")
    checks.positive(config, "text.problems", "text.samples", "rollout.slots", "rollout.temperature", "draws")
    checks.positive(config, "sae.latents", "sae.k", "sae.steps", "sae.rows", "sae.learning_rate", "sae.features")
    checks.require(config, "a share between 0 and 1", lambda x: 0 < x < 1, "sae.words", "interval")
    checks.not_negative(config, "sae.alpha")
    checks.positive(config, "cot.k", "vector.rows", "vector.learning_rate")
    checks.whole(config, 0, "vector.steps")
    checks.seed(config)
    if config.choose.split == config.eval.split:
        raise InputError(f"config.choose.split={config.choose.split!r}: choose on other problems than eval.split's")
    for key in ("vector.strengths", "sae.strengths", "vector.shares", "cot.spans"):
        group, name = key.split(".")
        if not len(config[group][name]) and name != "shares":
            raise InputError(f"config.{key} is empty: give at least one")
    for share in config.vector.shares:
        if not 0 < share < 1:
            raise InputError(f"config.vector.shares has {share!r}: give shares of tokens between 0 and 1")
    build.spans(config, "cot.spans", *config.cot.spans)
    if config.cft and len(config.cft) != max(len(config.rl), 1):
        raise InputError(f"config.cft has {len(config.cft)} workdirs and config.rl {len(config.rl)}: give as many")
