"""RLP worked by hand: reward, advantage, average, gradients on thought tokens alone, and what the mean reward is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.advantages import rloo
from entropy_rl.losses.policy import ppo
from entropy_rl.losses.weights import sequence_mean
from entropy_rl.methods.rlp import thoughts as rlp
from entropy_rl.methods.rlp import worked
from entropy_rl.models import presets
from entropy_rl.models.scoring import token_scores
from entropy_rl.sampling.engine import Completion
from entropy_rl.training import objectives
from entropy_rl.training.rollouts import Batch

TEXT = worked.make()
COEFS = {"entropy": 0.0, "kl": 0.0}


def completion(tokens, truncated=False):
    zeros = np.zeros(len(tokens), np.float32)
    return Completion(np.array(tokens, np.int32), zeros, zeros, truncated)


def test_the_reward_is_the_gain_in_log_probability():
    """log 1/2 - log 1/8 = log 4, log 1/8 - log 1/8 = 0, and log 1/16 - log 1/4 = -log 4."""
    with_thought, without = jnp.log(jnp.array([[1 / 2, 1 / 8], [1 / 16, 1 / 4]])), jnp.log(jnp.array([1 / 8, 1 / 4]))
    reward = rlp.information_gain(with_thought, without)
    np.testing.assert_allclose(reward, [[np.log(4), 0.0], [-np.log(4), 0.0]], atol=1e-6)
    slope = jax.grad(lambda x: rlp.information_gain(x, without).sum())(with_thought)
    assert not slope.any()  # stop-gradient


def test_the_advantage_leaves_one_out_and_the_baseline_cancels():
    """r = 1, 2, 3, 6: mean 3, times 4/3; the last one's others have the mean 2, and 6 - 2 = 4."""
    group = np.zeros(4, np.int32)
    with_thought = np.log(np.exp([[1.0, 2.0, 3.0, 6.0]]))
    for without in (0.0, -2.0, 5.0):
        reward = rlp.information_gain(with_thought, jnp.array([without]))
        np.testing.assert_allclose(rloo(reward[0], group), [-8 / 3, -4 / 3, 0, 4], atol=1e-5)


def test_the_average_begins_as_the_policy_and_follows_it():
    theta = {"w": jnp.array([1.0, -2.0])}
    phi = rlp.follow(None, theta, 0.999)
    np.testing.assert_array_equal(phi["w"], theta["w"])
    assert phi["w"].unsafe_buffer_pointer() != theta["w"].unsafe_buffer_pointer()  # theta is donated to the update
    np.testing.assert_allclose(rlp.follow(phi, {"w": jnp.array([2.0, -2.0])}, 0.999)["w"], [1.001, -2.0], rtol=1e-6)


def test_rows_hold_thoughts_alone_and_weigh_them_by_their_length():
    """Two thoughts of 2 and 3 tokens: each token weighs 1 / (2 |c|), and its slope is -A times that; all else is 0."""
    context, opens = TEXT.tokenizer.encode("3 + 5 ="), worked.OPEN
    group = [completion([5, worked.CLOSE]), completion([6, 7, 8], truncated=True)]
    thoughts = rlp.Thoughts([[*context, opens]], [group], np.array([[-1.0, -3.0]], np.float32), np.array([-2.0]))
    rollout = thoughts.rollout(length=10, pad_id=0)
    np.testing.assert_array_equal(rollout.tokens[0], [*context, opens, 5, worked.CLOSE, 0, 0, 0])
    np.testing.assert_array_equal(rollout.mask, [[False] * 5 + [True] * n + [False] * (5 - n) for n in (2, 3)])
    np.testing.assert_allclose(rollout.reward, [1.0, -1.0])
    advantage = rloo(rollout.reward, rollout.group)  # 1 - -1 and -1 - 1
    weight = sequence_mean(rollout.mask)
    batch = Batch(rollout.tokens, rollout.mask, weight, rollout.sampler_logp, advantage[:, None] * rollout.mask)
    objective = objectives.policy(lambda *_: None, partial(ppo, clip_low=0.2, clip_high=0.2))
    loss = lambda logp: objective.loss({"logp": logp, "entropy": logp}, batch, jax.random.key(0), COEFS)[0]  # noqa: E731
    slope = jax.grad(loss)(jnp.zeros((2, 10)))
    np.testing.assert_allclose(slope, [[0] * 5 + [-2 / 4] * 2 + [0] * 3, [0] * 5 + [2 / 6] * 3 + [0] * 2], atol=1e-6)


def test_what_is_logged_by_hand():
    """p with thoughts 1/2 and 1/8 against 1/4: means of logs cancel, the mean of p is 5/16."""
    group = [completion([worked.CLOSE]), completion([5, 6, 7], truncated=True)]
    thoughts = rlp.Thoughts([[1, 2]], [group], np.log([[1 / 2, 1 / 8]]), np.log([1 / 4]))
    row = rlp.summary(thoughts)
    expected = {"ce_without": np.log(4), "ce_with": np.log(4), "reward": 0.0, "ce_marginal": np.log(16 / 5)}
    expected |= {"entropy": 0.0, "length": 2.0, "truncated": 0.5}
    assert row.keys() == expected.keys()
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-6), name


@pytest.fixture(scope="module")
def model():
    return presets.make("test", TEXT.tokenizer.vocab_size)


@pytest.fixture(scope="module")
def params(model):
    """Far from uniform, so that thoughts matter."""
    drawn = jax.jit(model.init)(jax.random.key(1), np.zeros((1, 2), np.int32))
    return jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, drawn)


