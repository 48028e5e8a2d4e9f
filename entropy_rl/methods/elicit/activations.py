"""What steering is made of and measured by: activations, their differences, reasoning words, gap recovery."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.training.rollouts import Rollout


def activations(
    model: Transformer, params, rollout: Rollout, *, layers: tuple[int, ...] | None = None, batch: int = 256
) -> np.ndarray:
    """The residual stream after blocks in the states in which responses' tokens were chosen.

    Args:
      model, params: who reads the text; it need not be who wrote it.
      rollout: of numpy arrays, N response tokens in all.
      layers: blocks, from 0; None: all.
      batch: rows a forward pass.

    Returns:
      f32[len(layers), N, d_model], tokens in the order of `tokens[mask]`. Token t's is the stream at t - 1, where a
      steered model adds its vector (models/steering.py).
    """
    parts, layers = [], tuple(range(model.config.layers) if layers is None else layers)
    for start in range(0, len(rollout.tokens), batch):
        rows = slice(start, start + batch)
        tokens, mask = rollout.tokens[rows], rollout.mask[rows]
        full = np.zeros((batch, tokens.shape[1]), tokens.dtype)  # one program
        full[: len(tokens)] = tokens
        stream = np.asarray(_stream(model, params, full, layers))[:, : len(tokens), :-1]
        parts.append(stream[:, mask[:, 1:]])
    return np.concatenate(parts, axis=1)


@partial(jax.jit, static_argnames=("model", "layers"))
def _stream(model, params, tokens, layers):
    _, out = model.apply(params, tokens, logits=False)
    return jnp.stack([out[f"layer_{i}"] for i in layers]).astype(jnp.float32)


def mean_difference(of: np.ndarray, less: np.ndarray) -> np.ndarray:
    """Steering vectors: mean activations of one model or text less those of another; f32[L, ., d] of both -> [L, d]."""
    return of.mean(axis=1) - less.mean(axis=1)


def trained(
    model: Transformer,
    params,
    rollout: Rollout,
    layers: np.ndarray,
    key: jax.Array,
    *,
    steps: int,
    rows: int,
    rate: float,
) -> np.ndarray:
    """Steering vectors under which the model says a text: -mean log p(token) of it, by Adam on the vectors alone.

    The vectors are added where every token of the text is chosen. (arXiv:2510.07364 trains one such vector for each
    kind of sentence of a thinking model.)

    Args:
      model, params: who is steered.
      rollout: the text, such as what an RL policy wrote.
      layers: f[L], 1 for blocks after which there is a vector, 0 for those without.
      key: of the rows drawn.
      steps, rows: updates, and responses in each.

    Returns:
      f32[L, d_model].
    """
    score = token_scores(model)
    tokens, mask = jnp.asarray(rollout.tokens), jnp.asarray(rollout.mask)
    keep = jnp.asarray(layers, jnp.float32)[:, None]
    tx = optax.adam(rate)

    def loss(vectors, pick):
        steered = {"params": params["params"], "steer": {"after": vectors * keep, "first": jnp.asarray(False)}}
        logp = score(steered, tokens[pick], mask[pick])["logp"]
        return -jnp.sum(jnp.where(mask[pick], logp, 0.0)) / jnp.sum(mask[pick])

    def step(carry, number):
        vectors, state = carry
        pick = jax.random.randint(jax.random.fold_in(key, number), (rows,), 0, len(tokens))
        updates, state = tx.update(jax.grad(loss)(vectors, pick), state)
        return (optax.apply_updates(vectors, updates), state), None

    start = jnp.zeros((len(layers), params["params"]["final_norm"]["scale"].shape[0]))
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps))[0][0])
    return np.asarray(run((start, tx.init(start))) * keep)


def gap_recovery(steered: float, base: float, target: float) -> float:
    """(acc_steered - acc_base) / (acc_target - acc_base) (arXiv:2510.07364); NaN where there is no gap above 0."""
    return (steered - base) / (target - base) if target > base else float("nan")


def reasoning_words(tokens: np.ndarray, entropy: np.ndarray, decisions: np.ndarray, share: float) -> np.ndarray:
    """What stands for "wait" and "however" in a language without such words: decisions that are uncertain.

    Args:
      tokens: i32[N], response tokens.
      entropy: f32[N], of the policy where each was chosen, nats.
      decisions: bool[N], tokens that the format leaves free (task.decisions): in Countdown operands and operators.
      share: of all tokens, those of the highest entropy.

    Returns:
      i[N], the token's id where it is such a word, -1 elsewhere.
    """
    return np.where(decisions & (entropy >= np.quantile(entropy, 1 - share)), tokens, -1)
