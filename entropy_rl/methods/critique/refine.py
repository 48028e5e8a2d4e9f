"""Critique, refine: attempts that failed get a critique, the policy tries again, and some retries join the group.

Critique-GRPO (arXiv:2506.03106, section 4): n - k own samples and k refinements share one baseline; a refinement is
learnt from the question alone, without critique and failed attempt (losses/policy.shaped).

With `Refiner.joint` retries are learnt under their context as well, that is on question, attempt and critique, as
on-policy rows: their ratio is to the log-probabilities with which they were sampled. Their baseline is that of the
retries of the same problem and turn: in the two-turn problem of RLTF (arXiv:2602.02482) the second turn's state has its
own value. (Learnt on the question alone, the same retry is compared with first attempts, there as in Critique-GRPO: a
baseline of retries is gone once all of them are right.)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from entropy_rl.data import packing
from entropy_rl.data.packing import pack_rows
from entropy_rl.data.problem import Task
from entropy_rl.data.tokenizers import Tokenizer
from entropy_rl.methods.critique.critics import leak, merged
from entropy_rl.methods.critique.language import CLOSED, Attempt, Language
from entropy_rl.methods.diversity.predicates import grams
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.sampling.engine import Completion, generate, of_part, together, token_work
from entropy_rl.training.collect import NOTHING, Group, Turn, verify_completions


def respond(
    model: Transformer,
    params: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    key: jax.Array,
    *,
    max_new: int,
    prompt_length: int | None,
    fewest: int = 32,
    **sampling: Any,
) -> tuple[list[str], list[Completion]]:
    """One response to each prompt, as text and as tokens; arguments as of sampling/engine.generate.

    Prompts are filled up to a power of two, `fewest` at least unless so many are dear (data/packing.PAYS), so that a
    count that changes from step to step compiles few programs. What is sampled does not depend on it.
    """
    ids = [tokenizer.encode(p) for p in prompts]
    width = max(map(len, ids), default=1) if prompt_length is None else prompt_length
    if token_work(params, fewest * width) > packing.PAYS:
        fewest = 1
    most = together(model, width, mesh=sampling.get("mesh"))
    done: list[Completion] = []
    for start in range(0, len(ids), most):
        part = ids[start : start + most]
        count = max(fewest, 1 << (len(part) - 1).bit_length())
        filled = part + [part[0]] * (count - len(part))
        noise, first = of_part(key, start)
        groups = generate(
            *(model, params, filled, noise),
            first=first,
            max_new=max_new,
            eos=tokenizer.eos_ids,
            prompt_length=width,
            **sampling,
        )
        done += [g[0] for g in groups[: len(part)]]
    return [tokenizer.decode(c.tokens) for c in done], done


@dataclasses.dataclass(frozen=True)
class Retries:
    """What `retry` gives: parallel lists, the retries of attempt i at places i * samples to (i + 1) * samples - 1."""

    asked: list[str]  # the prompt that each retry follows
    texts: list[str]
    completions: list[Completion]
    rewards: list[float]
    fits: list[bool]  # False: not retried, as the conversation did not fit; an empty text stands in its place


def retry(
    task: Task,
    answer: Callable[[list[str]], tuple[list[str], list[Completion]]],
    tried: Sequence[Attempt],
    said: Sequence[str | None],
    *,
    samples: int = 1,
    language: Language = CLOSED,
    fits: Callable[[str], bool] = lambda prompt: True,
) -> Retries:
    """Retries of attempts after their critiques, verified; in several processes each verifies its part.

    Args:
      answer: prompts -> (texts, completions), e.g. `respond` with the policy bound.
      said: a critique of each attempt; "": none, the request to try again alone; None: the question alone (SOURCES,
        `fresh`).
      samples: retries of each.
      fits: whether a prompt may be asked; attempts with others are not retried.
    """
    once = [t.problem.prompt if s is None else language.ask_refinement(t, s) for t, s in zip(tried, said, strict=True)]
    there = [ok for prompt in once for ok in [fits(prompt)] * samples]
    asked = [prompt for prompt in once for _ in range(samples)]
    texts, completions = answer([prompt for prompt, ok in zip(asked, there) if ok])
    if not all(there):
        made = iter(zip(texts, completions, strict=True))
        empty = dataclasses.replace(NOTHING, truncated=True)
        texts, completions = map(list, zip(*(next(made) if ok else ("", empty) for ok in there)))
    problems = [t.problem for t in tried for _ in range(samples)]
    return Retries(asked, texts, completions, verify_completions(task, problems, texts, completions), there)


CREDITS = ("each", "last")
N = 4  # words of an n-gram that a guard looks at


def looping(text: str) -> float:
    """Share of a text's n-grams of words that it has said before: 0 where it never repeats itself, or is shorter."""
    count = len(text.split()) - N + 1
    return 1 - len(grams(text, N)) / count if count > 0 else 0.0


