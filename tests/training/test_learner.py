import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS, compose
from entropy_rl.models import presets
from entropy_rl.models.scoring import token_scores, values
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import sharding
from entropy_rl.training import learner, objectives, optimizer
from tests.training.learning import LOSSES, SELECTIONS, assert_close, batch, fresh, taught, updated


@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batches_change_nothing(loss):
    """1 and 4 micro-batches on ragged rows sorted by length. Mutation: average instead of add."""
    assert_close(updated(loss, microbatches=1), updated(loss, microbatches=4))


@pytest.mark.parametrize("loss", SELECTIONS)
def test_selections_are_of_the_whole_mini_batch(loss):
    """The same tokens, whatever the number of micro-batches; in the reference code's scope each has its own.

    Mutation: `needs_full_batch` False in objectives.policy.
    """
    _, one = updated(loss)
    _, four = updated(loss, microbatches=4)
    assert 0.05 < one["policy/selected_fraction"] == four["policy/selected_fraction"]
    np.testing.assert_allclose(four["policy/selected_entropy"], one["policy/selected_entropy"], rtol=1e-6)
    np.testing.assert_allclose(four["policy/selected_cov"], one["policy/selected_cov"], rtol=1e-4)
    alone = {"scope": "microbatch"}
    a, whole = updated(loss, hparams=alone)
    b, parts = updated(loss, hparams=alone, microbatches=4)
    assert whole["policy/selected_fraction"] == pytest.approx(one["policy/selected_fraction"], abs=0.02)
    gap = max(np.abs(x - y).max() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
    assert gap > 1e-4, "each micro-batch selects for itself"


@pytest.mark.parametrize("name", [pytest.param("top_entropy", marks=pytest.mark.slow), "refined_forks"])
def test_weights_of_the_current_entropy_are_of_the_whole_mini_batch(name):
    """80/20 with the current policy's entropies, in 1 and 4 micro-batches; the batch's own weights are not read.

    Mutation: objectives.policy hands the weight no `refined`.
    """
    weight = compose(name, frac=0.3)
    data = batch().replace(weight=np.full((16, 12), np.nan, np.float32), refined=np.arange(16) % 4 > 0)
    one, four = (updated(microbatches=n, weight=weight, data=data) for n in (1, 4))
    assert_close(one, four)
    assert np.isfinite(one[1]["update/loss"])
    other = updated(weight=compose("token_mean"), data=data)
    assert abs(other[1]["update/grad_norm"] - one[1]["update/grad_norm"]) > 1e-3


def test_rows_that_share_a_prompt_stay_together():
    """Four groups of four in two micro-batches, each prompt run once: the update of all rows on their own.

    Mutation: `group_size` left out of `cut` or `join`.
    """
    model, tx = presets.make("test", 24), optax.sgd(1.0)
    data, mesh = batch(), sharding.make_mesh(devices=jax.devices()[:1])
    data.tokens[:, :2] = np.repeat(data.tokens[::4, :2], 4, axis=0)
    done = []
    for samples, parts in ((1, 1), (4, 1), (4, 2)):
        state = fresh(model, tx, mesh)
        objective = objectives.policy(token_scores(model, samples=samples, prompt_length=2), POLICY_LOSSES["ppo"])
        update = learner.make_update(
            objective, tx, microbatches=parts, group_size=samples, record=objectives.policy_record
        )
        state, metrics = update(state, data, jax.random.key(1), {"entropy": jnp.float32(0.01), "kl": jnp.float32(0)})
        done.append(jax.device_get((state.params, metrics)))
    assert_close(done[0], done[1])
    assert_close(done[0], done[2])


def test_the_kl_pulls_back_to_the_reference():
    """With no advantage the KL alone moves the policy, towards the reference's log-probabilities."""
    model, tx = presets.make("test", 24), optax.sgd(0.5)
    state = fresh(model, tx)
    data = batch()
    other = jax.tree.map(lambda x: 3 * x, state.params)
    score = jax.jit(token_scores(model))
    data = data.replace(advantage=np.zeros((16, 12), np.float32))
    data = data.replace(ref_logp=np.asarray(score(other, data.tokens, data.mask)["logp"]))
    update = learner.make_update(
        objectives.policy(token_scores(model), POLICY_LOSSES["ppo"], kl="k2"), tx, record=objectives.policy_record
    )
    seen = []
    for _ in range(20):
        state, metrics = update(state, data, jax.random.key(0), {"entropy": jnp.float32(0), "kl": jnp.float32(1)})
        seen.append(float(metrics["policy/ref_kl"]))
    assert seen[-1] < 0.5 * seen[0]


def test_truncated_importance_weighs_the_surrogate():
    """Halved importance halves the surrogate's gradient."""
    data = batch()
    full, _ = updated(data=data.replace(importance=np.ones((16, 12), np.float32)))
    plain, metrics = updated(data=data)
    assert "policy/importance" not in metrics
    assert_close(full, plain)
    none, metrics = updated(data=data.replace(importance=np.zeros((16, 12), np.float32)))
    bonus, _ = updated(data=data.replace(advantage=np.zeros((16, 12), np.float32)))
    assert_close(none, bonus)  # the entropy bonus is left


def test_a_critic_learns_its_returns():
    """Regression on given returns: explained variance rises. Mutation: the target's sign."""
    model = Transformer(dataclasses.replace(presets.make("test", 24).config, head="value"))
    tx = optimizer.make_optimizer(optimizer.make_schedule(3e-3))
    state = fresh(model, tx)
    data = batch()
    odd_before = np.pad(data.tokens[:, :-1] % 2, ((0, 0), (1, 0)))
    target = np.where(data.mask, odd_before.cumsum(axis=1), 0).astype(np.float32)
    update = learner.make_update(objectives.value(values(model), clip=5.0), tx, record=objectives.value_record)
    for _ in range(150):
        data = data.replace(value=np.zeros_like(target), target=target)
        state, metrics = update(state, data, jax.random.key(0), {})
    assert metrics["critic/explained_variance"] > 0.9


def test_a_critic_leaves_alone_what_is_of_the_policy():
    """A batch with its teacher and its choices of experts. Mutation: the critic's score is given them, as the policy's
    is, and takes none."""
    score = lambda params, tokens, mask: {"value": params * mask}  # noqa: E731
    data = batch().replace(value=np.zeros((16, 12), np.float32), target=np.ones((16, 12), np.float32))
    more = data.replace(teacher_ids=np.zeros((16, 10, 2), np.int32), experts=np.zeros((16, 12, 1, 2), np.int32))
    losses = [objectives.value(score)(jnp.float32(0.5), x, None, {})[0] for x in (data, more)]
    assert losses[0] == losses[1] > 0


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
    state = fresh(model, tx)
    data = batch().replace(advantage=np.zeros((16, 12), np.float32))
    update = learner.make_update(objectives.policy(token_scores(model), POLICY_LOSSES["ppo"]), tx)
    # a policy that is not uniform already
    state = state.replace(params=jax.tree.map(lambda x: x * 5, state.params))
    bonus = lambda p: objectives.policy(token_scores(model), POLICY_LOSSES["ppo"])(  # noqa: E731
        p, data, None, {"entropy": jnp.float32(1.0)}
    )[0]
    before = bonus(state.params)
    state, _ = update(state, data, jax.random.key(0), {"entropy": jnp.float32(1e-3)})
    assert bonus(state.params) < before  # the loss is minus the entropy here


def test_a_gradient_that_is_not_finite_changes_nothing():
    model = presets.make("test", 24)
    tx = optimizer.make_optimizer(optimizer.make_schedule(1e-2))
    state = fresh(model, tx)
    before = jax.device_get(state)
    data = batch()
    data.advantage[3, 2] = np.inf
    update = learner.make_update(objectives.policy(token_scores(model), POLICY_LOSSES["ppo"]), tx)
    state, metrics = update(state, data, jax.random.key(0), {"entropy": jnp.float32(0)})
    assert metrics["update/finite"] == 0.0
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state))


