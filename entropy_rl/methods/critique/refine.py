"""Critique, refine: attempts that failed get a critique, the policy tries again, and some retries join the group.

Critique-GRPO (arXiv:2506.03106, section 4): n - k own samples and k refinements share one baseline; a refinement is
learnt from the question alone, without critique and failed attempt (losses/policy.shaped).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from entropy_rl.data.packing import pack_rows
from entropy_rl.data.problem import Problem, Task
from entropy_rl.data.tokenizers import Tokenizer
from entropy_rl.methods.critique import oracle
from entropy_rl.methods.critique.sentences import LEVELS, Critique, ask_critique, ask_refinement, limit, parse, write
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion, generate
from entropy_rl.training.collect import Group, verify_completions

GREEDY = warp.greedy
MOST = 1024  # prompts served together: bounds the memory
MAX_CRITIQUE_TOKENS = 24  # tokens of the longest critique by a model; more is rambling, cut off and counted


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempt that is to be criticised."""

    problem: Problem
    text: str
    right: bool


def _oracle(tried, rng, *, level):
    """The solver's truth, cut to `level`."""
    return [write(limit(oracle.critique(t.problem.prompt, t.text, rng), level)) for t in tried]


def _random(tried, rng, *, level):
    """The solver's critique of another attempt: as many words, of the same kind, about something else."""
    said = [write(limit(oracle.critique(t.problem.prompt, t.text, rng), level)) for t in tried]
    shift = int(rng.integers(1, len(said))) if len(said) > 1 else 0
    return said[shift:] + said[:shift]


def _indicative(tried, rng, *, level):
    """The verifier's verdict (the paper's c_I)."""
    return [write(Critique(t.right)) for t in tried]


def _indicative_answer(tried, rng, *, level):
    """The verdict and the reference solution (c_GT; here the final answer is in the question): leaks all there is."""
    return [write(Critique(t.right, answer="" if t.right else t.problem.answer)) for t in tried]


def _inverted(tried, rng, *, level):
    """The wrong verdict, for ablation (section 5 of the paper: entropy explodes)."""
    return [write(Critique(not t.right)) for t in tried]


def _none(tried, rng, *, level):
    """No critique: attempt and the request to try again."""
    return [""] * len(tried)


def _fresh(tried, rng, *, level):
    """No attempt either: the question again, so that a retry is one more sample."""
    return [None] * len(tried)


SOURCES: dict[str, Callable[..., list[str | None]]] = {
    "fresh": _fresh,
    "indicative": _indicative,
    "indicative_answer": _indicative_answer,
    "inverted": _inverted,
    "none": _none,
    "oracle": _oracle,
    "random": _random,
}
MODELS = ("learned", "self")  # critiques by a language model: `ask_critic`, `by_model`


def respond(
    model: Transformer,
    params: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    key: jax.Array,
    *,
    max_new: int,
    prompt_length: int | None,
    **sampling: Any,
) -> tuple[list[str], list[Completion]]:
    """One response to each prompt, as text and as tokens; arguments as of sampling/engine.generate.

    Prompts are filled up to a power of two, so that a count that changes from step to step compiles few programs. What
    is sampled does not depend on it.
    """
    ids = [tokenizer.encode(p) for p in prompts]
    width = max(map(len, ids), default=1) if prompt_length is None else prompt_length
    done: list[Completion] = []
    for start in range(0, len(ids), MOST):
        part = ids[start : start + MOST]
        count = max(32, 1 << (len(part) - 1).bit_length())
        filled = part + [part[0]] * (count - len(part))
        groups = generate(
            *(model, params, filled, jax.random.fold_in(key, start)),
            max_new=max_new,
            eos=tokenizer.eos_ids,
            prompt_length=width,
            **sampling,
        )
        done += [g[0] for g in groups[: len(part)]]
    return [tokenizer.decode(c.tokens) for c in done], done


