r"""Text tasks posed to a model: questions in a prompt style, in tokens of the model's own tokenizer.

    plain    3 + 4 =\n
    boxed    3 + 4 =\nPlease reason step by step, and put your final answer within \boxed{}.\n
    chat     the same request as a user's turn of the model's chat template

The request of boxed and chat is the one that Qwen2.5-Math is evaluated with. A style is a row of `STYLES`.

A problem whose prompt is too long is left out and counted when the task is made, as verl and TRL do, and never cut: a
prompt without its end is another question.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from entropy_rl.data.order import index, problem_at
from entropy_rl.data.packing import pack_rows
from entropy_rl.data.problem import Problem, Task, TextTask
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError, lookup

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclasses.dataclass(frozen=True)
class Style:
    """How a question becomes a prompt: what is asked after it, and whether as a turn of a chat."""

    ask: str
    chat: bool


THOUGHT = "<think>"
TOO_LONG = ("drop", "error")
KNOBS = {"prompt": "prompt_length", "demonstration": "response_length"}  # what says how long they may be
LARGE = 1 << 16  # problems of a stream, above which it is not read through
FIRST = 128  # problems of such a stream that are looked at when it is posed
TRIES = 1000  # problems of a stream that may be too long one after the other
STYLES = {"plain": Style("", False), "boxed": Style(BOXED, False), "chat": Style(BOXED, True)}


@dataclasses.dataclass(frozen=True)
class PosedProblem(Problem):
    """A problem whose prompt is what the model is given; `plain` is the one that it came from."""

    plain: Problem | None = None


class Posed:
    """A task with prompts and tokens, for any task that has texts; the rest of `tasks.base.Task` is the task's own.

    Attributes:
      task: the task that is posed.
      levels, stream: its.
      system: what a chat begins with; "": nothing.
      tokenizer: of the model; of a chat, the one whose responses end with the turn (FolderTokenizer.for_chat).
      said_of_ends: a line about the token that ends them, where it is none that the folder names; or "".
      solution_graph: the task's, where it has one.
      prompt_length, response_length: tokens of the longest, the end-of-sequence token included.
      seen: problems that were looked at: all, or the `FIRST` of a stream of more than `LARGE`.
      too_long: those among them that are left out, as their prompts are longer than `prompt_length`.

    Args:
      task: with texts. Countdown will do, its own tokenizer is not used.
      tokenizer: of the model.
      style: a row of `STYLES`.
      prompt_length, response_length: as above.
      ask: what is asked in place of the style's; None: that.
      system: as above.
      too_long: "drop": such problems are left out. In place of one of a large stream, which is not read through,
        stands the next of its level that fits. "error": they are refused.

    Raises:
      InputError: an unknown style, a chat without a template, lengths below 1, no prompt that fits; or with "error"
        one that does not.
    """

    def __init__(
        self,
        task: Task | TextTask,
        tokenizer: FolderTokenizer,
        *,
        style: str = "boxed",
        prompt_length: int = 256,
        response_length: int = 256,
        ask: str | None = None,
        system: str = "",
        too_long: str = "drop",
    ):
        self._style = lookup(STYLES, style, "prompt style")
        self._ask = self._style.ask if ask is None else ask
        self.system = system
        for key, n in (("prompt_length", prompt_length), ("response_length", response_length)):
            if n < 1:
                raise InputError(f"prompt.{key}={n}: must be 1 or more tokens")
        if system and not self._style.chat:
            raise InputError(f"prompt.system goes with the style chat, not with {style!r}: leave one of them")
        self.task = task
        self.tokenizer, self.said_of_ends = tokenizer.for_chat() if self._style.chat else (tokenizer, "")
        self._free = not hasattr(task, "tokenizer")
        if hasattr(task, "solution_graph"):
            self._free, self.solution_graph = False, lambda response: task.solution_graph(self._thought + response)
        self.levels, self.stream = task.levels, task.stream
        self.prompt_length, self.response_length = prompt_length, response_length
        prompt = self.render("?")  # a chat without a template is refused here
        # R1's, QwQ's and Qwen3-Thinking's templates write it: what the model says begins within its thought
        self._thought = THOUGHT if prompt.rstrip().endswith(THOUGHT) else ""
        lookup(dict.fromkeys(TOO_LONG), too_long, "prompt.too_long")
        self._drop = too_long == "drop"
        self._walk = task.stream and len(task) > LARGE
        self.seen = FIRST if self._walk else len(task)
        fitting = self._fitting(self._pose, self.seen, "prompt")
        self.too_long = self.seen - len(fitting)
        self._kept = None if self._walk or not self.too_long else fitting

    def turn(self, problem: Problem) -> str:
        """The question of a problem of `task` with what is asked after it: the user's turn."""
        return "\n".join(filter(None, (problem.prompt, self._ask)))

    def whole(self, response: str) -> str:
        """A response with the thought that its prompt opened."""
        return self._thought + response

    def render(self, question: str) -> str:
        """The prompt of a question."""
        asked = "\n".join(filter(None, (question, self._ask)))
        if not self._style.chat:
            return self.tokenizer.begun(f"{asked}\n")
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self.tokenizer.chat([*system, {"role": "user", "content": asked}])

    def __len__(self) -> int:
        """Number of problems, without those that are left out."""
        return len(self.task) if self._kept is None else len(self._kept)

    def __getitem__(self, i: int) -> PosedProblem:
        """Problem `i` of those that fit, posed; InputError where a stream has none for it."""
        if self._kept is not None:
            i = self._kept[i]
        return self._next(self._pose, i, "prompt") if self._walk else self._pose(i)

    def posed(self, problem: Problem) -> PosedProblem:
        """A problem of `task`, however long its prompt is."""
        fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(Problem)}
        return PosedProblem(**{**fields, "prompt": self.render(problem.prompt)}, plain=problem)

    def _pose(self, i: int) -> PosedProblem | None:
        """Problem `i` of the task; None where its prompt is too long and such are dropped."""
        problem = self.posed(self.task[i])
        return problem if self._fits(self.tokenizer.encode(problem.prompt), problem, "prompt") else None

    def _fits(self, tokens: list[int], problem: Problem, what: str) -> bool:
        """Whether a prompt or demonstration is short enough; InputError where it is not and such are not dropped."""
        most = getattr(self, KNOBS[what])
        if len(tokens) > most and not self._drop:
            raise InputError(
                f"the {what} of {problem.id} has {len(tokens)} tokens and prompt.{KNOBS[what]} is {most}: "
                "raise it, or leave such problems out with prompt.too_long=drop"
            )
        return len(tokens) <= most

    def _fitting(self, get: Callable[[int], PosedProblem | None], count: int, what: str) -> list[int]:
        """The places, of the first `count`, for which `get` has a problem."""
        found = [i for i in range(count) if get(i) is not None]
        if count and not found:
            raise InputError(f"all of {count} {self._exceed(what)}: raise it")
        return found

    def _next(self, get: Callable[[int], PosedProblem | None], i: int, what: str) -> PosedProblem:
        """What `get` has for place `i` of a stream, or else for the next of its level that fits."""
        for turn in range(TRIES):  # in steps of the levels, which take turns
            at = i + turn * len(self.levels)
            if (problem := get(at % len(self.task) if turn else i)) is not None:
                return problem
        first = self.task[i]
        where = self._exceed(what, f" from {first.id} on")
        raise InputError(f"{TRIES} {where}: raise it, or leave out level {first.level}")

    def _exceed(self, what: str, where: str = "") -> str:
        return f"{what}s{where} have more tokens than prompt.{KNOBS[what]}={getattr(self, KNOBS[what])}"

    def verify(self, problem: PosedProblem, response: str) -> float:
        """Reward of a response, as the task gives it; where the prompt opened a thought, that is part of it."""
        return self.task.verify(problem.plain, self._thought + response)

    def verify_all(self, problems: Sequence[PosedProblem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair, together where the task can."""
        plain, responses = [p.plain for p in problems], [self._thought + r for r in responses]
        if hasattr(self.task, "verify_all"):
            return self.task.verify_all(plain, responses)
        return [self.task.verify(p, r) for p, r in zip(plain, responses)]

    def final_answer(self, response: str) -> str:
        """What a response commits to: nothing where it does not close the thought that the prompt opened."""
        return self.task.final_answer(self._thought + response)

    def solution(self, response: str) -> str:
        """Canonical form of a response: the task's; of free text without `solution_graph`, whose words are never the
        same twice, its answer."""
        response = self._thought + response
        return self.task.final_answer(response) if self._free else self.task.solution(response)

    def decisions(self, tokens: np.ndarray, mask: np.ndarray) -> None:
        """None: which tokens of natural language are decisions is not known by rule."""

    def demonstrations(self, seed: int, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Problems and worked responses for supervised training, pure in (seed, step, count).

        A worked response is the problem's `demonstration`, or its answer where it has none, and ends with the
        end-of-sequence token. Which problems: data/order.py, so every epoch has each of them once.

        Returns:
          tokens i32[count, T] = prompt ++ response ++ pad, T = prompt_length + response_length; mask bool[count, T],
          True on the response.

        Those that are longer than `response_length` are left out, as prompts that are too long are.

        Raises:
          InputError: all are longer; or one is, with too_long="error".
        """
        prompts, responses = [], []
        for row in range(count):
            problem = self._taught_at(seed, step * count + row)
            prompts.append(self.tokenizer.encode(problem.prompt))
            responses.append(self._worked(problem))
        return pack_rows(prompts, responses, self.prompt_length + self.response_length, self.tokenizer.pad_id)

    @functools.cached_property
    def untaught(self) -> int:
        """How many of `taught_from` problems are left out of `demonstrations`, as their responses are too long."""
        return self.taught_from - len(self._demonstrated)

    @property
    def taught_from(self) -> int:
        """Problems whose worked responses are looked at: all, or the `FIRST` of a stream of more than `LARGE`."""
        return FIRST if self._walk else len(self)

    @functools.cached_property
    def _demonstrated(self) -> list[int]:
        """Those of them whose responses fit."""
        return self._fitting(self._teachable, self.taught_from, "demonstration")

    def _taught_at(self, seed: int, place: int) -> PosedProblem:
        """The problem that is taught at a place of a run: `problem_at`, of those whose responses fit."""
        if not self.untaught:
            return problem_at(self, seed, place)
        if self._walk:
            return self._next(self._teachable, place % len(self), "demonstration")
        kept = self._demonstrated
        return self[kept[place % len(kept) if self.stream else index(len(kept), seed, place)]]

    def _teachable(self, i: int) -> PosedProblem | None:
        problem = self[i]
        return None if self._worked(problem) is None else problem

    def _worked(self, problem: Problem) -> list[int] | None:
        """Tokens of a problem's worked response; None where it is too long and such are dropped."""
        text = [*self.tokenizer.encode(problem.demonstration or problem.answer), self.tokenizer.eos_id]
        return text if self._fits(text, problem, "demonstration") else None
