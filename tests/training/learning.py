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


@cache
def _drawn(model):
    return jax.device_get(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))


def fresh(model, tx, mesh=None):
    """`learner.init_state` with key 0, but that a model's parameters are drawn once: a program of its own each time."""
    mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
    params = jax.tree.map(np.array, _drawn(model))  # an update donates them
    where = jax.tree.map(lambda x: x.sharding, learner.abstract_state(model, tx, mesh))
    return jax.device_put(learner.TrainState(np.zeros((), np.int32), params, tx.init(params)), where)


def updated(loss="ppo", *, data=None, hparams=None, **more):
    """Parameters and metrics after one update with plain SGD, whose step is the gradient itself. Of one layer, unless
    `layers` says otherwise: additivity knows nothing of depth.

    Many tests begin with the same one, so it is made once: what this gives is to be read only.
    """
    hparams = tuple(sorted((hparams or {}).items()))
    if data is None:
        return _made_once(loss, hparams=hparams, **more)
    return make_updated(loss, data=data, hparams=hparams, program=_program_once, **more)


def make_updated(loss="ppo", *, mesh=None, data=None, vocab=24, microbatches=1, program=None, **more):
    """`updated`, made anew, unless `program` has it already."""
    mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
    model, tx, update = (program or _program)(loss, mesh, vocab, microbatches, **more)
    data = jax.tree.map(partial(jax.device_put, device=sharding.batch_sharding(mesh)), data or batch(vocab=vocab))
    coefs = {"entropy": jnp.float32(0.01), "kl": jnp.float32(0)}
    state, metrics = update(fresh(model, tx, mesh), data, jax.random.key(1), coefs)
    return jax.device_get(state.params), jax.device_get(metrics)


def _program(
    loss, mesh, vocab, microbatches, *, hparams=(), weight=None, distillation=None, load=None, layers=1, **model
):
    model, tx = presets.make("test", vocab, layers=layers, **model), optax.sgd(1.0)
    objective = objectives.policy(
        scoring.token_scores(model, mesh=mesh),
        partial(POLICY_LOSSES[loss], **SELECTING.get(loss, {}) | dict(hparams)),
        weight=weight,
        distillation=distillation,
        load=load,
    )
    return model, tx, learner.make_update(objective, tx, microbatches=microbatches, record=objectives.policy_record)


_made_once, _program_once = cache(make_updated), cache(_program)


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
