"""entropy_rl/methods/diversity/predicates.py by hand, and the group's rewards in methods/diversity/darling.py."""

import itertools
import subprocess
import sys
import types

import numpy as np
import pytest

from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError
from entropy_rl.methods.diversity import predicates
from entropy_rl.methods.diversity.darling import Diversity
from entropy_rl.tasks.base import get
from entropy_rl.training.collect import Group

TASK = get("countdown", split="train", levels=(4,))
PROMPT = "3 5 7 9 -> 24 :"
TEXTS = [
    "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24",
    "9 + 7 = 16 ; 3 + 5 = 8 ; 16 + 8 = 24",  # the same graph
    "7 + 9 = 16 ; 16 + 5 = 21 ; 21 + 3 = 24",
    "3 + 5 = 8 ; 7 + 9 = 16",  # wrong
]


def test_the_closure_is_transitive():
    """0-2 and 2-4 are alike, 0-4 are not; 1-3 are. Mutation: compare with the first of a class only."""
    like = {(0, 2), (2, 4), (1, 3)}
    asked = []
    assert predicates.partition(6, lambda i, j: asked.append((i, j)) or (i, j) in like) == [0, 1, 0, 1, 0, 2]
    assert all(i < j for i, j in asked) and len(asked) == len(set(asked))
    assert predicates.partition(0, None) == [] and predicates.partition(1, None) == [0]
    assert predicates.partition(3, lambda i, j: True) == [0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_classes_are_the_components_of_the_graph(seed):
    """Against reachability by powers of the adjacency matrix; the order of the responses does not matter."""
    rng = np.random.default_rng(seed)
    n = 8
    near = np.triu(rng.random((n, n)) < 0.15, 1)
    near = near | near.T
    reach = np.linalg.matrix_power(near.astype(int) + np.eye(n, dtype=int), n) > 0
    labels = np.array(predicates.partition(n, lambda i, j: near[i, j]))
    np.testing.assert_array_equal(labels[:, None] == labels, reach)
    order = rng.permutation(n)
    moved = np.array(predicates.partition(n, lambda i, j: near[order[i], order[j]]))
    np.testing.assert_array_equal(moved[:, None] == moved, reach[order][:, order])


def test_div_by_hand():
    """Classes of 3, 1 and 1 out of 5: 2/4, 1, 1. All alike: the floor. A group of one: the floor."""
    np.testing.assert_allclose(predicates.class_diversity([0, 0, 1, 0, 2]), [0.5, 0.5, 1, 0.5, 1])
    np.testing.assert_allclose(predicates.class_diversity([7] * 4), 0.1)
    np.testing.assert_allclose(predicates.class_diversity([0, 0, 1], floor=0.6), [0.6, 0.6, 1])
    np.testing.assert_allclose(predicates.class_diversity([0]), [0.1])


def test_right_responses_among_themselves():
    """Three right of five, two of them alike: (3 - 2) / 2 and (3 - 1) / 2; wrong ones do not count as different."""
    for labels, right, want in (
        ("abacd", [1, 0, 1, 1, 0], [0.5, 0.1, 0.5, 1, 0.1]),
        ("abc", [0, 1, 0], [0.1] * 3),  # one alone
        ("ab", [0, 0], [0.1] * 2),
    ):
        g = Group(Problem(PROMPT, "", "a", 4), [], [], list(labels), right)
        made = Diversity(TASK, predicates.by_solution, combine=lambda reward, value: value, correct_only=True)
        np.testing.assert_allclose(made([g])[0], [want])


def test_own_ngrams_by_hand():
    """bigrams {ab bc cd}, {ab bx}, {}: of the first cb and cd are its own, 2 of 3; of the second bx, 1 of 2."""
    np.testing.assert_allclose(predicates.ngram_diversity(["a b c d", "a b x", "z"], n=2), [2 / 3, 1 / 2, 0])
    np.testing.assert_allclose(predicates.ngram_diversity(["a b c d e", "a b c d"]), [1 / 2, 0])
    np.testing.assert_allclose(predicates.ngram_diversity(["a a a a a a"]), [1 / 3])  # repeats itself: a set
    with pytest.raises(InputError, match="n=0"):
        predicates.ngram_diversity(["a"], n=0)


def test_combinations_by_hand():
    reward, div = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.2, 1.0, 0.6, 0.6])
    np.testing.assert_allclose(predicates.multiplicative(reward, div), [0.2, 1, 0, 0])
    assert predicates.none(reward, div) is reward
    # z of the reward: +-0.5 / sqrt(1/3); of the diversity: (-.4, .4, 0, 0) / sqrt(.32 / 3)
    z = 0.5 * 3**0.5
    np.testing.assert_allclose(predicates.additive(reward, div), [z - 1.5**0.5, z + 1.5**0.5, -z, -z])
    np.testing.assert_allclose(predicates.additive(reward, div, scale=0.0), [z, z, -z, -z])
    np.testing.assert_allclose(predicates.additive(np.zeros(4), np.full(4, 0.3)), 0)
    assert predicates.additive(np.zeros(4), div)[1] > 0  # a group that is all wrong


def same_pairs(name, **args):
    same = predicates.PREDICATES[name](TASK, PROMPT, TEXTS, **args)
    return {pair for pair in itertools.combinations(range(len(TEXTS)), 2) if same(*pair)}


def test_predicates():
    assert same_pairs("solution_graph") == {(0, 1)}
    assert same_pairs("solution") == set()
    assert same_pairs("answer") == {(0, 1), (0, 2), (1, 2)}
    with pytest.raises(InputError, match="has no solution_graph"):
        predicates.by_solution_graph(types.SimpleNamespace(), "", [])


