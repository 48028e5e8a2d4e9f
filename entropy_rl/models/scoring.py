"""A model's view of given responses: log-probability and entropy of their tokens, or a critic's values of their states.

All results are `[B, T]` arrays aligned with the tokens. A score function `(params, tokens, mask) -> dict` is what
objectives are made of (objectives.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entropy_rl.errors import InputError
from entropy_rl.models import steering, tiles
from entropy_rl.models.attention import soft_cap
from entropy_rl.models.experts import LOADS, chosen_of, loads
from entropy_rl.models.logprobs import choice_stats, following, join_prompt, shifted, split_prompt
from entropy_rl.models.products import head_product
from entropy_rl.models.tiled_head import head_stats, logp_at, top_words
from entropy_rl.models.transformer import Transformer, head_matrix

Score = Callable[[Any, jax.Array, jax.Array], dict[str, jax.Array]]


def token_scores(
    model: Transformer,
    *,
    temperature: float = 1.0,
    samples: int = 1,
    prompt_length: int | None = None,
    mesh: Mesh | None = None,
    nucleus: float | None = None,
) -> Score:
    """Scores of a policy: `logp` and `entropy` of every token (logprobs.choice_stats).

    Logits are made where a device's are one tile (models/tiles.py) or a nucleus is asked for, and are never whole
    elsewhere. A steered model (models/steering.py) is steered where the mask holds; with a threshold the mask must be
    `Completion.steered`.

    Args:
      model: with a language-model head.
      temperature: of the behaviour policy; the entropy is at temperature 1.
      samples: rows that share a prompt. Above 1, `samples` rows after each other have the same prompt of at most
        `prompt_length` tokens, and each response, from the first place where the mask holds, has at most
        T - prompt_length tokens; the prompt is then run once for all of them, and only columns of the response have
        statistics (0 elsewhere). The same numbers to rounding; with 16 tokens of prompt, 32 of response and 8 samples
        about 3/10 of the work is spared.
      prompt_length: read with `samples` above 1.
      mesh: over which rows and parameters are cut.
      nucleus: None, or top_p of `nucleus_entropy`, which is then a score too, with its gradient.

    Returns:
      (params, tokens i32[B, T], mask bool[B, T]) -> {"logp", "entropy"} f32[B, T], nats, and "nucleus" with a nucleus.
      With a fourth argument ids i32[B, R, k] also "at" f32[B, R, k]: log p, at `temperature`, of the k tokens
      ids[b, j] where the response's j-th token was chosen; with `samples` above 1 R is T - prompt_length. A model with
      experts has the scores of experts.loads too, of the states in which tokens of the mask were chosen; with a fifth
      argument i32[B, T, sparse layers, experts a token] tokens go to these experts.
    """
    devices = mesh.size if mesh else 1
    model = model.over(mesh)

    def small(targets):
        return nucleus is not None or targets.size * model.config.vocab_size <= tiles.ELEMENTS * devices

    def scores(params, logits, out, wanted, chose, place, ids, own=lambda states: states):
        """Of states in which the tokens `wanted` were chosen, those of the mask where `chose` holds. `place` puts what
        is made of them into their columns; `own` are those that `ids` are of."""
        if logits is None:
            matrix, axis = head_matrix(model.config, params)
            how = {"vocab_axis": axis, "mesh": mesh, "cap": model.config.logit_cap}
            stats = head_stats(out["hidden"], matrix, wanted, temperature, **how)
        else:
            stats = choice_stats(logits, wanted, temperature)
        made = dict(zip(("logp", "entropy"), map(place, stats)))
        if nucleus is not None:
            made["nucleus"] = place(nucleus_entropy(logits, nucleus))
        if ids is not None and logits is None:
            made["at"] = logp_at(own(out["hidden"]), matrix, ids, temperature, **how)
        elif ids is not None:
            made["at"] = jnp.take_along_axis(jax.nn.log_softmax(own(logits) / temperature), ids, axis=-1)
        routed = loads(out["routes"], chose)
        if routed:
            routed["router_entropy"] = place(routed["router_entropy"])
        return made | routed

    def whole(params, tokens, mask, ids=None, chosen=None):
        logits, out = model.apply(params, tokens, logits=small(tokens), chosen=chosen, **_gate(params, mask))
        chose = jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
        own = lambda states: of_responses(states, tokens, mask, ids.shape[1])  # noqa: E731
        return scores(params, logits, out, following(tokens), chose, shifted, ids, own)

    def by_prompt(params, tokens, mask, ids=None, chosen=None):
        start, fed, wanted = split_prompt(tokens, mask, tokens.shape[1] - prompt_length)
        how = {"logits": small(fed)}
        place = start[:, None] + jnp.arange(fed.shape[1])[None]
        own = lambda x: jnp.take_along_axis(x, jnp.minimum(place, tokens.shape[1] - 1), axis=1)  # noqa: E731
        if steering.present(params):
            if "above" in params["steer"]:
                raise InputError("steering above an entropy: score rows one by one (samples=1), with what was steered")
            how["gate"] = own(steering.columns(params, mask)) & (place < tokens.shape[1])
        logits, out = _after_prompt(model, params, tokens, start, fed, samples, prompt_length, chosen, **how)
        join = lambda x: join_prompt(x, start, tokens.shape[1])  # noqa: E731
        return scores(params, logits, out, wanted, own(mask) & (place < tokens.shape[1]), join, ids)

    return whole if samples == 1 else by_prompt


def by_place(first: Score, others: Score, *, count: int, size: int, length: int) -> Score:
    """`first` of the first `count` of every `size` rows, `others` of the rest: one batch of rows of two lengths.

    The first are cut to their first `length` columns, which must hold all of them, and have 0 in the others: what rows
    that are long cost, the short ones beside them do not pay.
    """

    def score(params, tokens, mask):
        rows, width = tokens.shape
        cut = lambda x: x.reshape(rows // size, size, width)  # noqa: E731
        head = lambda x: cut(x)[:, :count, :length].reshape(-1, length)  # noqa: E731
        tail = lambda x: cut(x)[:, count:].reshape(-1, width)  # noqa: E731
        a, b = first(params, head(tokens), head(mask)), others(params, tail(tokens), tail(mask))

        def join(x, y):
            x = x.reshape(rows // size, count, -1)
            return jnp.concatenate([x, y.reshape(rows // size, size - count, -1)], axis=1).reshape(rows, -1)

        wide = lambda x: jnp.pad(x, ((0, 0), (0, width - length)))  # noqa: E731
        return {name: join(a[name] if name in LOADS else wide(a[name]), b[name]) for name in a}

    return score


def values(model: Transformer, *, samples: int = 1, prompt_length: int | None = None) -> Score:
    """Scores of a critic: `value` f32[B, T], of the state in which each token was chosen; arguments as above."""

    def whole(params, tokens, mask):
        value, _ = model.apply(params, tokens)
        return {"value": shifted(value)}

    def by_prompt(params, tokens, mask):
        start, fed, _ = split_prompt(tokens, mask, tokens.shape[1] - prompt_length)
        value, _ = _after_prompt(model, params, tokens, start, fed, samples, prompt_length)
        return {"value": join_prompt(value, start, tokens.shape[1])}

    return whole if samples == 1 else by_prompt


def likeliest(model: Transformer, *, count: int, prompt_length: int, mesh: Mesh | None = None) -> Score:
    """Scores of a policy: `ids` i32[B, R, k], its k likeliest tokens where the response's j-th token was chosen.

    Args:
      model: with a language-model head.
      count: k, at most the vocabulary.
      prompt_length: R is T - prompt_length.
      mesh: as of `token_scores`. Logits are never whole.
    """

    model = model.over(mesh)

    def score(params, tokens, mask):
        matrix, axis = head_matrix(model.config, params)
        _, out = model.apply(params, tokens, logits=False, **_gate(params, mask))
        states = of_responses(out["hidden"], tokens, mask, tokens.shape[1] - prompt_length)
        how = {"vocab_axis": axis, "mesh": mesh, "cap": model.config.logit_cap}
        return {"ids": top_words(states, matrix, count, **how)}

    return score


def of_responses(states: jax.Array, tokens: jax.Array, mask: jax.Array, length: int) -> jax.Array:
    """States [B, T, d] in which the tokens of responses were chosen, from their first: [B, length, d]; places beyond
    the row repeat its last state."""
    start, _, _ = split_prompt(tokens, mask, length)
    place = jnp.minimum(start[:, None] - 1 + jnp.arange(length)[None], tokens.shape[1] - 1)
    return jnp.take_along_axis(states, place[..., None], axis=1)


def chosen_experts(model: Transformer, *, mesh: Mesh | None = None) -> Score:
    """Scores of a policy with experts: `experts` i32[B, T, sparse layers, experts a token], its router's choices."""
    model = model.over(mesh)

    def score(params, tokens, mask):
        _, out = model.apply(params, tokens, logits=False, **_gate(params, mask))
        return {"experts": chosen_of(out["routes"])}

    return score


