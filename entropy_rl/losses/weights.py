"""Aggregation as data: `weight[B, T]`, so that loss = sum(weight * token_loss).

Computed once on the whole optimiser mini-batch; micro-batches and devices then only add, and their number cannot change
the gradient. Fully masked rows weigh nothing and are not counted as sequences.

The first four rows say how to average. The others refine one of them, `base`, or one another, so that products are
nested: `drop_truncated(mask, truncated=..., base=lambda m: top_entropy(m, entropy=..., base=sequence_mean))`, which
`compose` builds from names.

To add one: a function `(mask bool[B, T], **hparams) -> f32[B, T]`, 0 outside the mask, and a row in WEIGHTS. The
arrays that it needs beside the mask are keywords by the names of DATA: `entropy` (where the token was chosen, of the
policy that sampled or of the current one), `advantage` and `logp` (of the policy that sampled) f32[B, T], `reward`
f32[B], where right is what is above 0, `group` i32[B], `truncated` and `refined` (sampled after a critique) bool[B].
`base` is a function mask -> weight.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp

from entropy_rl.errors import InputError, bind
from entropy_rl.losses.selection import highest
from entropy_rl.masking import group_sum, masked_mean

# keywords that are arrays, not hyper-parameters
DATA = ("entropy", "advantage", "truncated", "refined", "logp", "reward", "group")
# of these what is known of the policy that is being updated, and not only of the rollout
CURRENT = ("entropy", "advantage", "refined")
Base = Callable[[jax.Array], jax.Array]  # mask bool[B, T] -> weight f32[B, T]


def _counts(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    tokens = jnp.sum(mask, axis=1, keepdims=True)
    return jnp.maximum(tokens, 1), jnp.maximum(jnp.sum(tokens > 0), 1)


def token_mean(mask: jax.Array) -> jax.Array:
    """1 / (number of tokens in the batch): every token counts the same (DAPO, arXiv:2503.14476, Eq 8)."""
    return mask / jnp.maximum(jnp.sum(mask), 1)


def sequence_mean(mask: jax.Array) -> jax.Array:
    """1 / (sequences * tokens of the sequence): mean over sequences of token means (GRPO, arXiv:2402.03300, Eq 3)."""
    tokens, sequences = _counts(mask)
    return mask / (tokens * sequences)


def sequence_sum(mask: jax.Array) -> jax.Array:
    """1 / sequences: mean over sequences of token sums."""
    _, sequences = _counts(mask)
    return mask / sequences


def fixed_length(mask: jax.Array, *, length: int) -> jax.Array:
    """1 / (sequences * length): a constant instead of each response's own length (Dr.GRPO, arXiv:2503.20783).

    verl's `seq-mean-token-sum-norm` divides by the padded length and not by the number of sequences; here it is both.
    """
    _, sequences = _counts(mask)
    return mask / (sequences * length)


def top_entropy(
    mask: jax.Array, *, entropy: jax.Array, frac: float = 0.2, bottom: bool = False, base: Base = token_mean
) -> jax.Array:
    """base(mask & selected): only the most uncertain tokens, the forks, learn (80/20, arXiv:2506.01939, Eq 6).

    Selected are exactly k = ceil(frac n) of the n tokens of the batch, so at least 1, and of equally uncertain ones the
    first. The denominator counts selected tokens only, as in the paper: a token that is kept weighs 1 / frac times as
    much as without the selection. The authors' `get_global_entropy_top_mask` takes as many, min(n, int(n frac +
    0.9999)) and at least 1, but decides in each micro-batch and leaves ties to chance; TRL keeps all tokens in the
    denominator.

    Args:
      frac: from 0.0001 to 1, taken to the nearest fraction with a denominator of at most 10,000.
      bottom: whether the n - k others learn instead, which the paper finds to be bad with frac = 0.2 (section 5.2).

    Raises:
      InputError: frac out of range.
    """
    forks = _forks(mask, entropy, frac)
    return base(mask & ~forks if bottom else forks)


def _forks(mask: jax.Array, entropy: jax.Array, frac: float) -> jax.Array:
    """bool[B, T]: of the n tokens in the mask the ceil(frac n) with the highest entropy; InputError for a bad frac."""
    if not 1e-4 <= frac <= 1:
        raise InputError(f"frac={frac}: the share of tokens to keep must be from 0.0001 to 1")
    # in whole numbers, for float32 has no room for a fraction beside n: n % q * p is at most 10^8, which fits int32
    p, q = Fraction(frac).limit_denominator(10_000).as_integer_ratio()
    n = jnp.sum(mask)
    k = n // q * p + (n % q * p + q - 1) // q
    return highest(entropy, mask, k)


def refined_forks(
    mask: jax.Array, *, entropy: jax.Array, refined: jax.Array, frac: float = 0.2, base: Base = token_mean
) -> jax.Array:
    """base(mask & (own | selected)): own samples learn everywhere, refinements on their most uncertain tokens alone.

    So a critique presses on the forks of its refinement, and not on the words that the policy would have said anyway.
    Selected are k = ceil(frac n) of the n tokens of refined rows, as in `top_entropy`, whose entropies are the policy's
    on the question alone: with frac = 1 it is base(mask). No paper has it: 80/20 (arXiv:2506.01939) put into
    Critique-GRPO (arXiv:2506.03106).

    Raises:
      InputError: frac out of range.
    """
    pressed = mask & refined[:, None]
    return base(mask & ~pressed | _forks(pressed, entropy, frac))


def drop_truncated(mask: jax.Array, *, truncated: jax.Array, base: Base = token_mean) -> jax.Array:
    """base(mask & ~truncated): responses cut off at the length limit teach nothing (overlong filtering, DAPO,
    arXiv:2503.14476).

    They are not counted in the denominator either; their rewards stay in the baseline of their group.
    """
    return base(mask & ~truncated[:, None])


def sign_scale(
    mask: jax.Array, *, advantage: jax.Array, positive: float = 1.0, negative: float = 1.0, base: Base = token_mean
) -> jax.Array:
    """base(mask) times `positive` where A > 0, `negative` where A < 0 (and 1 where A = 0).

    positive = 0.1 is W-REINFORCE (NSR, arXiv:2506.01347), positive = 0 negative samples alone; arXiv:2511.05993
    re-weights positive advantages by the entropy. The denominator is base's: scaling changes the size of the step.

    Args:
      positive, negative: factors, 0 or more; may be traced, as what a controller gives.
    """
    return base(mask) * jnp.where(advantage > 0, positive, jnp.where(advantage < 0, negative, 1.0))


def ucpo(
    mask: jax.Array,
    *,
    logp: jax.Array,
    reward: jax.Array,
    group: jax.Array,
    tau: float = 0.2,
    base: Base = token_mean,
) -> jax.Array:
    """base(mask) times n v_i on the n right responses of a group, the less likely ones more; times 1 on wrong ones.

        q = softmax over the group's right responses of mean_t log pi,   v = (1 - tau) / n + tau (1 / q) / sum(1 / q)

    UCPO (arXiv:2605.00365): GRPO is indifferent among right answers, so the likeliest runs away; weights that fall with
    their probability make them equal. The mean of n v_i over a group's right responses is 1: the mass of their
    advantages stays. As in its code (AnamikaLochab/UCPO), tau .2, q at least 1e-6.

    Args:
      tau: from 0 (no change) to 1.

    Raises:
      InputError: tau out of range.
    """
    if not 0 <= tau <= 1:
        raise InputError(f"tau={tau}: the share of the inverse weights must be from 0 to 1")
    right = (reward > 0) & mask.any(axis=1)
    mean = jnp.where(right, masked_mean(logp, mask, axis=1), -jnp.inf)
    e = jnp.exp(mean - jnp.maximum(jnp.max(mean), -1e30))  # the shift cancels in each group
    q = e / jnp.maximum(group_sum(e, group), 1e-30)
    inverse = jnp.where(right, 1.0 / jnp.maximum(q, 1e-6), 0.0)
    n = group_sum(right.astype(jnp.float32), group)
    factor = (1.0 - tau) + tau * n * inverse / jnp.maximum(group_sum(inverse, group), 1e-30)
    return base(mask) * jnp.where(right, factor, 1.0)[:, None]


def unsolved(
    mask: jax.Array,
    *,
    reward: jax.Array,
    group: jax.Array,
    k: int = 8,
    threshold: float = 0.9,
    right: float = 1.0,
    wrong: float = 1.0,
    base: Base = token_mean,
) -> jax.Array:
    """base(mask & kept): only groups whose problem is not yet solved within k attempts, as far as one can tell, learn.

    With s right ones of a group's n responses the success rate has the posterior Beta(right + s, wrong + n - s), and

        E[pass@k] = 1 - prod_{i < k} (wrong + n - s + i) / (right + wrong + n + i)

    Kept are groups with less than `threshold`. After arXiv:2606.15455, whose point is that a single success nearly
    saturates pass@k, so that most updates only narrow the policy. Its estimate goes on over the epochs; here it is of
    the rollout's own attempts, which is all there is of problems that come once. k and threshold are ours: no code of
    theirs was found.

    Args:
      k: attempts, 1 or more.
      threshold: above 0; 1 keeps all.
      right, wrong: of the prior, above 0; 1 and 1 is uniform.

    Raises:
      InputError: a value out of range.
    """
    if k < 1 or k != int(k):
        raise InputError(f"k={k}: pass@k needs a whole number of 1 or more")
    if not 0 < threshold <= 1:
        raise InputError(f"threshold={threshold}: a probability above 0 and at most 1")
    if not (right > 0 and wrong > 0):
        raise InputError(f"right={right}, wrong={wrong}: a Beta prior needs numbers above 0")
    n = group_sum(jnp.ones_like(reward), group)
    failed = wrong + n - group_sum((reward > 0).astype(jnp.float32), group)
    missed = jnp.ones_like(n)
    for i in range(int(k)):
        missed *= (failed + i) / (right + wrong + n + i)
    return base(mask & (1.0 - missed < threshold)[:, None])


def compose(name: str, **hparams) -> Callable[[jax.Array, Mapping[str, jax.Array]], jax.Array]:
    """A row of WEIGHTS with its hyper-parameters, as a function of the mask and of data by name.

        compose("drop_truncated", base={"name": "top_entropy", "args": {"frac": 0.1, "base": "sequence_mean"}})

    Args:
      name: of a row.
      **hparams: its hyper-parameters. `base` may be a name, or {"name": ..., "args": {...}}, and so on inwards.

    Returns:
      (mask bool[B, T], data) -> f32[B, T]. Of `data`, which may have more, each row takes the arrays that it names.

    Raises:
      InputError: a name that WEIGHTS does not have, a hyper-parameter that its row does not have or lacks, or a base
        of another form.
    """
    row = bind(WEIGHTS, name, hparams, "weight", first=1, given=DATA)
    arrays = [k for k in DATA if k in inspect.signature(row.func).parameters]
    base = hparams.get("base")
    if isinstance(base, str):
        base = {"name": base}
    if isinstance(base, Mapping):
        if not {"name"} <= base.keys() <= {"name", "args"}:
            raise InputError(f"base={dict(base)!r} of weight {name!r}: give a name or {{'name': ..., 'args': {{...}}}}")
        base = compose(base["name"], **base.get("args", {}))
    elif base is not None:
        raise InputError(f"base={base!r} of weight {name!r}: give a name or {{'name': ..., 'args': {{...}}}}")

    def weight(mask: jax.Array, data: Mapping[str, jax.Array]) -> jax.Array:
        inner = {"base": partial(base, data=data)} if base else {}
        return row(mask, **{k: data[k] for k in arrays}, **inner)

    return weight


WEIGHTS = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "sequence_sum": sequence_sum,
    "fixed_length": fixed_length,
    "top_entropy": top_entropy,
    "refined_forks": refined_forks,
    "drop_truncated": drop_truncated,
    "sign_scale": sign_scale,
    "ucpo": ucpo,
    "unsolved": unsolved,
}
