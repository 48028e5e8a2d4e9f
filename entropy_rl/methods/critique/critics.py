"""Critics: who says what is told of attempts, and what comes back where that is a language model.

SOURCES know by themselves: a solver, a calculator, the verifier, nobody. MODELS are asked (`ask_critic`, or a server,
api.py); what they reply is read, and held against the verifier's verdict (`by_model`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from entropy_rl.methods.critique.language import CLOSED, Attempt, Critique, Language
from entropy_rl.sampling.engine import Completion

MAX_CRITIQUE_TOKENS = 24  # tokens of the longest critique by a model; more is rambling, cut off and counted


def _oracle(tried, rng, *, level, language=CLOSED):
    """The solver's truth, cut to `level`."""
    return [language.write(language.limit(language.oracle(t, rng, level), level)) for t in tried]


def _arithmetic(tried, rng, *, level, language=CLOSED):
    """The first equation that is false (arithmetic.py), cut to `level`; no solver is needed."""
    return [language.write(language.limit(language.arithmetic(t), level)) for t in tried]


def _random(tried, rng, *, level, language=CLOSED):
    """The critique of another attempt, by solver or calculator: as many words, of the same kind, of something else.

    The verdict stands in where no other is there: several critiques of an attempt (critique.count) and equal texts are
    of one attempt.
    """
    said = (_oracle if language.tells_all() else _arithmetic)(tried, rng, level=level, language=language)
    names: dict[tuple[str, str], int] = {}
    mine = np.array([names.setdefault((t.problem.id, t.text), len(names)) for t in tried])
    own = np.array([np.count_nonzero(mine == np.roll(mine, -shift)) for shift in range(1, len(tried))])
    shift = int(rng.choice(np.flatnonzero(own == own.min()))) + 1 if len(own) else 0
    others = np.roll(np.arange(len(tried)), -shift)
    return [language.verdict(t.right) if mine[i] == mine[j] else said[j] for i, (t, j) in enumerate(zip(tried, others))]


def _indicative(tried, rng, *, level, language=CLOSED):
    """The verifier's verdict (the paper's c_I)."""
    return [language.verdict(t.right) for t in tried]


def _indicative_answer(tried, rng, *, level, language=CLOSED):
    """The verdict and the reference solution (c_GT; here the final answer is in the question): leaks all there is."""
    return [language.verdict(t.right, t.problem.answer) for t in tried]


def _inverted(tried, rng, *, level, language=CLOSED):
    """The wrong verdict, for ablation (section 5 of the paper: entropy explodes)."""
    return [language.verdict(not t.right) for t in tried]


def _none(tried, rng, *, level, language=CLOSED):
    """No critique: attempt and the request to try again."""
    return [""] * len(tried)


def _fresh(tried, rng, *, level, language=CLOSED):
    """No attempt either: the question again, so that a retry is one more sample."""
    return [None] * len(tried)


SOURCES: dict[str, Callable[..., list[str | None]]] = {
    "arithmetic": _arithmetic,
    "fresh": _fresh,
    "indicative": _indicative,
    "indicative_answer": _indicative_answer,
    "inverted": _inverted,
    "none": _none,
    "oracle": _oracle,
    "random": _random,
}
MODELS = ("learned", "self", "frozen", "api")  # critiques by a language model: `ask_critic`, `by_model`


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a critic said."""

    text: str = ""  # as it came
    tokens: int = 0
    truncated: bool = False  # it ran out of room
    asked: bool = True  # False: the conversation did not fit
    failed: bool = False  # no reply came (api.py)


UNASKED = Reply(asked=False)


def ask_critic(
    answer: Callable[[Sequence[str]], tuple[list[str], list[Completion]]],
    tried: Sequence[Attempt],
    *,
    reference: bool = False,
    language: Language = CLOSED,
    fits: Callable[[str], bool] = lambda prompt: True,
) -> tuple[list[Critique | None], list[Reply]]:
    """Critiques of attempts by a language model, None for one that cannot be read, and what it said.

    Args:
      answer: prompts -> (texts, completions).
      reference: whether the model sees the reference solution too. The best-known implementation shows it.
      fits: whether a prompt may be asked; attempts with others are not criticised (`Reply.asked`).
    """
    prompts = [language.ask_critique(t, reference) for t in tried]
    there = [fits(prompt) for prompt in prompts]
    texts, completions = answer([prompt for prompt, ok in zip(prompts, there) if ok])
    made = (Reply(text, len(c.tokens), c.truncated) for text, c in zip(texts, completions, strict=True))
    replies = [next(made) if ok else UNASKED for ok in there]
    return read(replies, language), replies


def read(replies: Sequence[Reply], language: Language = CLOSED) -> list[Critique | None]:
    """The critiques that replies give; None for those that cannot be read."""
    return [language.read(r.text, r.truncated) if r.asked and not r.failed else None for r in replies]


def usable(critique: Critique | None, tried: Attempt) -> bool:
    """Whether a critique can be read and its verdict is the verifier's (arXiv:2506.03106 keeps no others)."""
    return critique is not None and critique.right == tried.right


def by_model(
    said: Sequence[Critique | None],
    replies: Sequence[Reply],
    tried: Sequence[Attempt],
    level: str,
    language: Language = CLOSED,
) -> tuple[list[str], dict[str, float]]:
    """Sentences for a refiner out of what `ask_critic` gave, cut to `level`, and what is logged of them.

    The verifier's verdict stands in for a critique that is not usable, as in the released code (critique_prompts.py,
    its fallback), and where the critic was not asked.
    """
    good = [usable(c, t) for c, t in zip(said, tried, strict=True)]
    sentences = [
        language.write(language.limit(c, level)) if ok else language.verdict(t.right)
        for c, ok, t in zip(said, good, tried)
    ]
    there = [i for i, r in enumerate(replies) if r.asked and not r.failed]
    share = lambda values: float(np.mean([values[i] for i in there])) if there else 0.0  # noqa: E731
    return sentences, {
        "critique/tokens": float(sum(r.tokens for r in replies)),
        "critique/malformed": share([c is None for c in said]),
        "critique/usable": share(good),
        "critique/truncated": share([r.truncated for r in replies]),
        "critique/too_long": float(sum(not r.asked for r in replies)),
        "critique/failed": float(sum(r.failed for r in replies)),
    }


SUMS = ("critique/tokens", "critique/too_long", "critique/failed")


def merged(logs: Sequence[tuple[dict[str, float], int]]) -> dict[str, float]:
    """What is logged of criticism over several rounds: sums, and shares by the attempts of each round."""
    weights = [n for _, n in logs]
    over = lambda key: np.average([logged[key] for logged, _ in logs], weights=weights)  # noqa: E731
    return {key: sum(r[key] for r, _ in logs) if key in SUMS else float(over(key)) for key in logs[0][0]}


def leak(said: Sequence[str | None], language: Language = CLOSED) -> float:
    """How much critiques give away: 0 nothing, then 1 to 5 in the order of LEVELS, verdict to answer; their mean."""
    return float(np.mean([language.leak(sentence) for sentence in said]))
