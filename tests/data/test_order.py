"""The order of problems: a permutation per epoch, computed and not kept."""

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from entropy_rl.data.order import index, problem_at
from entropy_rl.tasks import countdown

SIZES = [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 64, 97, 100, 127, 128, 1000, 1024, 1319]


@pytest.mark.parametrize("n", SIZES)
def test_every_epoch_has_every_problem_once(n):
    """Mutation: a round of the network that multiplies, or no walking through places outside."""
    for seed in range(3):
        for epoch in (0, 1, 7):
            assert sorted(index(n, seed, epoch * n + i) for i in range(n)) == list(range(n))


def test_epochs_and_seeds_differ():
    """Mutation: the epoch, or the seed, is left out of the key."""
    orders = {tuple(index(100, seed, 100 * epoch + i) for i in range(100)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@pytest.mark.parametrize("n", [2, 3, 4])
def test_small_sets_have_all_orders_equally(n):
    """Mutation: ROUNDS = 2, which leaves orders of 4 out."""
    counts = {}
    for seed in range(4000):
        order = tuple(index(n, seed, i) for i in range(n))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == np.prod(range(1, n + 1))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_places_are_uniform_and_neighbours_are_independent():
    """Mutation: `_hash` that leaves the turn out, or ROUNDS = 0."""
    n, seeds = 37, 4000
    first = np.bincount([index(n, s, 5) for s in range(seeds)], minlength=n)
    steps = np.bincount([(index(n, s, 6) - index(n, s, 5)) % n for s in range(seeds)], minlength=n)[1:]
    assert stats.chisquare(first).pvalue > 1e-4
    assert stats.chisquare(steps).pvalue > 1e-4
    order = [index(10_007, 0, i) for i in range(10_007)]
    assert abs(stats.spearmanr(order, range(10_007)).statistic) < 0.04


def test_pure_and_the_same_in_every_process():
    """Mutation: Python's hash() in place of blake2b."""
    here = [index(1000, 3, i) for i in range(50)]
    code = "from entropy_rl.data.order import index; print([index(1000, 3, i) for i in range(50)])"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert here == [index(1000, 3, i) for i in reversed(range(50))][::-1] == eval(there)


@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
def test_hosts_share_one_order(hosts):
    """Each host asks for its own places. Mutation: a shuffle per host."""
    n, places = 50, 240
    shares = [[(p, index(n, 1, p)) for p in range(h, places, hosts)] for h in range(hosts)]
    assert dict(sum(shares, [])) == {p: index(n, 1, p) for p in range(places)}


def test_constant_time_whatever_the_size():
    """Mutation: `list(range(n))` anywhere."""
    start = time.perf_counter()
    assert len({index(10**15, 0, 10**17 + i) for i in range(100)}) == 100
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("n, place", [(0, 0), (-1, 0), (5, -1)])
def test_out_of_range(n, place):
    """Mutation: no check, so that a negative place counts from the end."""
    with pytest.raises(ValueError, match="no place"):
        index(n, 0, place)


class Finite:
    stream = False

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return "abcdefghij"[i]


def test_streams_are_taken_in_order_and_sets_are_shuffled():
    """Mutation: `problem_at` that shuffles a stream, or that does not begin it again."""
    task = countdown.make(size=5)
    assert [problem_at(task, 9, p) for p in range(12)] == [task[p % 5] for p in range(12)]
    epochs = ["".join(problem_at(Finite(), 9, 10 * e + i) for i in range(10)) for e in range(3)]
    assert [sorted(e) for e in epochs] == [list("abcdefghij")] * 3
    assert len({"abcdefghij", *epochs}) == 4
