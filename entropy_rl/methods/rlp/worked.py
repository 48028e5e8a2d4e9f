"""Worked arithmetic with steps removed: text where a thought makes the next token predictable, by construction.

    bare      3 + 5 * 2 - 9 = 7
    whole     3 + 5 * 2 - 9 = because 3 + 5 = 8 ; 8 * 2 = 16 ; 16 - 9 = 7 again 7
    gaps      3 + 5 * 2 - 9 = because 8 * 2 = 16 again 7

A document is a chain of operations, done from the left whatever they are, an `=`, and the result. Its steps, in
Countdown's notation, may stand between the two, all of them or each with probability 1/2; they are delimited by
`because` and `again`, two of the words that Countdown's critics have (tasks/countdown.SPEECH) and that its solutions
lack. The result of a bare document is where RLP thinks (methods/rlp/thoughts.py): a model of two layers cannot go
through four operations in its head.

Numbers are 1..9 and values 0..30, a token each; level n has n numbers. Operations are uniform over those whose value
is in range (one always is: a sum where a < b, a difference elsewhere). Document i is a function of (seed, i), and the
multiset of its numbers is one of its split as Countdown splits them, so held-out text shares no multiset with training
text, nor with Countdown's training problems.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable

import numpy as np

from entropy_rl.errors import InputError, lookup
from entropy_rl.tasks.countdown import (
    EQUALS,
    LEVELS,
    MAX_VALUE,
    MINUS,
    PLUS,
    SPLITS,
    TALKER,
    THEN,
    TIMES,
    ZERO,
    split_of,
)

OPEN, CLOSE = TALKER.encode("because again")  # delimiters of a thought


@dataclasses.dataclass(frozen=True)
class Questions:
    """Bare documents up to their results: what stands before, and what comes next."""

    contexts: list[list[int]]  # token ids up to the `=`
    results: np.ndarray  # i32[N], token ids
    levels: np.ndarray  # i64[N]


@dataclasses.dataclass(frozen=True)
class Worked:
    """Text of one split; made by `make`, whose arguments it has."""

    split: str
    levels: tuple[int, ...]
    seed: int
    worked: float
    whole: float
    tokenizer = TALKER
    delimiters = ((OPEN,), (CLOSE,), (CLOSE,))  # what opens a thought, closes it, and ends it where it is sampled
    name = "worked"  # of evaluations

    @staticmethod
    def says(thought: str, result: str) -> bool:
        """Whether the last step of a thought has the result."""
        return said(thought) == result

    @property
    def context_length(self) -> int:
        """Tokens of the longest context, its `=` included: 2 max(levels)."""
        return 2 * max(self.levels)

    @property
    def thought_length(self) -> int:
        """Tokens of the longest thought of a document without `because`, `again` included: 6 (max(levels) - 1)."""
        return 6 * (max(self.levels) - 1)

    @property
    def length(self) -> int:
        """T: tokens of the longest document, both delimiters, result and `<eos>` included: 8 max(levels) - 3."""
        return self.context_length + self.thought_length + 3

    def documents(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents first..first + count - 1 as text to be read.

        Returns:
          tokens i32[count, T], each document ++ `<eos>` ++ pad;
          mask bool[count, T], True on what is learnt: all but the first token, which nothing predicts, and `because`,
          which is written by whoever asks for a thought. A reader so never expects it, and what it expects after `=`
          is the result alone.
        """
        chain = self._chains(first, count)
        widest = max(self.levels)
        row = np.ones(count, bool)
        u = _uniform(self.seed, first, count, 1)[:, : widest + 1]
        worked, whole = u[:, 0] < self.worked, u[:, 1] < self.whole
        there = np.arange(1, widest) < chain.n[:, None]
        kept = there & worked[:, None] & (whole[:, None] | (u[:, 2:] < 0.5))

        tokens, keep = _expression(chain)
        add = lambda token, where: (tokens.append(np.broadcast_to(token, count)), keep.append(where))  # noqa: E731
        opened = len(tokens)
        add(OPEN, worked)
        for k in range(widest - 1):
            add(THEN, kept[:, k] & kept[:, :k].any(axis=1))
            a, b, c = chain.values[:, k], chain.numbers[:, k + 1], chain.values[:, k + 1]
            for token in (a + ZERO, chain.ops[:, k], b + ZERO, EQUALS, c + ZERO):
                add(token, kept[:, k])
        add(CLOSE, worked)
        add(chain.result + ZERO, row)
        add(TALKER.eos_id, row)
        learnt = [np.full(count, place not in (0, opened)) for place in range(len(tokens))]
        return _left(np.stack(tokens, 1), np.stack(keep, 1), np.stack(learnt, 1), self.length)

    def questions(self, first: int, count: int) -> Questions:
        """Documents first..first + count - 1 without their steps, whatever `documents` shows of them."""
        chain = self._chains(first, count)
        tokens, keep = _expression(chain)
        tokens, keep = np.stack(tokens, 1), np.stack(keep, 1)
        contexts = [row[there].tolist() for row, there in zip(tokens, keep)]
        return Questions(contexts, (chain.result + ZERO).astype(np.int32), chain.n)

    def _chains(self, first: int, count: int) -> _Chains:
        if first < 0 or count < 1:
            raise InputError(f"documents {first} to {first + count - 1}: give a first of 0 or more, and at least one")
        widest = max(self.levels)
        u = _uniform(self.seed, first, count, 0)
        table, offset, rows = _table(self.split, self.levels)
        which = (first + np.arange(count)) % len(self.levels)
        n = np.asarray(self.levels)[which]
        numbers = table[offset[which] + (u[:, 0] * rows[which]).astype(np.int64)]
        order = u[:, 1 : widest + 1] + (np.arange(widest) >= n[:, None])  # unused places stay last
        numbers = np.take_along_axis(numbers, np.argsort(order, axis=1), axis=1)

        values, ops = [numbers[:, 0]], []
        for k in range(1, widest):
            a, b = values[-1], numbers[:, k]
            results = np.stack([a - b, a + b, a * b], axis=1)
            fits = (results >= 0) & (results <= MAX_VALUE)
            pick = (u[:, widest + k] * fits.sum(axis=1)).astype(np.int64)
            chosen = np.argmax(fits & (np.cumsum(fits, axis=1) == pick[:, None] + 1), axis=1)
            ops.append(np.array([MINUS, PLUS, TIMES])[chosen])
            values.append(np.where(k < n, results[np.arange(count), chosen], a))
        return _Chains(n, numbers, np.stack(ops, 1), np.stack(values, 1))


