"""A small policy update on ragged rows, for the tests of additivity: on one device and on eight."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS
from entropy_rl.models import presets, scoring
from entropy_rl.parallel import sharding
from entropy_rl.training import learner, objectives
from entropy_rl.training.rollouts import Batch

# hyper-parameters with which a loss that selects tokens does select some of the batch below
SELECTING = {
    "clip_cov": {"frac": 0.15, "lower": 0.1, "upper": 1.5},
    "shaped_clip_cov": {"frac": 0.15, "lower": 0.1, "upper": 1.5},
    "random_clip": {"frac": 0.15, "lower": 0.1, "upper": 1.5},
    "kl_cov": {"frac": 0.15},
    "lp_reg": {"frac": 0.25},
}
# Sums over rows that differ in a token's formula alone, and selections that differ in what they sort by: the fast suite
# has one of each in the tests of additivity, the slow one all. A new row is in the fast suite until it is written here.
LIKE_PPO = {"ce_gppo", "cispo", "gppo", "gspo", "reinforce", "shaped", "aspo", "dppo_kl", "dppo_tv", "gmpo", "sapo"}
LIKE_CLIP_COV = {"shaped_clip_cov", "random_clip", "kl_cov", "lp_reg"}


def _rarely(names, of):
    return [pytest.param(name, marks=pytest.mark.slow if name in of else ()) for name in names]


LOSSES = _rarely(POLICY_LOSSES, LIKE_PPO | LIKE_CLIP_COV)
SELECTIONS = _rarely(SELECTING, LIKE_CLIP_COV)


def batch(rows=16, columns=12, vocab=24):
    """Rows sorted by length: parts of the batch have very different token counts, and a mean of means is far off."""
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.integers(1, columns - 2, rows))
    place = np.arange(columns)
    mask = (place >= 2) & (place < 2 + lengths[:, None])
    tokens = rng.integers(0, vocab, (rows, columns)).astype(np.int32)
    return Batch(
        tokens=tokens,
        mask=mask,
        weight=np.asarray(WEIGHTS["token_mean"](mask)),
        old_logp=np.where(mask, -3 + rng.normal(size=mask.shape), 0).astype(np.float32),
        advantage=np.where(mask, rng.normal(size=(rows, 1)), 0).astype(np.float32),
        old_entropy=np.where(mask, 2.9 + 0.4 * rng.random(mask.shape), 0).astype(np.float32),
        filtered_logp=np.where(mask, -3 + rng.normal(size=mask.shape), 0).astype(np.float32),
    )


def taught(data, top=5, vocab=24):
    """The batch with a teacher for three rows of four: of random tokens as the likeliest, and their probabilities."""
    rng = np.random.default_rng(1)
    rows, length = len(data.tokens), data.tokens.shape[1] - 2
    z = rng.normal(size=(rows, length, vocab)).astype(np.float32)
    ids = np.argsort(rng.random(z.shape), axis=-1)[..., :top].astype(np.int32)
    logp = np.take_along_axis(np.asarray(jax.nn.log_softmax(z)), ids, -1)
    there = np.arange(rows) % 4 > 0
    return data.replace(teacher_ids=ids, teacher_logp=logp, taught=there, sampler_logp=data.old_logp)


def updated(loss="ppo", *, data=None, hparams=None, **more):
    """Parameters and metrics after one update with plain SGD, whose step is the gradient itself.

    Many tests begin with the same one, so it is made once: what this gives is to be read only.
    """
    make = make_updated if data or hparams else _made_once
    return make(loss, data=data, hparams=hparams, **more)


def make_updated(
    loss,
    *,
    microbatches=1,
    mesh=None,
    data=None,
    vocab=24,
    hparams=None,
    weight=None,
    distillation=None,
    load=None,
    **model,
):
    """`updated`, made anew."""
    model = presets.make("test", vocab, **model)
    mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
    tx = optax.sgd(1.0)
    state = learner.init_state(model, tx, mesh, jax.random.key(0))
    hparams = SELECTING.get(loss, {}) | (hparams or {})
    objective = objectives.policy(
        scoring.token_scores(model, mesh=mesh),
        partial(POLICY_LOSSES[loss], **hparams),
        weight=weight,
        distillation=distillation,
        load=load,
    )
    update = learner.make_update(objective, tx, microbatches=microbatches, record=objectives.policy_record)
    data = jax.tree.map(partial(jax.device_put, device=sharding.batch_sharding(mesh)), data or batch(vocab=vocab))
    state, metrics = update(state, data, jax.random.key(1), {"entropy": jnp.float32(0.01), "kl": jnp.float32(0)})
    return jax.device_get(state.params), jax.device_get(metrics)


_made_once = cache(make_updated)


def assert_close(a, b, atol=1e-5):
    """Both parameters and metrics, leaf by leaf."""
    jax.tree.map(partial(np.testing.assert_allclose, atol=atol, rtol=1e-4), a, b)


class UnderWay:
    """Counts updates that were begun and that nobody has waited for, without a clock."""

    def __init__(self):
        self.now, self.most = set(), 0

    def begun(self, value=0.0):
        """A number of an update's row; the update is done when somebody fetches it or waits for it."""
        number = _Number(self.now, value)
        self.now.add(number)
        self.most = max(self.most, len(self.now))
        return number


class _Number:
    def __init__(self, now, value):
        self._now, self._value = now, value

    def __array__(self, dtype=None, copy=None):
        self._now.discard(self)
        return np.asarray(self._value, dtype)

    def block_until_ready(self):
        self._now.discard(self)
        return self