def copying(text: str, said: str | None, known: str) -> float:
    """Share of a text's different n-grams of words that are the critique's, and are not in what was `known` before it.

    A critique repeats steps of the attempt, and a solution that keeps them copies nothing.
    """
    own = grams(text, N)
    return len(own & (grams(said or "", N) - grams(known, N))) / max(len(own), 1)


@dataclasses.dataclass(frozen=True)
class Guard:
    """The most that a retry may have to be learnt from; 0: any. What is above joins no group and is no row.

    Attributes:
      repetition: share that it repeats itself (`looping`).
      copying: share that it copies of its critique (`copying`).
      entropy: mean entropy of its tokens, in those of the step's own samples.
    """

    repetition: float = 0.0
    copying: float = 0.0
    entropy: float = 0.0

    def passes(self, marks: dict[str, float]) -> bool:
        """Whether a retry with these numbers, by the names above, is let through."""
        return all(not (most := getattr(self, name)) or value <= most for name, value in marks.items())


@dataclasses.dataclass(frozen=True)
class Retry:
    """One of the retries of a step."""

    group: int
    place: int  # of the attempt in its group
    chain: int  # retries after each other in one context have one number
    number: int  # among them, from 1
    asked: str
    text: str
    completion: Completion
    reward: float
    repeats: bool  # its attempt, word for word
    marks: dict[str, float]  # what the guard looks at, by the names of Guard
    passes: bool  # the guard, and is no repetition of its attempt where that is not allowed


