"""Losses of preference pairs: by hand, their gradients, and as an objective on rows."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl.losses.preference import PREFERENCE_LOSSES, bradley_terry, dpo
from entropy_rl.models import presets
from entropy_rl.models.scoring import last_values, token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import sharding
from entropy_rl.training import learner, objectives
from entropy_rl.training.rollouts import Batch

ZERO, ONE = jnp.zeros(1), jnp.ones(1)
log1pexp = lambda x: math.log1p(math.exp(x))  # noqa: E731  -log sigmoid(-x)


def test_dpo_by_hand():
    """beta 0.5, log-ratios 3 and 1: -log sigmoid(1) = log(1 + e^-1) = 0.3133; a margin of e at scale 1 makes it
    -log sigmoid(1 - e). Mutations: the sign of the margin, beta on the margin too."""
    loss = partial(dpo, jnp.array([3.0]), jnp.array([1.0]), jnp.array([math.e]))
    np.testing.assert_allclose(loss(beta=0.5), [0.3132617], rtol=1e-6)
    np.testing.assert_allclose(loss(beta=0.5, scale=1.0), [log1pexp(math.e - 1)], rtol=1e-6)
    np.testing.assert_allclose(dpo(ZERO, ZERO, ONE, beta=0.1), [math.log(2)], rtol=1e-6)


def test_bradley_terry_by_hand():
    """Rewards 2 and 0.5, margin 1: -log sigmoid(0.5) = 0.4741; without the margin -log sigmoid(1.5) = 0.2014."""
    loss = partial(bradley_terry, jnp.array([2.0]), jnp.array([0.5]), ONE)
    np.testing.assert_allclose(loss(), [0.4740770], rtol=1e-6)
    np.testing.assert_allclose(loss(scale=0.0), [0.2014133], rtol=1e-6)


@pytest.mark.parametrize(("name", "hparams"), [("dpo", {"beta": 0.3, "scale": 0.2}), ("bradley_terry", {"scale": 0.2})])
def test_gradients(name, hparams):
    """d/d better = -beta sigmoid(-u), the opposite of d/d worse; a hopeless pair stays finite."""
    better, worse, margin = jnp.array([1.0, -2.0, -1e4]), jnp.array([0.5, 3.0, 1e4]), jnp.array([1.0, 2.0, 1.0])
    loss = partial(PREFERENCE_LOSSES[name], **hparams)
    up, down = jax.grad(lambda b, w: jnp.sum(loss(b, w, margin)), argnums=(0, 1))(better, worse)
    beta = hparams.get("beta", 1.0)
    u = beta * (better - worse) - 0.2 * margin
    np.testing.assert_allclose(up, -beta * jax.nn.sigmoid(-u), rtol=1e-5)
    np.testing.assert_allclose(down, -up)
    assert np.isfinite(loss(better, worse, margin)).all()


MASK = np.array([[False, True, True], [False, True, False], [False, True, True], [False, False, True]])


def rows(**fields):
    tokens = np.arange(12, dtype=np.int32).reshape(4, 3)
    about = {"tokens": tokens, "mask": MASK, "weight": np.float32(0.5) * MASK, "margin": np.float32([1, 1, 2, 2])}
    return Batch(**(about | fields))


def test_the_objective_by_hand():
    """Two pairs in rows (0, 1) and (2, 3), scores 0, 1, .., 11, reference 1 everywhere: sums over the mask 3, 4, 15, 11
    less 2, 1, 2, 1 are 1, 3, 13, 10, so the better ones are ahead by -2 and 3. Mutations: rows 0 and 2 as the first
    pair, no reference, a sum over all columns."""
    score = lambda params, tokens, mask: {"logp": tokens.astype(jnp.float32)}  # noqa: E731
    batch = rows(ref_logp=np.ones((4, 3), np.float32))
    objective = objectives.preference(score, partial(dpo, beta=1.0, scale=1.0))
    loss, out = objective(None, batch, jax.random.key(0), {})
    np.testing.assert_allclose(loss, 0.5 * (log1pexp(2 + 1) + log1pexp(-3 + 2)), rtol=1e-6)
    np.testing.assert_array_equal(out["rise"], [1, 3, 13, 10])
    record = objectives.preference_record(batch, out)
    assert record["preference/accuracy"] == 0.5 and record["preference/ahead"] == 0.5
    assert (record["preference/better"], record["preference/worse"]) == (7.0, 6.5)


@pytest.mark.parametrize("head", ["lm", pytest.param("value", marks=pytest.mark.slow)])
def test_microbatches_keep_pairs_together(head):
    """The same parameters and metrics of a real model in one part and in two. Mutation: group_size=1."""
    model = presets.make("test", 24, head=head)
    assert isinstance(model, Transformer)
    score, name = (token_scores(model), "logp") if head == "lm" else (last_values(model), "reward")
    done = []
    for microbatches in (1, 2):
        tx = optax.sgd(0.1)
        state = learner.init_state(model, tx, sharding.make_mesh(devices=jax.devices()[:1]), jax.random.key(0))
        update = learner.make_update(
            objectives.preference(score, bradley_terry, name),
            tx,
            microbatches=microbatches,
            group_size=2,
            record=objectives.preference_record,
        )
        done.append(update(state, rows(), jax.random.key(0), {}))
    (state, metrics), (parts, of_parts) = done
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, parts.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), metrics, of_parts)
    assert metrics["update/grad_norm"] > 0