def ask_critic(
    answer: Callable[[Sequence[str]], tuple[list[str], list[Completion]]],
    tried: Sequence[Attempt],
    *,
    reference: bool = False,
) -> tuple[list[Critique | None], list[Completion]]:
    """Critiques of attempts by a language model, None for one that cannot be read, and what it generated.

    Args:
      answer: prompts -> (texts, completions).
      tried: attempts.
      reference: whether the model sees the reference solution too. The best-known implementation shows it.
    """

    def prompt(t: Attempt) -> str:
        seen = f"{t.text} answer {t.problem.answer}" if reference else t.text
        return ask_critique(t.problem.prompt, seen)

    texts, completions = answer([prompt(t) for t in tried])
    return [parse(text) for text in texts], completions


def usable(critique: Critique | None, tried: Attempt) -> bool:
    """Whether a critique can be read and its verdict is the verifier's (arXiv:2506.03106 keeps no others)."""
    return critique is not None and critique.right == tried.right


def by_model(
    said: Sequence[Critique | None], completions: Sequence[Completion], tried: Sequence[Attempt], level: str
) -> tuple[list[str], dict[str, float]]:
    """Sentences for a refiner out of what `ask_critic` gave, cut to `level`, and what is logged of them.

    The verifier's verdict stands in for a critique that is not usable, as in the released code (critique_prompts.py,
    its fallback).
    """
    good = [usable(c, t) for c, t in zip(said, tried, strict=True)]
    sentences = [write(limit(c, level) if ok else Critique(t.right)) for c, ok, t in zip(said, good, tried)]
    return sentences, {
        "critique/tokens": float(sum(len(c.tokens) for c in completions)),
        "critique/malformed": float(np.mean([c is None for c in said])),
        "critique/usable": float(np.mean(good)),
        "critique/truncated": float(np.mean([c.truncated for c in completions])),
    }


@dataclasses.dataclass(frozen=True)
class Retries:
    """What `retry` gives: parallel lists, the retries of attempt i at places i * samples to (i + 1) * samples - 1."""

    asked: list[str]  # the prompt that each retry follows
    texts: list[str]
    completions: list[Completion]
    rewards: list[float]


def retry(
    task: Task,
    answer: Callable[[list[str]], tuple[list[str], list[Completion]]],
    tried: Sequence[Attempt],
    said: Sequence[str | None],
    *,
    samples: int = 1,
) -> Retries:
    """Retries of attempts after their critiques, verified; in several processes each verifies its part.

    Args:
      task: verifies.
      answer: prompts -> (texts, completions), e.g. `respond` with the policy bound.
      tried: attempts.
      said: a critique of each; "": none, the request to try again alone; None: the question alone (SOURCES, `fresh`).
      samples: retries of each attempt.
    """
    asked = [
        t.problem.prompt if s is None else ask_refinement(t.problem.prompt, t.text, s)
        for t, s in zip(tried, said, strict=True)
        for _ in range(samples)
    ]
    texts, completions = answer(asked)
    problems = [t.problem for t in tried for _ in range(samples)]
    return Retries(asked, texts, completions, verify_completions(task, problems, texts, completions))


def leak(said: Sequence[str | None]) -> float:
    """How much critiques give away: 0 nothing, then 1 to 5 in the order of LEVELS, verdict to answer; their mean."""
    read = [parse(sentence or "") for sentence in said]
    return float(np.mean([0 if c is None else 1 + LEVELS.index(c.level) for c in read]))


