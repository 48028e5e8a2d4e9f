"""DARLING (arXiv:2509.02534): groups in, rewards out that are worth more for a response unlike the others.

Groups keep the verifier's rewards, so that all that asks what is right (dynamic sampling, critiques, evaluations) goes
on seeing them; what is learnt from is given beside them. So dynamic sampling leaves out a group that is all right,
although its diversity would have something to say.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from entropy_rl.data.problem import Task
from entropy_rl.methods.diversity import predicates
from entropy_rl.training.collect import Group


@dataclasses.dataclass(frozen=True)
class Diversity:
    """Groups -> (rewards to learn from, what is logged).

    Attributes:
      task: what the responses are to.
      predicate: (task, prompt, texts) -> same(i, j), a row of predicates.PREDICATES with its hyper-parameters; None:
        the share of a response's own n-grams instead of classes.
      combine: (reward, diversity) -> reward, a row of predicates.COMBINE with its hyper-parameters.
      floor: least diversity.
      correct_only: right responses are compared with right ones only, wrong ones get the floor. So does the only right
        one of a group, which else would be the most different: the authors' `partition_correct`, kept as it is.
      n: of the n-grams.
    """

    task: Task
    predicate: Callable | None
    combine: Callable[[NDArray, NDArray], NDArray] = predicates.multiplicative
    floor: float = predicates.FLOOR
    correct_only: bool = False
    n: int = 4

    def __call__(self, groups: Sequence[Group]) -> tuple[list[list[float]], dict[str, float]]:
        """Rewards in the order of the groups' own, and:

        rollout/diversity        mean over responses, with the floor (the code's actor/diversity).
        rollout/diversity_right, rollout/diversity_wrong   of the right and of the wrong ones, where there are any.
        rollout/classes          classes a group; with n-grams, of the task's solution graph, if it has one.
        rollout/ngram, rollout/ngram_right   share of own n-grams, without a floor, whatever the predicate.
        rollout/texts_right      different texts among the right responses of a group, and
        rollout/classes_right    their classes: where the first grows alone, form is rewarded and not substance.
        rollout/unused           share of the right responses with steps that lead nowhere, where the task can tell.
        """
        rewards, logged = [], collections.defaultdict(list)
        for g in groups:
            reward, right = np.array(g.rewards, float), np.array(g.rewards) >= 1
            labels, value, grams = self._measure(g, right)
            rewards.append([float(r) for r in self.combine(reward, value)])
            texts = [text for text, ok in zip(g.texts, right) if ok]
            logged["diversity"] += [*value]
            logged["diversity_right"] += [*value[right]]
            logged["diversity_wrong"] += [*value[~right]]
            logged["ngram"] += [*grams]
            logged["ngram_right"] += [*grams[right]]
            logged["texts_right"].append(len(set(texts)))
            if labels is not None:
                logged["classes"].append(len(set(labels)))
                logged["classes_right"].append(len(set(np.array(labels)[right].tolist())))
            if hasattr(self.task, "solution_graph"):
                logged["unused"] += [len(self.task.solution_graph(t).split()) < len(t.split()) for t in texts]
        return rewards, {f"rollout/{key}": float(np.mean(of)) for key, of in logged.items() if of}

    def _measure(self, g: Group, right: NDArray) -> tuple[list[int] | None, NDArray, NDArray]:
        """(classes or None, diversity with the floor, share of own n-grams)."""
        grams = predicates.ngram_diversity(g.texts, n=self.n)
        predicate = self.predicate
        if predicate is None and hasattr(self.task, "solution_graph"):
            predicate = predicates.by_solution_graph  # to be logged only
        same = predicate and predicate(self.task, g.problem.prompt, g.texts)
        labels = predicates.partition(len(g.texts), same) if same else None
        if self.correct_only:
            value, own = np.zeros(len(right)), np.flatnonzero(right)
            if len(own) > 1 and self.predicate is None:
                value[own] = predicates.ngram_diversity([g.texts[i] for i in own], n=self.n)
            elif len(own) > 1:
                value[own] = predicates.class_diversity([labels[i] for i in own], floor=self.floor)
        else:
            value = grams if self.predicate is None else predicates.class_diversity(labels, floor=self.floor)
        return labels, np.maximum(self.floor, value), grams
