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
from entropy_rl.methods.critique import api, critics, dataset, lessons, oracle, refine
from entropy_rl.methods.critique.language import CLOSED, STYLES, Attempt, Language, Natural, natural
from entropy_rl.methods.critique.sentences import LEVELS, Critique
from entropy_rl.models import families
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion
from entropy_rl.tasks.countdown import Countdown
from entropy_rl.training.state import heated
from experiments.lib import build, checks
from experiments.lib.policies import Policy, load_policy, trained

WORDS = {"verdict": 1, "step": 3, "reason": 5, "hint": 11, "answer": 12}  # of a critique, and its solution's
LEARN = ("refined", "joint")
MOST_TURNS = 3
MAX_TOKENS = 256  # of a critique in natural language, where nothing says how many
WRAPPING = 256  # tokens around question, attempt and critique in such a conversation


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
    language = speak(config, task)
    attempt, width = task.response_length, retry_width(config, task, language)
    how = {"slots": config.rollout.slots, "mesh": mesh}
    how["fewest"] = fewest(config, language)
    ask = None
    if c.source == "api":
        ask = server(config, task, language, settings, workdir)
    elif c.source in critics.MODELS:
        critic, of = critic_of(config, task, model, mesh, language)
        ask = lambda params, *rest: of(params if critic is None else critic, *rest)  # noqa: E731

    def answer(params, prompts, key):
        return refine.respond(
            *(model, params, task.tokenizer, prompts, key),
            max_new=attempt,
            prompt_length=width,
            warp=partial(warp.temperature, value=temperature),
            **how,
        )

    def criticise(params, tried, rng, key) -> tuple[list[str | None], dict[str, Any], list[str]]:
        if c.source in critics.SOURCES:
            return critics.SOURCES[c.source](tried, rng, level=c.level, language=language), {}, [""] * len(tried)
        said, replies = ask(params, tried, key)
        sentences, logged = critics.by_model(said, replies, tried, c.level, language)
        return sentences, logged | {"critique/reference": float(c.reference)}, [r.text for r in replies]

    def ask_again(tried: Attempt) -> str:
        fresh = c.source == "fresh"  # the question once more
        return tried.problem.prompt if fresh else language.ask_refinement(tried, language.verdict(False))

    fits = fitting(language, task.tokenizer, width, task, ask_again, "the policy")
    return CritiqueStep(criticise, answer, language, fits, width, ask)


def speak(config: ConfigDict, task: Task) -> Language:
    """The language of a task's critiques: natural for one that is posed to a folder's model, else closed sentences.

    Raises:
      InputError: critique.style=chat and the folder has no chat template, or its template refuses a turn.
    """
    if not isinstance(task, Posed):
        return CLOSED
    truth = getattr(task.task, "oracle", None)
    if truth is None and isinstance(task.task, Countdown):
        truth = oracle.in_words
    style = asked(config).get("style", "auto")
    spoken = natural(task, task.tokenizer, style, truth)
    if style == "auto" and not spoken.chat:
        processes.log(f"{task.tokenizer.path} has no chat template: critiques are asked for in plain text")
    if asked(config).get("source") == "oracle" and truth is None:
        raise InputError(
            f"critique.source=oracle, and task {config.task.name!r} has no oracle: give arithmetic, indicative or self"
        )
    return spoken


def asked(config: ConfigDict) -> ConfigDict:
    """`config.critique`; an empty one of a script without it."""
    return config.get("critique") or ConfigDict()


def max_tokens(config: ConfigDict, language: Language) -> int:
    """Tokens of the longest critique by a model."""
    given = asked(config).get("max_tokens")
    return given or (critics.MAX_CRITIQUE_TOKENS if language is CLOSED else MAX_TOKENS)


def retry_width(config: ConfigDict, task: Task, language: Language) -> int:
    """Tokens of the longest prompt that the policy retries after.

    Raises:
      InputError: the model's context, or critique.prompt_length, is shorter than the attempts with their critiques and
        a refinement.
    """
    c, attempt, most = config.critique, task.response_length, max_tokens(config, language)
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
    wanted = task.prompt_length + turns * (attempt + most + WRAPPING)
    held = "an attempt, a critique" if turns == 1 else f"{turns} attempts, their critiques"
    return within(config, task.tokenizer.path, wanted, attempt, turns * (attempt + most), "the policy", held)


