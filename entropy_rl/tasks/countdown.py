"""Countdown: reach a target from a few small numbers with + - *, one step at a time.

    prompt     3 5 7 9 -> 24 :
    response   3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24

Level n is the number of numbers, 3 to 6, each in 1..9. Every value on the way is in 0..30, so that a number
is one token and the vocabulary has 40. A step takes two values from the pool and puts its result back; the
result of the last step must be the target, and numbers may be left over. Reward 1 or 0.

What it leaves out: targets are results of random paths, so small and easy ones (0, a difference of two of the
numbers) are more frequent than under uniform targets, and nothing is filtered.

Problems of the three splits share no multiset of numbers: a split is a hash of the sorted numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterable

import numpy as np

from entropy_rl.data.drawn import Drawn, check_levels, check_size, whole
from entropy_rl.data.packing import pack_rows
from entropy_rl.data.problem import Problem
from entropy_rl.data.splits import digest
from entropy_rl.data.tokenizers import WordTokenizer
from entropy_rl.errors import InputError

MAX_VALUE = 30
LEVELS = (3, 4, 5, 6)
SPLITS = {"train": range(0, 70), "validation": range(70, 85), "test": range(85, 100)}  # of a hash, in %
MAX_CHARACTERS = 1000  # a right response has at most 100; longer text scores 0 unread

TOKENIZER = WordTokenizer(["+", "-", "*", "=", ";", ":", "->", *map(str, range(MAX_VALUE + 1))])
# Words of critiques and of what is asked for them (critique/sentences.py); after the others, whose ids so stay.
SPEECH = "right wrong step because arithmetic operand unreachable target format hint answer critique again".split()
TALKER = WordTokenizer([*TOKENIZER.words[2:], *SPEECH])
PLUS, MINUS, TIMES, EQUALS, THEN, COLON, ARROW, ZERO = TOKENIZER.encode("+ - * = ; : -> 0")
OPS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
VALUE = {str(v): v for v in range(MAX_VALUE + 1)}  # the whitelist: no sign, no leading zero, no other digits


@dataclasses.dataclass(frozen=True)
class Countdown(Drawn):
    """Problems of one split; made by `make`.

    Attributes:
      tokenizer: `TOKENIZER`, 40 words, or `TALKER`, which has those of critiques too.
    """

    tokenizer: WordTokenizer = dataclasses.field(default=TOKENIZER, repr=False)
    name = "countdown"

    @property
    def talks(self) -> bool:
        """Whether its tokenizer has the words of critiques."""
        return self.tokenizer is TALKER

    @property
    def prompt_length(self) -> int:
        """Tokens of the longest prompt: max(levels) + 3."""
        return max(self.levels) + 3

    @property
    def response_length(self) -> int:
        """Tokens of the longest response, `<eos>` included: 6 (max(levels) - 1)."""
        return 6 * (max(self.levels) - 1)

    def draw(self, id: str, level: int, turn: int) -> Problem:
        """Problem number `turn` of a level of the stream."""
        _, prompt, answer = _draw(self.split, level, self.seed, turn)
        return Problem(prompt, answer, id, level)

    def verify(self, problem: Problem, response: str) -> float:
        """1.0 if `response` reaches the target of `problem.prompt` by right steps on its numbers, else 0.0.

        Words are looked up in a whitelist and nothing is evaluated, so any string is safe; text longer than
        `MAX_CHARACTERS` scores 0 unread, so time is bounded. At least one step; numbers may be left over.
        """
        if len(response) > MAX_CHARACTERS or not response.isascii():
            return 0.0
        numbers, target = parse(problem.prompt)
        words = response.split()
        if len(words) % 6 != 5:
            return 0.0
        pool, c = list(numbers), -1
        try:
            for i in range(0, len(words), 6):
                a, b, c = VALUE[words[i]], VALUE[words[i + 2]], VALUE[words[i + 4]]
                pool.remove(a)
                pool.remove(b)
                pool.append(c)
                if OPS[words[i + 1]](a, b) != c or words[i + 3] != "=" or (i and words[i - 1] != ";"):
                    return 0.0
        except (KeyError, ValueError):  # a word off the whitelist; a value that is not in the pool
            return 0.0
        return float(c == target)

    def final_answer(self, response: str) -> str:
        """The number after the last `=` if the response ends with it, else ""."""
        words = response.rsplit(None, 2)
        return words[-1] if len(words) > 1 and words[-2] == "=" and words[-1] in VALUE else ""

    def solution(self, response: str) -> str:
        """The response with the operands of + and * sorted within each step; the order of steps is kept.

        A malformed response comes back with single spaces, and sorted where a step can be read.
        """
        words = response.split()
        for i in range(0, len(words) - 2, 6):
            a, op, b = words[i : i + 3]
            if op in ("+", "*") and a in VALUE and b in VALUE and VALUE[a] > VALUE[b]:
                words[i], words[i + 2] = b, a
        return " ".join(words)

    def solution_graph(self, response: str) -> str:
        """Canonical text of the DAG of steps: two responses are the same solution where these strings are equal.

            3 + 5 = 8 ; 9 + 7 = 16 ; 8 + 16 = 24    ->    3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24
            7 + 9 = 16 ; 3 + 5 = 8 ; 16 + 8 = 24    ->    the same

        A node is a step with the operands of + and * sorted, an edge goes from a step to those that take its result,
        the last step is the root. Written out: the steps but the last sorted, then the last. What that decides:

        - Steps that do not lead to the last one are left out: to add them makes no new solution.
        - A text does not say which of two equal values a step takes, a number or a result, of this step or that one. So
          equal values are one place: a step is kept where its value is an operand of a step that is kept, and the
          form does not depend on the order of steps. The price: a superfluous step counts where its value is an
          operand all the same, and solutions that differ only in which of two equal values goes where are one.
        - No algebra: (a + b) + c and a + (b + c) are two solutions, as are 8 and 8 * 1 = 8.
        - Steps need not be right, nor their numbers be there; only the form is read.

        A response that has not this form, or is longer than `MAX_CHARACTERS`, comes back with single spaces, which no
        graph is equal to.
        """
        words = response.split()
        if len(response) > MAX_CHARACTERS or len(words) % 6 != 5:
            return " ".join(words)
        steps = []
        for i in range(0, len(words), 6):
            a, op, b, equals, c = words[i : i + 5]
            known = a in VALUE and b in VALUE and c in VALUE and op in OPS and equals == "="
            if not known or (i and words[i - 1] != ";"):
                return " ".join(words)
            if op in ("+", "*") and VALUE[a] > VALUE[b]:
                a, b = b, a
            steps.append((a, op, b, c))
        *others, last = steps
        kept, wanted = [], {last[0], last[2]}
        while found := [step for step in others if step[3] in wanted]:
            kept += found
            others = [step for step in others if step[3] not in wanted]
            wanted |= {operand for step in found for operand in (step[0], step[2])}
        return " ; ".join(f"{a} {op} {b} = {c}" for a, op, b, c in [*sorted(kept), last])

    def demonstrations(self, seed: int, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Solved problems for supervised training, always right, from TRAIN multisets whatever the split.

        Pure in (seed, step, count). Row r has level `levels[(step * count + r) % len(levels)]`, numbers
        uniform over its train multisets in random order, and a random path whose result is the target.

        Returns:
          tokens i32[count, T] = prompt ++ response ++ `<eos>` ++ pad, T = prompt_length + response_length;
          mask bool[count, T], True on the response and its `<eos>`.
        """
        rng = np.random.default_rng(digest(f"demonstrations/{seed}/{step}"))
        widest = max(self.levels)
        table, offset, rows = _train_table(self.levels)
        which = (step * count + np.arange(count)) % len(self.levels)
        # Widest first, so that the rows still at work with a pool of m values are a slice from the front.
        n = np.asarray(self.levels)[which]
        order = np.argsort(-n, kind="stable")
        n, which = n[order], which[order]

        pool = table[offset[which] + (rng.random(count) * rows[which]).astype(np.int64)]
        keys = rng.random((count, widest)) + (np.arange(widest) >= n[:, None])  # unused places stay last
        pool = np.take_along_axis(pool, np.argsort(keys, axis=1), axis=1)

        numbers, response = pool + ZERO, np.zeros((count, 6 * (widest - 1)), np.int32)
        row = np.arange(count)
        for m in range(widest, 1, -1):
            k = int(np.searchsorted(-n, -m, side="right"))
            r, u = row[:k], rng.random((3, k))
            i = (u[0] * m).astype(np.int64)
            j = (u[1] * (m - 1)).astype(np.int64)
            j += j >= i
            a, b = pool[r, i], pool[r, j]
            total, product = a + b, a * b
            add, multiply = total <= MAX_VALUE, product <= MAX_VALUE
            pick = (u[2] * (1 + add + multiply)).astype(np.int64)  # 0 is -, then those of + and * that fit
            minus, plus = pick == 0, (pick == 1) & add
            swap = minus & (a < b)
            a, b = np.where(swap, b, a), np.where(swap, a, b)
            c = np.where(minus, a - b, np.where(plus, total, product))
            op = np.where(minus, MINUS, np.where(plus, PLUS, TIMES))
            first = 6 * (n[:k] - m)
            end = np.full(k, THEN if m > 2 else TOKENIZER.eos_id)
            text = np.stack([a + ZERO, op, b + ZERO, np.full(k, EQUALS), c + ZERO, end], axis=1)
            response[r[:, None], first[:, None] + np.arange(6)] = text
            low, high = np.minimum(i, j), np.maximum(i, j)
            pool[r, high] = pool[r, m - 1]
            pool[r, low] = c

        back = np.argsort(order)
        prompts = [[*numbers[r, : n[r]], ARROW, pool[r, 0] + ZERO, COLON] for r in back]
        responses = [response[r, : 6 * (n[r] - 1)] for r in back]
        return pack_rows(prompts, responses, self.prompt_length + self.response_length, TOKENIZER.pad_id)

    def decisions(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """bool[B, T]: the response tokens that are decisions, that is operands and operators.

        The others are determined by the format: `=`, `;`, `<eos>` and what follows an `=`. Right or wrong,
        complete or not, a response is read token by token, so malformed ones have decisions as well.

        Args:
          tokens: i32[B, T]. mask: bool[B, T], True on response tokens.
        """
        tokens, mask = np.asarray(tokens), np.asarray(mask, bool)
        free = (tokens >= ZERO) | ((tokens >= PLUS) & (tokens <= TIMES))
        free[:, 1:] &= tokens[:, :-1] != EQUALS
        return free & mask


def make(
    split: str = "train", levels: Iterable[int] = LEVELS, size: int | None = None, seed: int = 0, talk: bool = False
) -> Countdown:
    """Countdown problems of one split.

    Problem i has level `levels[i % len(levels)]`, numbers uniform over that level's multisets in random
    order, and the result of a random path through all of them as its target. Train is a stream in which
    problems repeat; those of validation and test are distinct by (multiset, target). `size` only says where
    the sequence ends.

    Args:
      split: train, validation or test; about 70, 15 and 15 % of the multisets.
      levels: how many numbers: distinct values out of 3..6.
      size: number of problems. None is 2**20 for train; for the others 1024, or as many as leave every level
        the same share (level 3 has about 200).
      seed: which problems of the split.
      talk: whether the vocabulary has the words of critiques.

    Raises:
      InputError: an unknown split, bad levels, a size below 1 or one that a level cannot fill.
    """
    most, levels = check_size("countdown", split, size), check_levels("countdown", levels, LEVELS)
    seed, tokenizer = whole("countdown seed", seed), TALKER if talk else TOKENIZER
    if split == "train":
        return Countdown(split, levels, most, seed, None, tokenizer)
    size = min(most, len(levels) * min(count_problems(split, n) for n in levels)) if size is None else most
    columns = [_distinct(split, n, seed, -(-size // len(levels))) for n in levels]
    texts = itertools.chain.from_iterable(zip(*columns))
    problems = tuple(
        Problem(prompt, answer, f"countdown/{split}/{i}", levels[i % len(levels)])
        for i, (prompt, answer) in enumerate(itertools.islice(texts, size))
    )
    return Countdown(split, levels, size, seed, problems, tokenizer)


def split_of(numbers: Iterable[int]) -> str:
    """The split that a multiset of numbers belongs to, in whatever order it is given."""
    # With this salt every level comes within a tenth of 70, 15 and 15 %, even level 3 with its 165 multisets.
    percentile = digest("countdown/2/" + " ".join(map(str, sorted(numbers)))) % 100
    return next(name for name, percentiles in SPLITS.items() if percentile in percentiles)


def count_problems(split: str, level: int) -> int:
    """Number of distinct (multiset, target) of a level and split, with targets that use all numbers."""
    return sum(_targets(numbers).bit_count() for numbers in _multisets(level)[split])


@functools.cache
def _targets(pool: tuple[int, ...]) -> int:
    # Bit v is set when some path through all of the sorted `pool` ends in v.
    if len(pool) == 1:
        return 1 << pool[0]
    found = 0
    for i, j in itertools.combinations(range(len(pool)), 2):
        a, b = pool[i], pool[j]
        rest = pool[:i] + pool[i + 1 : j] + pool[j + 1 :]
        for c in {b - a, a + b, a * b}:
            if c <= MAX_VALUE:
                found |= _targets(tuple(sorted((*rest, c))))
    return found


@functools.lru_cache(maxsize=4096)
def parse(prompt: str) -> tuple[tuple[int, ...], int]:
    """(numbers, target) of a prompt; ((), -1), which no response reaches, for any other text."""
    words = prompt.split()[:64]
    if words[-3:-2] != ["->"] or words[-1:] != [":"] or not set(words[:-3] + words[-2:-1]) <= set(VALUE):
        return (), -1  # no response reaches this
    return tuple(VALUE[word] for word in words[:-3]), VALUE[words[-2]]


@functools.cache
def _multisets(level: int) -> dict[str, list[tuple[int, ...]]]:
    table = {name: [] for name in SPLITS}
    for numbers in itertools.combinations_with_replacement(range(1, 10), level):
        table[split_of(numbers)].append(numbers)
    return table


@functools.cache
def _train_table(levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # All train multisets, [rows, max(levels)] padded with 0; where each level starts, and how many it has.
    lists = [_multisets(level)["train"] for level in levels]
    rows = np.array([len(x) for x in lists])
    table = [numbers + (0,) * (max(levels) - len(numbers)) for x in lists for numbers in x]
    return np.array(table), np.cumsum(rows) - rows, rows


def _draw(split: str, level: int, seed: int, index: int) -> tuple[tuple, str, str]:
    # One digest holds all choices: 256 bits against 45 used, so that divmod is uniform to one part in 2**200.
    bits = digest(f"{split}/{level}/{seed}/{index}")

    def choose(m: int) -> int:
        nonlocal bits
        bits, k = divmod(bits, m)
        return k

    multisets = _multisets(level)[split]
    multiset = multisets[choose(len(multisets))]
    pool = list(multiset)
    numbers = [pool.pop(choose(len(pool))) for _ in range(level)]
    pool, steps = list(numbers), []
    while len(pool) > 1:
        a, b = pool.pop(choose(len(pool))), pool.pop(choose(len(pool)))
        fits = [("-", abs(a - b))]
        if a + b <= MAX_VALUE:
            fits.append(("+", a + b))
        if a * b <= MAX_VALUE:
            fits.append(("*", a * b))
        op, c = fits[choose(len(fits))]
        if op == "-" and a < b:
            a, b = b, a
        steps.append(f"{a} {op} {b} = {c}")
        pool.append(c)
    prompt = f"{' '.join(map(str, numbers))} -> {pool[0]} :"
    return (multiset, pool[0]), prompt, " ; ".join(steps)


@functools.lru_cache(maxsize=64)
def _distinct(split: str, level: int, seed: int, count: int) -> tuple[tuple[str, str], ...]:
    there = count_problems(split, level)
    found: dict[tuple, tuple[str, str]] = {}
    # Targets that few paths reach come up too rarely to draw the very last ones of a level.
    for index in range(100 * count + 1000 if count <= there else 0):
        key, prompt, answer = _draw(split, level, seed, index)
        found.setdefault(key, (prompt, answer))
        if len(found) == count:
            return tuple(found.values())
    raise InputError(
        f"countdown/{split} has {there} distinct problems of level {level}, and {count} are too many to "
        f"draw: lower size, or drop level {level}"
    )
