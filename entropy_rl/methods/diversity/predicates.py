"""How different the responses of one group are, and how that joins their rewards (DARLING, arXiv:2509.02534).

    Div_i = (n - |class of i|) / (n - 1)        r_i Div_i = the reward that is learnt from

Classes are those of a predicate "says the same", closed transitively (union-find): two responses that are each like a
third one are in one class. From the authors' code, partition_reward_vllm_serve.py: `partition` (Div and the floor of
0.1, so that quality is never quite forgotten), `process_uid_partition` (union-find); from diversity_rewards.py:
`ngram`. Where we depart: a pair that is in one class already is not asked about again, which changes no class; a group
of one has no others and gets the floor (their code divides by 0).

To add a predicate: a function `(task, prompt, texts, **hparams) -> same(i, j)` and a row in PREDICATES. `same` is asked
with i < j only. To add a way to combine: `(reward, diversity, **hparams) -> reward` of one group and a row in COMBINE.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropy_rl.errors import InputError

Same = Callable[[int, int], bool]
FLOOR = 0.1  # the paper's code
LONGEST = 4096  # characters of a response that an embedder or a judge is shown


def partition(n: int, same: Same) -> list[int]:
    """Classes of 0..n-1 under the transitive closure of `same`.

    `same` is asked for pairs i < j that are not in one class yet: n (n - 1) / 2 times at most. Classes are numbered in
    the order in which they first come up.
    """
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for j in range(n):
        for i in range(j):
            a, b = root(i), root(j)
            if a != b and same(i, j):
                parent[max(a, b)] = min(a, b)
    number: dict[int, int] = {}
    return [number.setdefault(root(i), len(number)) for i in range(n)]


def class_diversity(labels: Sequence[int], *, floor: float = FLOOR) -> NDArray:
    """max(floor, (n - |class|) / (n - 1)) of each of n responses: the share of the others that say something else.

    The paper writes a mean distance to the others, with d = 1 where the learned classifier says "different"; its
    example and its code take d from the classes, as here. f64[n]; a group of one gets the floor.
    """
    n = len(labels)
    _, of, sizes = np.unique(np.asarray(labels, int), return_inverse=True, return_counts=True)
    return np.maximum(floor, (n - sizes[of]) / max(n - 1, 1))


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    """The different n-grams of the words of a text."""
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def ngram_diversity(texts: Sequence[str], *, n: int = 4) -> NDArray:
    """Share of a response's n-grams that no other response of the group has, without a floor:

        |G_i - union_{j != i} G_j| / max(1, |words_i| - n + 1),    G_i the set of n-grams of whitespace words

    f64[len(texts)]. A response that repeats itself cannot reach 1; one of fewer than n words has 0.
    """
    if not n >= 1 or n != int(n):
        raise InputError(f"n={n}: n-grams need a whole number of 1 or more")
    sets = [grams(text, int(n)) for text in texts]
    out = []
    for i, (text, own) in enumerate(zip(texts, sets)):
        others = set().union(*sets[:i], *sets[i + 1 :])
        out.append(len(own - others) / max(1, len(text.split()) - int(n) + 1))
    return np.array(out, float)


# ---------------------------------------------------------------------------------------------- predicates


def _by(keys: Sequence[Any]) -> Same:
    return lambda i, j: keys[i] == keys[j]


def by_solution_graph(task: Any, prompt: str, texts: Sequence[str]) -> Same:
    """The task's `solution_graph` is equal: the same steps, whatever their order and that of operands.

    Raises:
      InputError: the task has none.
    """
    if not hasattr(task, "solution_graph"):
        raise InputError("this task has no solution_graph: take another predicate, such as answer")
    return _by([task.solution_graph(text) for text in texts])


def by_solution(task: Any, prompt: str, texts: Sequence[str]) -> Same:
    """The task's canonical text of a solution is equal."""
    return _by([task.solution(text) for text in texts])


def by_answer(task: Any, prompt: str, texts: Sequence[str]) -> Same:
    """The final answer is equal; responses without one are alike. Right responses to one question all are."""
    return _by([task.final_answer(text) for text in texts])


