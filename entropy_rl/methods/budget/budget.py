"""A thinking budget at test time: going on after the end, and exactly so many tokens (arXiv:2506.04210).

The paper suppresses the end of a thought and appends "Wait" (its first control), or gives a thought exactly N tokens
(its second). A policy here has no thought apart from its answer, so an answer is what follows the last wait word:

    continued   the response ends, its end token is left out, the wait word comes instead, and it goes on, R rounds.
                `wait` keeps all that was written; `retry` keeps the question and the last response only, which with
                the word `again` is the prompt of a refinement without critique (critique/sentences.py). `repeat`, the
                paper's control, writes the first response over and over and lets only the last one be drawn: as long
                a trace as `wait`, and no new thought in it. In the first round all three are the same. A policy that
                never met the word, or so long a trace, is out of distribution.
    exact       a thought of exactly N tokens, whose end tokens cannot be drawn, cut off there; then the wait word, and
                the answer, drawn freely.
    parallel    N responses and a vote: methods/critique/test_time.py.

The measured "variance" of the paper is the entropy of the answer given the thought z, E[-log pi(y | z, x)]: minus the
log-probability of a drawn answer, its end included, is an unbiased estimate. Beside it stands the entropy over the
answers that the chains of a problem came to, which at C chains is at most ln C. Where each problem states its final
answer, as in Countdown, "answer" is the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion, generate, of_part, together
from entropy_rl.training.collect import answer_entropy

WAYS = ("wait", "retry", "repeat")


def endless(logits: jax.Array, eos: tuple[int, ...], temperature: float = 1.0) -> jax.Array:
    """logits / temperature, where no token of `eos` is drawn; f32[..., V], for sampling/engine.generate."""
    return warp.temperature(logits, temperature).at[..., jnp.asarray(eos)].set(warp.NEVER)


def sampler(
    model: Transformer, params: Any, eos: Sequence[int], *, temperature: float = 1.0, **how: Any
) -> Callable[..., list[Completion]]:
    """`say(prefixes, key, max_new=, width=, ends=True)`: one continuation of each list of token ids.

    Args:
      model, params: the policy. eos: tokens that end a response.
      temperature: of drawing.
      **how: slots and mesh of sampling/engine.generate.

    `ends=False` draws exactly max_new tokens, none of them an end. Prefixes are filled up to whole batches, so that
    equal `max_new` and `width` (of the longest prefix) are one program.
    """

    def say(prefixes, key, *, max_new: int, width: int, ends: bool = True) -> list[Completion]:
        words = {"value": temperature} if ends else {"eos": tuple(eos), "temperature": temperature}
        draw = partial(warp.temperature if ends else endless, **words)
        out: list[Completion] = []
        size = min(together(model, width, mesh=how.get("mesh")), len(prefixes))
        for start in range(0, len(prefixes), size):
            part = list(prefixes[start : start + size])
            filled = part + [part[0]] * (size - len(part))
            noise, first = of_part(key, start)
            more = {"max_new": max_new, "eos": tuple(eos), "prompt_length": width, "warp": draw, "first": first}
            out += [g[0] for g in generate(model, params, filled, noise, **more, **how)[: len(part)]]
        return out

    return say


def continued(
    say: Callable[..., list[Completion]],
    prompts: Sequence[Sequence[int]],
    first: Sequence[Completion],
    key: jax.Array,
    *,
    rounds: int,
    word: Sequence[int],
    eos: Sequence[int],
    way: str,
    prompt_length: int,
    response_length: int,
) -> list[list[Completion]]:
    """Responses that are made to go on: for each round from 1 what every chain wrote in it.

    Args:
      say: of `sampler`.
      prompts, first: of N chains, the question and the response that is round 0.
      rounds: R, 1 or more. word: the wait word's tokens. eos: what is left out at the end of a response.
      way: one of WAYS.
      prompt_length, response_length: of the longest question and response, in tokens.

    Raises:
      InputError: an unknown way, or a wait word without tokens.
    """
    if way not in WAYS or not len(word):
        raise InputError(
            f"way {way!r} and a wait word of {len(word)} tokens: give one of {', '.join(WAYS)}, and a word"
        )
    out, written = [], [list(p) for p in prompts]
    last = first
    for number in range(1, rounds + 1):
        before = [list(p) for p in prompts] if way == "retry" else written
        added = first if way == "repeat" else last
        written = [[*p, *without_end(c.tokens, eos), *word] for p, c in zip(before, added, strict=True)]
        width = prompt_length + (1 if way == "retry" else number) * (response_length + len(word))
        last = say(written, jax.random.fold_in(key, number), max_new=response_length, width=width)
        out.append(last)
    return out


def exact(
    say: Callable[..., list[Completion]],
    prompts: Sequence[Sequence[int]],
    key: jax.Array,
    *,
    tokens: int,
    word: Sequence[int],
    prompt_length: int,
    response_length: int,
) -> tuple[list[Completion], list[Completion]]:
    """(thoughts of exactly `tokens` tokens, the answers after them); arguments as of `continued`."""
    think, answer = jax.random.split(key)
    thoughts = say(prompts, think, max_new=tokens, width=prompt_length, ends=False)
    written = [[*p, *c.tokens, *word] for p, c in zip(prompts, thoughts, strict=True)]
    width = prompt_length + tokens + len(word)
    return thoughts, say(written, answer, max_new=response_length, width=width)


def without_end(tokens: Sequence[int], eos: Sequence[int]) -> list[int]:
    """The tokens without an end token that stands last."""
    tokens = [int(t) for t in tokens]
    return tokens[:-1] if tokens and tokens[-1] in tuple(eos) else tokens


def answer(tokens: Sequence[int], word: Sequence[int]) -> list[int]:
    """What follows the last wait word in `tokens`; all of them where there is none."""
    tokens, word = [int(t) for t in tokens], list(word)
    for start in range(len(tokens) - len(word), -1, -1):
        if tokens[start : start + len(word)] == word:
            return tokens[start + len(word) :]
    return tokens


def per_problem(
    right: np.ndarray, topics: Sequence[str], completions: Sequence[Completion], tokens: np.ndarray, chains: int
) -> dict[str, np.ndarray]:
    """Measures of the answers after a budget, f[P] each, of P problems with C = `chains` chains, problem by problem.

    accuracy         share of right chains.
    answer_entropy   over the C topics, nats; at most ln C.
    surprise         mean of -log pi(answer | thought, question), nats: E[-log pi(y | z, x)].
    within           variance over the C chains, unbiased: sum_c (x_pc - m_p)^2 / (C - 1).
    token_entropy    of the policy while it wrote the answer, nats a token, mean over tokens.
    tokens           drawn so far, mean over chains.

    Args:
      right: bool[P * C]. topics: what is answered. completions: the answers. tokens: f[P * C], all told.
    """
    rows = lambda x: np.asarray(x, float).reshape(-1, chains)  # noqa: E731
    right = rows(right)
    count, total = (rows(x) for x in ([len(c.tokens) for c in completions], [c.entropy.sum() for c in completions]))
    return {
        "accuracy": right.mean(axis=1),
        "answer_entropy": np.array([answer_entropy(topics[i : i + chains]) for i in range(0, len(topics), chains)]),
        "surprise": -rows([c.logp.sum() for c in completions]).mean(axis=1),
        "within": right.var(axis=1, ddof=1),
        "token_entropy": total.sum(axis=1) / count.sum(axis=1),
        "tokens": rows(tokens).mean(axis=1),
    }
