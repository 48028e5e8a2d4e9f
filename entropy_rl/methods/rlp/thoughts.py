"""RLP: reinforcement as a pretraining objective (Hatamizadeh et al. 2025, arXiv:2510.01265).

A thought c is sampled before a token x_t of ordinary text, and is paid by how much better the text is then predicted:

    r(c) = log p_theta(x_t | x_<t, c) - log pbar_phi(x_t | x_<t)                  nats; no verifier
    phi <- tau phi + (1 - tau) theta after each update, phi = theta at the first step (lazily)
    A_i = G / (G - 1) (r_i - mean of the G thoughts)                              advantages.rloo
    L = mean over positions and thoughts of 1 / |c_i| sum_u max(-rho_iu A_i, -clip(rho_iu, 1 - eps_l, 1 + eps_h) A_i)

The loss is objectives.policy with losses/policy.ppo and the weight sequence_mean, on thought tokens alone: rewards are
numbers by then, no gradient goes through them, and there is no next-token loss.

Over thoughts of theta and for phi = theta, E[r] = CE(without a thought) - CE(with one) at t: the mean reward is the
reduction of the cross-entropy. (-log of the mean of p over thoughts is lower still than the mean CE, by Jensen.)

The baseline is the same for all thoughts at a position, so it cancels in A: it says what a thought is worth, and has no
part in what is learnt. A thought that only lowers p less than others is still pushed up: where most thoughts mislead,
short ones that say little win (configs/sweeps/rlp.py:early).

Departures: the paper gives neither eps_l nor eps_h. A thought is opened by tokens that are given (the last of each
prompt) and ended by one that is sampled, in whose place stands what closes it; one that runs out of room is closed for
it, and that is not learnt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.data.packing import pack_rows
from entropy_rl.models.scoring import Score
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling.engine import Completion, generate
from entropy_rl.training.rollouts import Rollout, pack

Place = Callable[[np.ndarray], Any]


def information_gain(with_thought: jax.Array, without: jax.Array) -> jax.Array:
    """r = log p_theta(x_t | x_<t, c) - log pbar_phi(x_t | x_<t), nats, as a constant: no gradient goes through it.

    Args:
      with_thought: f32[N, G], of G thoughts at each of N positions.
      without: f32[N].

    Returns:
      f32[N, G].
    """
    return jax.lax.stop_gradient(with_thought - without[:, None])


def follow(phi: Any, theta: Any, tau: float) -> Any:
    """tau phi + (1 - tau) theta; a copy of theta where phi is None, i.e. at the first step."""
    if phi is None:
        return jax.tree.map(jnp.copy, theta)
    return jax.tree.map(lambda old, new: (tau * old + (1 - tau) * new).astype(old.dtype), phi, theta)


@dataclasses.dataclass(frozen=True)
class Thoughts:
    """What was thought before N tokens, G times each, and what it was worth."""

    prompts: list[list[int]]  # x_<t and what opens a thought
    completions: list[list[Completion]]
    with_thought: np.ndarray  # f32[N, G], log p_theta(x_t | x_<t, c)
    without: np.ndarray  # f32[N], log pbar_phi(x_t | x_<t)

    @property
    def rewards(self) -> np.ndarray:
        """f32[N, G], nats."""
        return np.asarray(information_gain(self.with_thought, self.without))

    def rollout(self, length: int, pad_id: int) -> Rollout:
        """As rows of `length` columns, thoughts alone in the mask, x_t not among the tokens."""
        return pack(self.prompts, self.completions, self.rewards.tolist(), length=length, pad_id=pad_id)


def think(
    model: Transformer,
    params: Any,
    baseline: Any,
    contexts: Sequence[Sequence[int]],
    following: Sequence[int],
    key: jax.Array,
    *,
    score: Score,
    delimiters: tuple[Sequence[int], Sequence[int], Sequence[int]],
    context_length: int,
    max_new: int,
    place: Place = jnp.asarray,
    rows: int | None = None,
    **sampling,
) -> Thoughts:
    """Samples thoughts before N tokens of a text, and how well these are predicted with and without.

    Args:
      model, params: theta, that thinks, and predicts after a thought.
      baseline: phi, parameters that predict without one.
      contexts: x_<t, token ids.
      following: x_t, a token id each.
      score: models/scoring.token_scores of `model` at temperature 1, best jitted.
      delimiters: tokens that open a thought, that close it, and any of which ends it.
      context_length: the longest context.
      max_new: the longest thought, in tokens, what ends it included.
      rows: scored at once; None: all.
      place: puts rows of arrays where `score` runs.
      **sampling: samples, slots, warp, mesh of sampling/engine.generate.
    """
    opens, closes, ends = delimiters
    prompts = [[*context, *opens] for context in contexts]
    longest = context_length + len(opens)
    completions = generate(
        model, params, prompts, key, max_new=max_new, eos=tuple(ends), prompt_length=longest, **sampling
    )
    whole = []
    for prompt, group in zip(prompts, completions):
        for c in group:
            said = c.tokens.tolist()
            whole.append([*prompt, *(said if c.truncated else said[:-1]), *closes])
    results = np.repeat(np.asarray(following, np.int32), [len(g) for g in completions])
    after = log_likelihood(score, params, whole, results, longest + max_new + len(closes) + 1, place, rows)
    without = log_likelihood(score, baseline, contexts, following, context_length + 1, place, rows)
    return Thoughts(prompts, completions, after.reshape(len(prompts), -1), without)


def log_likelihood(
    score: Score,
    params: Any,
    contexts: Sequence[Sequence[int]],
    following: Sequence[int],
    length: int,
    place: Place = jnp.asarray,
    rows: int | None = None,
) -> np.ndarray:
    """log p(token | context) f32[N], nats, of one token after each context, in rows of `length` columns, `rows` of them
    at once (None: all)."""
    tokens, mask = pack_rows(contexts, [[token] for token in following], length, pad_id=0)
    logp, rows = np.zeros(mask.shape, np.float32), min(rows or len(mask), len(mask))
    for start in range(0, len(mask), rows):
        some = np.arange(start, start + rows) % len(mask)  # the last ones are filled up: one program
        logp[some] = np.asarray(jax.device_get(score(params, place(tokens[some]), place(mask[some]))["logp"]))
    return logp[mask]


def summary(thoughts: Thoughts) -> dict[str, float]:
    """What is logged of thoughts: cross-entropies of the tokens that they precede, in nats, and of the thoughts.

    ce_without, ce_with   means of -log p without (phi) and with a thought.
    reward                their difference, i.e. the mean reward.
    ce_marginal           mean of -log of the mean of p over the thoughts at a position: at most ce_with.
    entropy               of the policy in thoughts, mean over thoughts of token means.
    length, truncated     tokens of a thought; share of those that ran out of room.
    """
    completions = [c for group in thoughts.completions for c in group]
    some = thoughts.with_thought.astype(np.float64)
    marginal = np.logaddexp.reduce(some, axis=1) - np.log(some.shape[1])
    return {
        "ce_without": -thoughts.without.mean(),
        "ce_with": -some.mean(),
        "reward": thoughts.rewards.mean(),
        "ce_marginal": -marginal.mean(),
        "entropy": np.mean([c.entropy.mean() for c in completions]),
        "length": np.mean([len(c.tokens) for c in completions]),
        "truncated": np.mean([c.truncated for c in completions]),
    }