def by_embedding(
    task: Any,
    prompt: str,
    texts: Sequence[str],
    *,
    threshold: float = 0.9,
    model: str = "sentence-transformers/all-MiniLM-L6-v2",
    embed: Callable[[list[str]], ArrayLike] | None = None,
) -> Same:
    """The cosine of two responses' embeddings is `threshold` or more.

    The paper trains a classifier on top of an embedding (Qwen3-Embedding-4B) with 0.5 as its threshold; here it is the
    plain cosine, whose threshold depends on the model: choose it on pairs that you have read.

    Args:
      threshold: from -1 to 1.
      model: name or folder for sentence-transformers; its download is that package's.
      embed: texts -> f[n, d], in place of the package.

    Raises:
      InputError: the package is missing, the threshold or what `embed` gives cannot be.
    """
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold={threshold}: a cosine is from -1 to 1")
    vectors = np.asarray((embed or _embedder(model))([text[:LONGEST] for text in texts]), float)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise InputError(f"embeddings of shape {vectors.shape} for {len(texts)} texts: give finite numbers, [n, d]")
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = vectors @ vectors.T
    return lambda i, j: bool(cosine[i, j] >= threshold)


_EMBEDDERS: dict[str, Any] = {}  # read once a process


def _embedder(model: str) -> Callable[[list[str]], ArrayLike]:
    if model not in _EMBEDDERS:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as e:
            raise InputError(
                "the predicate embedding needs sentence-transformers: pip install 'entropy_rl[diversity]'"
            ) from e
        _EMBEDDERS[model] = SentenceTransformer(model)
    return _EMBEDDERS[model].encode


JUDGE = """Here are two responses to one problem.

Problem:
{prompt}

Response A:
{a}

Response B:
{b}

Do A and B solve the problem in the same way: the same strategy, key steps and intermediate results, however they are \
worded or ordered? End with one word on a line of its own: yes if they are the same, no if they differ."""


def judge_prompt(prompt: str, a: str, b: str) -> str:
    """What a judge is asked about two responses. Our words; what it looks at is the paper's (strategy, key reasoning,
    meaningful intermediate steps). Each part is cut after `LONGEST` characters."""
    return JUDGE.format(prompt=prompt[:LONGEST], a=a[:LONGEST], b=b[:LONGEST])


def parse_judge(said: str) -> bool | None:
    """True where a judge's last yes or no is yes (the same), False for no, None where it says neither."""
    words = re.findall(r"\b(yes|no)\b", said.lower())
    return words[-1] == "yes" if words else None


def by_judge(task: Any, prompt: str, texts: Sequence[str], *, judge: Callable[[str], str]) -> Same:
    """A model says so: `judge` answers `judge_prompt`, and "yes" means the same.

    The authors' partition_reward_lm_judge.py asks whether two solutions are *different* and takes yes for the same;
    here the question is the one that is counted. Who says neither yes nor no has not said that they are the same. Give
    `judge` in Python (methods/diversity/darling.Diversity); a config cannot hold it.
    """
    return lambda i, j: parse_judge(judge(judge_prompt(prompt, texts[i], texts[j]))) is True


# ---------------------------------------------------------------------------------------------- combination


def none(reward: NDArray, diversity: NDArray) -> NDArray:
    """The reward as it is: diversity is measured, and nothing is learnt from it."""
    return reward


def multiplicative(reward: NDArray, diversity: NDArray) -> NDArray:
    """r_i Div_i, the paper's: a wrong response (reward 0) gets nothing for being different. f[n], f[n] -> f[n]."""
    return reward * diversity


def additive(reward: NDArray, diversity: NDArray, *, scale: float = 1.0) -> NDArray:
    """z(r)_i + scale z(Div)_i, z the deviation from the group's mean over its standard deviation (n - 1).

    The code's `normalize_reward_before_combine` with both factors 1. What does not vary has z = 0, so in a group that
    is all wrong the most different response wins: the paper's ablation, which it finds worse. f[n], f[n] -> f[n].
    """
    return _z(reward) + scale * _z(diversity)


def _z(x: NDArray) -> NDArray:
    x = np.asarray(x, float)
    if len(x) < 2 or np.ptp(x) == 0:
        return np.zeros_like(x)
    return (x - x.mean()) / x.std(ddof=1)


PREDICATES = {
    "solution_graph": by_solution_graph,
    "solution": by_solution,
    "answer": by_answer,
    "embedding": by_embedding,
    "judge": by_judge,
}

COMBINE = {"none": none, "multiplicative": multiplicative, "additive": additive}