def within(
    config: ConfigDict,
    folder: Any,
    wanted: int,
    new: int,
    least: int,
    who: str,
    held: str = "an attempt, a critique",
) -> int:
    """Tokens of the longest prompt in a conversation: critique.prompt_length, or `wanted` as far as the context goes.

    Args:
      config: of the run.
      folder: of the model.
      wanted: tokens.
      new: of the response.
      least: tokens of a prompt that must have room.
      who: is asked, for messages.
      held: what these tokens are, for messages.

    Raises:
      InputError: the context is too short.
    """
    context, given = families.context_length(folder), asked(config).get("prompt_length")
    if context is not None and context < least + new:
        raise InputError(
            f"the context of {folder} has {context} tokens, and {who} needs {least + new} for {held} "
            "and a response: lower prompt.response_length or critique.max_tokens"
        )
    if context is not None and given and given + new > context:
        raise InputError(
            f"config.critique.prompt_length={given} and {new} tokens of a response are more than the context of "
            f"{folder}, {context}: lower it"
        )
    return given or (wanted if context is None else min(wanted, context - new))


def fewest(config: ConfigDict, language: Language) -> int:
    """Prompts that are served together at least: 32, or as many as a step can have, whose prompts are long in words."""
    if language is CLOSED or "prompts" not in config.rollout:
        return 32
    count = config.rollout.prompts * config.critique.attempts * config.critique.get("count", 1)
    return min(32, 1 << (count - 1).bit_length())


def fitting(
    language: Language, tokenizer: Any, width: int, task: Task, prompt: Callable[[Attempt], str], who: str
) -> Callable[[str], bool]:
    """Whether a prompt has at most `width` tokens; closed sentences always have.

    Raises:
      InputError: none has: `prompt` of an attempt of one line is longer, for each of the first problems.
    """
    if language is CLOSED:
        return lambda prompt: True
    first = [Attempt(task[i], "1 + 1 = 3", False) for i in range(min(8, len(task)))]
    least = min((len(tokenizer.encode(prompt(tried))) for tried in first), default=0)
    if least > width:
        raise InputError(
            f"a conversation of {who} about an attempt of one line takes {least} tokens or more, and {width} is the "
            "most: raise critique.prompt_length, or take a model with a longer context"
        )
    return lambda prompt: len(tokenizer.encode(prompt)) <= width


def critic_of(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, language: Language
) -> tuple[Any, Callable[..., Any]]:
    """(parameters of a critic that is no policy of the moment, else None; what asks it), by `config.critique.source`.

    In natural language a critic has its own tokenizer and template; in closed sentences it speaks the task's words.

    Raises:
      InputError: it is not there, or its vocabulary or context does not fit.
    """
    c = config.critique
    sampler = partial(critique_sampler, config, task, mesh=mesh, reference=c.reference)
    if c.source == "self":
        return None, sampler(model, language=language)
    if c.source == "frozen":
        policy = load_policy(config, config.get("init"), mesh, task.tokenizer.vocab_size, model=model)[1]
        warmth = config.get("init_temperature", 1.0)
        return (policy if warmth == 1 else heated(policy, warmth, model.config)), sampler(model, language=language)
    if language is CLOSED:
        critic, params = load_policy(config, c.model, mesh, task.tokenizer.vocab_size, key="critique.model")
        return params, sampler(critic, language=language)
    (critic, params), spoken = load_critic(config, task, mesh, c.model, language)
    return params, sampler(critic, language=spoken)


def server(
    config: ConfigDict, task: Task, language: Language, settings: dict[str, Any], workdir: str | Path | None
) -> Callable[..., tuple[list[Critique | None], list[critics.Reply]]]:
    """As `critique_sampler`, of the server that `settings` (critique.api) name; process 0 alone asks it.

    Raises:
      InputError: a bad value, a missing key, a task in closed sentences, or a script that has no place for it.
    """
    c = config.critique
    if not isinstance(language, Natural):
        raise InputError("critique.source=api speaks natural language: pose the task to a folder, configs/rl/hf.py")
    if not settings:
        raise InputError("critique.source=api goes with experiments.train_rl alone: give another source")
    how = {**settings, "reply_tokens": max_tokens(config, language)}
    made: list[api.Endpoint] = []

    def start() -> None:
        made.append(api.Endpoint(workdir or ".", **how))

    processes.run_on_primary(start)
    count = 2 if c.reference else 1
    width = c.get("prompt_length") or task.prompt_length + task.response_length * count + WRAPPING

    def fits(messages: list[dict[str, str]]) -> bool:
        return sum(len(task.tokenizer.encode(m["content"])) for m in messages) <= width

    def ask(params, tried, key):
        conversations = [language.critique_messages(t, c.reference) for t in tried]
        there = [fits(messages) for messages in conversations]
        rows = processes.from_primary(lambda: made[0].ask([m for m, ok in zip(conversations, there) if ok]))
        replies = (critics.Reply(**row) for row in rows)
        replies = [next(replies) if ok else critics.UNASKED for ok in there]
        return critics.read(replies, language), replies

    return ask