def test_schedules():
    warm = optimizer.make_schedule(2.0, warmup=4)
    np.testing.assert_allclose([warm(0), warm(2), warm(4), warm(99)], [0, 1, 2, 2])
    cosine = optimizer.make_schedule(2.0, warmup=4, steps=10, decay_to=0.1)
    np.testing.assert_allclose([cosine(0), cosine(4), cosine(7), cosine(10)], [0, 2, 1.1, 0.2], rtol=1e-5)
    assert optimizer.make_schedule(2.0)(0) == 2.0
    assert optimizer.make_schedule(2.0, steps=1, decay_to=0.1)(0) == 2.0  # a run of one update


def test_weight_decay_spares_vectors():
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    tx = optimizer.make_optimizer(optimizer.make_schedule(0.1), weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert np.all(updates["kernel"] < 0) and not np.any(updates["scale"])


def test_with_params_copies():
    """The update donates its state; the parameters it was started from must survive that."""
    model, tx = presets.make("test", 24), optax.sgd(1.0)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    source = learner.init_state(model, tx, mesh, jax.random.key(7)).params
    state = learner.with_params(fresh(model, tx, mesh), source)
    update = learner.make_update(objectives.nll(token_scores(model)), tx)
    update(state, batch(), jax.random.key(0), {})
    assert np.isfinite(jax.device_get(source)["params"]["embed"]["embedding"]).all()


def low(tree):
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)


