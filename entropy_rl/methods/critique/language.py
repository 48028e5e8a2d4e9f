"""The languages that critiques are in: closed sentences for small models, and natural language for any other.

    Closed      sentences of sentences.py over Countdown's own words; a prompt is "question attempt critique"
    Natural     messages of chat.py, by the chat template of a Hugging Face folder, or as plain text where it has none

Both ask for a critique and for a refinement, write, read and cut critiques, and know what a solver or a calculator says
of an attempt; critics.py, refine.py and distil.py are written once against them (`Language`), whose methods `Closed`
describes. Natural shows attempts as numbered lines to the critic; for a refinement question and attempt are turns as
the policy knows them, and the critique is the next turn.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from entropy_rl.data.problem import Problem
from entropy_rl.data.prompts import Posed
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import arithmetic, chat, oracle, sentences
from entropy_rl.methods.critique.sentences import LEVELS

STYLES = ("auto", "chat", "plain")
THOUGHT_ENDS = "</think>"
Truth = Callable[..., chat.ChatCritique]  # problem, attempt, generator or None, and level= where it likes
Critique = Any  # sentences.Critique or chat.ChatCritique: both have `right` and `step`


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempt that is to be criticised; `before` has earlier ones of the same context, each with what was said."""

    problem: Problem
    text: str
    right: bool
    before: tuple[tuple[str, str], ...] = ()


class Closed:
    """Sentences over a closed vocabulary (sentences.py), with Countdown's solver (oracle.py).

    `say` is the reply that says a critique, of which `read` gives that critique; `write` is what a refiner is told of
    it; `limit` leaves away what leaks more than a level, one of `LEVELS`.
    """

    say, write, limit = map(staticmethod, (sentences.write, sentences.write, sentences.limit))

    def ask_critique(self, tried: Attempt, reference: bool = False) -> str:
        """The prompt whose response is a critique; `reference`: the true answer is shown."""
        seen = f"{tried.text} answer {tried.problem.answer}" if reference else tried.text
        return sentences.ask_critique(tried.problem.prompt, seen)

    def ask_refinement(self, tried: Attempt, said: str) -> str:
        """The prompt whose response is another solution; `said` "": without a critique. Earlier attempts of the same
        context stand before, each with its critique."""
        prompt = tried.problem.prompt
        for attempt, critique in (*tried.before, (tried.text, said)):
            prompt = sentences.ask_refinement(prompt, attempt, critique)
        return prompt

    def ask_informed(self, tried: Attempt, said: str, sibling: str) -> str:
        """The prompt of a policy that knows more about an attempt (distil.py): its critique, and another attempt, which
        is right; "": not shown, but one of the two is.

        Here that of a refinement: the attempt and its critique, to which the sibling is the answer; or the sibling and
        that it is right.
        """
        if tried.right:
            return self.ask_refinement(dataclasses.replace(tried, text=sibling), self.verdict(True))
        read = self.read(said) or sentences.Critique(False)
        told = self.write(dataclasses.replace(read, answer=read.answer or sibling)) if sibling else said
        return self.ask_refinement(tried, told)

    def read(self, text: str, truncated: bool = False) -> sentences.Critique | None:
        """The critique that a reply gives, None for any other text; total. What is cut off is read too where it is a
        sentence."""
        return sentences.parse(text)

    def verdict(self, right: bool, answer: str = "") -> str:
        """What a refiner is told of the verdict alone, or with the true answer."""
        return sentences.write(sentences.Critique(right, answer="" if right else answer))

    def oracle(self, tried: Attempt, rng: np.random.Generator | None, level: str = "answer") -> sentences.Critique:
        """The truth about an attempt, by the task's own solver, before `limit` to `level`: here of all levels."""
        return oracle.critique(tried.problem.prompt, tried.text, rng)

    def arithmetic(self, tried: Attempt) -> sentences.Critique:
        """The first equation of an attempt that is false."""
        found, _ = arithmetic.first_false(tried.text.split(" ; "))
        if tried.right or found is None:
            return sentences.Critique(tried.right)
        return sentences.Critique(False, found.line + 1, "arithmetic")

    def tells_all(self) -> bool:
        """Whether there is an oracle."""
        return True

    def leak(self, said: str | None) -> int:
        """What a refiner is told: 0 nothing, then 1 to 5 in the order of LEVELS."""
        read = sentences.parse(said or "")
        return 0 if read is None else 1 + LEVELS.index(read.level)

    def place(self, text: str, critique: sentences.Critique) -> int | None:
        """The first wrong step that a critique names, by its number among those of the attempt `text`; None: none."""
        return critique.step

    def question(self, problem: Problem) -> str:
        """The question of a problem, for a dataset."""
        return problem.prompt

    def problem(self, question: str, id: str = "", level: int = 0) -> Problem:
        """The problem that a question of a dataset asks, without its answer."""
        return Problem(question, "", id, level)

    def size(self, text: str) -> int:
        """Tokens of a text."""
        return len(text.split())


