"""CoT-decoding: the likeliest first tokens as branches, each continued greedily, and how sure the model is of each.

    confidence = 1 / |s| sum_{t in s} (p(x_t^1 | x_<t) - p(x_t^2 | x_<t))

over the tokens s of the answer: the mean gap between the two largest probabilities (Wang and Zhou, arXiv:2402.10200,
section 2.2). The confidence is also what RL from self-feedback ranks branches by (arXiv:2507.21931). Nothing here
verifies an answer: who wants to know which branches are right asks the task.

Which tokens are s is a choice, `span`:

    answer     those of the final answer, where it last stands in the response.
    solution   the decisions (task.decisions) of the whole response. In Countdown every question states its target, so
               that the number after the last `=` follows from the step before it, and says little.
    response   all tokens, whether or not there is an answer.

Departures: the first token of a branch was not the model's choice, so that its gap, the same in all branches of a
question, counts only where the span has no other token. A response that was cut off or has no answer has an empty span
and confidence 0, but for the span `response`; so has one whose answer does not stand in it as it is read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.answers.extract import final_answer
from entropy_rl.answers.grade import equal
from entropy_rl.data.problem import Problem, Task
from entropy_rl.errors import InputError
from entropy_rl.models.products import head_product
from entropy_rl.models.scoring import token_scores, top_gaps
from entropy_rl.models.transformer import Transformer, head_matrix
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion, generate
from entropy_rl.training.collect import NOTHING
from entropy_rl.training.rollouts import pack

SPANS = ("answer", "solution", "response")


@dataclasses.dataclass(frozen=True)
class Branch:
    """A response and what the model thinks of it; arrays over its tokens."""

    completion: Completion  # logp of the policy at temperature 1, also where it was decoded greedily
    text: str
    answer: str  # what the task reads in it; "": none, or none whose tokens can be found
    gap: np.ndarray  # f32[n], largest less second largest probability where each token was chosen
    span: np.ndarray  # bool[n], the tokens that the confidence is about
    confidence: float  # mean gap over the span, in [0, 1]; 0 where it is empty


def branch(
    model: Transformer,
    params,
    task: Task,
    problems: Sequence[Problem],
    *,
    k: int,
    max_new: int,
    prompt_length: int,
    span: str = "answer",
    **sampling,
) -> list[list[Branch]]:
    """For each problem its k branches, the likeliest first token first.

    Args:
      task: has the tokenizer and reads answers; it verifies nothing.
      max_new: longest response, in tokens, the first one included.
      prompt_length: prompts are padded to so many tokens.
      **sampling: slots, mesh of sampling/engine.generate.

    Raises:
      InputError: k out of range, a span that the task does not have, answers none of which stand in their responses.
    """
    tokenizer = task.tokenizer
    if not 1 <= k <= tokenizer.vocab_size:
        raise InputError(f"k={k} first tokens of a vocabulary of {tokenizer.vocab_size}: give 1 to that")
    prompts = [tokenizer.encode(p.prompt) for p in problems]
    first = first_tokens(model, params, prompts, k=k, prompt_length=prompt_length)
    started = [(i, int(token)) for i, row in enumerate(first) for token in row]
    going = [(i, token) for i, token in started if token not in tokenizer.eos_ids and max_new > 1]
    continued = []
    if going:
        continued = generate(
            *(model, params, [[*prompts[i], token] for i, token in going], jax.random.key(0)),
            max_new=max_new - 1,
            eos=tokenizer.eos_ids,
            warp=warp.greedy,
            prompt_length=prompt_length + 1,
            **sampling,
        )
    after = {at: group[0] for at, group in zip(going, continued)}
    whole: list[list[Completion]] = [[] for _ in prompts]
    for i, token in started:
        rest = after.get((i, token), NOTHING)
        cut = rest.truncated or rest is NOTHING and token not in tokenizer.eos_ids
        own = np.concatenate([[token], rest.tokens]).astype(np.int32)
        whole[i].append(Completion(own, np.zeros(len(own)), np.zeros(len(own)), truncated=cut))
    return read(model, params, task, prompts, whole, length=prompt_length + max_new, span=span, forced=1)


def read(
    model: Transformer,
    params,
    task: Task,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Completion]],
    *,
    length: int,
    span: str = "answer",
    forced: int = 0,
) -> list[list[Branch]]:
    """Given responses, sampled in whatever way, with the policy's confidence in each: one forward pass.

    Args:
      prompts, completions: for each prompt its responses.
      length: rows of prompt and response are padded to so many tokens.
      forced: tokens at the beginning of each response that were not the policy's choice.

    Raises:
      InputError: as `branch`; an answer that does not stand in its response, if that is so of all of them.
    """
    if span not in SPANS:
        raise InputError(f"span {span!r}: must be one of {', '.join(SPANS)}")
    zeros = [[0.0] * len(group) for group in completions]
    rollout = pack(prompts, completions, zeros, length=length, pad_id=task.tokenizer.pad_id)
    scores = jax.device_get(_scores(model, params, rollout.tokens, rollout.mask))
    decisions = task.decisions(rollout.tokens, rollout.mask) if span == "solution" else None
    if span == "solution" and decisions is None:
        raise InputError("span 'solution' needs a task that knows which tokens are decisions: give span 'answer'")
    out, row, found, lost = [], 0, 0, None
    for prompt, group in zip(prompts, completions):
        out.append([])
        for made in group:
            own = slice(len(prompt), len(prompt) + len(made.tokens))
            logp, entropy, gap = (scores[name][row, own] for name in ("logp", "entropy", "gap"))
            text = task.tokenizer.decode(made.tokens)
            answer = "" if made.truncated else task.final_answer(text)
            marked = np.full(len(made.tokens), span == "response")
            if answer and span != "response":
                try:
                    marked = (
                        answer_tokens(task, made.tokens, text, answer) if decisions is None else decisions[row, own]
                    )
                    found += 1
                except InputError as e:
                    lost, answer = e, ""
            if marked[forced:].any():
                marked = marked & (np.arange(len(marked)) >= forced)
            sure = float(gap[marked].mean()) if marked.any() else 0.0
            completion = dataclasses.replace(made, logp=logp, entropy=entropy)
            out[-1].append(Branch(completion, text, answer, gap, marked, sure))
            row += 1
    if lost and not found:
        raise lost
    return out


def answer_tokens(task: Task, tokens: np.ndarray, text: str, answer: str) -> np.ndarray:
    """bool[n]: the tokens whose text overlaps the last place of `answer` in `text`, which is all of them decoded.

    Raises:
      InputError: the answer does not stand there as it is read, and so has no tokens.
    """
    given, start = answer, text.rfind(answer)
    if start < 0:  # with single spaces, and several or a new line where it was read
        places = (
            [m.span() for m in re.finditer(r"\s+".join(map(re.escape, answer.split())), text)] if answer.strip() else []
        )
        if places:
            start, answer = places[-1][0], text[slice(*places[-1])]
    if start < 0:  # in canonical form, 1/2 for \frac{1}{2}: where it was read
        answer = final_answer(text, "any")
        start = text.rfind(answer) if answer and equal(given, answer) else -1
    if start < 0:
        raise InputError(
            f"the final answer {given[:40]!r} does not stand in its response as it is read: its tokens cannot be "
            "found, so this task has no confidence of answers"
        )
    # how much text there is before each token, and after the last
    width = np.cumsum([0, *map(len, task.tokenizer.pieces(tokens))])
    return (width[1:] > start) & (width[:-1] < start + len(answer))


def most_confident(confidences: Sequence[float]) -> int:
    """Max mode: the branch of the highest confidence, the first of equals."""
    return int(np.argmax(confidences))


def aggregate(confidences: Sequence[float], keys: Sequence[str]) -> int:
    """Aggregate mode: of the key with the largest sum of confidences, argmax_a sum_{k: key_k = a} Delta_k, the surest.

    Args:
      confidences: of the branches.
      keys: what each answers; "" (no answer) counts only where no branch has another. In Countdown, where all right
        answers are the target, give task.solution of the texts.
    """
    total: dict[str, float] = {}
    for key, sure in zip(keys, confidences):
        total[key] = total.get(key, 0.0) + sure
    there = {key: sure for key, sure in total.items() if key} or total
    best = max(there, key=there.__getitem__)  # of equal ones the first met
    return max((i for i, key in enumerate(keys) if key == best), key=lambda i: confidences[i])


def first_tokens(
    model: Transformer, params, prompts: Sequence[Sequence[int]], *, k: int, prompt_length: int
) -> np.ndarray:
    """The k likeliest tokens after each prompt, in order: i32[N, k]."""
    padded = np.zeros((len(prompts), prompt_length), np.int32)
    for row, prompt in zip(padded, prompts):
        if not 0 < len(prompt) <= prompt_length:
            raise InputError(f"a prompt has {len(prompt)} tokens: it must have 1 to {prompt_length} (prompt_length)")
        row[: len(prompt)] = prompt
    last = np.array([len(p) - 1 for p in prompts], np.int32)
    return np.asarray(_first(model, params, padded, last, k=k))


@partial(jax.jit, static_argnames=("model", "k"))
def _first(model, params, prompts, last, *, k):
    _, out = model.apply(params, prompts, logits=False)
    matrix, axis = head_matrix(model.config, params)
    hidden = jnp.take_along_axis(out["hidden"], last[:, None, None], axis=1)[:, 0]
    return jax.lax.top_k(head_product(hidden, matrix.T if axis == 0 else matrix), k)[1]


@partial(jax.jit, static_argnames="model")
def _scores(model, params, tokens, mask):
    return token_scores(model)(params, tokens, mask) | top_gaps(model)(params, tokens, mask)