@dataclasses.dataclass(frozen=True)
class _Chains:
    n: np.ndarray  # i64[B], how many numbers
    numbers: np.ndarray  # i64[B, W]; those from n on mean nothing
    ops: np.ndarray  # i64[B, W - 1], token ids; the op of column k comes before number k + 1
    values: np.ndarray  # i64[B, W]; column k: after k operations, and after the last from there on

    @property
    def result(self) -> np.ndarray:
        return self.values[:, -1]


def make(
    split: str = "train", levels: Iterable[int] = (3, 4, 5), seed: int = 0, worked: float = 0.5, whole: float = 0.5
) -> Worked:
    """Text of one split, an endless stream; document i has level `levels[i % len(levels)]`.

    Args:
      split: whose multisets numbers are drawn from, uniformly.
      levels: how many numbers, 3 to 6.
      seed: which text.
      worked: share of documents that have steps, or at least the delimiters of some.
      whole: share of those that have them all.

    Raises:
      InputError: an unknown split, bad levels, a seed below 0, or a share outside 0..1.
    """
    lookup(SPLITS, split, "split of worked text")
    levels = tuple(levels)
    if not levels or len(set(levels)) < len(levels) or not all(n in LEVELS for n in levels):
        raise InputError(f"levels={levels!r} of worked text: give distinct whole numbers out of {LEVELS}")
    if seed < 0:
        raise InputError(f"seed={seed} of worked text: give 0 or more")
    for name, share in (("worked", worked), ("whole", whole)):
        if not 0 <= share <= 1:
            raise InputError(f"{name}={share!r} of worked text: give a share from 0 to 1")
    return Worked(split, levels, seed, worked, whole)


def said(thought: str) -> str:
    """The number that the last step of a thought ends with, "" where it has none: `... 16 - 9 = 7 again` says 7."""
    words = thought.removesuffix("again").split()
    return words[-1] if len(words) > 1 and words[-2] == "=" and words[-1].isdigit() else ""


def _expression(chain: _Chains) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Token columns of `a + b * c =`, and which rows have them."""
    tokens, keep = [chain.numbers[:, 0] + ZERO], [chain.n > 0]
    for k in range(1, chain.numbers.shape[1]):
        tokens += [chain.ops[:, k - 1], chain.numbers[:, k] + ZERO]
        keep += [k < chain.n] * 2
    return [*tokens, np.full(len(chain.n), EQUALS)], [*keep, chain.n > 0]


def _left(tokens: np.ndarray, keep: np.ndarray, learnt: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """What is kept, moved to the left of `length` columns, and the mask that goes with it."""
    order = np.argsort(~keep, axis=1, kind="stable")[:, :length]
    tokens, keep, learnt = (np.take_along_axis(x, order, axis=1) for x in (tokens, keep, learnt))
    return np.where(keep, tokens, TALKER.pad_id).astype(np.int32), keep & learnt


@functools.cache
def _table(split: str, levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # All multisets of the split, [rows, max(levels)] padded with 0; where each level starts, and how many it has.
    lists = [
        [x for x in itertools.combinations_with_replacement(range(1, 10), n) if split_of(x) == split] for n in levels
    ]
    rows = np.array([len(x) for x in lists])
    table = [numbers + (0,) * (max(levels) - len(numbers)) for x in lists for numbers in x]
    return np.array(table), np.cumsum(rows) - rows, rows


def _uniform(seed: int, first: int, count: int, use: int) -> np.ndarray:
    """f64[count, 16] in [0, 1): of document first + r in row r, by splitmix64 of (seed, use, document, place)."""
    base = _mixed(_mixed(np.array([seed], np.uint64)) + np.uint64(use))
    document = _mixed(base + np.arange(first, first + count, dtype=np.uint64))
    place = np.arange(1, 17, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed(document[:, None] + place) >> np.uint64(11)) * 2.0**-53


def _mixed(z: np.ndarray) -> np.ndarray:
    # the finaliser of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
