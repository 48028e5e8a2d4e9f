"""Critiques, refinement and judging in natural language, for chat models: messages to send, and what comes back.

A critic is asked for this, one block for each step and a last one for the final answer:

    Step sentence: 3 + 5 = 9
    Correctness of the step: Wrong
    Explanation: 3 + 5 is 8.
    Correctness of the final answer: Wrong
    Explanation: It rests on the 9.

The fields are those of AutoMathCritique (arXiv:2411.16579; code: WooooDyy/MathCritique, selfimprove/critic.py), the
verdict of a judge, `Conclusion: wrong [END]`, is that of Critique-GRPO (arXiv:2506.03106; code:
zhangxy-2019/critique-GRPO, critique_prompts.py); the wording is ours. No message has the role "system", which not every
chat template takes. The sentences of small models are in critique/sentences.py.
"""

from __future__ import annotations

import dataclasses
import re

from entropy_rl.methods.critique.sentences import LEVELS

SOLUTION = "A solution is: "  # and its steps, with semicolons between: the end of the explanation of a final answer
MAX_CHARS = 100_000  # a longer reply is rambling

_JUDGEMENTS = {"correct": True, "right": True, "wrong": False, "incorrect": False}
_NAMES = {True: "Correct", False: "Wrong"}

# The words of a field's label, without "the", and its letter in `_SHAPE`.
_LABELS = {"step sentence": "S", "correctness of step": "J", "explanation": "E"}
_LABELS |= {"correctness of final answer": "F", "conclusion": "C"}
_SHAPE = re.compile("(?:SJE?)*FE?C?")
_END = re.compile(r"\[end\]", re.IGNORECASE)

_TASK = """\
Check the solution below. Each of its lines is a step. Go through the steps in order and judge each on its own.
For every step write these three lines:
Step sentence: the step, repeated word for word
Correctness of the step: Correct or Wrong, one word
Explanation: why it is so
After the last step write these two lines and stop:
Correctness of the final answer: Correct or Wrong, one word
Explanation: why it is so"""


@dataclasses.dataclass(frozen=True)
class Step:
    """What a critique says of one step: the step's text, whether it is right, and why ("": not said)."""

    text: str
    right: bool
    explanation: str = ""


@dataclasses.dataclass(frozen=True)
class ChatCritique:
    """What a critique says of an attempt: is its final answer right, what of each step, and why the answer is so."""

    right: bool
    steps: tuple[Step, ...] = ()
    explanation: str = ""

    @property
    def step(self) -> int | None:
        """The first wrong step among those repeated, which may not be all of `steps_of`; from 1; None: not said."""
        return next((i for i, step in enumerate(self.steps, 1) if not step.right), None)


def steps_of(attempt: str) -> list[str]:
    """The lines of an attempt that are steps: those with a letter or digit, so no blank line, rule or bare fence."""
    return [line.strip() for line in attempt.splitlines() if any(map(str.isalnum, line))]


def critique_messages(question: str, attempt: str, *, answer: str = "", reference: str = "") -> list[dict[str, str]]:
    """The conversation whose reply is a critique of `attempt`, for `parse`.

    `answer`, the true final answer, and `reference`, a solution, are privileged: a critic that sees them can hand them
    on, and nobody has them at test time. The code of Critique-GRPO asks its critic (GPT-4o) about wrong attempts only,
    tells it that they are wrong, and shows it the data set's reference solution; the paper's "without expert
    trajectory" is about the policy. Here the critic is not told the verdict, and sees no more than the caller gives.
    """
    parts = [("Question", question), ("Solution", "\n".join(steps_of(attempt)))]
    parts += [(name, text) for name, text in (("True answer", answer), ("Reference solution", reference)) if text]
    return [_user("\n\n".join([_TASK, *(f"{name}:\n{text}" for name, text in parts)]))]


BOXED_FORM = "Put the final answer in \\boxed{}."
FORM = "Give the final answer in the form that the question asks for."


def refinement_messages(
    question: str, attempt: str, critique_text: str, form: str = BOXED_FORM
) -> list[dict[str, str]]:
    """The conversation whose reply is another solution: question, attempt, then critique and request.

    Two turns, as in AutoMathCritique; Critique-GRPO puts all into one. `critique_text` is that of `write` or of
    `indicative`; "" asks for another solution without saying what is wrong, the control. Both papers train the reply
    as a response to the question alone. `form` says how the final answer is to be given.
    """
    critique = f"Here is a critique of your solution:\n{critique_text}\n\n" if critique_text else ""
    mend = ", and mend what the critique finds wrong" if critique_text else ""
    request = f"Solve the question again, one step a line{mend}. {form}"
    return [_user(question), {"role": "assistant", "content": attempt}, _user(critique + request)]


def informed(question: str, critique_text: str, sibling: str) -> str:
    """A question, and behind it a right solution and what was wrong with an attempt that is not shown; "": not said.

    In the order of SDPO's code (arXiv:2601.20802; trl 1.16.0, SDPOConfig's templates); the wording is ours. It leaves
    the attempt out too: a teacher that sees it repeats it.
    """
    parts = [question]
    parts += [f"A correct solution:\n{sibling}"] if sibling else []
    parts += [f"Feedback on an earlier attempt that failed:\n{critique_text}"] if critique_text else []
    return "\n\n".join([*parts, "Solve the question correctly."])