@dataclasses.dataclass(frozen=True)
class Refiner:
    """Turns groups of own samples into groups in which up to `count` places hold refinements.

    Attributes:
      task: verifies; has the tokenizer.
      criticise: params, tried attempts, generator, key -> (sentences or None, what is logged, what the critic replied
        to each, "" where it is no model).
      answer: params, prompts, key -> (texts, completions): the policy's retries.
      score: params, tokens i32[R, T], mask -> {"logp", "entropy"} of the policy given the question alone.
      rows: R, the same at every step.
      length: T.
      count: k, refinements a group at most; with `joint` 0 too.
      attempts: failed attempts of a group that are criticised and retried at most.
      unsolved: only in groups without a right attempt (the paper's sixth version), not in all.
      repeats: whether a retry that says its failed attempt again, word for word, may be taken, as in the reference
        code; it teaches the group nothing but to weigh that attempt twice.
      language: of critiques and requests.
      fits: whether a prompt is short enough for `answer`; attempts whose conversation is not are counted and left.
      critiques: of each attempt, and a retry after each of them.
      joint: whether retries are learnt under their context too (`Group.turns`), so that refining is trained.
      turns: most retries after each other in one context; one follows where the one before it is wrong.
      credit: of what is learnt under its context "each" by its own reward, or by that of the "last" retry of its
        context; that is the failed attempt's reward too then, the mean of several where it has several critiques.
      guard: which retries are learnt from.
      width: tokens of the longest prompt that `answer` takes; read by who lays out the rows of `joint`.
    """

    task: Task
    criticise: Callable[..., tuple[list[str | None], dict[str, float], list[str]]]
    answer: Callable[..., tuple[list[str], list[Completion]]]
    score: Callable[..., dict[str, jax.Array]]
    rows: int
    length: int
    count: int
    attempts: int
    unsolved: bool
    repeats: bool = True
    language: Language = CLOSED
    fits: Callable[[str], bool] = lambda prompt: True
    critiques: int = 1
    joint: bool = False
    turns: int = 1
    credit: str = "each"
    guard: Guard = Guard()
    width: int = 0

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
        places: list[tuple[int, int]] = []  # group, attempt
        for g, group in enumerate(groups):
            own = len(group.texts) - self.count
            if self.unsolved and max(group.rewards) >= 1:
                continue
            wrong = [i for i in range(own) if group.rewards[i] < 1]
            places += [(g, i) for i in wrong[: self.attempts] for _ in range(self.critiques)]
        retries, dialogues, fresh, row = self._retry(params, groups, places, rng, key)
        made: dict[int, list[Retry]] = {}
        for r in retries:
            if r.passes and len(groups[r.group].prompt) + len(r.completion.tokens) <= self.length:
                made.setdefault(r.group, []).append(r)
        out, taken = self._join(params, groups, made, rng, fresh=fresh)
        out = [dataclasses.replace(g, dialogues=tuple(dialogues.get(i, ()))) for i, g in enumerate(out)]
        solved = np.array([max(g.rewards) >= 1 for g in groups])
        now = np.array([max(g.rewards) >= 1 for g in out])
        if self.joint:
            out, learnt = self._under_context(out, retries)
            row |= learnt
        own_tokens = sum(len(c.tokens) for g in groups for c in g.completions)
        return out, row | {
            "refine/rows": float(taken),
            "refine/newly_solved": float(np.mean(now & ~solved)),
            "refine/zero_variance": float(np.mean([np.ptp(g.rewards) == 0 for g in out])),
            "critique/overhead": (row["critique/tokens"] + row["refine/tokens"]) / max(own_tokens, 1),
            "time/refine": time.perf_counter() - clock,
        }

    def _retry(self, params, groups, places, rng, key):
        """(retries of attempts at `places`, dialogues by group, whether they are fresh samples, what is logged)."""
        row = {"critique/attempts": 0.0, "critique/tokens": 0.0, "refine/tokens": 0.0}
        if not places:
            return [], {}, False, row
        entropies = np.concatenate([c.entropy for g in groups for c in g.completions])
        typical = float(entropies.mean()) if entropies.size else 0.0
        retries: list[Retry] = []
        dialogues: dict[int, list[dict[str, Any]]] = {}
        logs: list[tuple[dict[str, float], int]] = []  # of criticism, and of how many attempts
        told: list[str | None] = []
        live = [(chain, Attempt(groups[g].problem, groups[g].texts[i], False)) for chain, (g, i) in enumerate(places)]
        for number in range(1, self.turns + 1):
            if not live:
                break
            tried = [t for _, t in live]
            to_criticise, to_refine = jax.random.split(key if number == 1 else jax.random.fold_in(key, number))
            said, logged, replies = self.criticise(params, tried, rng, to_criticise)
            answer = lambda prompts, to_refine=to_refine: self.answer(params, prompts, to_refine)  # noqa: E731
            again = retry(self.task, answer, tried, said, language=self.language, fits=self.fits)
            logs.append((logged, len(tried)))
            told += said
            left = []
            for i, (chain, t) in enumerate(live):
                (g, place), text, c = places[chain], again.texts[i], again.completions[i]
                row_of = dialogue(t, said[i], replies[i], text, again.rewards[i], again.fits[i])
                dialogues.setdefault(g, []).append(row_of)
                if not again.fits[i]:
                    continue
                known = " ".join((t.problem.prompt, *(a for a, _ in t.before), t.text))
                marks = {"repetition": looping(text), "copying": copying(text, said[i], known)}
                marks["entropy"] = float(c.entropy.mean()) / typical if typical and c.entropy.size else 0.0
                repeats = text == t.text
                passes = (self.repeats or not repeats) and self.guard.passes(marks)
                about = (g, place, chain, number, again.asked[i], text, c, again.rewards[i])
                retries.append(Retry(*about, repeats, marks, passes))
                if again.rewards[i] < 1 and said[i] is not None:
                    left.append((chain, Attempt(t.problem, text, False, (*t.before, (t.text, said[i])))))
            live = left
        mean = lambda value: float(np.mean([value(r) for r in retries])) if retries else 0.0  # noqa: E731
        row |= merged(logs)
        row |= {
            "critique/attempts": float(len(told)),
            "critique/leak": leak(told, self.language),
            "critique/too_long": row.get("critique/too_long", 0.0) + float(len(told) - len(retries)),
            "refine/tokens": float(sum(len(r.completion.tokens) for r in retries)),
            "refine/prompt_tokens": float(sum(len(self.task.tokenizer.encode(r.asked)) for r in retries)),
            "refine/repaired": mean(lambda r: r.reward >= 1),
            "refine/repeated": mean(lambda r: r.repeats),
            "refine/truncated": mean(lambda r: r.completion.truncated),
            "refine/looping": mean(lambda r: r.marks["repetition"]),
            "refine/copying": mean(lambda r: r.marks["copying"]),
            "refine/entropy_ratio": mean(lambda r: r.marks["entropy"]),
            "refine/guarded": float(sum(not self.guard.passes(r.marks) for r in retries)),
        }
        if self.turns > 1:
            last = {r.chain: r.reward >= 1 for r in retries}
            row["refine/repaired_last"] = float(np.mean(list(last.values()))) if last else 0.0
        return retries, dialogues, told[0] is None, row

    def _under_context(self, groups: list[Group], retries: list[Retry]) -> tuple[list[Group], dict[str, float]]:
        """Groups with `turns`, and what is logged: a retry is compared with those of its group that are as late in
        their contexts, as the chance to be right is that of the context and not of the question."""
        last = {r.chain: r.reward * r.passes for r in retries}  # what a guard keeps out is worth nothing
        credited = lambda r: last[r.chain] if self.credit == "last" else r.reward  # noqa: E731
        out, rows, equal = [], 0, 0
        for i, group in enumerate(groups):
            mine = [r for r in retries if r.group == i]
            good = [r for r in mine if r.passes]
            rewards = {n: {credited(r) for r in good if r.number == n} for n in range(1, self.turns + 1)}
            learnt = [r for r in good if len(rewards[r.number]) > 1]
            equal += len(good) - len(learnt)
            rows += len(learnt)
            encode = self.task.tokenizer.encode
            turns = tuple(Turn(encode(r.asked), r.completion, credited(r), r.number) for r in learnt)
            given = [*group.rewards]
            if self.credit == "last":
                for place in {r.place for r in mine}:
                    given[place] = float(np.mean([last[c] for c in {r.chain for r in mine if r.place == place}]))
            out.append(dataclasses.replace(group, rewards=given, turns=turns))
        return out, {"refine/joint_rows": float(rows), "refine/joint_equal": float(equal)}

    def _join(self, params, groups, made, rng, *, fresh: bool) -> tuple[list[Group], int]:
        flat: list[tuple[int, float, str, Completion]] = []
        for g, retries in made.items():
            order = sorted(rng.permutation(len(retries)), key=lambda i: retries[i].reward < 1)  # right ones first
            flat += [(g, r.reward, r.text, r.completion) for r in (retries[i] for i in order[: self.count])]
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


def dialogue(tried: Attempt, said: str | None, reply: str, text: str, reward: float, fits: bool) -> dict[str, Any]:
    """A row of samples.jsonl: an attempt, what the critic replied, what the refiner was told, and its refinement.

    `critique` is null where the question was asked again (`fresh`), `refinement` and `reward` are null where the
    conversation did not fit.
    """
    return {
        "kind": "critique",
        "prompt": tried.problem.prompt,
        "attempt": tried.text,
        "reply": reply,
        "critique": said,
        "refinement": text if fits else None,
        "reward": reward if fits else None,
    }