def top_gaps(model: Transformer) -> Score:
    """Scores of a policy: `gap` f32[B, T], how much more probable the likeliest token is than the next one.

        gap = p(x^1 | x_<t) - p(x^2 | x_<t), in [0, 1], where each token was chosen; column 0 is 0

    CoT-decoding's measure of confidence (Wang and Zhou, arXiv:2402.10200, section 2.2), at temperature 1. Logits are
    made whole where they are one tile (models/tiles.py), and some tokens at a time elsewhere.
    """

    def score(params, tokens, mask):
        return {"gap": _by_part(top_gap, model, params, tokens, mask)}

    return score


def filtered_scores(model: Transformer, *, min_p: float = 0.02, temperature: float = 1.0) -> Score:
    """Scores of a policy: `filtered_logp` f32[B, T], the log-probability of every token under a min-p filter.

        pi~ = pi / Z over the tokens with pi >= min_p max pi, 0 on the others;   log 0 = -inf

    What losses/trust_region.lp_reg pulls towards. Logits are made as in `top_gaps`; column 0 is 0. Choices of experts
    are the fifth argument, as of `token_scores`.

    Args:
      model: with a language-model head.
      min_p: from 0 (no filter) to 1.
      temperature: of the behaviour policy.

    Raises:
      InputError: min_p out of range.
    """
    if not 0 <= min_p <= 1:
        raise InputError(f"min_p={min_p}: a share of the likeliest token's probability is from 0 to 1")

    def score(params, tokens, mask, ids=None, chosen=None):
        of = lambda logits, target: min_p_logp(logits / temperature, target, min_p)  # noqa: E731
        return {"filtered_logp": _by_part(of, model, params, tokens, mask, following(tokens), chosen=chosen)}

    return score