def test_small_steps_of_low_precision_parameters_are_not_lost():
    """100 steps of 1e-4 on weights of 1 (bfloat16 there: 4e-3) move them by 1e-2. Mutation: no masters."""
    params = {"w": jnp.ones((3, 4), jnp.bfloat16)}
    tx = optimizer.with_masters(optax.sgd(1e-4))
    state = tx.init(params)
    for _ in range(100):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(state.masters["w"], 1 - 1e-2, rtol=1e-5)
    np.testing.assert_array_equal(params["w"], low(state.masters)["w"])
    assert params["w"].dtype == jnp.bfloat16 and params["w"][0, 0] < 1


def test_parameters_are_the_rounded_masters(rng):
    """Exactly, over steps of all sizes; statistics are float32 too. Mutation: `step` in the parameters' precision."""
    params = low({"w": jnp.asarray(rng.normal(size=(64, 64)), jnp.float32), "b": jnp.zeros(64)})
    tx = optimizer.make_optimizer(optimizer.make_schedule(0.3), clip=None)
    state = tx.init(params)
    assert {x.dtype for x in jax.tree.leaves(state) if x.ndim} == {jnp.dtype(jnp.float32)}
    for i in range(5):
        size = 10.0**-i
        grads = {k: low(jnp.asarray(rng.normal(size=x.shape) * size, jnp.float32)) for k, x in params.items()}
        updates, state = jax.jit(tx.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
        jax.tree.map(np.testing.assert_array_equal, params, low(state.masters))


def test_float32_parameters_have_no_masters():
    params = {"w": jnp.ones((2, 2))}
    assert not isinstance(optimizer.make_optimizer(optimizer.make_schedule(0.1)).init(params), optimizer.Masters)


def test_masters_follow_when_parameters_are_replaced():
    """A run that starts from another's policy. Mutation: the old masters stay, and an update brings them back."""
    model = presets.make("test", 24, param_dtype=jnp.bfloat16)
    tx = optimizer.make_optimizer(optimizer.make_schedule(1e-6))
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    source = jax.device_get(learner.init_state(model, tx, mesh, jax.random.key(7)).params)
    state = learner.with_params(learner.init_state(model, tx, mesh, jax.random.key(0)), source)
    state, metrics = learner.make_update(objectives.nll(token_scores(model)), tx)(state, batch(), jax.random.key(0), {})
    assert metrics["update/finite"] == 1
    for x, y in zip(jax.tree.leaves(source), jax.tree.leaves(jax.device_get(state.params))):
        np.testing.assert_allclose(x.astype(np.float32), y.astype(np.float32), atol=1e-2)


def test_micro_batches_of_low_precision_add_up_in_float32():
    """A part of 1 and 15 of 2^-9, of which bfloat16 would keep 1. Mutation: sums in that precision."""
    objective = objectives.Objective(
        score=lambda params, batch: {"x": params["w"].astype(jnp.float32) * jnp.ones_like(batch.weight)},
        loss=lambda scores, batch, key, coefs: ((scores["x"] * batch.weight).sum(), {}),
        needs_full_batch=False,
    )
    tx = optimizer.with_masters(optax.sgd(1.0))
    params = {"w": jnp.zeros((1, 1), jnp.bfloat16)}
    state = learner.TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
    data = batch().replace(weight=np.array([[1.0]] + [[2.0**-9]] * 15, np.float32))
    state, _ = learner.make_update(objective, tx, microbatches=16)(state, data, jax.random.key(0), {})
    np.testing.assert_array_equal(state.opt_state.masters["w"], [[-(1 + 15 * 2.0**-9)]])


def test_rounding_keeps_the_mean(rng):
    """Each number goes to one of its two neighbours, and the mean of many roundings is the number. Mutation: to the
    nearest."""
    x = jnp.asarray(rng.normal(size=64) * 10.0 ** rng.integers(-8, 8, 64), jnp.float32)
    many = jax.vmap(lambda k: optimizer.round_randomly(x, k))(jax.random.split(jax.random.key(0), 4000))
    assert many.dtype == jnp.bfloat16
    unit = np.abs(x) * 2.0**-7
    assert (np.abs(np.asarray(many, "f4") - x[None]) <= unit[None]).all()
    error = np.asarray(many, "f8").mean(0) - np.asarray(x, "f8")
    assert (np.abs(error) < 0.04 * unit).all()  # a standard error is at most unit / 2 / sqrt(4000)
    odd = jnp.array([jnp.inf, -jnp.inf, jnp.nan, 0.0])
    np.testing.assert_array_equal(optimizer.round_randomly(odd, jax.random.key(1)).astype(jnp.float32), odd)


def test_moments_in_half_the_bytes_learn_the_same():
    """A moving average with a decay of .999 gets where the float32 one does; rounded to the nearest it would stand
    still at a quarter of it. Mutation: `astype` for `round_randomly`."""
    params = {"w": jnp.zeros((32, 32))}
    schedule = optimizer.make_schedule(1e-2)
    results = []
    for dtype in ("float32", "bfloat16"):
        tx = optimizer.make_optimizer(schedule, b2=0.999, clip=None, state_dtype=dtype)
        state, p = tx.init(params), params
        for _ in range(3):
            _, state = tx.update({"w": jnp.full((32, 32), 10.0)}, state, p)
        step = jax.jit(tx.update)
        for _ in range(400):
            updates, state = step({"w": jnp.ones((32, 32))}, state, p)
            p = optax.apply_updates(p, updates)
        arrays = [x for x in jax.tree.leaves(state) if x.ndim]
        assert {x.dtype for x in arrays} == {jnp.dtype(dtype)}
        results.append(np.array([np.asarray(x, "f4").mean() for x in (*arrays, p["w"])]))
    np.testing.assert_allclose(results[1], results[0], rtol=0.02)


@pytest.mark.parametrize("alpha", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_self_distillation_in_micro_batches_and_against_whole_logits(alpha):
    """Value and gradient of the update, to 1e-5. Mutations: rows without a teacher taught; a ratio with a gradient; the
    divergence of the state after the token; the outcome without its coefficient."""
    data, how = taught(batch()), objectives.Distillation(0.7, 0.3, alpha, clip=1.5)
    model, whole = presets.make("test", 24, layers=1), updated("ppo", data=data, distillation=how)
    assert_close(updated("ppo", data=data, distillation=how, microbatches=4), whole)
    coefs = {"entropy": jnp.float32(0.0), "kl": jnp.float32(0.0)}
    params = jax.jit(model.init)(jax.random.key(0), data.tokens)
    there = data.mask & data.taught[:, None]

    def plain(params):
        logp = jax.nn.log_softmax(model.apply(params, data.tokens)[0])[:, :-1]  # predicts columns 1 ..
        own = jnp.take_along_axis(logp, data.tokens[:, 1:, None], -1)[..., 0]
        ratio = jnp.exp(own - data.old_logp[:, 1:])
        a = data.advantage[:, 1:]
        outcome = -jnp.minimum(ratio * a, jnp.clip(ratio, 0.8, 1.2) * a)
        p, q = (jnp.exp(x) for x in (jnp.take_along_axis(logp[:, 1:], data.teacher_ids, -1), data.teacher_logp))
        p, q = (jnp.concatenate([x, 1 - x.sum(-1, keepdims=True)], -1) for x in (p, q))  # responses begin at 2
        m = 0.5 * (p + q)
        jsd = 0.5 * (p * jnp.log(p / m) + q * jnp.log(q / m)).sum(-1)
        distance = jsd if alpha == 0.5 else (p * jnp.log(p / q)).sum(-1)
        distance = distance * jnp.minimum(jax.lax.stop_gradient(ratio[:, 1:]), 1.5)
        total = 0.3 * jnp.sum(jnp.where(data.mask, data.weight, 0)[:, 1:] * outcome)
        return total + 0.7 * jnp.sum(jnp.where(there, data.weight, 0)[:, 2:] * distance)

    clip = partial(POLICY_LOSSES["ppo"], clip_low=0.2, clip_high=0.2)
    objective = objectives.policy(token_scores(model), clip, distillation=how)
    (value, out), grad = jax.jit(jax.value_and_grad(objective, has_aux=True))(params, data, jax.random.key(0), coefs)
    want = jax.jit(jax.value_and_grad(plain))(params)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), (value, grad), want)
    row = objectives.policy_record(data, out)
    assert 0 < row["distillation/ratio"] <= 1.5 and 0 < row["distillation/tail"] < 1
    assert row["distillation/divergence"] > 0 and not np.asarray(out["distillation"]["divergence"])[~there].any()


