import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl import learner, objectives, sharding
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS
from entropy_rl.models import presets
from tests.learning import assert_close, batch, updated


@pytest.mark.parametrize("loss", POLICY_LOSSES)
def test_micro_batches_change_nothing(loss):
    """1 and 4 micro-batches on ragged rows sorted by length. Mutation: average instead of add."""
    assert_close(updated(loss, microbatches=1), updated(loss, microbatches=4))


def test_a_mean_of_means_would_be_seen():
    """The batch can tell: the gradient with each quarter's own token mean is far from that of the whole."""
    whole, _ = updated("ppo")
    data = batch()
    parts = [jax.tree.map(lambda x: x[i::4], data) for i in range(4)]  # noqa: B023
    wrong = [p.replace(weight=np.asarray(WEIGHTS["token_mean"](p.mask)) / 4) for p in parts]
    stacked = jax.tree.map(lambda *x: np.stack(x, 1).reshape(-1, *x[0].shape[1:]), *wrong)
    got, _ = updated("ppo", data=stacked)
    gap = max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(got)))
    assert gap > 1e-3


def test_the_entropy_bonus_raises_entropy():
    model = presets.make("test", 24)
    tx = optax.sgd(1.0)
    state = learner.init_state(model, tx, sharding.make_mesh(devices=jax.devices()[:1]), jax.random.key(0))
    data = batch().replace(advantage=np.zeros((16, 12), np.float32))
    update = learner.make_update(objectives.policy(model.apply, POLICY_LOSSES["ppo"]), tx)
    # a policy that is not uniform already
    state = state.replace(params=jax.tree.map(lambda x: x * 5, state.params))
    bonus = lambda p: objectives.policy(model.apply, POLICY_LOSSES["ppo"])(  # noqa: E731
        p, data, None, {"entropy": jnp.float32(1.0)}
    )[0]
    before = bonus(state.params)
    state, _ = update(state, data, jax.random.key(0), {"entropy": jnp.float32(1e-3)})
    assert bonus(state.params) < before  # the loss is minus the entropy here


def test_a_gradient_that_is_not_finite_changes_nothing():
    model = presets.make("test", 24)
    tx = learner.make_optimizer(learner.make_schedule(1e-2))
    state = learner.init_state(model, tx, sharding.make_mesh(devices=jax.devices()[:1]), jax.random.key(0))
    before = jax.device_get(state)
    data = batch()
    data.advantage[3, 2] = np.inf
    update = learner.make_update(objectives.policy(model.apply, POLICY_LOSSES["ppo"]), tx)
    state, metrics = update(state, data, jax.random.key(0), {"entropy": jnp.float32(0)})
    assert metrics["update/finite"] == 0.0
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state))


def test_schedules():
    warm = learner.make_schedule(2.0, warmup=4)
    np.testing.assert_allclose([warm(0), warm(2), warm(4), warm(99)], [0, 1, 2, 2])
    cosine = learner.make_schedule(2.0, warmup=4, steps=10, decay_to=0.1)
    np.testing.assert_allclose([cosine(0), cosine(4), cosine(7), cosine(10)], [0, 2, 1.1, 0.2], rtol=1e-5)
    assert learner.make_schedule(2.0)(0) == 2.0


def test_weight_decay_spares_vectors():
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    tx = learner.make_optimizer(learner.make_schedule(0.1), weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert np.all(updates["kernel"] < 0) and not np.any(updates["scale"])


def test_with_params_copies():
    """The update donates its state; the parameters it was started from must survive that."""
    model, tx = presets.make("test", 24), optax.sgd(1.0)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    source = learner.init_state(model, tx, mesh, jax.random.key(7)).params
    state = learner.with_params(learner.init_state(model, tx, mesh, jax.random.key(0)), source)
    update = learner.make_update(objectives.nll(model.apply), tx)
    update(state, batch(), jax.random.key(0), {})
    assert np.isfinite(jax.device_get(source)["params"]["embed"]["embedding"]).all()
