"""Any of reasoning-gym's hundred procedural tasks by name (arXiv:2505.24760, extra `tasks`), scored by its own rules.

    make(name="chain_sum", settings={"max_terms": 3})            its defaults but for one setting
    make(name="chain_sum", levels=(0, 2), split="test", size=200)

Problems are those of reasoning-gym's generator, drawn by `seed`. Train, validation and test are disjoint in their draws
and in their questions: a question belongs to a split by a hash of its text, whoever draws it. Train is a stream in
which a question can come again; the problems of validation and test are distinct. A draw is passed over where the
generator fails or where the task's own scorer does not find the task's own answer right.

What is scored is the answer in a response: what stands in its last box, tag <answer> or after ####, or, without any of
these, all of it. Scorers of reasoning-gym evaluate what a model writes, through sympy among others, so that they run in
worker processes with hard limits; one that fails, hangs or grows gives 0.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from entropy_rl.answers.extract import FORMS, committed, final_answer
from entropy_rl.answers.workers import Failure, Workers
from entropy_rl.data import gym, records
from entropy_rl.data.drawn import check_size, whole
from entropy_rl.data.order import within
from entropy_rl.data.problem import Problem
from entropy_rl.data.splits import SPLITS, check_shares, digest, split_of
from entropy_rl.errors import InputError, lookup

SHARES = (0.5, 0.25, 0.25)  # of questions: draws cost little, and none of a split is looked for in more than four
TRIES = 1000  # draws until a question is of the split, and new in it


class Scorer:
    """How responses are scored, and which problem an id stands for; the half of the task that makes no problems.

    It takes its arguments from those of `make`, and refuses them as that does.
    """

    def __init__(
        self,
        name: str,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        levels: Iterable[int] | None = None,
        form: str = "any",
        partial: bool = False,
        seconds: float = 5.0,
        workers: int = 1,
        megabytes: int = 4096,
    ):
        lookup(FORMS, form, "answer form")
        seed = whole("reasoning_gym seed", seed, 0)
        self.name, self.form, self.partial = name, form, partial
        self.levels = (None,) if levels is None else tuple(levels) if isinstance(levels, Iterable) else (levels,)
        if not self.levels:
            raise InputError("reasoning_gym levels=(): give one or more, or None")
        plain = json.loads(json.dumps(dict(settings or {})))  # as a worker gets them: a tuple is a list
        self._order = {"name": name, "seed": seed, "settings": plain}
        self._dataset = functools.cache(functools.partial(gym.dataset, **self._order))
        for level in self.levels:  # names what is wrong with any of them
            self._dataset(level=level)
        limits = {"count": workers, "seconds": seconds, "megabytes": megabytes}
        self._workers = Workers("entropy_rl.data.gym:scorer", setup=self._order, **limits)
        self._poser = None
        if name in gym.HASHED:
            self._poser = Workers("entropy_rl.data.gym:poser", setup=self._order, seconds=60.0, megabytes=megabytes)

    def close(self) -> None:
        """Ends the workers."""
        for workers in filter(None, (self._workers, self._poser)):
            workers.close()

    def pose(self, level: int | None, number: int) -> tuple[str, str]:
        """(question, reference answer as a response) of a draw; "" where none would be found right.

        Raises:
          Exception: the generator gives up.
        """
        if self._poser is None:
            question, answer = gym.pose(self._dataset(level=level), number)
        else:
            [made] = self._poser.map([(level, number)])
            if isinstance(made, Failure):
                raise RuntimeError(made.text)
            question, answer = made
        framed = records.WAYS.get(self.form, "%s") % answer
        return question, framed if answer and self._answer(framed) == answer.strip() else ""

    def knows(self, problem: Problem) -> bool:
        """Whether the installed version makes this very problem."""
        return self.pose(*_place(problem)) == (problem.prompt, problem.answer)

    def verify(self, problem: Problem, response: str) -> float:
        """The score of the response, 0 where its scorer fails; see `make`. Never raises."""
        return self.verify_all([problem], [response])[0]

    def verify_all(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[float]:
        """`verify` of each pair, together in the workers."""
        found = [self._answer(r) for r in responses]
        asked = [i for i, answer in enumerate(found) if answer]
        scores = self._workers.map([(*_place(problems[i]), found[i]) for i in asked])
        out = [0.0] * len(found)
        for i, score in zip(asked, scores):
            score = min(max(score, 0.0), 1.0) if isinstance(score, float) and score == score else 0.0
            out[i] = score if self.partial else float(score >= 1)
        return out

    def final_answer(self, response: str) -> str:
        """The answer that is scored, with single spaces; "" for none."""
        return " ".join(self._answer(response).split())

    def solution(self, response: str) -> str:
        """The response with single spaces."""
        return " ".join(response.split())

    def _answer(self, response: str) -> str:
        if self.form == "any":
            marked = (final_answer(response, form) for form in ("boxed", "tag", "hash"))
            found = next(filter(None, marked), "") or committed(response).strip()
        else:
            found = final_answer(response, self.form)
        return found.encode("utf-8", "replace").decode()  # scorers meet no halves of surrogate pairs


@dataclasses.dataclass(frozen=True)
class Gym(records.WithVerifier):
    """Problems of one split; made by `make`."""

    name: str
    split: str
    size: int
    verifier: Scorer = dataclasses.field(repr=False)
    _shares: tuple[float, float, float] = dataclasses.field(repr=False)
    _distinct: list[Problem] = dataclasses.field(default_factory=list, repr=False)
    _seen: set[str] = dataclasses.field(default_factory=set, repr=False)
    stream = True  # problems come in random order already

    @property
    def levels(self) -> tuple[int, ...]:
        """Those of its problems, which take turns; (0,) where none were asked for."""
        return tuple(level or 0 for level in self.verifier.levels)

    def __len__(self) -> int:
        """Number of problems."""
        return self.size

    def __getitem__(self, i: int) -> Problem:
        """Problem `i`, of level `levels[i % len(levels)]`; IndexError outside 0..size-1."""
        i = within(i, self.size, f"{self.name}/{self.split}")
        if self.split == "train":
            return self._draw(i)
        while len(self._distinct) <= i:  # one after the other, as each is none of those before
            problem = self._draw(len(self._distinct), self._seen)
            self._seen.add(" ".join(problem.prompt.split()))
            self._distinct.append(problem)
        return self._distinct[i]

    def _draw(self, i: int, seen: Iterable[str] = ()) -> Problem:
        level, why = self.verifier.levels[i % len(self.verifier.levels)], ""
        for number in _numbers(self.name, self.split, i):
            try:
                question, answer = self.verifier.pose(level, number)
            except Exception as error:  # some generators give up on some draws
                why = f" (the generator: {' '.join(str(error).split()) or type(error).__name__})"
                continue
            if split_of(question, self._shares) != self.split or " ".join(question.split()) in seen:
                continue
            if not answer:
                why = " whose reference answer is scored as right"
                continue
            place = number if level is None else f"{number}@{level}"
            return Problem(question, answer, f"{self.name}/{self.split}/{place}", level or 0)
        raise InputError(
            f"reasoning-gym task {self.name!r}: {self.split} has no more than {i} different questions{why}: lower the "
            "size, give other settings or shares, or choose another task"
        )


def _numbers(name: str, split: str, i: int) -> Iterator[int]:
    """The draws among which problem `i` of a split is looked for; no other split has any of these."""
    own, count = SPLITS.index(split), len(SPLITS)
    if name in gym.LIMITED:  # from a place of its own, round the whole circle
        size = gym.LIMITED[name] // count
        start = digest(f"{name}/{split}/{i}") % size
        return (own + count * ((start + k) % size) for k in range(min(size, TRIES)))
    return (own + count * (i * TRIES + k) for k in range(TRIES))


def _place(problem: Problem) -> tuple[int | None, int]:
    """(level, number) of a problem, from its id: `chain_sum/test/12`, `chain_sum/test/12@2` of level 2."""
    number, at, level = problem.id.rpartition("/")[2].partition("@")
    return int(level) if at else None, int(number)


def make(
    name: str = "chain_sum",
    split: str = "train",
    size: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    *,
    form: str = "any",
    partial: bool = False,
    shares: Sequence[float] = SHARES,
    seconds: float = 5.0,
    workers: int = 1,
    megabytes: int = 4096,
) -> Gym:
    """Problems of one split of a task.

    Args:
      name: of the task in reasoning-gym: chain_sum, leg_counting, sudoku and a hundred others.
      split: train, validation or test.
      size: number of problems; None: 2**20 of train, 1024 of the others.
      levels: of difficulty, which take turns: level k is value k of every attribute of the task's curriculum, or its
        last. None: the task's defaults, and level 0.
      seed: of the draws; another seed gives other problems, and a question is of the same split whatever the seed.
      settings: fields of the task's own config, such as {"max_terms": 3}; levels set theirs.
      form: where answers stand: boxed, hash, tag (answers/extract.py); any: any of these, and else the whole response.
      partial: give scores between 0 and 1 as they are; False: only a full score is right, with reward 1.
      shares: of questions in train, validation and test.
      seconds, workers, megabytes: that scoring one response may take, processes that do it, memory of each.

    Raises:
      InputError: reasoning-gym is not installed; it has no such task, setting or level; a task without reference
        answers; a value out of range; more problems than there are different questions, when the first too many is
        asked for.
    """
    size = check_size("reasoning_gym", split, size)
    verifier = Scorer(name, seed, settings, levels, form, partial, seconds, workers, megabytes)
    return Gym(name, split, size, verifier, check_shares(shares, "reasoning_gym"))


def verifier(**args: Any) -> Scorer:
    """What scores responses to the problems of make(**args)."""
    return Scorer(**{k: v for k, v in args.items() if k in inspect.signature(Scorer).parameters})