CLOSED = Closed()


@dataclasses.dataclass(frozen=True)
class Natural:
    """Natural language, for a task that is posed in tokens of a folder; made by `natural`.

    Attributes:
      task: the posed task: its questions are asked as the policy is asked them.
      tokenizer: of whoever is asked, the policy or a critic with a folder of its own.
      chat: whether its chat template is used; False: plain text.
      truth: (problem as the task has it, attempt, generator) -> critique; None: the task has no oracle.
    """

    task: Posed
    tokenizer: FolderTokenizer
    chat: bool
    truth: Truth | None = None

    say, limit = map(staticmethod, (chat.write, chat.limit))

    def critique_messages(self, tried: Attempt, reference: bool = False) -> list[dict[str, str]]:
        """The conversation with a critic, as messages."""
        plain = tried.problem.plain
        seen = {"answer": plain.answer, "reference": plain.demonstration} if reference else {}
        if seen.get("reference") == plain.answer:
            seen["reference"] = ""
        lines = chat.steps_of(self.task.whole(tried.text))
        numbered = "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
        return self._clean(chat.critique_messages(plain.prompt, numbered, **seen))

    def refinement_messages(self, tried: Attempt, said: str) -> list[dict[str, str]]:
        """The conversation with the policy: question, then of each attempt it, its critique and the request."""
        question = self.task.turn(tried.problem.plain)
        form = chat.BOXED_FORM if "\\boxed" in question else chat.FORM
        messages: list[dict[str, str]] = []
        for attempt, critique in (*tried.before, (tried.text, said)):
            turn = chat.refinement_messages(question, self.task.whole(attempt), critique, form)
            messages += turn[1:] if messages else turn
        system = [{"role": "system", "content": self.task.system}] if self.task.system else []
        return system + self._clean(messages)

    def ask_critique(self, tried: Attempt, reference: bool = False) -> str:
        """The conversation with a critic, up to where its reply begins."""
        messages = self.critique_messages(tried, reference)
        if self.chat:
            return self.tokenizer.chat(messages)
        return self.tokenizer.begun(f"{messages[0]['content']}\n\nCritique:\n")

    def ask_refinement(self, tried: Attempt, said: str) -> str:
        """The conversation with the policy, up to where its next solution begins."""
        messages = self.refinement_messages(tried, said)
        if self.chat:
            return self.tokenizer.chat(messages)
        question, *turns = (m["content"] for m in messages if m["role"] != "system")
        pairs = zip(turns[::2], turns[1::2], strict=True)
        held = "".join(f"{attempt}\n\n{request}\n\nNew solution:\n" for attempt, request in pairs)
        return self.tokenizer.begun(f"{question}\n{held}")

    def ask_informed(self, tried: Attempt, said: str, sibling: str) -> str:
        """The question with what is shown behind it, posed as the policy is asked it. The attempt is not shown."""
        clean = self.tokenizer.unmarked
        other = clean(self.task.whole(sibling)) if sibling else ""
        return self.task.render(chat.informed(tried.problem.plain.prompt, clean(said), other))

    def read(self, text: str, truncated: bool = False) -> chat.ChatCritique | None:
        """`chat.parse` of what follows a thought; None for a reply that is cut off."""
        return None if truncated else chat.parse(text.rpartition(THOUGHT_ENDS)[2])

    def write(self, critique: chat.ChatCritique) -> str:
        """`chat.write`; a verdict alone as a sentence."""
        if not critique.steps and not critique.explanation:
            return chat.indicative(critique.right)
        return chat.write(critique)

    def verdict(self, right: bool, answer: str = "") -> str:
        """`chat.indicative`."""
        return chat.indicative(right, "" if right else answer)

    def oracle(self, tried: Attempt, rng: np.random.Generator | None, level: str = "answer") -> chat.ChatCritique:
        """What the task's `oracle` says; one that takes a `level` is told it, as hints cannot be cut from reasons.
        InputError where there is none."""
        if self.truth is None:
            raise InputError(f"task {tried.problem.id.split('/')[0]} has no oracle: give critique.source=arithmetic")
        how = {"level": level} if "level" in inspect.signature(self.truth).parameters else {}
        return self.truth(tried.problem.plain, self.task.whole(tried.text), rng, **how)

    def arithmetic(self, tried: Attempt) -> chat.ChatCritique:
        """The first line with a false equation; that all hold; or the verdict, where there is none to check."""
        if tried.right:
            return chat.ChatCritique(True)
        lines = chat.steps_of(self.task.whole(tried.text))
        found, true = arithmetic.first_false(lines)
        if found is None:
            return chat.ChatCritique(False, (NO_SLIP,) if true else ())
        return chat.ChatCritique(False, (chat.Step(lines[found.line], False, f"{found.text} is {found.value}."),))

    def tells_all(self) -> bool:
        """Whether the task has an oracle."""
        return self.truth is not None

    def leak(self, said: str | None) -> int:
        """By what is in it; hints cannot be told from reasons."""
        if not said:
            return 0
        read = chat.parse(said)
        if read is None:  # `verdict`
            return 5 if said not in (chat.indicative(True), chat.indicative(False)) else 1
        if read.explanation:
            return 5
        return 3 if any(step.explanation for step in read.steps) else 2 if read.steps else 1

    def place(self, text: str, critique: chat.ChatCritique) -> int | None:
        """The line that the critique repeats with or without its number, else one that has its letters and digits, else
        its place among those repeated."""
        if critique.step is None:
            return None
        said, lines = critique.steps[critique.step - 1].text, chat.steps_of(self.task.whole(text))
        blank = lambda line: "".join(line.split())  # noqa: E731
        same = lambda line: "".join(filter(str.isalnum, line))  # noqa: E731
        for form in (blank, same):  # by letters and digits alone 3 + 5 would be 3 * 5
            for i, line in enumerate(lines, 1):
                if form(said) in (form(line), form(f"{i}. {line}")):
                    return i
        return critique.step

    def question(self, problem: Problem) -> str:
        """As the task has it, without what is asked after it."""
        return problem.plain.prompt

    def problem(self, question: str, id: str = "", level: int = 0) -> Problem:
        """Posed."""
        return self.task.posed(Problem(question, "", id, level))

    def size(self, text: str) -> int:
        """Tokens of the tokenizer."""
        return len(self.tokenizer.encode(text))

    def _clean(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        # what a model or a server says must not end a turn
        return [{**m, "content": self.tokenizer.unmarked(m["content"])} for m in messages]


Language = Closed | Natural  # what critics.py, refine.py and distil.py are given

NO_SLIP = chat.Step(
    "all steps with a calculation", True, "The steps are right, the answer is not: no calculation is wrong."
)


def natural(task: Posed, tokenizer: FolderTokenizer, style: str = "auto", truth: Truth | None = None) -> Natural:
    """Natural language as a folder's tokenizer speaks it.

    Args:
      task, tokenizer, truth: as of `Natural`.
      style: chat, the folder's template; plain, text without one; auto: chat where the folder has a template.

    Raises:
      InputError: "chat" and no template; or the template refuses one of the turns.
    """
    spoken = Natural(task, tokenizer, style == "chat" or style == "auto" and tokenizer.has_template, truth)
    if spoken.chat and len(task):
        probe = Attempt(task[0], "1 + 1 = 3", False)
        try:
            spoken.ask_critique(probe), spoken.ask_refinement(probe, spoken.verdict(False))
        except InputError as e:
            raise InputError(f"critiques cannot be asked for: {e}; or give critique.style=plain") from e
    return spoken