def min_p_logp(logits: jax.Array, target: jax.Array, min_p: float) -> jax.Array:
    """log pi~(target) of logits f32[..., V] and targets i32[...], without tokens below min_p of the likeliest."""
    z = logits.astype(jnp.float32)
    z = z - jnp.max(z, axis=-1, keepdims=True)
    z = jnp.where(jnp.exp(z) >= min_p, z, -jnp.inf)
    own = jnp.take_along_axis(z, target[..., None], axis=-1)[..., 0]
    return own - jax.nn.logsumexp(z, axis=-1)


def top_gap(logits: jax.Array) -> jax.Array:
    """Largest less second largest probability of softmax(logits): f32[..., V] -> f32[...]; equal ones have gap 0."""
    p = jax.nn.softmax(logits, axis=-1)
    first = jnp.argmax(p, axis=-1, keepdims=True)
    place = jax.lax.broadcasted_iota(first.dtype, p.shape, p.ndim - 1)
    return jnp.max(p, axis=-1) - jnp.max(jnp.where(place == first, 0.0, p), axis=-1)


def nucleus_entropy(logits: jax.Array, top_p: float) -> jax.Array:
    """Entropy of softmax(logits) over its nucleus, made to sum to 1: f32[..., V] -> f32[...], nats.

    The nucleus has the likeliest tokens as long as their sum is at most `top_p`, and the first one always, as in the
    code of SIREN (Linn3a/siren), which leaves out the token that passes it. Of equal tokens all are in or none.
    Which tokens are in passes no gradient.
    """
    p = jax.nn.softmax(jax.lax.stop_gradient(logits.astype(jnp.float32)), axis=-1)
    ordered = -jnp.sort(-p, axis=-1)
    # rounding must not leave out what sums to top_p itself
    count = jnp.maximum(jnp.sum(jnp.cumsum(ordered, axis=-1) <= top_p + 1e-6, axis=-1, keepdims=True), 1)
    inside = p >= jnp.take_along_axis(ordered, count - 1, axis=-1)
    z = jnp.where(inside, logits.astype(jnp.float32), -jnp.inf)
    total = jax.nn.logsumexp(z, axis=-1, keepdims=True)
    share = jnp.exp(z - total)
    return jnp.sum(share * jnp.where(inside, total - logits, 0.0), axis=-1)


