"""From `config.distillation` to what shows critiques and right siblings to teachers, and to what learns from them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jax
from ml_collections import ConfigDict

from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.methods.critique.distil import Distiller
from entropy_rl.methods.critique.language import CLOSED, Language
from entropy_rl.models.scoring import likeliest, token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel.sharding import row_shards
from entropy_rl.training.objectives import Distillation
from entropy_rl.training.step import SelfTeacher
from experiments.lib import build, checks
from experiments.rl import conversation, critique

BUFFERS = 8  # arrays of so many places and tokens that are alive at once in an update
SILENT = ("off", "none", "fresh")  # sources that say nothing


def teacher(
    config: ConfigDict,
    task: Task,
    model: Transformer,
    mesh: jax.sharding.Mesh,
    adaptation: build.Adaptation,
    microbatches: int,
) -> SelfTeacher | None:
    """How the policy learns from itself, in updates of `microbatches` parts; None where distillation.coef is 0.

    Raises:
      InputError: a value out of range, or arrays that this machine has no memory for.
    """
    c, temperature = SimpleNamespace(**config.distillation), config.rollout.temperature
    checks.not_negative(config, "distillation.coef", "distillation.clip", "distillation.outcome")
    checks.require(config, "a share from 0 to 1", lambda x: 0 <= x <= 1, "distillation.alpha", "distillation.rate")
    checks.whole(config, 1, "distillation.top")
    if not c.coef:
        return None
    vocab = model.config.vocab_size
    count = min(int(c.top), vocab)
    _memory(config, task, count, mesh, microbatches)
    return SelfTeacher(
        Distillation(c.coef, c.outcome, c.alpha, c.clip, tail=count < vocab),
        adaptation.over(likeliest(model, count=count, prompt_length=task.prompt_length, mesh=mesh)),
        adaptation.over(token_scores(model, temperature=temperature, mesh=mesh)),
        c.rate,
    )


def distiller(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, workdir: str | Path | None = None
) -> Distiller | None:
    """Who shows teachers what they see; None where distillation.coef is 0.

    Raises:
      InputError: as of critique.critique_step; a teacher that would see nothing; refined rows besides; a task without
        the words of critiques, or a context that is too short.
    """
    c, d = config.critique, config.distillation
    if not d.coef:
        return None
    siblings = d.siblings and config.rollout.samples > 1
    if c.source in SILENT and not siblings:
        raise InputError(
            f"self-distillation with critique.source={c.source!r} and without right siblings: its teacher would see "
            "nothing; give critique.source=oracle, arithmetic or self, or distillation.siblings=True with "
            "rollout.samples of 2 or more"
        )
    if c.refined:
        raise InputError(
            f"config.critique.refined={c.refined} with distillation.coef={d.coef}: critiques go to the teacher and no "
            "row is refined; give critique.refined=0, or distillation.coef=0"
        )
    step = critique.critique_step(config, task, model, mesh, config.rollout.temperature, workdir)
    if step is None:
        critique.check(config, task)
    language = step.language if step else conversation.speak(config, task)
    width = _width(config, task, language)
    return Distiller(task, width, step and step.criticise, c.attempts, siblings, language)


def _width(config: ConfigDict, task: Task, language: Language) -> int:
    """Tokens of a teacher's longest prompt: question, critique and another attempt, in closed sentences its own too."""
    response, most = task.response_length, conversation.max_tokens(config, language)
    if language is CLOSED:
        longest = task.prompt_length + 2 * response + max(critique.WORDS["answer"], most) + 1
        return conversation.asked(config).get("prompt_length") or longest
    folder = task.tokenizer.path
    wanted = task.prompt_length + response + most + conversation.WRAPPING
    width = conversation.within(config, folder, wanted, response, response + most, "the teacher")
    least = lambda tried: language.ask_informed(tried, language.verdict(False), "")  # noqa: E731
    conversation.fitting(language, task.tokenizer, width, task, least, "the teacher")
    return width


def _memory(config: ConfigDict, task: Task, count: int, mesh: jax.sharding.Mesh, microbatches: int) -> None:
    """InputError where the likeliest tokens of a rollout are more than this machine's memory, or those of a micro-batch
    with their gradient more than a device's."""
    r, name = config.rollout, f"config.distillation.top={count}"
    rows = r.prompts * r.samples
    each = task.response_length * count  # of a response
    remedy = "lower it, rollout.prompts or the response's length"
    what = f"{name} with numbers and log-probabilities for a rollout's {rows} x {task.response_length} places"
    checks.fits(what, rows * each * 8, checks.host_memory(), remedy)
    part = rows // config.updates // microbatches // row_shards(mesh)
    what = f"{name} in an update of {part} responses on each device"
    checks.fits(what, part * each * 4 * BUFFERS, checks.device_memory(mesh), f"{remedy}, or raise microbatches")