def test_the_nucleus_bonus_in_micro_batches_and_by_hand():
    """coef (mean - anchor)^2 of the tokens where it is highest, over the whole mini-batch. Mutation: by micro-batch."""
    nucleus = jnp.array([[0.1, 0.9, 0.5, 0.0], [0.8, 0.2, 0.7, 0.3]])
    mask = jnp.array([[True, True, True, False], [True, True, True, True]])
    mean, chosen = objectives.nucleus_mean(nucleus, mask, 0.43)  # three of seven: .9 | .8 .7
    np.testing.assert_array_equal(chosen, [[0, 1, 0, 0], [1, 0, 1, 0]])
    np.testing.assert_allclose(mean, (0.9 + 0.75) / 2, rtol=1e-6)
    model = presets.make("test", 24)
    data, tx = batch(), optax.sgd(1.0)
    score = token_scores(model, nucleus=0.8)
    coefs = {k: jnp.float32(v) for k, v in {"entropy": 0.0, "kl": 0.0, "nucleus": 3.0, "anchor": 0.1}.items()}
    objective = objectives.policy(score, POLICY_LOSSES["ppo"], nucleus=0.2)
    done = []
    for parts in (1, 4):
        state = fresh(model, tx)
        update = learner.make_update(objective, tx, microbatches=parts)
        done.append(jax.device_get(update(state, data, jax.random.key(1), coefs)))
    assert_close((done[0][0].params, done[0][1]), (done[1][0].params, done[1][1]))
    state = fresh(model, tx)
    scores = score(state.params, data.tokens, data.mask)
    plain, _ = objectives.policy(score, POLICY_LOSSES["ppo"]).loss(scores, data, None, coefs)
    got, out = objective.loss(scores, data, None, coefs)
    mean = objectives.nucleus_mean(scores["nucleus"], data.mask, 0.2)[0]
    np.testing.assert_allclose(got, plain + 3.0 * (mean - 0.1) ** 2, rtol=1e-5)
    assert out["nucleus"].sum() == data.mask.sum() // 5
