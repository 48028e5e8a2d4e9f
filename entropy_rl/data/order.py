"""Which problem stands at a place of a run: a function of the seed and the place, so that there is nothing to save.

A run takes problems from place 0 on. Place p of a finite set of n is in epoch p // n, and every epoch has all problems
once, in an order of its own. The order is no table but a permutation that is computed where it is asked for (a Feistel
network, Luby and Rackoff 1988; places outside the set are walked through, Black and Rogaway 2002): constant time and
memory whatever n, and the same on any number of hosts, each of which asks for its own places.
"""

from __future__ import annotations

import hashlib
import math
import operator

from entropy_rl.data.problem import Problem, Task, TextTask

ROUNDS = 8  # four are enough against an adversary; more of them serve sets of three or four problems


def index(n: int, seed: int, place: int) -> int:
    """The problem at `place` of a run over `n` problems: in 0..n-1, each of them once in every epoch of n places.

    Args:
      n: number of problems, 1 or more.
      seed: of the order; another one gives another order in every epoch.
      place: 0 or more; how many problems the run took before.

    Raises:
      ValueError: `n` or `place` is out of range.
    """
    n, place = operator.index(n), operator.index(place)
    if n < 1 or place < 0:
        raise ValueError(f"there is no place {place} in an order of {n}")
    epoch, i = divmod(place, n)
    # The network mixes the two digits of a number; rows * columns is at least n and below n + rows.
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    key = hashlib.blake2b(f"order/{n}/{seed}/{epoch}".encode(), digest_size=16).digest()
    while True:
        i = _mix(i, rows, columns, key)
        if i < n:
            return i


def _mix(i: int, rows: int, columns: int, key: bytes) -> int:
    """A permutation of range(rows * columns)."""
    a, b = divmod(i, columns)
    for turn in range(0, ROUNDS, 2):
        a = (a + _hash(key, turn, b)) % rows
        b = (b + _hash(key, turn + 1, a)) % columns
    return a * columns + b


def _hash(key: bytes, turn: int, digit: int) -> int:
    # 64 bits over digits of at most 32: no remainder is favoured by more than one part in 2**32
    text = turn.to_bytes(1, "big") + digit.to_bytes(16, "big")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "big")


def within(i: int, n: int, name: str) -> int:
    """The place `i` of one of n problems, as an int; IndexError outside 0..n-1: none is counted from the end."""
    i = operator.index(i)
    if not 0 <= i < n:
        raise IndexError(f"{name} has problems 0..{n - 1}, not {i}")
    return i


def problem_at(task: Task | TextTask, seed: int, place: int) -> Problem:
    """The problem that a run of this seed meets at `place`.

    A stream is in random order already: its problems are taken one after the other, and again from the first after the
    last. Any other task is a finite set, shuffled anew in every epoch.
    """
    n = len(task)
    return task[place % n if task.stream else index(n, seed, place)]
