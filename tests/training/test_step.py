"""The RL step without a config: the example of the docs, and what a Learner refuses."""

import pathlib
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entropy_rl import training
from entropy_rl.advantages import grpo
from entropy_rl.entropy import record
from entropy_rl.entropy.controllers import constant
from entropy_rl.errors import InputError
from entropy_rl.losses.importance import token_cap
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import compose
from entropy_rl.models.logprobs import categorical_stats
from entropy_rl.training import Learner, State, TrainState, objectives, step
from entropy_rl.training.rollouts import Rollout

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/training_step.md").read_text(), re.M | re.S)


def test_the_example_of_the_docs_is_a_step_of_grpo():
    """Mutations: the update left out; advantages that are not centred in their group; a mask off by one."""
    (block,) = BLOCKS
    made = {}
    exec(
        compile(block.replace("rollout, groups", "start = jax.device_get(state)\nrollout, groups"), "docs", "exec"),
        made,
    )
    rollout, advantage, metrics = made["rollout"], made["advantage"], jax.device_get(made["updates"])
    assert len(metrics) == 1 and metrics[0]["update/finite"] == 1 and metrics[0]["update/grad_norm"] > 0
    assert np.isfinite(metrics[0]["update/loss"]) and np.isfinite(made["learned"]["policy/entropy"])
    policy, before = jax.device_get(made["state"].policy), made["start"].policy
    assert int(before.step) == 0 and int(policy.step) == 1
    changed = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), policy.params, before.params)
    assert 0 < max(jax.tree.leaves(changed)) < 2e-3, "one step of Adam at a rate of 1e-3"
    # (r - mean) / (std + eps) by hand, std with n - 1
    groups = -0.01 * rollout.mask.sum(axis=1).reshape(4, 8)
    want = (groups - groups.mean(1, keepdims=True)) / (groups.std(1, ddof=1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(advantage, want.reshape(-1, 1) * rollout.mask, atol=1e-4)


def test_the_example_needs_neither_configs_nor_scripts():
    """Mutation: `import ml_collections` in training/step.py."""
    code = BLOCKS[0] + "\nimport sys\nprint(sorted({'ml_collections', 'experiments', 'configs'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_names_are_loaded_when_they_are_asked_for():
    """Mutation: `from entropy_rl.training.step import Learner` in the package."""
    assert training.Learner is step.Learner and "Collector" in dir(training)
    assert all(getattr(training, name).__name__ == name for name in training.EXPORTS)
    with pytest.raises(ImportError, match="Lerner"):
        from entropy_rl.training import Lerner  # noqa: F401
    code = "import sys, entropy_rl.training; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"advantage": None}, "either an advantage or a critic"),
        ({"critic": object()}, "either an advantage or a critic"),
        ({"kl_place": "rewards"}, "kl_place='rewards': give 'loss' or 'reward'"),
        ({"kl_estimator": "k4"}, "unknown KL estimator 'k4'"),
    ],
)
def test_what_a_learner_refuses(changes, message):
    given = {"loss": None, "weight": None, "key": jax.random.key(0), "advantage": grpo}
    with pytest.raises(InputError, match=message):
        Learner(None, None, **(given | changes))


@pytest.fixture(scope="module")
def table():
    """A softmax table as the policy, each token's state its own, and a rollout of ragged responses from it."""
    rng = np.random.default_rng(0)
    rows, columns, words = 8, 40, 12
    logits = jnp.asarray(rng.normal(size=(rows, columns, words)) * 1.5, jnp.float32)
    tokens = rng.integers(0, words, (rows, columns)).astype(np.int32)
    tokens[:, 0] = np.arange(rows)  # whose states these are
    place = np.arange(columns)[None]
    mask = (place > 0) & (place < np.array([5, 6, 8, 12, 20, 30, 38, 40])[:, None])
    logp, entropy = (np.where(mask, x, 0) for x in categorical_stats(logits, tokens))
    reward, group = rng.normal(size=rows).astype(np.float32), np.repeat(np.arange(4, dtype=np.int32), 2)
    return logits, Rollout(tokens, mask, logp, entropy, reward, group, np.zeros(rows, bool))


def taught(table, *, loss="ppo", args=None, weight="token_mean", rate=0.05, **more):
    """(slopes, advantages, logits before and after) of a step of plain gradient descent on the table."""
    logits, rollout = table
    tx = optax.sgd(rate)
    learner = Learner(
        lambda params, tokens, mask: dict(
            zip(("logp", "entropy"), categorical_stats(params["logits"][tokens[:, 0]], tokens))
        ),
        tx,
        loss=partial(POLICY_LOSSES[loss], **(args or {"clip_low": 0.2, "clip_high": 0.2})),
        weight=compose(weight),
        advantage=lambda reward, group: reward,
        key=jax.random.key(0),
        **more,
    )

    def once(slopes):
        params = {"logits": jnp.copy(logits)}
        policy = TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
        state, _, _, last = learner(State(policy), rollout, 0, slopes=slopes)
        return last, state.policy.params["logits"]

    (slopes, new), (advantage, _) = once(True), once(False)
    return slopes, advantage, logits, new