def last_values(model: Transformer) -> Score:
    """Scores of a reward model: `reward` f32[B, T], its value of the whole text, at the response's last token.

    Read after that token, unlike a critic's, which is of the state before it; 0 elsewhere, and in rows without a
    response, so that the sum over a row is its reward.
    """

    def score(params, tokens, mask):
        value, _ = model.apply(params, tokens)
        last = mask & (jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1] == 1)
        return {"reward": jnp.where(last, value, 0.0)}

    return score


def _gate(params, mask):
    """Where a steered model is steered: where it chose the next token, and the mask says so."""
    if not steering.present(params):
        return {}
    return {"gate": jnp.pad(steering.columns(params, mask)[:, 1:], ((0, 0), (0, 1)))}


def _by_part(of, model, params, tokens, mask, *more, chosen=None):
    """of(logits f32[V], *more) of each state, at the token chosen in it: f32[B, T]; logits of some states at a time."""
    matrix, axis = head_matrix(model.config, params)
    matrix = matrix.T if axis == 0 else matrix
    _, out = model.apply(params, tokens, logits=False, chosen=chosen, **_gate(params, mask))
    states = [x.reshape(tokens.size, *x.shape[2:]) for x in (out["hidden"], *more)]
    part = max(tiles.ELEMENTS // matrix.shape[1], 1)
    logits = lambda h: soft_cap(head_product(h, matrix), model.config.logit_cap)  # noqa: E731
    made = jax.lax.map(lambda x: of(logits(x[0]), *x[1:]), states, batch_size=min(part, tokens.size))
    return shifted(made.reshape(tokens.shape))


def _after_prompt(model, params, tokens, start, fed, samples, width, chosen=None, **how):
    """Runs each prompt once, then the responses on its keys and values: the model's result on what was `fed`."""
    positions = start[:, None] - 1 + jnp.arange(fed.shape[1])[None]
    of_prompt = {}
    if chosen is not None:
        place = jnp.minimum(positions, tokens.shape[1] - 1)[..., None, None]
        how["chosen"] = jnp.take_along_axis(chosen, place, axis=1)
        of_prompt["chosen"] = chosen[::samples, :width]
    alone = {"logits": False, "context": tokens.shape[1], **of_prompt}
    _, out = model.apply(steering.plain(params), tokens[::samples, :width], **alone)
    # the prompt's last token is fed again, with the response
    own = jnp.arange(width)[None] < start[:, None] - 1
    return model.apply(params, fed, positions, cache=out["cache"], valid=own, context=tokens.shape[1], **how)
