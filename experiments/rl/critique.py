"""From `config.critique` to the step that criticises and refines, and from `config.lessons` to what SFT teaches."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
from ml_collections import ConfigDict

from entropy_rl.advantages import BINARY
from entropy_rl.data.problem import Task
from entropy_rl.data.prompts import Posed
from entropy_rl.errors import InputError
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.methods.critique import critics, dataset, lessons, refine
from entropy_rl.methods.critique.language import CLOSED, STYLES, Attempt, Language
from entropy_rl.methods.critique.sentences import LEVELS, Critique
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion
from experiments.lib import build, checks
from experiments.rl import conversation

WORDS = {"verdict": 1, "step": 3, "reason": 5, "hint": 11, "answer": 12}  # of a critique, and its solution's
LEARN = ("refined", "joint")
MOST_TURNS = 3


@dataclasses.dataclass(frozen=True)
class CritiqueStep:
    """How failed attempts are criticised and retried.

    Attributes:
      criticise: params of the policy, tried attempts, generator, key -> (sentences or None, what is logged, what the
        critic replied).
      answer: params, prompts, key -> (texts, completions): retries.
      language: of critiques and requests.
      fits: whether a prompt is short enough for `answer`.
      width: tokens of the longest that is.
      ask: params of the policy, tried attempts, key -> what `critics.ask_critic` gives, of a source that is a model;
        None: it is none.
    """

    criticise: Callable[..., tuple[list[str | None], dict[str, float], list[str]]]
    answer: Callable[..., tuple[list[str], list[Completion]]]
    language: Language
    fits: Callable[[str], bool]
    width: int
    ask: Callable[..., tuple[list[Critique | None], list[critics.Reply]]] | None = None


def critique_step(
    config: ConfigDict,
    task: Task,
    model: Transformer,
    mesh: jax.sharding.Mesh,
    temperature: float,
    workdir: str | Path | None = None,
) -> CritiqueStep | None:
    """What `config.critique` says of source, level, model and reference; None where the source is "off".

    `workdir` is where what a server replies is stored (source "api").

    Raises:
      InputError: a bad value, a task without the words of critiques, or a critique model that is not there.
    """
    c = SimpleNamespace(**config.critique)
    settings = dict(**c.api) if "api" in config.critique else {}
    checks.one_of(config, "critique.source", ("off", *critics.SOURCES, *critics.MODELS))
    if c.source == "off":
        return None
    check(config, task)
    language = conversation.speak(config, task)
    width = retry_width(config, task, language)
    how = build.sampling(config, task, mesh) | {"warp": partial(warp.temperature, value=temperature)}
    how |= {"prompt_length": width, "fewest": conversation.fewest(config, language)}
    ask = None
    if c.source == "api":
        ask = conversation.server(config, task, language, settings, workdir)
    elif c.source in critics.MODELS:
        ask = conversation.critic_of(config, task, model, mesh, language)

    def answer(params, prompts, key):
        return refine.respond(model, params, task.tokenizer, prompts, key, **how)

    def criticise(params, tried, rng, key) -> tuple[list[str | None], dict[str, Any], list[str]]:
        if c.source in critics.SOURCES:
            return critics.SOURCES[c.source](tried, rng, level=c.level, language=language), {}, [""] * len(tried)
        said, replies = ask(params, tried, key)
        sentences, logged = critics.by_model(said, replies, tried, c.level, language)
        return sentences, logged | {"critique/reference": float(c.reference)}, [r.text for r in replies]

    def ask_again(tried: Attempt) -> str:
        fresh = c.source == "fresh"  # the question once more
        return tried.problem.prompt if fresh else language.ask_refinement(tried, language.verdict(False))

    fits = conversation.fitting(language, task.tokenizer, width, task, ask_again, "the policy")
    return CritiqueStep(criticise, answer, language, fits, width, ask)


def retry_width(config: ConfigDict, task: Task, language: Language) -> int:
    """Tokens of the longest prompt that the policy retries after.

    Raises:
      InputError: the model's context, or critique.prompt_length, is shorter than the attempts with their critiques and
        a refinement.
    """
    c, attempt, most = config.critique, task.response_length, conversation.max_tokens(config, language)
    turns = c.get("turns", 1)
    if c.source == "fresh":
        return task.prompt_length
    if turns > 1 and c.get("prompt_length") and c.prompt_length < task.prompt_length + turns * attempt:
        raise InputError(
            f"config.critique.prompt_length={c.prompt_length} is shorter than a question and critique.turns={turns} "
            f"attempts before the last one, {task.prompt_length + turns * attempt} tokens: raise it, or lower turns"
        )
    if language is CLOSED:
        level = {"indicative": "verdict", "inverted": "verdict", "indicative_answer": "answer"}.get(c.source, c.level)
        # the question, an attempt, a critique, "again"; a model's critique may be longer than it should
        words = max(WORDS[level] + attempt * (level == "answer"), most * (c.source in critics.MODELS))
        return c.get("prompt_length") or task.prompt_length + turns * (attempt + words + 1)
    wanted = task.prompt_length + turns * (attempt + most + conversation.WRAPPING)
    held = "an attempt, a critique" if turns == 1 else f"{turns} attempts, their critiques"
    return conversation.within(
        config, task.tokenizer.path, wanted, attempt, turns * (attempt + most), "the policy", held
    )


def check(config: ConfigDict, task: Task) -> None:
    """InputError for a `config.critique` that does not fit the task, or itself."""
    c = config.critique
    checks.one_of(config, "critique.level", LEVELS)
    if "style" in c:
        checks.one_of(config, "critique.style", STYLES)
    for key in ("max_tokens", "prompt_length"):
        if c.get(key) is not None:
            checks.positive(config, f"critique.{key}")
    if not isinstance(task, Posed) and not getattr(task, "talks", False):
        raise InputError("config.critique needs a task with the words of critiques: --config.task.args.talk=True")
    if (c.source == "learned") != (c.model is not None):
        raise InputError(
            f"config.critique.model={c.model} with critique.source={c.source!r}: give the workdir of a critique model, "
            "or in natural language a folder, with source 'learned', and none with another"
        )


def refiner(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, workdir: str | Path | None = None
) -> refine.Refiner | None:
    """The refiner of an RL run in `workdir`; None where critique.source is "off".

    Raises:
      InputError: as of `critique_step`, k >= n, or a loss without a place for refinements.
    """
    c, r = SimpleNamespace(**config.critique), config.rollout
    guard = refine.Guard(**c.guard)
    if config.distillation.coef:  # critiques are the teacher's: distillation.py
        return None
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
    how = critique_step(config, task, model, mesh, r.temperature, workdir)
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
        language=how.language,
        fits=how.fits,
        critiques=c.count,
        joint=c.learn == "joint",
        turns=c.turns,
        credit=c.credit,
        guard=guard,
        width=how.width,
    )


def check_ways(config: ConfigDict) -> None:
    """InputError for bad values of how often is criticised and retried, and of what is learnt from that."""
    c, name = config.critique, config.advantage.name
    joint, distils = c.learn == "joint", bool(config.distillation.coef)
    checks.whole(config, 0 if joint or distils else 1, "critique.refined")
    many, turns = ("critique.attempts", "critique.count"), range(1, MOST_TURNS + 1)
    checks.require(config, "a whole number above 0", lambda x: x > 0 and x == int(x), *many)
    checks.require(config, f"a whole number from 1 to {MOST_TURNS}", lambda x: x in turns, "critique.turns")
    checks.not_negative(config, "critique.until", "critique.guard.entropy")
    shares = ("critique.guard.repetition", "critique.guard.copying")
    checks.require(config, "a share from 0 to 1", lambda x: 0 <= x <= 1, *shares)
    checks.one_of(config, "critique.learn", LEARN)
    checks.one_of(config, "critique.credit", refine.CREDITS)
    if distils and (joint or c.turns > 1 or c.count > 1 or any(c.guard.values())):
        raise InputError(
            "distillation.coef shows critiques to a teacher, and nothing is retried: give critique.learn=refined, "
            "turns=1, count=1 and 0 for all of critique.guard, or distillation.coef=0"
        )
    if c.source == "off":
        return
    if c.source == "fresh" and (joint or c.turns > 1):
        raise InputError(
            "critique.source='fresh' asks the question again and has no context to learn under or to go on in: give "
            "critique.source=none, or learn=refined and turns=1"
        )
    if c.credit == "last" and not joint:
        raise InputError("critique.credit='last' is of attempts that are learnt in their context: give learn=joint")
    if joint and "critic" in config:
        raise InputError(
            "critique.learn=joint compares retries with each other, and a critic does not: start from "
            "configs/rl/critique_joint.py, or give learn=refined"
        )
    if joint and name == "pass_at_k":
        raise InputError(
            "advantage 'pass_at_k' needs k retries of a problem, and with critique.learn=joint there may be fewer: "
            "give dr_grpo"
        )
    if name in BINARY and c.credit == "last" and c.count > 1:
        raise InputError(
            f"advantage {name!r} is for rewards of 0 or 1, and critique.credit='last' with critique.count={c.count} "
            "gives means: give count=1, or dr_grpo"
        )


def more_rows(config: ConfigDict) -> int:
    """Rows of a group besides its samples: the most retries that are learnt under their context."""
    c = config.critique
    return c.attempts * c.count * c.turns if c.learn == "joint" and c.source != "off" else 0


def make_lessons(config: ConfigDict, task: Task) -> lessons.Lessons:
    """Lessons of `config.lessons`.

    Raises:
      InputError: a bad value, a task without the words of critiques, or a dataset that is not there or teaches nothing.
    """
    c = config.lessons
    if c.path is None:
        raise InputError("no critiques given: add --config.lessons.path=WORKDIR of experiments.make_critiques")
    language = conversation.speak(config, task)
    if language is CLOSED and not getattr(task, "talks", False):
        raise InputError("lessons need a task with the words of critiques: --config.task.args.talk=True")
    shares = {k: c[k] for k in lessons.KINDS}
    rows = dataset.read(c.path)
    if c.problem is not None:
        rows = [row for row in rows if row.id == c.problem]
        if not rows:
            raise InputError(f"config.lessons.problem={c.problem}: {c.path} has no critique of that problem")
    how = {"critique_level": c.level, "refine_levels": tuple(c.refine_levels), "language": language, "even": c.even}
    made = lessons.make(task, rows, shares, **how)
    if made.unreadable:
        print(f"{made.unreadable} of {len(rows)} rows of {c.path} are not in the grammar of critiques and left out")
    return made