def load_critic(
    config: ConfigDict, task: Posed, mesh: jax.sharding.Mesh, path: str, language: Natural, key: str = "critique.model"
) -> tuple[Policy, Natural]:
    """A critic in a workdir or a Hugging Face folder, and natural language as its tokenizer speaks it.

    Raises:
      InputError: as of `load_policy`, or it began with no folder and has no words but Countdown's.
    """
    run, folder = trained(path, key), path
    if run is not None:
        if not build.from_folder(run):
            raise InputError(f"config.{key}={path} has the words of its task alone: give a run of a model's folder")
        folder = build.folder(run)
    there = (Path(folder) / "config.json").is_file()  # else `load_policy` says what is missing
    tokenizer = build.tokenizer(str(folder)) if there else task.tokenizer
    policy = load_policy(config, path, mesh, tokenizer.vocab_size, key=key)
    return policy, natural(task, tokenizer, asked(config).get("style", "auto"), language.truth)


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
    joint, whole = c.learn == "joint", "a whole number"
    distils = bool(config.distillation.coef)
    least = 0 if joint or distils else 1
    checks.require(config, f"{whole} of {least} or more", lambda x: x >= least and x == int(x), "critique.refined")
    checks.require(config, f"{whole} above 0", lambda x: x > 0 and x == int(x), "critique.attempts", "critique.count")
    checks.require(config, f"{whole} from 1 to {MOST_TURNS}", lambda x: x in range(1, MOST_TURNS + 1), "critique.turns")
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "critique.until", "critique.guard.entropy")
    shares = ("critique.guard.repetition", "critique.guard.copying")
    checks.require(config, "a share from 0 to 1", lambda x: 0 <= x <= 1, *shares)
    checks.one_of(config, "critique.learn", LEARN)
    checks.one_of(config, "critique.credit", refine.CREDITS)
    if distils and (joint or c.turns > 1 or c.count > 1):
        raise InputError(
            "distillation.coef shows critiques to a teacher, and nothing is retried: give critique.learn=refined, "
            "turns=1 and count=1, or distillation.coef=0"
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
    language = speak(config, task)
    if language is CLOSED and not getattr(task, "talks", False):
        raise InputError("lessons need a task with the words of critiques: --config.task.args.talk=True")
    shares = {k: c[k] for k in lessons.KINDS}
    rows = dataset.read(c.path)
    if c.problem is not None:
        rows = [row for row in rows if row.id == c.problem]
        if not rows:
            raise InputError(f"config.lessons.problem={c.problem}: {c.path} has no critique of that problem")
    made = lessons.make(
        task, rows, shares, critique_level=c.level, refine_levels=tuple(c.refine_levels), language=language
    )
    if made.unreadable:
        print(f"{made.unreadable} of {len(rows)} rows of {c.path} are not in the grammar of critiques and left out")
    return made


def critique_sampler(
    config: ConfigDict,
    task: Task,
    model: Transformer,
    mesh: jax.sharding.Mesh,
    *,
    reference: bool = False,
    language: Language = CLOSED,
) -> Callable[..., tuple[list[Critique | None], list[critics.Reply]]]:
    """Parameters of a critique model, tried attempts, key -> what `critics.ask_critic` gives, decoded greedily.

    Where an attempt gets several critiques they are sampled, so that they differ.

    Raises:
      InputError: the critic's context is shorter than an attempt and a critique, or no conversation fits.
    """
    most, count = max_tokens(config, language), asked(config).get("count", 1)
    if language is CLOSED:
        tokenizer = task.tokenizer
        width = task.prompt_length + task.response_length * (2 if reference else 1) + 2
    else:
        tokenizer = language.tokenizer
        wanted = task.prompt_length + task.response_length * (2 if reference else 1) + WRAPPING
        width = within(config, tokenizer.path, wanted, most, task.response_length, "the critic")
    fits = fitting(language, tokenizer, width, task, lambda t: language.ask_critique(t, reference), "the critic")

    def ask(params, tried, key):
        def answer(prompts):
            return refine.respond(
                *(model, params, tokenizer, prompts, key),
                max_new=most,
                prompt_length=width,
                # several critiques of one attempt are to differ
                warp=warp.greedy if count == 1 else partial(warp.temperature, value=config.rollout.temperature),
                slots=config.rollout.slots,
                mesh=mesh,
                fewest=fewest(config, language),
            )

        return critics.ask_critic(answer, tried, reference=reference, language=language, fits=fits)

    return ask
