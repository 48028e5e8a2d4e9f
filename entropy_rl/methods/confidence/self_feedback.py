"""RL from self-feedback (RLSF, van Niekerk et al., arXiv:2507.21931): confidence says which answer is the better one.

Of the branches of a question (methods/confidence/cot_decoding.py) all ordered pairs (i, j) are preferences where

    conf_i > conf_j   and   conf_i >= threshold        margin_ij = exp(conf_i - conf_j), from 1 to e

No answer is verified, and no reference answer is read: a pair is made of two responses and what the policy itself
thinks of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from entropy_rl.data.packing import pack_rows
from entropy_rl.methods.confidence.cot_decoding import Branch


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two branches of a question, by their places, and the margin of the first over the second."""

    better: int
    worse: int
    margin: float


def pairs(confidences: Sequence[float], threshold: float = 0.9) -> list[Pair]:
    """All ordered pairs of one question's branches, in the order of (better, worse); equal confidence is no preference.

    Args:
      confidences: of the branches, in [0, 1].
      threshold: what the better one must reach; the released code's `ranking_threshold` is 0.9.
    """
    return [
        Pair(i, j, math.exp(a - b))
        for i, a in enumerate(confidences)
        for j, b in enumerate(confidences)
        if a > b and a >= threshold
    ]


def to_rows(
    prompts: Sequence[Sequence[int]],
    branches: Sequence[Sequence[Branch]],
    chosen: Sequence[Sequence[Pair]],
    *,
    length: int,
    pad_id: int,
) -> dict[str, np.ndarray]:
    """Pairs as rows for an update: row 2 p is pair p's better response, row 2 p + 1 the worse one.

    Args:
      prompts, branches, chosen: for each question its tokens, its branches, its pairs.
      length: T, of prompt and response.

    Returns:
      {"tokens" i32[2P, T], "mask" bool[2P, T], True on responses, "margin" f32[2P], the pair's in both rows}.
    """
    listed = [(prompt, group[at], pair.margin) for prompt, group, some in zip(prompts, branches, chosen)
              for pair in some for at in (pair.better, pair.worse)]  # fmt: skip
    responses = [branch.completion.tokens for _, branch, _ in listed]
    tokens, mask = pack_rows([prompt for prompt, *_ in listed], responses, length, pad_id)
    return {"tokens": tokens, "mask": mask, "margin": np.array([margin for *_, margin in listed], np.float32)}