def indicative(right: bool, answer: str = "") -> str:
    """The critique that gives the verdict alone (c_I of Critique-GRPO), or with the true answer (c_GT, which leaks it).

    The released code gives c_GT also to right attempts and where its critic fails; here the caller decides.
    """
    truth = f" The true answer is {answer}." if answer else ""
    return f"The final answer of this solution is {'right' if right else 'wrong'}.{truth}"


def hint(step: str, goes_on: bool) -> str:
    """The sentence that gives a step away: it goes on from the one that is blamed, or stands in its place."""
    return f"A good {'next step' if goes_on else 'step in its place'} is {step}."


def solution(critique: ChatCritique) -> list[str]:
    """The steps of the solution that a critique tells after `SOLUTION`, the right steps of the attempt first; []: none.

    It keeps to what the critique says: after it, it is the refinement to teach.
    """
    return [step for step in critique.explanation.partition(SOLUTION)[2].split("; ") if step]


def limit(critique: ChatCritique, level: str) -> ChatCritique:
    """The critique without what leaks more than `level`, one of `LEVELS`.

    verdict: the final judgement; step: also those of the steps; reason: also the steps' explanations; hint: of a
    solution that the final explanation tells (`solution`) also the step that could stand in place of the wrong one;
    answer: also the final explanation, which tends to name the true answer. Explanations are free text: one that gives
    away more than its level is not found out.
    """
    rank = LEVELS.index(level)
    steps = critique.steps if rank >= LEVELS.index("step") else ()
    if level == "hint" and critique.step is not None:
        *before, wrong = steps[: critique.step]
        rest = solution(critique)
        for line in before:  # some of which are words between the steps
            rest = rest[_same(line.text, rest) :]
        goes_on = _same(wrong.text, rest)
        if rest := rest[goes_on:]:
            why = f"{wrong.explanation} {hint(rest[0], goes_on)}".strip()
            steps = (*before, dataclasses.replace(wrong, explanation=why), *steps[critique.step :])
    if rank < LEVELS.index("reason"):
        steps = tuple(dataclasses.replace(step, explanation="") for step in steps)
    return ChatCritique(critique.right, steps, critique.explanation if level == "answer" else "")


def write(critique: ChatCritique) -> str:
    """The critique in the grammar asked of the critic; explanations that are "" have no line.

    `parse` of it is the critique again: an [END] in a step, which would end it there, becomes (END).
    """
    lines = []
    for s in critique.steps:
        lines += [
            ("Step sentence", s.text),
            ("Correctness of the step", _NAMES[s.right]),
            ("Explanation", s.explanation),
        ]
    lines += [("Correctness of the final answer", _NAMES[critique.right]), ("Explanation", critique.explanation)]
    return "\n".join(f"{label}: {_END.sub('(END)', ' '.join(text.split()))}" for label, text in lines if text)


def parse(text: str) -> ChatCritique | None:
    """The critique that a reply gives, or None. Total: never raises, in time linear in the text.

    Case, emphasis, bullets, numbers, a preamble, and explanations over several lines do not matter; what follows [END]
    is not read. None for all else: no final judgement or two, a step without one, what is not one judgement
    ("Correct/Wrong", "not correct"), a `Conclusion` that differs, more than `MAX_CHARS`. None also for a right answer
    with a wrong step: it gives the refiner two orders at once. A wrong answer without a wrong step stays: its `step`
    is None. Critique-GRPO keeps only critiques whose verdict is the verifier's; that is left to the caller.
    """
    fields = _fields(text)
    if not _SHAPE.fullmatch("".join(code for code, _ in fields)):
        return None
    blocks = []
    for code, lines in fields:
        if code in "SF":
            blocks.append({})
        blocks[-1][code] = lines
    *blocks, last = blocks
    steps = tuple(Step(_said(b["S"]), _judgement(b["J"][0]), _said(b.get("E", []))) for b in blocks)
    right = parse_verdict(text)
    if right is None or any(not step.text or step.right is None or step.right < right for step in steps):
        return None
    return ChatCritique(right, steps, _said(last.get("E", [])))


def parse_verdict(text: str) -> bool | None:
    """The verdict of a judge or critic: one word, or lines `Conclusion: right` or of the final answer that agree.

    None for any other text. Total, and as tolerant as `parse`. A label counts at the start of its line only: a step
    that is repeated cannot pass a verdict on itself.
    """
    said = {_judgement(lines[0]) for code, lines in _fields(text) if code in "FC"} or {_judgement(_read(text))}
    return said.pop() if len(said) == 1 else None


def _same(line, steps):
    """Whether a line is the first of `steps`, however its signs are written."""
    marks = lambda text: [c for c in text if c.isalnum()]  # noqa: E731
    return bool(steps) and marks(line) == marks(steps[0])


def _user(content):
    return {"role": "user", "content": content}


def _read(text):
    return _END.split(text, maxsplit=1)[0] if len(text) <= MAX_CHARS else ""


def _words(text):
    return re.findall(r"[^\W\d_]+", text.lower())


def _judgement(text):
    words = _words(text)
    return _JUDGEMENTS.get(words[0]) if len(words) == 1 else None


def _said(lines):
    return " ".join(" ".join(lines).split()).strip(" *_`")  # the edges can hold the emphasis of the label


def _fields(text):
    """Letters of the labels in a text, each with its lines: what follows the label, then lines without one."""
    fields = []
    for line in _read(text).splitlines():
        head, colon, value = line.partition(":")
        code = _LABELS.get(" ".join(word for word in _words(head) if word != "the")) if colon else None
        if code:
            fields.append((code, [value]))
        elif fields:
            fields[-1][1].append(line)
    return fields
