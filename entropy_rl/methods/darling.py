"""DARLING (arXiv:2509.02534): groups in, rewards out that are worth more for a response unlike the others.

Groups keep the verifier's rewards, so that all that asks what is right (dynamic sampling, critiques, evaluations) goes
on seeing them; what is learnt from is given beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropy_rl import diversity
from entropy_rl.methods.collect import Group
from entropy_rl.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Diversity:
    """Groups -> (rewards to learn from, what is logged).

    Attributes:
      task: what the responses are to.
      predicate: (task, prompt, texts) -> same(i, j), a row of diversity.PREDICATES with its hyper-parameters; None: the
        share of a response's own n-grams instead of classes.
      combine: (reward, diversity) -> reward, a row of diversity.COMBINE with its hyper-parameters.
      floor: least diversity.
      correct_only: right responses are compared with right ones only, wrong ones get the floor.
      n: of the n-grams.
    """

    task: Task
    predicate: Callable | None
    combine: Callable[[NDArray, NDArray], NDArray] = diversity.multiplicative
    floor: float = diversity.FLOOR
    correct_only: bool = False
    n: int = 4

    def __call__(self, groups: Sequence[Group]) -> tuple[list[list[float]], dict[str, float]]:
        """Rewards in the order of the groups' own, and:

        rollout/diversity        mean over responses, with the floor (the code's actor/diversity).
        rollout/diversity_right, rollout/diversity_wrong   of the right and of the wrong ones, where there are any.
        rollout/classes          classes a group; with n-grams, of the task's solution graph, if it has one.
        rollout/ngram            share of own n-grams, without a floor, whatever the predicate.
        rollout/unused           share of the right responses with steps that lead nowhere, where the task can tell.
        """
        rewards, every, right, classes, own, unused = [], [], [], [], [], []
        for g in groups:
            reward, ok = np.array(g.rewards, float), np.array(g.rewards) >= 1
            labels, value, grams = self._measure(g, ok)
            rewards.append([float(r) for r in self.combine(reward, value)])
            every.append(value)
            right.append(ok)
            own.append(grams)
            if labels is not None:
                classes.append(len(set(labels)))
            if hasattr(self.task, "solution_graph"):
                texts = [text for text, good in zip(g.texts, ok) if good]
                unused += [len(self.task.solution_graph(t).split()) < len(t.split()) for t in texts]
        value, ok = np.concatenate(every), np.concatenate(right)
        row: dict[str, Any] = {"rollout/diversity": value.mean(), "rollout/ngram": np.concatenate(own).mean()}
        row |= {"rollout/diversity_right": value[ok].mean()} if ok.any() else {}
        row |= {"rollout/diversity_wrong": value[~ok].mean()} if not ok.all() else {}
        row |= {"rollout/classes": np.mean(classes)} if classes else {}
        row |= {"rollout/unused": np.mean(unused)} if unused else {}
        return rewards, {k: float(v) for k, v in row.items()}

    def _measure(self, g: Group, right: NDArray) -> tuple[list[int] | None, NDArray, NDArray]:
        """(classes or None, diversity with the floor, share of own n-grams)."""
        grams = diversity.ngram_diversity(g.texts, n=self.n)
        predicate = self.predicate
        if predicate is None and hasattr(self.task, "solution_graph"):
            predicate = diversity.by_solution_graph  # to be logged only
        same = predicate and predicate(self.task, g.problem.prompt, g.texts)
        labels = diversity.partition(len(g.texts), same) if same else None
        if self.predicate is None:
            value = np.maximum(self.floor, grams)
            return labels, np.where(right, value, self.floor) if self.correct_only else value, grams
        floored = partial(diversity.correct_only, right=right) if self.correct_only else diversity.class_diversity
        return labels, floored(labels, floor=self.floor), grams
