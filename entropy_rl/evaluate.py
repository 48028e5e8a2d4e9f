"""Evaluation on fixed problems: pass@k, coverage, distinct solutions, entropies, per level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.data import packing
from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling.engine import together, token_work
from entropy_rl.training.collect import Group, answer_entropy, attempt


def pass_at_k(n: int, correct: np.ndarray, k: int) -> np.ndarray:
    """Unbiased estimate of the chance that at least one of k attempts is right, from n attempts:

        1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n-c+1 .. n} (1 - k / i)        (Chen et al. 2021, arXiv:2107.03374)

    Args:
      n: attempts a problem.
      correct: i[N], how many of them were right.
      k: at most n.

    Returns:
      f[N].

    Raises:
      InputError: k > n, for which there is no unbiased estimate.
    """
    if not 1 <= k <= n:
        raise InputError(f"pass@{k} needs at least {k} samples a problem, not {n}: raise the samples or lower k")
    correct = np.asarray(correct)
    i = np.arange(1, n + 1)
    terms = np.where(i > n - correct[..., None], 1.0 - k / i, 1.0)
    return 1.0 - np.clip(terms, 0.0, None).prod(axis=-1)


def crossover(ks: Sequence[int], base: Sequence[float], method: Sequence[float]) -> float:
    """k*, the smallest k at which the base is as good as a method: pass@k(base) >= pass@k(method).

    Between two k it is interpolated linearly in log2 k. (What arXiv:2504.13837 shows as curves; the number is ours.)

    Args:
      ks: rising.
      base, method: pass@k at each of them.

    Returns:
      k*; ks[0] where the method is never better, infinity where the base does not reach it.

    Raises:
      InputError: curves of other lengths than `ks`, or ks that do not rise.
    """
    ks, d = np.asarray(ks, float), np.asarray(base, float) - np.asarray(method, float)
    if ks.shape != d.shape or ks.ndim != 1 or not len(ks) or (np.diff(ks) <= 0).any():
        raise InputError(f"a crossover needs pass@k of both at the same rising k, not k {ks.tolist()} and {d.shape}")
    reached = np.flatnonzero(d >= 0)
    if not len(reached):
        return float("inf")
    i = reached[0]
    if i == 0:
        return float(ks[0])
    share = -d[i - 1] / (d[i] - d[i - 1])
    return float(2 ** (np.log2(ks[i - 1]) * (1 - share) + np.log2(ks[i]) * share))


def efficiency_gap(base: float, method: float) -> float:
    """Sampling-efficiency gap (arXiv:2504.13837): pass@k(base) at the largest k less pass@1(method), best low."""
    return float(base - method)


def measure(task: Task, groups: Sequence[Group], ks: Sequence[int]) -> dict[str, float]:
    """Metrics of attempts at problems, all problems with the same number of attempts.

    pass@k         for each k of `ks`.
    coverage       share of problems with at least one right attempt.
    distinct       distinct right solutions / right attempts, over all problems (1: never twice the same); NaN without
                   any.
    distinct_count distinct right solutions a problem.
    answer_entropy over the final answers of a problem's attempts, nats, mean over problems.
    entropy        policy entropy, token mean, nats; entropy_sequence: mean over responses of token means.
    length, truncated.
    pass@k, coverage and distinct also per level as `<metric>/level<n>` where there are several levels.
    """
    n = len(groups[0].rewards)
    rows = per_problem(task, groups)
    correct, unique = (np.array([row[key] for row in rows]) for key in ("right", "distinct"))
    completions = [c for g in groups for c in g.completions]
    out = {}

    def solved(select, suffix):
        c, u = correct[select], unique[select]
        for k in ks:
            out[f"pass@{k}{suffix}"] = pass_at_k(n, c, k).mean()
        out[f"coverage{suffix}"] = np.mean(c > 0)
        out[f"distinct{suffix}"] = u.sum() / c.sum() if c.sum() else np.nan

    solved(slice(None), "")
    levels = np.array([g.problem.level for g in groups])
    if len(task.levels) > 1:
        for level in np.unique(levels):
            solved(levels == level, f"/level{level}")
    return out | {
        "distinct_count": unique.mean(),
        "answer_entropy": np.mean([answer_entropy(task.final_answer(t) for t in g.texts) for g in groups]),
        "entropy": np.concatenate([c.entropy for c in completions]).mean(),
        "entropy_sequence": np.mean([c.entropy.mean() for c in completions]),
        "length": np.mean([len(c.tokens) for c in completions]),
        "truncated": np.mean([c.truncated for c in completions]),
    }


def per_problem(task: Task, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """What became of each problem, a row `{"id", "level", "n", "right", "distinct"}` for each group.

    n         attempts.
    right     attempts that were right, i.e. of reward 1.
    distinct  different solutions among those: their `task.solution` differs.
    classes   the same with `task.solution_graph`, which also forgets the order of steps; where the task has one.
    """
    rows = []
    for g in groups:
        right = [text for text, reward in zip(g.texts, g.rewards) if reward >= 1.0]
        distinct = len({task.solution(text) for text in right})
        about = {"id": g.problem.id, "level": g.problem.level}
        rows.append({**about, "n": len(g.rewards), "right": len(right), "distinct": distinct})
        if hasattr(task, "solution_graph"):
            rows[-1]["classes"] = len({task.solution_graph(text) for text in right})
    return rows


JOINED = 4  # batches of an evaluation that share slots, so that none waits for its slowest response


def attempt_all(
    model: Transformer,
    params,
    task: Task,
    key: jax.Array,
    *,
    samples: int,
    max_new: int,
    batch: int = 64,
    slots: int | None = None,
    **sampling,
) -> list[Group]:
    """Attempts every problem of `task`, `batch` of them at a time: a group a problem, in order.

    A batch bounds the memory; of the size of a training rollout it also shares that one's compiled programs. Where a
    batch is dear (data/packing.PAYS) up to JOINED of them, as many as the keys and values of their prompts have room
    (sampling/engine.together), share its slots: what is sampled is the same, and only the last of them ends with slots
    that are free. The rest of the arguments are collect.attempt's.
    """
    problems = [task[i] for i in range(len(task))]
    how = {"samples": samples, "max_new": max_new, **sampling}
    room = together(model, sampling.get("prompt_length") or task.prompt_length, mesh=sampling.get("mesh"))
    dear = token_work(params, batch * samples * max_new) > packing.PAYS
    joined = min(max(room // batch, 1), JOINED) if dear else 1
    groups = []
    for start in range(0, len(problems), batch * joined):
        some = problems[start : start + batch * joined]
        keys = [jax.random.fold_in(key, first) for first in range(start, start + len(some), batch)]
        if len(keys) == 1:
            groups += attempt(model, params, task, some, keys[0], slots=slots, **how)
        else:
            few = min(slots or batch * samples, batch * samples)
            groups += attempt(model, params, task, some, jnp.stack(keys), slots=few, part=batch, **how)
    return groups


def evaluate(
    model: Transformer, params, task: Task, key: jax.Array, *, ks: Sequence[int], **how
) -> tuple[dict[str, float], list[Group]]:
    """Attempts every problem (`attempt_all`, whose arguments `how` are) and measures: see `measure`."""
    groups = attempt_all(model, params, task, key, **how)
    return measure(task, groups, ks), groups
