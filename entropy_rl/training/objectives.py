"""Objectives: what an update minimises, in two parts, the model's and the arrays'.

`score(params, batch)` runs the model and gives `[B, T]` arrays aligned with the batch. `loss(scores, batch, key, coefs)
-> (loss, out)` sees arrays only. Being apart, the loss can look at a whole mini-batch whose scores were made in
micro-batches (learner.make_update). `out` holds `[B, T]` arrays, of which metrics are made once, on the whole
mini-batch, by the objective's `record`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.entropy.record import covariance
from entropy_rl.losses.distillation import lumped
from entropy_rl.losses.importance import token_cap
from entropy_rl.losses.kl import KL
from entropy_rl.losses.policy import DATA, sees_whole
from entropy_rl.losses.selection import count, highest
from entropy_rl.losses.value import clipped_value, explained_variance
from entropy_rl.losses.weights import CURRENT, sequence_mean
from entropy_rl.masking import mask_out, masked_mean, masked_sum
from entropy_rl.models.experts import LOADS, load_loss
from entropy_rl.models.logprobs import join_prompt, split_prompt
from entropy_rl.models.scoring import Score
from entropy_rl.training.rollouts import Batch

Coefs = dict[str, jax.Array]
Scores = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What an update minimises.

    Attributes:
      score: (params, batch) -> scores [B, T].
      loss: (scores, batch, key, coefs) -> (scalar, out).
      needs_full_batch: whether the loss must see all rows of the mini-batch at once; if not it is a sum over rows.
    """

    score: Callable[[Any, Batch], Scores]
    loss: Callable[[Scores, Batch, jax.Array, Coefs], tuple[jax.Array, dict[str, jax.Array]]]
    needs_full_batch: bool = False

    def __call__(self, params, batch: Batch, key: jax.Array, coefs: Coefs) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(loss, out) of all rows at once."""
        return self.loss(self.score(params, batch), batch, key, coefs)


@dataclasses.dataclass(frozen=True)
class Load:
    """The loss that evens out the load of experts (models/experts.load_loss), over the tokens that are learnt from.

    Attributes:
      coef: of the loss; 0: the load is only logged. transformers' router_aux_loss_coef, .001 in Qwen3-MoE's config.
      each: experts a token.
    """

    coef: float
    each: int

    def __call__(self, scores: Scores) -> jax.Array:
        """coef times the loss, 0 without scores of experts."""
        return self.coef * load_loss(scores, self.each) if self.coef and LOADS[0] in scores else jnp.zeros(())


def _routing(scores: Scores) -> dict[str, Any]:
    """The part of `out` of a model with experts."""
    names = (*LOADS, "router_entropy")
    return {"experts": {k: jax.lax.stop_gradient(scores[k]) for k in names}} if LOADS[0] in scores else {}


def routing_record(batch: Batch, out: dict[str, Any]) -> dict[str, jax.Array]:
    """Metrics of a model with experts: the router's entropy (nats, a mean over tokens and layers), the largest share of
    choices that one expert has, times E (1: even), the coefficient of variation of the experts' shares, and the loss
    of models/experts.load_loss over k (1: even). No token is dropped: there is no capacity. {} without experts."""
    if not (seen := out.get("experts")):
        return {}
    count, prob = (jnp.sum(seen[name], axis=0) for name in LOADS)
    share = count / jnp.maximum(jnp.sum(count), 1.0)
    even = len(share) * share
    return {
        "moe/router_entropy": masked_mean(seen["router_entropy"], batch.mask),
        "moe/load_max": jnp.max(even),
        "moe/load_cv": jnp.std(even),
        "moe/load_loss": len(share) * jnp.sum(share * prob / jnp.maximum(jnp.sum(prob), 1.0)),
        "moe/dropped": jnp.zeros(()),
    }


def _of_tokens(score: Score) -> Callable[[Any, Batch], Scores]:
    def of_batch(params, batch):
        more = (batch.teacher_ids, batch.experts)
        while more and more[-1] is None:
            more = more[:-1]
        return score(params, batch.tokens, batch.mask, *more)

    return of_batch


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How a policy learns from itself where it knew more (losses/distillation.py).

    Attributes:
      coef: of the divergence.
      outcome: of the policy loss beside it; 0: the divergence alone, with KL and bonuses.
      alpha: of losses/distillation.divergence.
      clip: largest ratio pi / pi_sampler that a token's divergence is weighed by; 0: it is not.
      tail: whether there are tokens beside the likeliest.
    """

    coef: float
    outcome: float = 0.0
    alpha: float = 0.5
    clip: float = 2.0
    tail: bool = True

    def __call__(self, scores: Scores, batch: Batch) -> dict[str, jax.Array]:
        """`divergence` f32[B, T], weighed, `ratio` f32[B, T], `tail` f32[B, T] (the policy's mass beside the likeliest)
        and `taught` bool[B, T], where there is a teacher; 0 elsewhere."""
        taught = batch.mask & batch.taught[:, None]
        start, _, _ = split_prompt(batch.tokens, batch.mask, batch.teacher_ids.shape[1])
        put = lambda x: mask_out(join_prompt(x, start, batch.mask.shape[1]), taught)  # noqa: E731
        own, seen = scores["at"], jax.lax.stop_gradient(batch.teacher_logp)
        divergence = put(lumped(own, seen, self.alpha, tail=self.tail))
        ratio = mask_out(jnp.ones_like(divergence), taught)
        if self.clip:
            ratio = token_cap(scores["logp"], batch.sampler_logp, taught, cap=self.clip)
        left = put(jnp.maximum(1 - jnp.sum(jnp.exp(jax.lax.stop_gradient(own)), axis=-1), 0.0))
        return {"divergence": ratio * divergence, "ratio": ratio, "tail": left, "taught": taught}


