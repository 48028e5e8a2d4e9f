"""What was sampled (Rollout), what is learnt from it (Batch), and the way from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from entropy_rl.data.packing import pack_rows
from entropy_rl.errors import InputError
from entropy_rl.sampling.engine import Completion

Array = Any  # numpy on the host, jax on devices
Weight = Callable[[np.ndarray, dict[str, np.ndarray]], jax.Array]


@struct.dataclass
class Rollout:
    """Responses and their rewards; rows with equal `group` share a prompt."""

    tokens: Array  # i32[B, T]   prompt ++ response ++ pad
    mask: Array  # bool[B, T]  True where the policy sampled tokens[b, t]
    sampler_logp: Array  # f32[B, T]   log-prob at sampling time, 0 outside mask
    entropy: Array  # f32[B, T]   of the policy where it chose tokens[b, t], at temperature 1, nats; 0 outside mask
    reward: Array  # f32[B]
    group: Array  # i32[B]
    truncated: Array  # bool[B]
    refined: Array | None = None  # bool[B], rows learnt without the critique that they were sampled with; None: no row
    # i32[B], 0: a response to the question; t: of the t-th retry in one context, learnt under that context; -1: an
    # empty row in the place of one. None: 0 for all
    turn: Array | None = None
    # the same responses after what their teacher sees (methods/critique/distil.py): i32[B, T'], bool[B, T'], where a
    # row without a teacher has no token in the mask; None: there are no teachers
    teacher_tokens: Array | None = None
    teacher_mask: Array | None = None
    # i32[B, T, sparse layers, experts a token], to which the sampler sent tokens[b, t], for the learner to do the same;
    # 0, 1, .. beyond the last token that was fed, which nothing sees. None: the learner's router chooses
    experts: Array | None = None

    def on_question(self) -> np.ndarray:
        """bool[B], rows that respond to the question itself."""
        return np.ones(len(self.reward), bool) if self.turn is None else self.turn == 0

    def compared(self) -> np.ndarray:
        """i32[B], rows with equal numbers share a baseline: those of one group and one turn."""
        if self.turn is None:
            return self.group
        _, number = np.unique(np.stack([self.group, self.turn]), axis=1, return_inverse=True)
        return number.reshape(-1).astype(np.int32)


@struct.dataclass
class Batch:
    """One optimiser mini-batch."""

    tokens: Array  # i32[B, T]
    mask: Array  # bool[B, T]
    weight: Array  # f32[B, T]   aggregation as data (losses/weights.py); 0 outside mask
    old_logp: Array | None = None  # f32[B, T]
    advantage: Array | None = None  # f32[B, T]
    ref_logp: Array | None = None  # f32[B, T], of the reference policy
    importance: Array | None = None  # f32[B, T], correction of sampler and learner (losses/importance.py)
    old_entropy: Array | None = None  # f32[B, T], of the policy that sampled
    filtered_logp: Array | None = None  # f32[B, T], of the policy before the updates, min-p filtered
    refined: Array | None = None  # bool[B], rows that are refinements of an earlier attempt
    value: Array | None = None  # f32[B, T], the critic's before the updates on this rollout
    target: Array | None = None  # f32[B, T], returns that the critic learns
    teacher_ids: Array | None = None  # i32[B, R, k], the likeliest tokens where the response's j-th was chosen
    teacher_logp: Array | None = None  # f32[B, R, k], of these, of the teacher
    taught: Array | None = None  # bool[B], rows that have a teacher
    sampler_logp: Array | None = None  # f32[B, T], for the ratio of self-distillation
    experts: Array | None = None  # as in Rollout
    margin: Array | None = None  # f32[B], of the pair of which a row is one half (objectives.preference)


def pack(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Completion]],
    rewards: Sequence[Sequence[float]],
    *,
    length: int,
    pad_id: int,
) -> Rollout:
    """Lays groups of responses out as rows.

    Args:
      prompts: token ids of N prompts.
      completions, rewards: for each prompt its group.
      length: T; programs are compiled for each.
      pad_id: fills up on the right.

    Returns:
      Rollout of numpy arrays, groups next to each other, group i numbered i.

    Raises:
      InputError: a prompt and its response are longer than `length`.
    """
    flat = [c for group in completions for c in group]
    repeated = [prompt for prompt, group in zip(prompts, completions) for _ in group]
    tokens, mask = pack_rows(repeated, [c.tokens for c in flat], length, pad_id)
    out = Rollout(
        tokens=tokens,
        mask=mask,
        sampler_logp=np.zeros(mask.shape, np.float32),
        entropy=np.zeros(mask.shape, np.float32),
        reward=np.array([r for group in rewards for r in group], np.float32),
        group=np.repeat(np.arange(len(prompts), dtype=np.int32), [len(g) for g in completions]),
        truncated=np.array([c.truncated for c in flat], bool),
        refined=np.zeros(len(flat), bool),
    )
    for row, c in enumerate(flat):
        out.sampler_logp[row, mask[row]] = c.logp
        out.entropy[row, mask[row]] = c.entropy
    if flat and flat[0].experts is not None:
        layers, each = flat[0].experts.shape[1:]
        experts = np.broadcast_to(np.arange(each, dtype=np.int32), (*mask.shape, layers, each)).copy()
        for row, c in enumerate(flat):
            experts[row, : len(c.experts)] = c.experts
        out = out.replace(experts=experts)
    return out


def picks(rollout: Rollout, *, count: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """The rows i32[b] of each of the mini-batches that `minibatches` makes with the same arguments.

    Raises:
      InputError: the groups cannot be split evenly.
    """
    rows, groups = len(rollout.reward), len(np.unique(rollout.group))
    if groups % count or rows % groups:
        raise InputError(f"{groups} prompts cannot be split into {count} mini-batches: choose a divisor as updates")
    order = np.arange(groups) if rng is None else rng.permutation(groups)
    by_group = np.arange(rows).reshape(groups, -1)
    return [by_group[part].reshape(-1) for part in np.split(order, count)]


def minibatches(
    rollout: Rollout,
    advantage: np.ndarray,
    weight: Weight,
    *,
    count: int,
    rng: np.random.Generator | None = None,
    **fields: Array,
) -> Iterator[Batch]:
    """Splits a rollout into `count` optimiser mini-batches of whole groups.

    The behaviour policy's log-probabilities are the sampler's unless `fields` has old_logp: the same model on the same
    tokens (a test holds that they are the learner's own), so no scoring pass is needed.

    Args:
      rollout: of numpy arrays, groups of equal size next to each other.
      advantage: f32[B], one a response, or f32[B, T].
      weight: (mask bool[b, T], data) -> f32[b, T], applied to each mini-batch as a whole; data has the mini-batch's
        `entropy` and `logp` f32[b, T] (of the policy that sampled), `advantage` f32[b, T], `reward` f32[b], `group`
        i32[b], `truncated` and `refined` bool[b].
      count: of mini-batches; divides the number of groups.
      rng: order of the groups; None: as they are.
      **fields: more arrays of B rows that a Batch holds.

    Raises:
      InputError: the groups cannot be split evenly.
    """
    rows = len(rollout.reward)
    if advantage.ndim == 1:
        advantage = advantage[:, None]
    advantage = np.where(rollout.mask, advantage, np.float32(0))
    fields = {"old_logp": rollout.sampler_logp, "refined": rollout.refined, "experts": rollout.experts, **fields}
    fields = {k: x for k, x in fields.items() if x is not None}
    for pick in picks(rollout, count=count, rng=rng):
        mask = rollout.mask[pick]
        refined = np.zeros(rows, bool) if rollout.refined is None else rollout.refined
        data = {"entropy": rollout.entropy, "advantage": advantage, "truncated": rollout.truncated, "refined": refined}
        data |= {"logp": rollout.sampler_logp, "reward": rollout.reward, "group": rollout.compared()}
        yield Batch(
            tokens=rollout.tokens[pick],
            mask=mask,
            weight=weight(mask, {k: x[pick] for k, x in data.items()}),
            advantage=advantage[pick],
            **{k: x[pick] for k, x in fields.items()},
        )
