"""From `config.critique` to the step that criticises and refines, and from `config.lessons` to what SFT teaches."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
from ml_collections import ConfigDict

from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.methods.critique import dataset, lessons, refine
from entropy_rl.methods.critique.sentences import LEVELS, Critique
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion
from experiments.lib import checks
from experiments.lib.policies import load_policy

WORDS = {"verdict": 1, "step": 3, "reason": 5, "hint": 11, "answer": 12}  # of a critique, and its solution's


@dataclasses.dataclass(frozen=True)
class CritiqueStep:
    """How failed attempts are criticised and retried.

    Attributes:
      criticise: params of the policy, tried attempts, generator, key -> (sentences or None, what is logged).
      answer: params, prompts, key -> (texts, completions): retries.
    """

    criticise: Callable[..., tuple[list[str | None], dict[str, float]]]
    answer: Callable[..., tuple[list[str], list[Completion]]]


def critique_step(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, temperature: float
) -> CritiqueStep | None:
    """What `config.critique` says of source, level, model and reference; None where the source is "off".

    Raises:
      InputError: a bad value, a task without the words of critiques, or a critique model that is not there.
    """
    c = SimpleNamespace(**config.critique)
    checks.one_of(config, "critique.source", ("off", *refine.SOURCES, *refine.MODELS))
    if c.source == "off":
        return None
    check(config, task)
    attempt = task.response_length
    level = {"indicative": "verdict", "inverted": "verdict", "indicative_answer": "answer"}.get(c.source, c.level)
    # the question, an attempt, a critique, "again"; a model's critique may be longer than it should
    words = max(WORDS[level] + attempt * (level == "answer"), refine.MAX_CRITIQUE_TOKENS * (c.source in refine.MODELS))
    width = task.prompt_length + (0 if c.source == "fresh" else attempt + words + 1)
    how = {"slots": config.rollout.slots, "mesh": mesh}
    critic, critic_params = model, None  # None: the policy's own, of the moment
    if c.source == "learned":
        critic, critic_params = load_policy(config, c.model, mesh, task.tokenizer.vocab_size, key="critique.model")
    ask = critique_sampler(config, task, critic, mesh, reference=c.reference)

    def answer(params, prompts, key):
        return refine.respond(
            *(model, params, task.tokenizer, prompts, key),
            max_new=attempt,
            prompt_length=width,
            warp=partial(warp.temperature, value=temperature),
            **how,
        )

    def criticise(params, tried, rng, key) -> tuple[list[str | None], dict[str, Any]]:
        if c.source in refine.SOURCES:
            return refine.SOURCES[c.source](tried, rng, level=c.level), {}

        said, completions = ask(params if critic_params is None else critic_params, tried, key)
        return refine.by_model(said, completions, tried, c.level)

    return CritiqueStep(criticise, answer)


def check(config: ConfigDict, task: Task) -> None:
    """InputError for a `config.critique` that does not fit the task, or itself."""
    c = config.critique
    checks.one_of(config, "critique.level", LEVELS)
    if not getattr(task, "talks", False):
        raise InputError("config.critique needs a task with the words of critiques: --config.task.args.talk=True")
    if (c.source == "learned") != (c.model is not None):
        raise InputError(
            f"config.critique.model={c.model} with critique.source={c.source!r}: give the workdir of a critique model "
            "with source 'learned', and none with another"
        )


def refiner(config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh) -> refine.Refiner | None:
    """The refiner of an RL run; None where critique.source is "off".

    Raises:
      InputError: as of `critique_step`, k >= n, or a loss without a place for refinements.
    """
    c, r = SimpleNamespace(**config.critique), config.rollout
    checks.positive(config, "critique.refined", "critique.attempts")
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "critique.until")
    if c.source != "off" and c.refined >= r.samples:
        raise InputError(
            f"config.critique.refined={c.refined}: must be below rollout.samples={r.samples}, as own samples are needed"
        )
    takes = inspect.signature(POLICY_LOSSES[config.loss.name]).parameters
    if c.source not in ("off", "fresh") and "refined" not in takes:
        raise InputError(
            f"policy loss {config.loss.name!r} has no place for refinements, which were sampled with a critique in the "
            "prompt: start from configs/rl/critique_grpo.py, or give shaped"
        )
    how = critique_step(config, task, model, mesh, r.temperature)
    return how and refine.Refiner(
        task=task,
        criticise=how.criticise,
        answer=how.answer,
        score=jax.jit(token_scores(model, temperature=r.temperature, mesh=mesh)),
        rows=r.prompts * c.refined,
        length=task.prompt_length + task.response_length,
        count=c.refined,
        attempts=c.attempts,
        unsolved=c.unsolved,
        repeats=c.repeats,
    )


def make_lessons(config: ConfigDict, task: Task) -> lessons.Lessons:
    """Lessons of `config.lessons`.

    Raises:
      InputError: a bad value, a task without the words of critiques, or a dataset that is not there or teaches nothing.
    """
    c = config.lessons
    if c.path is None:
        raise InputError("no critiques given: add --config.lessons.path=WORKDIR of experiments.make_critiques")
    if not getattr(task, "talks", False):
        raise InputError("lessons need a task with the words of critiques: --config.task.args.talk=True")
    shares = {k: c[k] for k in lessons.KINDS}
    rows = dataset.read(c.path)
    if c.problem is not None:
        rows = [row for row in rows if row.id == c.problem]
        if not rows:
            raise InputError(f"config.lessons.problem={c.problem}: {c.path} has no critique of that problem")
    made = lessons.make(task, rows, shares, critique_level=c.level, refine_levels=tuple(c.refine_levels))
    if made.unreadable:
        print(f"{made.unreadable} of {len(rows)} rows of {c.path} are not in the grammar of critiques and left out")
    return made


def critique_sampler(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, *, reference: bool = False
) -> Callable[..., tuple[list[Critique | None], list[Completion]]]:
    """Parameters of a critique model, tried attempts, key -> what `refine.ask_critic` gives, decoded greedily."""

    def ask(params, tried, key):
        def answer(prompts):
            return refine.respond(
                *(model, params, task.tokenizer, prompts, key),
                max_new=refine.MAX_CRITIQUE_TOKENS,
                prompt_length=task.prompt_length + task.response_length * (2 if reference else 1) + 2,
                warp=refine.GREEDY,
                slots=config.rollout.slots,
                mesh=mesh,
            )

        return refine.ask_critic(answer, tried, reference=reference)

    return ask