def test_embeddings_at_the_threshold():
    """Cosines 1, .8 and .6 to the first, of vectors of any length. Mutation: no division by the lengths."""
    vectors = [[2, 0], [5, 0], [0.8, 0.6], [3, 4]]
    assert same_pairs("embedding", embed=lambda texts: vectors, threshold=0.95) == {(0, 1), (2, 3)}
    assert (0, 2) in same_pairs("embedding", embed=lambda texts: vectors, threshold=0.799)
    assert (0, 2) not in same_pairs("embedding", embed=lambda texts: vectors, threshold=0.801)
    for args, message in (
        ({"threshold": 2.0}, "a cosine is from -1 to 1"),
        ({"embed": lambda texts: [[1.0]]}, r"shape \(1, 1\) for 4 texts"),
        ({"embed": lambda texts: [[np.nan]] * 4}, "finite"),
    ):
        with pytest.raises(InputError, match=message):
            same_pairs("embedding", **args)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"pip install 'entropy_rl\[diversity\]'"):
        same_pairs("embedding")


def test_the_judge_says_the_same_with_yes():
    """Mutation: yes for different, as in the authors' code."""
    seen = []

    def judge(prompt):
        seen.append(prompt)
        return "They share steps, no doubt.\nYES" if TEXTS[2] not in prompt else "yes? No."

    assert same_pairs("judge", judge=judge) == {(0, 1), (0, 3), (1, 3)}
    assert PROMPT in seen[0] and TEXTS[0] in seen[0] and TEXTS[1] in seen[0] and "in the same way" in seen[0]
    assert len(predicates.judge_prompt("x" * 10**6, "y" * 10**6, "{prompt}")) < 3 * predicates.LONGEST
    assert [predicates.parse_judge(t) for t in ("yes", "No.", "", "yesterday", "no, yes")] == [
        *(True, False, None, None, True)
    ]
    assert same_pairs("judge", judge=lambda prompt: "cannot say") == set()


def group(texts=TEXTS):
    problem = Problem(PROMPT, "", "a", 4)
    return Group(problem, [], [], list(texts), [TASK.verify(problem, t) for t in texts])


def test_rewards_of_a_group_by_hand():
    """Three right ones of two graphs and a wrong one: r Div = 2/3, 2/3, 1, 0; the group keeps the verifier's."""
    g = group()
    rewards, row = Diversity(TASK, predicates.by_solution_graph)([g, g])
    np.testing.assert_allclose(rewards, [[2 / 3, 2 / 3, 1, 0]] * 2)
    assert g.rewards == [1, 1, 1, 0]
    want = {"diversity": 10 / 12, "diversity_right": 7 / 9, "diversity_wrong": 1, "classes": 3, "classes_right": 2}
    want |= {"texts_right": 3, "unused": 0, "ngram": row["rollout/ngram"], "ngram_right": row["rollout/ngram_right"]}
    assert row == pytest.approx({f"rollout/{k}": v for k, v in want.items()})
    rewards, _ = Diversity(TASK, predicates.by_solution_graph, correct_only=True)([g])
    np.testing.assert_allclose(rewards, [[1 / 2, 1 / 2, 1, 0]])
    rewards, _ = Diversity(TASK, predicates.by_solution_graph, combine=predicates.none)([g])
    assert rewards == [g.rewards]
    rewards, _ = Diversity(TASK, predicates.by_solution_graph, floor=0.8)([g])
    np.testing.assert_allclose(rewards, [[0.8, 0.8, 1, 0]])
    rewards, _ = Diversity(TASK, None, floor=0.9)([g])
    np.testing.assert_allclose(rewards, [[0.9, 0.9, 0.9, 0]])


def test_ngrams_in_place_of_classes():
    """Floors, and classes of the graph all the same. Mutation: n-grams of right responses against wrong ones too."""
    rewards, row = Diversity(TASK, None)([group()])
    own = predicates.ngram_diversity(TEXTS)
    np.testing.assert_allclose(rewards, [[*own[:3], 0]])
    assert own[3] == 0 and row["rollout/diversity_wrong"] == pytest.approx(0.1) and row["rollout/classes"] == 3
    rewards, row = Diversity(TASK, None, correct_only=True, n=2)([group()])
    np.testing.assert_allclose(rewards, [[*predicates.ngram_diversity(TEXTS[:3], n=2), 0]])
    rewards, _ = Diversity(TASK, None, correct_only=True)([group(TEXTS[2:])])
    np.testing.assert_allclose(rewards, [[0.1, 0]])


def test_a_step_that_leads_nowhere_is_counted():
    padded = "7 - 3 = 4 ; 9 + 5 = 14"
    problem = Problem("3 5 7 9 -> 14 :", "", "a", 4)
    g = Group(problem, [], [], [padded, "5 + 9 = 14"], [TASK.verify(problem, t) for t in (padded, "5 + 9 = 14")])
    rewards, row = Diversity(TASK, predicates.by_solution_graph)([g])
    assert g.rewards == [1, 1] and row["rollout/unused"] == 0.5
    np.testing.assert_allclose(rewards, [[0.1, 0.1]])  # one solution


def test_a_task_without_graphs():
    task = types.SimpleNamespace(final_answer=lambda text: text[-1:])
    _, row = Diversity(task, predicates.by_answer)([group()])
    assert row["rollout/classes"] == 2 and "rollout/unused" not in row
    _, row = Diversity(task, None)([group()])
    assert "rollout/classes" not in row


def test_no_jax_is_needed():
    code = "import sys, entropy_rl.methods.diversity.predicates; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
