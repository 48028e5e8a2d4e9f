"""Rollouts that another trainer wrote down: rows of prompt, response, and reward or advantage.

    verl    trainer.rollout_data_dir: <step>.jsonl with input, output, score, step
    TRL     log_completions: completions/completions_<step>.parquet with step, prompt, completion, a column for each
            reward function, advantage
    others  JSON lines or Parquet, whose columns have one of the names below

Columns are looked for in the first row and hold for all. Responses to the same prompt in the same step are a group,
unless a column says so. Both trainers leave special tokens out of texts: what a chat template puts around a prompt is
not there, and neither is the end of a response.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from entropy_rl.data import rows
from entropy_rl.errors import InputError

PROMPT = ("prompt", "input", "question", "problem", "query")
RESPONSE = ("response", "output", "completion", "text")
REWARD = ("reward", "score", "rewards", "total_reward", "reward_score")
ADVANTAGE = ("advantage", "advantages")
GROUP = ("group", "group_id", "uid", "prompt_id")
STEP = ("step", "global_step")
LOGP = ("logprobs", "rollout_log_probs", "sampling_logprobs", "response_logprobs", "log_probs", "old_log_probs")
TOKENS = ("response_ids", "completion_ids", "output_ids", "response_tokens", "output_tokens")
KINDS = (*rows.JSON, *rows.PARQUET)


@dataclasses.dataclass(frozen=True)
class Sampled:
    """A response.

    Attributes:
      prompt: text, or a list of messages with role and content.
      response: text.
      reward, advantage: at least one of them is there.
      group: equal for responses to one prompt.
      logp: of each token when it was sampled, nats; None: not told.
      tokens: ids of the response; None: not told.
      where: in the file.
    """

    prompt: str | list[dict[str, Any]]
    response: str
    reward: float | None
    advantage: float | None
    group: Any
    logp: tuple[float, ...] | None
    tokens: tuple[int, ...] | None
    where: str


def read(path: str) -> list[Sampled]:
    """The rollouts of a file, of the files of a folder, or of a pattern (`dump/*.jsonl`), in order of their numbers.

    Raises:
      InputError: no such file; a row that is no JSON, without prompt, response, and reward or advantage, or whose
        number is not finite.
    """
    files = rows.files(path, KINDS, "give a dump of one of these kinds")
    files = sorted(files, key=lambda f: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", f.name)])
    if not files:
        raise InputError(f"{path} has no rollouts: give a file, folder or pattern of {', '.join(KINDS)}")
    found, names = [], None
    for row in rows.read(files):
        names = names or _columns(row)
        found.append(_sampled(row, names))
    if not found:
        raise InputError(f"{path} has no rows: give a dump with rollouts in it")
    return found


def _columns(row: rows.Row) -> dict[str, str | None]:
    def first(names: Sequence[str]) -> str | None:
        return next((name for name in names if rows.get(row.data, name) is not None), None)

    needed = {"the prompt": PROMPT, "the response": RESPONSE, "a reward or an advantage": (*REWARD, *ADVANTAGE)}
    for what, names in needed.items():
        if first(names) is None:
            there = ", ".join(rows.columns(row.data))
            raise InputError(
                f"{row.where}: no column with {what} (looked for {', '.join(names)}): it has {there}; rename one"
            )
    wanted = {"prompt": PROMPT, "response": RESPONSE, "reward": REWARD, "advantage": ADVANTAGE}
    wanted |= {"group": GROUP, "step": STEP, "logp": LOGP, "tokens": TOKENS}
    return {what: first(names) for what, names in wanted.items()}


def _sampled(row: rows.Row, names: Mapping[str, str | None]) -> Sampled:
    def value(what: str) -> Any:
        return None if names[what] is None else rows.get(row.data, names[what])

    prompt = value("prompt")
    if prompt is None or value("response") is None:
        raise InputError(f"{row.where}: no {names['prompt']} or no {names['response']}: mend or remove that row")
    prompt = prompt if isinstance(prompt, list) else rows.text_of(prompt, row.where)
    numbers = {what: _number(value(what), names[what], row.where) for what in ("reward", "advantage")}
    if all(x is None for x in numbers.values()):
        raise InputError(f"{row.where}: neither a reward nor an advantage: mend or remove that row")
    group = (value("step"), repr(prompt) if names["group"] is None else value("group"))
    more = {what: None if value(what) is None else tuple(value(what)) for what in ("logp", "tokens")}
    response = rows.response_of(value("response"), row.where)
    return Sampled(prompt=prompt, response=response, **numbers, group=group, **more, where=row.where)


def _number(value: Any, column: str | None, where: str) -> float | None:
    """A number; the mean of a list, as of an advantage for each token."""
    if value is None:
        return None
    try:
        given = [float(x) for x in value] if isinstance(value, list) else [float(value)]
        mean = sum(given) / len(given)
    except (TypeError, ValueError, ZeroDivisionError):
        mean = math.nan
    if not math.isfinite(mean):
        raise InputError(f"{where}: {column} is {str(value)[:40]}, not a finite number: mend or remove that row")
    return mean
