"""Grid: a way from one cell of a small grid with walls to another, not much longer than the shortest.

    prompt     a1 -> d2 walls b1 e1 c2 b4 c4 a5 d5 :
    response   a2 a3 b3 c3 d3 d2

Five columns a to e and five rows 1 to 5, seven walls. A response names the cells that are stepped on, each beside the
one before (up, down, left, right) and none a wall, and ends when it steps on the goal. It is right with at most
`SLACK` = 2 steps more than the shortest way, so that a detour is forgiven and a walk is not. Reward 1 or 0.
Level n is the number of steps of the shortest way, 2 to 8.

Beside Countdown it has another profile of entropies: every token but the last is a choice, between one and four cells,
and hardly one is written by rule (`<eos>`, and cells with one way out).

What it leaves out: turned and mirrored layouts count as different ones. Problems of the three splits share no set of
walls: a split is a hash of the sorted walls.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from entropy_rl.data.drawn import Drawn, check_levels, check_size, whole
from entropy_rl.data.packing import pack_rows
from entropy_rl.data.problem import Problem
from entropy_rl.data.splits import digest, split_of
from entropy_rl.data.tokenizers import WordTokenizer
from entropy_rl.errors import InputError

SIDE, WALLS, SLACK = 5, 7, 2
LEVELS = (2, 3, 4, 5, 6, 7, 8)
SHARES = (0.7, 0.15, 0.15)  # of sets of walls in train, validation and test
MAX_CHARACTERS = 1000  # a right response has at most 30; longer text scores 0 unread
CELLS = tuple(f"{column}{row}" for row in range(1, SIDE + 1) for column in "abcde")  # cell 5 r + c of row r, column c
PLACE = {cell: i for i, cell in enumerate(CELLS)}
TOKENIZER = WordTokenizer(["->", "walls", ":", *CELLS])
FIRST = TOKENIZER.encode(CELLS[0])[0]  # id of a1; those of the others follow it
ALL = (1 << SIDE * SIDE) - 1  # sets of cells are the bits of a number
WEST = sum(1 << i for i in range(0, SIDE * SIDE, SIDE))  # column a
EAST = WEST << SIDE - 1
CANDIDATES = 256  # layouts drawn at a time


@dataclasses.dataclass(frozen=True)
class Grid(Drawn):
    """Problems of one split; made by `make`."""

    name = "grid"
    tokenizer = TOKENIZER
    prompt_length = WALLS + 5

    @property
    def response_length(self) -> int:
        """Tokens of the longest response, `<eos>` included: max(levels) + SLACK + 1."""
        return max(self.levels) + SLACK + 1

    def draw(self, id: str, level: int, turn: int) -> Problem:
        """Problem number `turn` of a level of the stream."""
        return Problem(*_draw(self.split, level, self.seed, turn), id, level)

    def verify(self, problem: Problem, response: str) -> float:
        """1.0 if `response` is a way of `problem.prompt`'s grid with at most SLACK steps too many, else 0.0.

        Words are looked up in a whitelist, so any string is safe; text longer than `MAX_CHARACTERS` scores 0 unread.
        """
        if len(response) > MAX_CHARACTERS:
            return 0.0
        start, goal, free, steps = parse(problem.prompt)
        words = response.split()
        if not 0 < len(words) <= steps + SLACK or steps < 1:
            return 0.0
        at = 1 << start
        for k, word in enumerate(words):
            if word not in PLACE or (k and at >> goal & 1):  # no cell; a step from the goal
                return 0.0
            step = 1 << PLACE[word]
            if not step & spread(at) & free:
                return 0.0
            at = step
        return float(at == 1 << goal)

    def final_answer(self, response: str) -> str:
        """The whole way, if it names cells and nothing else, else ""."""
        words = response.split()
        return " ".join(words) if all(word in PLACE for word in words) else ""

    def solution(self, response: str) -> str:
        """The response with single spaces: two ways are the same where they step on the same cells in order."""
        return " ".join(response.split())

    def demonstrations(self, seed: int, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ways for supervised training, always right, through TRAIN layouts whatever the split.

        Pure in (seed, step, count). Row r has level `levels[(step * count + r) % len(levels)]`. A way is a random walk:
        each step is uniform over the free cells from which the goal is still near enough.

        Returns:
          tokens i32[count, T] = prompt ++ response ++ `<eos>` ++ pad, T = prompt_length + response_length;
          mask bool[count, T], True on the response and its `<eos>`.
        """
        rng = np.random.default_rng(digest(f"grid/demonstrations/{seed}/{step}"))
        levels = np.asarray(self.levels)[(step * count + np.arange(count)) % len(self.levels)]
        layout = np.zeros((count, WALLS + 2), np.int64)
        for level in set(levels.tolist()):
            rows = np.flatnonzero(levels == level)
            found = [_layouts(rng, "train", level)]
            while sum(map(len, found)) < len(rows):
                found.append(_layouts(rng, "train", level))
            layout[rows] = np.concatenate(found)[: len(rows)]
        cells = walk(rng, layout, levels + SLACK)
        arrow, walls, colon = TOKENIZER.encode("-> walls :")
        layout = np.concatenate([layout[:, WALLS:], np.sort(layout[:, :WALLS], axis=1)], axis=1) + FIRST
        prompts = [[start, arrow, goal, walls, *blocked, colon] for start, goal, *blocked in layout.tolist()]
        responses = [[*(way[way >= 0] + FIRST), TOKENIZER.eos_id] for way in cells]
        return pack_rows(prompts, responses, self.prompt_length + self.response_length, TOKENIZER.pad_id)

    def decisions(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """bool[B, T]: the response tokens that are cells. The others are format: `<eos>`, and words of prompts.

        Args:
          tokens: i32[B, T]. mask: bool[B, T], True on response tokens.
        """
        return (np.asarray(tokens) >= FIRST) & np.asarray(mask, bool)


def make(split: str = "train", levels: Iterable[int] = (3, 5, 7), size: int | None = None, seed: int = 0) -> Grid:
    """Grid problems of one split.

    Problem i has level `levels[i % len(levels)]`: walls, start and goal are uniform over those of the split whose
    shortest way has so many steps, and `answer` is one of the shortest. Train is a stream in which problems can repeat;
    those of validation and test are distinct.

    Args:
      split: train, validation or test; about 70, 15 and 15 % of the sets of walls.
      levels: steps of the shortest way: distinct values out of 2..8.
      size: number of problems. None is 2**20 for train and 1024 for the others.
      seed: which problems of the split.

    Raises:
      InputError: an unknown split, bad levels, a size below 1.
    """
    size, levels, seed = check_size("grid", split, size), check_levels("grid", levels, LEVELS), whole("grid seed", seed)
    if split == "train":
        return Grid(split, levels, size, seed, None)
    columns = [_distinct(split, n, seed, -(-size // len(levels))) for n in levels]
    problems = tuple(
        Problem(*columns[i % len(levels)][i // len(levels)], f"grid/{split}/{i}", levels[i % len(levels)])
        for i in range(size)
    )
    return Grid(split, levels, size, seed, problems)


def spread(cells):
    """The neighbours of a set of cells, walls among them; a number or an array of numbers, whose bits are cells."""
    sideways = ((cells & ~EAST) << 1) | ((cells & ~WEST) >> 1)
    return (cells << SIDE | cells >> SIDE | sideways) & ALL


def near(goal, free, steps: int) -> list:
    """[k]: the cells from which `goal`, a set of one, is at most k steps away, k = 0..steps."""
    out = [goal]
    for _ in range(steps):
        out.append(out[-1] | spread(out[-1]) & free)
    return out


@functools.lru_cache(maxsize=4096)
def parse(prompt: str) -> tuple[int, int, int, int]:
    """(start, goal, free cells as a set, steps of the shortest way) of a prompt.

    (0, 0, 0, 0), which no response solves, for any other text and where there is no way.
    """
    words = prompt.split()[:64]
    cells = [*words[:1], *words[2:3], *words[4:-1]]
    if words[1:2] + words[3:4] + words[-1:] != ["->", "walls", ":"] or not set(cells) <= set(PLACE):
        return 0, 0, 0, 0
    start, goal, *walls = (PLACE[cell] for cell in cells)
    free = ALL & ~sum({1 << wall for wall in walls})
    reach = near(1 << goal & free, free, SIDE * SIDE)
    steps = next((k for k, cells in enumerate(reach) if cells >> start & 1), 0)
    return (start, goal, free, steps) if steps else (0, 0, 0, 0)


def walk(rng: np.random.Generator, layout: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """Random ways to the goal within a budget: each step uniform over the cells from which the goal is near enough.

    Args:
      rng: source of randomness.
      layout: i64[N, WALLS + 2], cells: walls, start, goal; the goal can be reached.
      budget: i64[N], steps at most.

    Returns:
      i64[N, max(budget)]: the cells that are stepped on, the goal last, then -1.
    """
    one = np.int64(1)
    free = ALL & ~np.bitwise_or.reduce(one << layout[:, :WALLS], axis=1)
    at, goal = one << layout[:, WALLS], one << layout[:, WALLS + 1]
    longest = int(budget.max(initial=0))
    reach = np.stack(near(goal, free, longest))
    out = np.full((len(layout), longest), -1)
    rows, bits = np.arange(len(layout)), np.arange(SIDE * SIDE)
    for k in range(longest):
        going = at != goal
        left = np.maximum(budget - k - 1, 0)
        open_ = (spread(at) & free & reach[left, rows])[:, None] >> bits & 1
        chosen = np.argmax(open_ * rng.random(open_.shape), axis=1)
        out[going, k] = chosen[going]
        at = np.where(going, one << chosen, at)
    return out


def _layouts(rng: np.random.Generator, split: str, level: int) -> np.ndarray:
    """i64[n, WALLS + 2]: those of CANDIDATES random layouts that are of the split and the level."""
    drawn = rng.permuted(np.tile(np.arange(SIDE * SIDE), (CANDIDATES, 1)), axis=1)[:, : WALLS + 2]
    bits = np.int64(1) << drawn
    free = ALL & ~np.bitwise_or.reduce(bits[:, :WALLS], axis=1)
    reach = near(bits[:, WALLS + 1], free, level)
    of_level = (reach[level] & bits[:, WALLS] > 0) & (reach[level - 1] & bits[:, WALLS] == 0)
    return np.array([x for x in drawn[of_level] if _split(x[:WALLS]) == split]).reshape(-1, WALLS + 2)


def _split(walls: Iterable[int]) -> str:
    return split_of("grid " + " ".join(CELLS[i] for i in sorted(walls)), SHARES)


def _draw(split: str, level: int, seed: int, index: int) -> tuple[str, str]:
    rng = np.random.default_rng(digest(f"grid/{split}/{level}/{seed}/{index}"))
    while not len(found := _layouts(rng, split, level)):
        pass
    layout = found[:1]
    way = walk(rng, layout, np.array([level]))[0]
    walls = " ".join(CELLS[i] for i in sorted(layout[0, :WALLS]))
    start, goal = (CELLS[i] for i in layout[0, WALLS:])
    return f"{start} -> {goal} walls {walls} :", " ".join(CELLS[i] for i in way)


@functools.lru_cache(maxsize=64)
def _distinct(split: str, level: int, seed: int, count: int) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for index in range(2 * count + 100):  # of a level there are hundreds of thousands: few come twice
        found.setdefault(*_draw(split, level, seed, index))
        if len(found) == count:
            return tuple(found.items())
    raise InputError(f"grid/{split}: {count} different problems of level {level} are too many to draw: lower size")
