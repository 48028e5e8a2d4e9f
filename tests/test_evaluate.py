import dataclasses
from itertools import combinations

import numpy as np
import pytest

from entropy_rl import tasks
from entropy_rl.errors import InputError
from entropy_rl.evaluate import crossover, efficiency_gap, measure, pass_at_k, per_problem
from entropy_rl.sampling.engine import Completion
from entropy_rl.tasks.base import get
from entropy_rl.training.collect import Group, answer_entropy


@pytest.mark.parametrize("n", [1, 4, 6])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n):
    for c in range(n + 1):
        right = [i < c for i in range(n)]
        for k in range(1, n + 1):
            want = np.mean([any(s) for s in combinations(right, k)])
            np.testing.assert_allclose(pass_at_k(n, np.array([c]), k), want, atol=1e-12)


def test_pass_at_k_needs_k_samples():
    with pytest.raises(InputError, match="pass@9 needs at least 9 samples a problem, not 8"):
        pass_at_k(8, np.array([1]), 9)


def test_crossover_by_hand():
    """Base .1 .4 .8 against .3 .5 .6: -.2, -.1, +.2, so a third of the way from log2 k = 1 to 2: 2^(4/3).

    Mutation: interpolation in k instead of log2 k (8/3).
    """
    assert crossover([1, 2, 4], [0.1, 0.4, 0.8], [0.3, 0.5, 0.6]) == pytest.approx(2 ** (4 / 3))
    assert crossover([1, 2, 4], [0.1, 0.5, 0.8], [0.3, 0.5, 0.9]) == pytest.approx(2.0)  # as good is enough
    assert crossover([1, 2, 4], [0.3, 0.4, 0.5], [0.3, 0.5, 0.6]) == 1.0
    assert crossover([1, 2], [0.1, 0.2], [0.3, 0.5]) == float("inf")
    for ks, curve in (([1, 2, 2], [0.1] * 3), ([1, 2], [0.1] * 3), ([], [])):
        with pytest.raises(InputError, match="the same rising k"):
            crossover(ks, curve, curve)


def test_the_gap_of_the_paper():
    """Qwen2.5-7B on Omni-MATH test: the base at 256 is 69.1, GRPO at 1 25.1 (arXiv:2504.13837, Table 2)."""
    assert efficiency_gap(69.1, 25.1) == pytest.approx(44.0)


def group(task, i, texts):
    problem = task[i]
    c = Completion(np.array([5, 1]), np.array([-1.0, -1.0]), np.array([0.2, 0.4]), truncated=False)
    return Group(problem, [2], [c] * len(texts), texts, [task.verify(problem, t) for t in texts])


def test_measure_by_hand():
    """Two problems, four attempts each: 2 right with one solution written in two ways, and none right."""
    task = get("countdown", split="test", levels=(3, 4), size=2)
    right = task[0].answer
    a, op, b, *rest = right.split()
    swapped = " ".join([b, op, a, *rest]) if op in "+*" else right
    junk = ["1 + 1 = 3", "1 + 1 = 4", "", "7"]
    groups = [group(task, 0, [right, swapped, junk[0], junk[1]]), group(task, 1, junk)]
    out = measure(task, groups, ks=(1, 2))
    np.testing.assert_allclose(out["pass@1"], 0.25)
    np.testing.assert_allclose(out["pass@2"], (1 - 1 / 6) / 2)
    np.testing.assert_allclose(out["pass@1/level3"], 0.5)
    np.testing.assert_allclose(out["coverage/level4"], 0.0)
    np.testing.assert_allclose(out["coverage"], 0.5)
    np.testing.assert_allclose(out["distinct"], 0.5)
    np.testing.assert_allclose(out["distinct_count"], 0.5)
    assert np.isnan(out["distinct/level4"])
    np.testing.assert_allclose(out["entropy"], 0.3)
    assert per_problem(task, groups) == [
        {"id": "countdown/test/0", "level": 3, "n": 4, "right": 2, "distinct": 1, "classes": 1},
        {"id": "countdown/test/1", "level": 4, "n": 4, "right": 0, "distinct": 0, "classes": 0},
    ]


def test_half_a_reward_is_not_right():
    """Mutation: `> 0` for right."""
    task = get("countdown", split="test", levels=(3,), size=1)
    g = group(task, 0, [task[0].answer] * 3)
    rows = per_problem(task, [dataclasses.replace(g, rewards=[0.5, 1.0, 0.99])])
    assert rows == [{"id": "countdown/test/0", "level": 3, "n": 3, "right": 1, "distinct": 1, "classes": 1}]


def test_classes_forget_the_order_of_steps():
    """Three right texts, of two orders and of two solutions. Mutation: `task.solution` for both."""
    task = get("countdown", split="train", levels=(4,))
    texts = ["3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24", "7 + 9 = 16 ; 3 + 5 = 8 ; 8 + 16 = 24"]
    texts += ["7 + 9 = 16 ; 16 + 5 = 21 ; 21 + 3 = 24", "7 + 9 = 16"]
    problem = dataclasses.replace(task[0], prompt="3 5 7 9 -> 24 :")
    [row] = per_problem(task, [Group(problem, [], [], texts, [task.verify(problem, t) for t in texts])])
    assert (row["right"], row["distinct"], row["classes"]) == (3, 3, 2)


def test_answer_entropy():
    np.testing.assert_allclose(answer_entropy(["3", "3", "4", ""]), 1.5 * np.log(2))
    assert answer_entropy(["3", "3"]) == 0.0


def test_tasks_are_found_by_name():
    assert {"countdown", "gsm8k", "jsonl", "parquet", "tfds"} <= set(tasks.base.names())
    assert "base" not in tasks.base.names()
