"""What a critique is, and its sentences over a closed vocabulary, which a model of 0.1 M parameters can read and write.

    right
    wrong step 2 because unreachable hint 3 + 5 = 8 answer 3 + 5 = 8 ; 8 * 3 = 24

Steps count from 1. What stands further right leaks more: a critique is cut to a level of `LEVELS` by `limit`. The
grammar for chat language models is in critique/chat.py.
"""

from __future__ import annotations

import dataclasses
import re

LEVELS = ("verdict", "step", "reason", "hint", "answer")

# Why a step is wrong.
REASONS = {
    "arithmetic": "its result is not that of its operation",
    "operand": "it takes a number that is not there",
    "unreachable": "the target is out of reach after it",
    "target": "the solution ends with it, short of the target",
    "format": "it is not a step",
}

_STEPS = "([0-9][0-9 +*=;-]*[0-9])"
_WRONG = re.compile(
    rf"wrong(?: step ([1-9][0-9]{{0,2}}))?(?: because ({'|'.join(REASONS)}))?(?: hint {_STEPS})?(?: answer {_STEPS})?"
)


@dataclasses.dataclass(frozen=True)
class Critique:
    """Words about one attempt; "" is not said."""

    right: bool
    step: int | None = None  # the first wrong one, from 1; None: not said, or the attempt is right
    reason: str = ""  # why it is wrong, a key of `REASONS`
    hint: str = ""  # a step that could stand in its place
    answer: str = ""  # a solution

    @property
    def level(self) -> str:
        """The last of `LEVELS` that it says something of."""
        said = (True, self.step is not None, self.reason, self.hint, self.answer)
        return next(level for level, there in zip(reversed(LEVELS), reversed(said)) if there)


def limit(critique: Critique, level: str) -> Critique:
    """The critique without what leaks more than `level`, one of `LEVELS`."""
    blank = Critique(critique.right)
    hidden = LEVELS[LEVELS.index(level) + 1 :]
    return dataclasses.replace(critique, **{name: getattr(blank, name) for name in hidden})


def write(critique: Critique) -> str:
    """The sentence of a critique."""
    if critique.right:
        return "right"
    words = ["wrong"]
    if critique.step is not None:
        words += ["step", str(critique.step)]
    for mark, text in (("because", critique.reason), ("hint", critique.hint), ("answer", critique.answer)):
        words += [mark, text] if text else []
    return " ".join(words)


def parse(text: str) -> Critique | None:
    """The critique that a sentence says; None for any other text. Total: never raises, in time linear in the text."""
    words = " ".join(text.split())
    if words == "right":
        return Critique(True)
    found = _WRONG.fullmatch(words)
    if not found:
        return None
    step, reason, hint, answer = found.groups(default="")
    return Critique(False, int(step) if step else None, reason, hint, answer)


def ask_critique(question: str, attempt: str) -> str:
    """The prompt whose response is a critique of `attempt`."""
    return " ".join(f"{question} {attempt} critique".split())


def ask_refinement(question: str, attempt: str, critique: str) -> str:
    """The prompt whose response is another solution; `critique` "" asks for one without saying what is wrong."""
    return " ".join(f"{question} {attempt} {critique} again".split())