def test_a_rollout_without_what_its_teacher_sees_is_refused(table):
    teacher = step.SelfTeacher(objectives.Distillation(1.0), len, len)
    with pytest.raises(InputError, match="without teacher_tokens: give its Collector a distiller"):
        taught(table, teacher=teacher)


def test_a_step_of_self_distillation_by_hand(table):
    """A table whose teacher, three columns further right, has a hint added to its logits; the first row has no teacher.
    Mutations: the teacher of the policy's own parameters; a mean that stays, or moves before the update; tokens that
    are a column off; a row without a teacher in the means."""
    logits, rollout = table
    rows, columns, words = logits.shape
    hint = jnp.linspace(-1.0, 1.0, words)[None, None]
    mean = {"logits": logits + 0.3 * jnp.cos(4 * hint)}
    there = np.arange(rows)[:, None] > 0
    tokens = np.concatenate([np.repeat(rollout.tokens[:, :1], 4, 1), rollout.tokens[:, 1:]], 1)
    mask = np.concatenate([np.zeros((rows, 3), bool), rollout.mask & there], 1)
    rollout = rollout.replace(teacher_tokens=tokens, teacher_mask=mask)

    def states(params, tokens):
        more = tokens.shape[1] - columns
        return jnp.pad(params["logits"][tokens[:, 0]], ((0, 0), (more, 0), (0, 0))) + (hint if more else 0.0)

    def score(params, tokens, mask, ids=None):
        z = states(params, tokens)
        out = dict(zip(("logp", "entropy"), categorical_stats(z, tokens)))
        own = jax.nn.log_softmax(z)[:, -columns + 1 :]
        return out if ids is None else out | {"at": jnp.take_along_axis(own, ids, -1)}

    def likeliest(params, tokens, mask):
        return {"ids": jax.lax.top_k(states(params, tokens)[:, 1:], 4)[1]}

    tx, copied = optax.sgd(0.5), jax.tree.map(jnp.copy, (mean, {"logits": logits}))
    learner = Learner(
        score,
        tx,
        loss=partial(POLICY_LOSSES["ppo"], clip_low=0.2, clip_high=0.2),
        weight=compose("token_mean"),
        advantage=lambda reward, group: reward,
        key=jax.random.key(0),
        teacher=step.SelfTeacher(objectives.Distillation(2.0), likeliest, score, rate=0.25),
    )
    policy = TrainState(jnp.zeros((), jnp.int32), copied[1], tx.init(copied[1]))
    state, (update,), row, _ = learner(State(policy, teacher=copied[0]), rollout, 0)

    def plain(logits):
        p, q = (jax.nn.softmax(z)[:, 1:] for z in (logits, mean["logits"] + hint))
        ids = jax.lax.top_k(p, 4)[1]
        p, q = (jnp.take_along_axis(x, ids, -1) for x in (p, q))
        p, q = (jnp.concatenate([x, 1 - x.sum(-1, keepdims=True)], -1) for x in (p, q))
        m = 0.5 * (p + q)
        distance = 0.5 * (p * jnp.log(p / m) + q * jnp.log(q / m)).sum(-1)
        return 2.0 * jnp.sum(jnp.where((rollout.mask & there)[:, 1:], distance, 0)) / rollout.mask.sum()

    value, grad = jax.value_and_grad(plain)(logits)
    np.testing.assert_allclose(update["update/loss"], value, rtol=1e-5)
    np.testing.assert_allclose(state.policy.params["logits"], logits - 0.5 * grad, atol=1e-6)
    want = mean["logits"] + 0.25 * (state.policy.params["logits"] - mean["logits"])
    np.testing.assert_allclose(state.teacher["logits"], want, atol=1e-6)
    logp, entropy = categorical_stats(mean["logits"] + hint, rollout.tokens)
    own = rollout.mask & there
    np.testing.assert_allclose(row["distillation/gap"], np.mean((logp - rollout.sampler_logp)[own]), atol=1e-5)
    np.testing.assert_allclose(row["distillation/teacher_entropy"], np.mean(np.asarray(entropy)[own]), atol=1e-5)
    np.testing.assert_allclose(update["distillation/ratio"], 1, atol=1e-5)