@dataclasses.dataclass(frozen=True)
class Refiner:
    """Turns groups of own samples into groups in which up to `count` places hold refinements.

    Attributes:
      task: verifies; has the tokenizer.
      criticise: tried attempts, generator, key -> (sentences or None, what is logged).
      answer: params, prompts, key -> (texts, completions): the policy's retries.
      score: params, tokens i32[R, T], mask -> {"logp", "entropy"} of the policy given the question alone.
      rows: R, the same at every step.
      length: T.
      count: k, refinements a group at most.
      attempts: failed attempts of a group that are criticised and retried at most.
      unsolved: only in groups without a right attempt (the paper's sixth version), not in all.
      repeats: whether a retry that says its failed attempt again, word for word, may be taken, as in the reference
        code; it teaches the group nothing but to weigh that attempt twice.
    """

    task: Task
    criticise: Callable[..., tuple[list[str | None], dict[str, float]]]
    answer: Callable[..., tuple[list[str], list[Completion]]]
    score: Callable[..., dict[str, jax.Array]]
    rows: int
    length: int
    count: int
    attempts: int
    unsolved: bool
    repeats: bool = True

    def __call__(
        self, params: Any, groups: Sequence[Group], rng: np.random.Generator, key: jax.Array
    ) -> tuple[list[Group], dict[str, float]]:
        """(groups with refinements in their last places, what is logged).

        Of a group's samples the last k have no attempt criticised and are those that refinements replace, so the own
        samples that stay are as good as drawn before. Of its retries a right one is taken if there is one, else a
        random one. A retry that does not fit into the batch is not taken; where there is none to take, own samples
        stay.
        """
        clock = time.perf_counter()
        places: list[tuple[int, Attempt]] = []  # group, attempt
        for g, group in enumerate(groups):
            own = len(group.texts) - self.count
            if self.unsolved and max(group.rewards) >= 1:
                continue
            wrong = [i for i in range(own) if group.rewards[i] < 1]
            places += [(g, Attempt(group.problem, group.texts[i], False)) for i in wrong[: self.attempts]]
        row = {"critique/attempts": float(len(places)), "critique/tokens": 0.0, "refine/tokens": 0.0}
        made: dict[int, list[tuple[float, str, Completion]]] = {}
        if places:
            tried = [t for _, t in places]
            to_criticise, to_refine = jax.random.split(key)
            said, logged = self.criticise(params, tried, rng, to_criticise)
            again = retry(self.task, lambda prompts: self.answer(params, prompts, to_refine), tried, said)
            for (g, t), reward, text, c in zip(places, again.rewards, again.texts, again.completions):
                new = self.repeats or text != t.text
                if new and len(groups[g].prompt) + len(c.tokens) <= self.length:
                    made.setdefault(g, []).append((reward, text, c))
            row |= logged | {
                "critique/leak": leak(said),
                "refine/tokens": float(sum(len(c.tokens) for c in again.completions)),
                "refine/repaired": float(np.mean(np.array(again.rewards) >= 1)),
                "refine/repeated": float(np.mean([text == t.text for t, text in zip(tried, again.texts)])),
                "refine/truncated": float(np.mean([c.truncated for c in again.completions])),
            }
        out, taken = self._join(params, groups, made, rng, fresh=bool(places) and said[0] is None)
        solved = np.array([max(g.rewards) >= 1 for g in groups])
        now = np.array([max(g.rewards) >= 1 for g in out])
        return out, row | {
            "refine/rows": float(taken),
            "refine/newly_solved": float(np.mean(now & ~solved)),
            "refine/zero_variance": float(np.mean([np.ptp(g.rewards) == 0 for g in out])),
            "time/refine": time.perf_counter() - clock,
        }

    def _join(self, params, groups, made, rng, *, fresh: bool) -> tuple[list[Group], int]:
        chosen: dict[int, list[tuple[float, str, Completion]]] = {}
        for g, retries in made.items():
            order = sorted(rng.permutation(len(retries)), key=lambda i: retries[i][0] < 1)  # right ones first
            chosen[g] = [retries[i] for i in order[: self.count]]
        flat = [(g, *retry) for g, retries in chosen.items() for retry in retries]
        spare = [[]] * (self.rows - len(flat))
        prompts, responses = [groups[g].prompt for g, *_ in flat], [c.tokens for *_, c in flat]
        tokens, mask = pack_rows(prompts + spare, responses + spare, self.length, self.task.tokenizer.pad_id)
        scores = processes.fetch(self.score(params, tokens, mask)) if flat else {}
        out = [
            dataclasses.replace(g, completions=[*g.completions], texts=[*g.texts], rewards=[*g.rewards]) for g in groups
        ]
        refined: dict[int, list[int]] = {}
        for row, (g, reward, text, c) in enumerate(flat):
            place = len(groups[g].texts) - 1 - len(refined.setdefault(g, []))
            logp, entropy = (scores[k][row][mask[row]] for k in ("logp", "entropy"))
            out[g].completions[place] = Completion(c.tokens, logp, entropy, c.truncated)
            out[g].texts[place], out[g].rewards[place] = text, reward
            refined[g].append(place)
        if not fresh:  # one more sample of the policy is its own, whatever it was sampled after
            out = [dataclasses.replace(g, refined=tuple(refined.get(i, ()))) for i, g in enumerate(out)]
        return out, len(flat)