def nucleus_mean(nucleus: jax.Array, mask: jax.Array, frac: float) -> tuple[jax.Array, jax.Array]:
    """(mean over responses of token means of the nucleus entropy, of the tokens where it is highest; these bool[B, T]).

    Chosen are floor(frac N) of the N tokens in the mask, at least one: the others' entropy is of no use to exploration.

    Args:
      nucleus: f32[B, T], nats (models/scoring.nucleus_entropy).
      mask: bool[B, T].
      frac: share of the tokens.
    """
    chosen = highest(jax.lax.stop_gradient(nucleus), mask, count(mask, frac, "microbatch"))
    return masked_sum(sequence_mean(chosen) * nucleus, chosen), chosen


def policy(
    score: Score,
    token_loss: Callable,
    *,
    kl: str = "k3",
    weight: Callable | None = None,
    nucleus: float | None = None,
    distillation: Distillation | None = None,
    load: Load | None = None,
) -> Objective:
    """sum(w (token_loss + coefs["kl"] KL - coefs["entropy"] H)) + coefs["nucleus"] (H_nucleus - coefs["anchor"])^2.

    With a distillation the token loss is times its `outcome`, and sum(w coef divergence) is added; with a load its
    loss, which sees the whole mini-batch.

    w is the batch's weight, times its `importance` where it has one (losses/importance.py, which is for the surrogate
    alone: the KL and the bonus are of the learner's own policy and go without it).

    Args:
      score: models/scoring.token_scores.
      token_loss: a row of POLICY_LOSSES with its hyper-parameters bound; it gets those of policy.DATA that it
        has parameters of: the entropy of the current policy, and the batch's.
      kl: row of KL for the distance to the reference; read where the batch has ref_logp.
      weight: (mask, data) -> f32[B, T]; weights made here, of the current policy's entropy, in place of the batch's.
      nucleus: None, or `frac` of nucleus_mean, which is H_nucleus; the score must then give `nucleus`. SIREN
        (arXiv:2509.25133), whose anchor is the value at the start, in its own weight whatever the others'.
      load: of a model with experts; None: nothing is done about their load.
      distillation: of batches with teacher_ids, teacher_logp, taught and sampler_logp; None: none.

    Returns:
      Objective; its `out` has logp, entropy f32[B, T] and the loss's own marks bool[B, T], and as `distillation` what
      that gives.
    """
    wanted = inspect.signature(token_loss).parameters.keys() & set(DATA)

    def loss(scores, batch, key, coefs):
        logp, entropy = scores["logp"], scores["entropy"]
        data = {k: getattr(batch, k) for k in DATA if k != "entropy"} | {"entropy": jax.lax.stop_gradient(entropy)}
        value, marks = token_loss(
            logp, batch.old_logp, batch.advantage, batch.mask, key=key, **{k: data[k] for k in wanted}
        )
        w = batch.weight
        if weight is not None:
            w = weight(batch.mask, {k: data.get(k, batch.advantage) for k in CURRENT})
        corrected = w if batch.importance is None else w * batch.importance
        outcome = 1.0 if distillation is None else distillation.outcome
        total = outcome * jnp.sum(corrected * value) - coefs["entropy"] * masked_sum(w * entropy, batch.mask)
        if batch.ref_logp is not None:
            distance = KL[kl](mask_out(logp, batch.mask), mask_out(batch.ref_logp, batch.mask))
            total += coefs["kl"] * masked_sum(w * distance, batch.mask)
        if nucleus is not None and "nucleus" in scores:  # which `slopes` has not: it does not go through the token
            mean, chosen = nucleus_mean(scores["nucleus"], batch.mask, nucleus)
            marks = {**marks, "nucleus": chosen}
            total += coefs["nucleus"] * jnp.square(mean - coefs["anchor"])
        if distillation is not None and "at" in scores:  # nor has it these
            marks = {**marks, "distillation": distillation(scores, batch)}
            total += distillation.coef * jnp.sum(w * marks["distillation"]["divergence"])
        total += 0.0 if load is None else load(scores)
        return total, {"logp": logp, "entropy": entropy, **marks, **_routing(scores)}

    whole = sees_whole(token_loss) or weight is not None or nucleus is not None or bool(load and load.coef)
    return Objective(_of_tokens(score), loss, needs_full_batch=whole)


