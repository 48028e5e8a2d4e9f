"""From questions to batches of preference pairs: what both arms of experiments.self_feedback learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.order import problem_at
from entropy_rl.data.problem import Task
from entropy_rl.methods.confidence import self_feedback
from entropy_rl.methods.confidence.cot_decoding import Branch, branch
from entropy_rl.models.transformer import Transformer
from entropy_rl.training.loop import passes
from experiments.lib.evaluation import BATCH

Rows = dict[str, np.ndarray]


def questions(
    config: ConfigDict, task: Task, model: Transformer, mesh: jax.sharding.Mesh, params: Any, first: int
) -> tuple[list[list[int]], list[list[Branch]]]:
    """(prompts, branches) of `config.questions` training problems from place `first` of the run's order on."""
    c, prompts, out = config, [], []
    for start in range(0, c.questions, BATCH):
        some = [problem_at(task, c.seed, first + i) for i in range(start, min(start + BATCH, c.questions))]
        prompts += [task.tokenizer.encode(p.prompt) for p in some]
        out += branch(
            *(model, params, task, some),
            k=c.branches.k,
            span=c.branches.span,
            max_new=task.response_length,
            prompt_length=task.prompt_length,
            slots=min(c.rollout.slots, len(some) * c.branches.k),
            mesh=mesh,
        )
    return prompts, out


def preferences(config: ConfigDict, task: Task, prompts: list, branches: list) -> tuple[Rows, dict[str, float]]:
    """Rows of all pairs, and what is logged of them and of the branches."""
    sure = [[b.confidence for b in group] for group in branches]
    chosen = [self_feedback.pairs(own, config.branches.threshold) for own in sure]
    length = task.prompt_length + task.response_length
    rows = self_feedback.to_rows(prompts, branches, chosen, length=length, pad_id=task.tokenizer.pad_id)
    made = [b.completion for group in branches for b in group]
    return rows, {
        "branches/confidence": float(np.mean(sure)),
        "branches/threshold_share": float(np.mean(np.array(sure) >= config.branches.threshold)),
        "branches/no_answer": float(np.mean([not b.answer for group in branches for b in group])),
        "branches/tokens": float(sum(len(c.tokens) for c in made)),
        "pairs/count": float(len(rows["margin"]) // 2),
        "pairs/margin": float(rows["margin"].mean()) if len(rows["margin"]) else 0.0,
        # of the paths that would be decoded greedily, at temperature 1
        "policy/entropy_sequence": float(np.mean([c.entropy.mean() for c in made])),
    }


def batches(rows: Rows, count: int, size: int, rng: np.random.Generator) -> Iterator[Rows]:
    """`count` batches of `size` pairs, in passes of random order."""
    for pick in passes(len(rows["margin"]) // 2, count=count, size=size, rng=rng):
        places = np.stack([2 * pick, 2 * pick + 1], axis=1).reshape(-1)
        yield {k: x[places] for k, x in rows.items()}


def pair_weight(mask: np.ndarray) -> np.ndarray:
    """1 / pairs on every token: the loss is the mean over pairs."""
    return np.float32(2 / len(mask)) * mask