@pytest.fixture(scope="module")
def logp_of(model):
    """Parameters, a row -> log p of every token after it, by hand from logits."""
    logits = jax.jit(lambda params, tokens: model.apply(params, tokens)[0])

    def of(params, row):
        padded = np.zeros((1, 20), np.int32)  # what comes after is not seen
        padded[0, : len(row)] = row
        return np.asarray(jax.nn.log_softmax(np.asarray(logits(params, padded))[0, len(row) - 1]))

    return of


@pytest.fixture(scope="module")
def score(model):
    return jax.jit(token_scores(model))


def test_thoughts_are_worth_what_the_model_says(model, params, score, logp_of):
    """Each reward again from logits of whole rows; a thought that ran out of room is closed. Mutation: no closing."""
    questions = TEXT.questions(0, 3)
    phi = jax.tree.map(lambda x: 0.9 * x, params)
    thoughts = rlp.think(
        *(model, params, phi, questions.contexts, questions.results, jax.random.key(2)),
        score=score,
        delimiters=TEXT.delimiters,
        context_length=TEXT.context_length,
        max_new=3,
        samples=2,
    )
    cut = [c.truncated for group in thoughts.completions for c in group]
    assert any(cut)
    for i, (context, result) in enumerate(zip(questions.contexts, questions.results)):
        assert thoughts.prompts[i] == [*context, worked.OPEN]
        without = logp_of(phi, context)[result]
        for j, c in enumerate(thoughts.completions[i]):
            ended = [*context, worked.OPEN, *c.tokens, *([worked.CLOSE] if c.truncated else [])]
            after = logp_of(params, ended)[result]
            assert thoughts.rewards[i, j] == pytest.approx(after - without, abs=1e-4)
    assert not thoughts.rollout(TEXT.context_length + 4, 0).mask[:, : min(map(len, thoughts.prompts))].any()


def test_the_mean_reward_is_the_reduction_of_the_cross_entropy(model, params, score, logp_of):
    """All thoughts of one token, by enumeration: E[r] = sum_c pi(c) log p(x | c) - log p(x) for phi = theta.

    Mutation: the reward with p of the thought in it, or the baseline after the thought.
    """
    questions = TEXT.questions(0, 1)
    context, result = questions.contexts[0], int(questions.results[0])
    pi = np.exp(logp_of(params, [*context, worked.OPEN]))
    rows = [[*context, worked.OPEN, c, *([worked.CLOSE] if c != worked.CLOSE else [])] for c in range(len(pi))]
    after = rlp.log_likelihood(score, params, rows, [result] * len(rows), TEXT.context_length + 4)
    expected = pi @ after - logp_of(params, context)[result]
    thoughts = rlp.think(
        *(model, params, params, [context], [result], jax.random.key(3)),
        score=score,
        delimiters=TEXT.delimiters,
        context_length=TEXT.context_length,
        max_new=1,
        samples=512,
    )
    row, error = rlp.summary(thoughts), thoughts.rewards.std() / np.sqrt(512)
    assert row["reward"] == pytest.approx(row["ce_without"] - row["ce_with"], abs=1e-5)
    assert row["reward"] == pytest.approx(expected, abs=4 * error) and error < 0.2
    assert row["ce_marginal"] < row["ce_with"]
    assert abs(expected) > 8 * error  # or a reward of nothing would pass


def test_the_gradient_is_the_policy_losss_with_rewards_held(params, score):
    """Rewards recomputed from the parameters inside the loss change nothing: none flows through them.

    The advantages of a group add up to 0, so where the ratio is 1 a leak would go unseen: here it is not.
    """
    tokens = np.zeros((2, 12), np.int32)
    prompt = [*TEXT.questions(0, 1).contexts[0], worked.OPEN]
    tokens[:, : len(prompt)] = prompt
    n = len(prompt)
    tokens[0, n : n + 2], tokens[1, n : n + 3] = [9, worked.CLOSE], [11, 12, worked.CLOSE]
    mask = np.zeros((2, 12), bool)
    mask[0, n : n + 2] = mask[1, n : n + 3] = True
    ends = np.array([n + 2, n + 3])
    asked = tokens.copy()
    asked[np.arange(2), ends] = 20  # x_t
    old = (np.asarray(score(params, tokens, mask)["logp"]) + [[0.1], [-0.1]]) * mask
    objective = objectives.policy(score, partial(ppo, clip_low=0.2, clip_high=0.2))
    ways = {"constant": rlp.information_gain, "leaky": lambda x, y: x - y[:, None]}

    @jax.jit
    def slopes(theta):
        def loss(theta, rewarded_by, gain):
            logp = score(rewarded_by, asked, mask)["logp"][np.arange(2), ends]
            advantage = rloo(gain(logp[None], jnp.array([-1.0]))[0], np.zeros(2, np.int32))
            batch = Batch(tokens, mask, sequence_mean(mask), old, advantage[:, None] * mask)
            return objective(theta, batch, jax.random.key(0), COEFS)[0]

        held = jax.grad(lambda t: loss(t, theta, rlp.information_gain))(theta)
        return held, {name: jax.grad(lambda t: loss(t, t, gain))(theta) for name, gain in ways.items()}  # noqa: B023

    held, others = slopes(params)
    largest = {
        name: max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(held), jax.tree.leaves(other)))
        for name, other in others.items()
    }
    assert largest["constant"] < 1e-6 and largest["leaky"] > 1e-3
    assert max(np.abs(x).max() for x in jax.tree.leaves(held)) > 1e-3