def slopes(objective: Objective, batch: Batch, entropy: jax.Array, key: jax.Array, coefs: Coefs) -> jax.Array:
    """-dL/d ln pi of every token where the policy is still the one that sampled: f32[B, T].

    What a step of 1 against the gradient adds to alpha in dz = alpha (onehot(token) - p) of the token's own state: its
    advantage times its weight in the loss, 0 where the loss drops the token, with a KL's pull where there is one. An
    entropy bonus, which does not go through the token's probability, is not in it.

    Args:
      objective: `policy`.
      batch: a whole mini-batch, with old_logp.
      entropy: f32[B, T], of the policy that sampled.
      key, coefs: of the update.
    """
    loss = lambda logp: objective.loss({"logp": logp, "entropy": entropy}, batch, key, coefs)[0]  # noqa: E731
    return -jax.grad(loss)(batch.old_logp)


def policy_record(batch: Batch, out: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Metrics of one policy update, from the `out` of `policy` on its whole mini-batch.

    `policy/kl` is k3, mean of r - 1 - log r with r = pi / pi_old over the sampled tokens: an estimate of
    KL(pi_old || pi).
    `policy/logp_gap` is mean |logp - old_logp|: on the first update after sampling, the gap between sampler and
    learner.
    `policy/ref_kl` is k3 of the distance to the reference, where there is one.
    `policy/selected_cov` is the mean covariance of the tokens that a loss selected.
    `distillation/...` are means over the tokens that have a teacher (`Distillation`); `moe/...` are of
    `routing_record`.
    """
    marks = {k: v for k, v in out.items() if k not in ("logp", "entropy", "distillation", "experts")}
    log_ratio = jnp.where(batch.mask, out["logp"] - batch.old_logp, 0.0)
    metrics = {
        "policy/kl": masked_mean(jnp.expm1(log_ratio) - log_ratio, batch.mask),
        "policy/logp_gap": masked_mean(jnp.abs(log_ratio), batch.mask),
    }
    for name, mark in marks.items():
        metrics[f"policy/{name}_fraction"] = masked_mean(mark, batch.mask)
        metrics[f"policy/{name}_entropy"] = masked_mean(out["entropy"], mark)
    if "selected" in marks:
        cov = covariance(out["logp"], batch.advantage, batch.mask)
        metrics["policy/selected_cov"] = masked_mean(cov, marks["selected"])
    if batch.ref_logp is not None:
        metrics["policy/ref_kl"] = masked_mean(KL["k3"](out["logp"], batch.ref_logp), batch.mask)
    if batch.importance is not None:
        metrics["policy/importance"] = masked_mean(batch.importance, batch.mask)
    if made := out.get("distillation"):
        for name in ("divergence", "ratio", "tail"):
            metrics[f"distillation/{name}"] = masked_mean(made[name], made["taught"])
    return metrics | routing_record(batch, out)


def value(score: Score, *, clip: float = 0.5) -> Objective:
    """sum(weight * clipped value loss) of a critic (losses/value.py); `batch.target` holds the returns.

    Args:
      score: models/scoring.values.
      clip: how far a value may move from `batch.value`, the critic's own before the updates on this rollout.

    Returns:
      Objective; its `out` has value f32[B, T] and the clipped tokens bool[B, T].
    """

    def of_batch(params, batch):  # what else it has is the policy's: its teacher, and the experts that it went to
        return score(params, batch.tokens, batch.mask)

    def loss(scores, batch, key, coefs):
        token_loss, marks = clipped_value(scores["value"], batch.value, batch.target, batch.mask, clip=clip)
        return jnp.sum(batch.weight * token_loss), {"value": scores["value"], **marks}

    return Objective(of_batch, loss)


def value_record(batch: Batch, out: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Mean value, share of clipped tokens and explained variance 1 - Var[R - V] / Var[R] of a critic's update."""
    return {
        "critic/value": masked_mean(out["value"], batch.mask),
        "critic/clip_fraction": masked_mean(out["clip"], batch.mask),
        "critic/explained_variance": explained_variance(out["value"], batch.target, batch.mask),
    }


def nll(score: Score, *, load: Load | None = None) -> Objective:
    """sum(weight * -log p(token)): imitation of the tokens in the mask (supervised fine-tuning).

    Args:
      score: models/scoring.token_scores.
      load: as of `policy`.

    Returns:
      Objective; its `out` has logp and entropy, f32[B, T].
    """

    def loss(scores, batch, key, coefs):
        total = -masked_sum(batch.weight * scores["logp"], batch.mask)
        return total + (0.0 if load is None else load(scores)), {**scores, **_routing(scores)}

    return Objective(_of_tokens(score), loss, needs_full_batch=bool(load and load.coef))


def nll_record(batch: Batch, out: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Token means of an imitation update: nats of loss and of entropy."""
    return {
        "sft/nll": -masked_mean(out["logp"], batch.mask),
        "policy/entropy": masked_mean(out["entropy"], batch.mask),
        **routing_record(batch, out),
    }


def preference(score: Score, pair_loss: Callable, name: str = "logp") -> Objective:
    """sum over pairs of weight * pair_loss: rows 2 p and 2 p + 1 are pair p's better and worse response.

    A response's number is the sum of its scores over the mask, less that of `batch.ref_logp` where there is one. A
    pair's weight is that of its better row's tokens, which are to be equal. Pairs must stay together where a batch is
    cut (`group_size=2` of learner.make_update).

    Args:
      score: models/scoring.token_scores for a policy, last_values for a reward model.
      pair_loss: a row of PREFERENCE_LOSSES with its hyper-parameters bound.
      name: of the score that counts: logp, or reward.

    Returns:
      Objective; its `out` has for every row `ahead` f32[B], how far its pair's better response is ahead, and
      `rise` f32[B], the row's own number.
    """

    def loss(scores, batch, key, coefs):
        own = scores[name] if batch.ref_logp is None else scores[name] - batch.ref_logp
        total = masked_sum(own, batch.mask, axis=1)
        better, worse = total[0::2], total[1::2]
        value = pair_loss(better, worse, batch.margin[0::2])
        weight = jnp.max(jnp.where(batch.mask, batch.weight, 0.0)[0::2], axis=1)
        return jnp.sum(weight * value), {"ahead": jnp.repeat(better - worse, 2), "rise": total}

    return Objective(_of_tokens(score), loss)


def preference_record(batch: Batch, out: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Share of pairs whose better response is ahead, by how much on average, and the two responses' own numbers."""
    return {
        "preference/accuracy": jnp.mean(out["ahead"][0::2] > 0),
        "preference/ahead": jnp.mean(out["ahead"][0::2]),
        "preference/better": jnp.mean(out["rise"][0::2]),
        "preference/worse": jnp.mean(out["rise"][1::2]),
    }
