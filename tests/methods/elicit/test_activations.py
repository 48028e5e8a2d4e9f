"""What steering is made of: activations and their differences, vectors that are trained, words, recovery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.methods.elicit import activations
from entropy_rl.models import presets, steering
from entropy_rl.models.scoring import token_scores
from entropy_rl.training.rollouts import Rollout


@pytest.fixture(scope="module")
def policy():
    model = presets.make("test", 12)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))


def text(tokens, mask):
    tokens, mask = np.array(tokens, np.int32), np.array(mask, bool)
    rows = np.zeros(len(tokens))
    return Rollout(tokens, mask, np.zeros(tokens.shape), np.zeros(tokens.shape), rows, rows, rows > 0)


def test_activations_are_those_before_the_token(policy):
    """Token t's are at t - 1, in the order of tokens[mask], the last batch not full. Mutation: no shift.

    Two programs may add in another order: in a sum of n numbers that is at most n eps of the sum of their magnitudes,
    and the widest sums here have d_ff of them.
    """
    model, params = policy
    rollout = text([[3, 4, 5, 6], [3, 7, 8, 0], [9, 2, 2, 2]], [[0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0]])
    got = activations.activations(model, params, rollout, batch=2)
    assert got.shape == (2, 5, 32)
    _, out = jax.jit(model.apply)(params, jnp.asarray(rollout.tokens))
    for layer in range(2):
        want = np.asarray(out[f"layer_{layer}"])[[0, 0, 1, 1, 2], [1, 2, 0, 1, 0]]
        rounding = model.config.d_ff * np.finfo(np.float32).eps * np.abs(want).max()
        np.testing.assert_allclose(got[layer], want, rtol=0, atol=rounding)
        assert np.abs(want[0] - want[1]).max() > 1000 * rounding  # neighbours are told apart


def test_mean_difference_and_recovery_by_hand():
    of, less = np.array([[[1.0, 2.0], [3.0, 2.0]]]), np.array([[[1.0, 1.0]]])
    np.testing.assert_allclose(activations.mean_difference(of, less), [[1.0, 1.0]])
    assert activations.gap_recovery(38.0, 26.0, 50.0) == pytest.approx(0.5)
    # Llama-3.1-8B on GSM8K, arXiv:2510.07364
    assert activations.gap_recovery(63.4, 37.8, 83.4) == pytest.approx(0.561, abs=1e-3)
    assert np.isnan(activations.gap_recovery(0.4, 0.3, 0.3))


def test_trained_vectors_make_the_text_likelier(policy):
    """And only after the blocks that are asked for; the policy's own parameters stay."""
    model, params = policy
    rollout = text([[3, 4, 5, 6], [3, 4, 7, 7]], [[0, 0, 1, 1], [0, 0, 1, 1]])
    how = {"steps": 60, "rows": 2, "rate": 0.1}
    vectors = activations.trained(model, params, rollout, np.array([0.0, 1.0]), jax.random.key(0), **how)
    assert not vectors[0].any() and vectors[1].any()
    tokens, mask = jnp.asarray(rollout.tokens), jnp.asarray(rollout.mask)
    score = jax.jit(token_scores(model))

    def logp(p):
        return float(jnp.where(mask, score(p, tokens, mask)["logp"], 0.0).sum())

    assert logp(steering.steer(params, vectors)) > logp(params) + 1


def test_reasoning_words_by_hand():
    """The two highest of five entropies are 0.8 and 0.9; of them one is a decision."""
    got = activations.reasoning_words(
        np.array([7, 8, 9, 10, 11]),
        np.array([0.1, 0.9, 0.8, 0.2, 0.3]),
        np.array([True, True, False, True, True]),
        share=0.4,
    )
    np.testing.assert_array_equal(got, [-1, 8, -1, -1, -1])
