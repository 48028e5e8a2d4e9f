"""From `config.critique` to the conversation with a critic: its language, its length, and who is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from entropy_rl.data.problem import Task
from entropy_rl.data.prompts import Posed
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import api, critics, oracle, refine
from entropy_rl.methods.critique.language import CLOSED, Attempt, Language, Natural, natural
from entropy_rl.methods.critique.sentences import Critique
from entropy_rl.models import families
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.sampling import warp
from entropy_rl.tasks.countdown import Countdown
from entropy_rl.training.state import heated
from experiments.lib import build
from experiments.lib.policies import Policy, load_policy, trained

MAX_TOKENS = 256  # of a critique in natural language, where nothing says how many
WRAPPING = 256  # tokens around question, attempt and critique in such a conversation


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


def longest(task: Task, reference: bool) -> int:
    """Tokens of a question, an attempt at it, and the reference solution where it is shown."""
    return task.prompt_length + task.response_length * (2 if reference else 1)


def within(
    config: ConfigDict, folder: Any, wanted: int, new: int, least: int, who: str, held: str = "an attempt, a critique"
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
) -> Callable[..., Any]:
    """As `critique_sampler`, of the model of `config.critique.source`: the policy of the moment, or one that stays.

    In natural language a critic has its own tokenizer and template; in closed sentences it speaks the task's words.

    Raises:
      InputError: it is not there, or its vocabulary or context does not fit.
    """
    c, critic, spoken = config.critique, model, language
    if c.source == "learned":
        (critic, params), spoken = load_critic(config, task, mesh, c.model, language)
    ask = critique_sampler(config, task, critic, mesh, reference=c.reference, language=spoken)
    if c.source == "self":
        return ask
    if c.source == "frozen":
        params = load_policy(config, config.get("init"), mesh, task.tokenizer.vocab_size, model=model)[1]
        warmth = config.get("init_temperature", 1.0)
        params = params if warmth == 1 else heated(params, warmth, model.config)
    return lambda _, *rest: ask(params, *rest)


def server(
    config: ConfigDict, task: Task, language: Language, settings: dict[str, Any], workdir: str | Path | None
) -> Callable[..., tuple[list[Critique | None], list[critics.Reply]]]:
    """As `critique_sampler`, of the server that `settings` (critique.api) name; process 0 alone asks it.

    Raises:
      InputError: a bad value, a missing key, a task in closed sentences, a script that has no place for it, or no
        conversation fits.
    """
    c = config.critique
    if not isinstance(language, Natural):
        raise InputError("critique.source=api speaks natural language: pose the task to a folder, configs/rl/hf.py")
    if not settings:
        raise InputError("critique.source=api goes with experiments.train_rl alone: give another source")
    how = {**settings, "reply_tokens": max_tokens(config, language)}
    made: list[api.Endpoint] = []
    processes.run_on_primary(lambda: made.append(api.Endpoint(workdir or ".", **how)))
    width = c.get("prompt_length") or longest(task, c.reference) + WRAPPING
    said = lambda t: "\n".join(m["content"] for m in language.critique_messages(t, c.reference))  # noqa: E731
    fits = fitting(language, task.tokenizer, width, task, said, "the critic")

    def ask(params, tried, key):
        there = [fits(said(t)) for t in tried]
        conversations = [language.critique_messages(t, c.reference) for t, ok in zip(tried, there) if ok]
        rows = processes.run_on_primary(lambda: made[0].ask(conversations))
        replies = (critics.Reply(**row) for row in rows)
        replies = [next(replies) if ok else critics.UNASKED for ok in there]
        return critics.read(replies, language), replies

    return ask


def load_critic(
    config: ConfigDict, task: Task, mesh: jax.sharding.Mesh, path: str, language: Language, key: str = "critique.model"
) -> tuple[Policy, Language]:
    """A critic in a workdir or a Hugging Face folder, and the language: natural one as its tokenizer speaks it.

    Raises:
      InputError: as of `load_policy`, or in natural language it began with no folder and has the words of Countdown.
    """
    if language is CLOSED:
        return load_policy(config, path, mesh, task.tokenizer.vocab_size, key=key), language
    run, folder = trained(path, key), path
    if run is not None:
        if not build.from_folder(run):
            raise InputError(f"config.{key}={path} has the words of its task alone: give a run of a model's folder")
        folder = build.folder(run)
    there = (Path(folder) / "config.json").is_file()  # else `load_policy` says what is missing
    tokenizer = build.tokenizer(str(folder)) if there else task.tokenizer
    policy = load_policy(config, path, mesh, tokenizer.vocab_size, key=key)
    return policy, natural(task, tokenizer, asked(config).get("style", "auto"), language.truth)


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
        tokenizer, width = task.tokenizer, longest(task, reference) + 2
    else:
        tokenizer, wanted = language.tokenizer, longest(task, reference) + WRAPPING
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