@pytest.mark.parametrize("updates", [1, 2])
def test_columns_that_no_response_has_change_nothing(table, updates):
    """Loss, gradient and everything logged, with old log-probabilities, a reference and a constant length. Mutations:
    a weight or a mean that counts columns; a score that is not of the cut rows."""
    logits, rollout = table
    rows = slice(0, 4)  # of at most 11 tokens in 40 columns
    whole = jax.tree.map(lambda x: x[rows], rollout)
    cut = jax.tree.map(lambda x: x[:, :12] if x.ndim > 1 else x, whole)
    tx = optax.sgd(0.5)

    def score(params, tokens, mask):
        return dict(
            zip(("logp", "entropy"), categorical_stats(params["logits"][tokens[:, 0], : tokens.shape[1]], tokens))
        )

    def made(rollout):
        learner = Learner(
            score,
            tx,
            loss=partial(POLICY_LOSSES["ppo"], clip_low=0.2, clip_high=0.2),
            weight=compose("fixed_length", length=40),
            advantage=partial(grpo, eps=1e-4),
            key=jax.random.key(0),
            importance=partial(token_cap, cap=2.0),
            reference=True,
            kl_coef=constant(value=0.1),
            entropy_coef=constant(value=0.01),
            updates=updates,
        )
        params = jax.tree.map(jnp.copy, {"logits": logits})
        policy = TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
        state, metrics, row, advantage = learner(State(policy, reference={"logits": 0.9 * logits}), rollout, 0)
        return jax.device_get((state.policy.params, metrics, row)), advantage

    (a, advantage), (b, narrow) = made(whole), made(cut)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-7), b, a)
    np.testing.assert_allclose(narrow, advantage[:, :12], rtol=1e-6)
    assert a[1][0]["update/grad_norm"] > 1e-3 and not advantage[:, 12:].any()


def test_what_is_scored_before_updates_has_their_choices_of_experts(table):
    """Filtered log-probabilities and the nucleus' anchor too. Mutation: the router's own for any of them."""
    logits, rollout = table
    rollout = rollout.replace(experts=np.full((*rollout.mask.shape, 1, 2), 3, np.int32))

    def score(params, tokens, mask, ids=None, chosen=None):
        x = jnp.full(mask.shape, -1.0 if chosen is None else -jnp.mean(chosen))
        return dict.fromkeys(("logp", "entropy", "filtered_logp", "nucleus"), x)

    learner = Learner(
        *(score, optax.sgd(0.5)),
        **{"loss": POLICY_LOSSES["lp_reg"], "weight": compose("token_mean"), "advantage": grpo},
        **{"key": jax.random.key(0), "importance": token_cap, "filtered": score, "nucleus": (1.0, 1.0)},
    )
    policy = TrainState(jnp.zeros((), jnp.int32), {"logits": logits}, None)
    fields, _ = learner._scores(State(policy), rollout)
    assert (fields["old_logp"] == -3).all() and (fields["filtered_logp"] == -3).all()
    anchor = learner._anchor(learner._own(State(policy), rollout, fields), rollout)
    assert anchor == pytest.approx(-3, abs=1e-4)  # a mean over responses


def explained(table, alpha, logits, new):
    tokens, mask = table[1].tokens, table[1].mask
    m = record.change_moments(record.changes(logits, new, tokens, jnp.asarray(alpha)), mask)
    square, cross = (float(m[f"entropy/change_single_token_{x}"]) for x in ("square", "cross"))
    return cross**2 / square / float(m["entropy/change_measured_square"]), cross / square


def test_slopes_are_the_tokens_share_of_the_update(table):
    """In a table first order is nearly exact. Mutation: the advantage alone, which explains three quarters."""
    slopes, advantage, logits, new = taught(table, weight="sequence_mean", rate=0.05)
    mask = table[1].mask
    np.testing.assert_allclose(slopes, advantage * mask / mask.sum(1, keepdims=True) / 8, atol=1e-7)
    share, slope = explained(table, slopes, logits, new)
    assert explained(table, advantage, logits, new)[0] < 0.8
    np.testing.assert_allclose([share, slope], [1, 0.05], rtol=0.02)


def test_slopes_of_tokens_that_a_loss_drops_are_0(table):
    """With the draws of the update itself. Mutations: another key; the mini-batches in another order."""
    slopes, advantage, logits, new = taught(
        table, loss="random_clip", args={"frac": 0.3, "lower": -9.0, "upper": 9.0}, updates=1
    )
    moved = np.abs(np.asarray(new - logits)).max(axis=-1) > 0
    np.testing.assert_array_equal(slopes != 0, moved)
    assert 0.2 < 1 - moved[table[1].mask].mean() < 0.4
    slopes, advantage, logits, new = taught(table, weight="sequence_mean", updates=2, epochs=2, rate=0.01)
    change = np.take_along_axis(np.asarray(new - logits), table[1].tokens[..., None], -1)[..., 0]
    p = np.exp(np.asarray(categorical_stats(logits, table[1].tokens)[0]))
    np.testing.assert_allclose(change, 0.01 * slopes * (1 - p), rtol=0.02, atol=1e-6)
