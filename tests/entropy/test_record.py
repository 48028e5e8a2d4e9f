import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from entropy_rl.entropy import record as entropy


def test_measured_change_by_hand():
    """From uniform over two to (3/4, 1/4), H falls from ln 2 to 0.5623; at uniform, first order is 0.

    d = (ln 3, 0) has variance (ln 3 / 2)^2, so the second order is -1/2 (ln 3 / 2)^2.
    """
    before = jnp.zeros((1, 2, 2))
    after = jnp.array([[[9.0, 0.0], [jnp.log(3.0), 0.0]]])
    out = entropy.change_moments(entropy.changes(before, after), jnp.array([[False, True]]))
    np.testing.assert_allclose(out["entropy/change_measured"], 0.5623351 - np.log(2), rtol=1e-5)
    np.testing.assert_allclose(out["entropy/change_predicted"], 0.0, atol=1e-7)
    np.testing.assert_allclose(out["entropy/change_second_order"], -0.5 * (np.log(3) / 2) ** 2, rtol=1e-5)
    assert not any("single_token" in name for name in out)


def test_measured_change_gives_what_a_regression_needs(rng):
    """Tokens' own gradients with an unknown step of 0.01: the moments give it back, and share explained 1.

    Mutation: the cross moment centred, or the step put in.
    """
    logits = jnp.asarray(rng.normal(size=(4, 5, 6)), jnp.float32)
    tokens = jnp.asarray(rng.integers(0, 6, (4, 5)))
    alpha = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    mask = jnp.asarray(rng.random((4, 5)) < 0.7)
    step = 0.01 * alpha[..., None] * (jax.nn.one_hot(tokens, 6) - jax.nn.softmax(logits))
    new = jnp.where(mask[..., None], logits + step, jnp.nan)
    out = entropy.change_moments(entropy.changes(logits, new, tokens, alpha), mask)
    square, cross = (out[f"entropy/change_single_token_{x}"] for x in ("square", "cross"))
    np.testing.assert_allclose(cross / square, 0.01, rtol=0.02)
    assert cross**2 / (square * out["entropy/change_measured_square"]) > 0.99
    for name in ("predicted", "second_order"):
        slope = out[f"entropy/change_{name}_cross"] / out[f"entropy/change_{name}_square"]
        np.testing.assert_allclose(slope, 1.0, rtol=0.02)


def test_measured_change_ranks_states_beside_its_moments(rng):
    """One state of sixty moves a thousand times as far as the rest, too far for first order: the moments are its own,
    and say that the prediction has the wrong sign; ranks count it once.

    Mutation: the rank correlation of a prediction with itself.
    """
    logits = jnp.asarray(rng.normal(size=(6, 12, 5)), jnp.float32)
    tokens = jnp.asarray(rng.integers(0, 5, (6, 12)))
    alpha = jnp.asarray(rng.normal(size=(6, 12)), jnp.float32)
    mask = jnp.arange(72).reshape(6, 12) % 6 != 5
    size = jnp.where(jnp.arange(72) == 0, 1.0, 1e-3).reshape(6, 12, 1)
    new = logits + size * jnp.asarray(rng.normal(size=(6, 12, 5)), jnp.float32)
    seen = jnp.where(mask[..., None], new, jnp.nan)
    out = entropy.change_moments(entropy.changes(logits, seen, tokens, alpha), mask)
    by_state = entropy.changes(logits, new, tokens, alpha)
    m = np.asarray(by_state.pop("measured"))[mask]
    for name, u in by_state.items():
        want = scipy.stats.spearmanr(m, np.asarray(u)[mask]).statistic
        np.testing.assert_allclose(out[f"entropy/change_{name}_rank_correlation"], want, atol=1e-5)
    assert m[0] ** 2 > 0.99 * np.sum(m**2)
    assert out["entropy/change_predicted_cross"] < 0 and out["entropy/change_predicted_rank_correlation"] > 0.85


def test_covariance_by_hand():
    logp = jnp.array([[-1.0, -3.0, 7.0]])
    advantage = jnp.array([[3.0, -1.0, jnp.nan]])
    mask = jnp.array([[True, True, False]])
    np.testing.assert_allclose(entropy.covariance(logp, advantage, mask), [[2.0, 2.0, 0.0]])


def test_covariance_table(rng):
    """Means of the largest 1 (at least), 3 (of 2.6), 20, 50 and 100 of 100 tokens; junk outside the mask is unseen."""
    cov = rng.normal(size=(20, 10)).astype(np.float32)
    mask = np.arange(200).reshape(20, 10) % 2 == 0
    top = np.sort(cov[mask])[::-1]
    got = entropy.covariance_table(jnp.where(mask, cov, jnp.nan), mask, (2e-4, 0.026, 0.2, 0.5, 1.0))
    np.testing.assert_allclose(got, [top[:k].mean() for k in (1, 3, 20, 50, 100)], rtol=1e-5)
    np.testing.assert_array_equal(entropy.covariance_table(cov, np.zeros_like(mask)), np.zeros(5))


def test_the_record_sorts_each_array_once():
    """Sorting is most of its cost: the entropy, the covariance and no more. Mutation: sort -cov for the table."""
    x, mask = jnp.ones((8, 6)), jnp.ones((8, 6), bool)
    program = jax.jit(entropy.record).lower(x, x, x, mask, mask).compile().as_text()
    assert sum(" sort(" in line for line in program.splitlines()) == 2


def test_sequence_covariance_by_hand():
    """Prompt 7: log pi = -1, -2, A = 1, -1. Prompt 3, of 3: no advantage, covariance 0. An empty response is no one's.

    Plain: mean of +-1/2 times +-(e^-1 + e^-2) / 2; natural: mean of +-1/2 times +-1. Then the mean over two prompts.
    """
    nan = jnp.nan
    mask = jnp.array([[True, True], [True, False], [True, True], [False, False], [True, False], [True, True]])
    logp = jnp.array([[-0.5, -1.5], [-1.0, nan], [-2.0, -2.0], [nan, nan], [-3.0, nan], [-1.0, -1.0]])
    advantage = jnp.array([[1.0, 1.0], [0.0, nan], [-1.0, -1.0], [nan, nan], [0.0, nan], [0.0, 0.0]])
    group = jnp.array([7, 3, 7, 7, 3, 3])
    out = entropy.sequence_covariance(logp, advantage, mask, group)
    np.testing.assert_allclose(out["policy/cov_sequence"], (np.exp(-1) + np.exp(-2)) / 8, rtol=1e-6)
    np.testing.assert_allclose(out["policy/cov_sequence_natural"], 0.25, rtol=1e-6)
    nothing = entropy.sequence_covariance(logp, advantage, jnp.zeros_like(mask), group)
    assert all(v == 0 for v in nothing.values())


@pytest.mark.parametrize("natural", [False, True])
def test_state_covariance_is_the_theorems(rng, natural):
    """Over tokens drawn from a policy, the mean is the covariance under it. Mutation: H left out of (log pi + H)."""
    n = 20_000
    logits, advantage = jnp.asarray(rng.normal(size=6), jnp.float32), jnp.asarray(rng.normal(size=6), jnp.float32)
    log_p = jax.nn.log_softmax(logits)
    # in proportion to their probability, without the noise of a draw
    token = jnp.searchsorted(jnp.cumsum(jnp.exp(log_p))[:-1], (jnp.arange(n) + 0.5) / n)[None]
    h = jnp.full((1, n), -jnp.sum(jnp.exp(log_p) * log_p))
    out = entropy.state_covariance(h, log_p[token], advantage[token], jnp.ones((1, n), bool))
    x = advantage if natural else jnp.exp(log_p) * advantage
    got = out["policy/cov_state_natural" if natural else "policy/cov_state"]
    np.testing.assert_allclose(got, jnp.cov(log_p, x, aweights=jnp.exp(log_p), ddof=0)[0, 1], rtol=5e-3)


def test_polarity_shares_by_hand():
    """At H = 1, tokens of probability 0.9, 0.9, 0.1 with advantages 1, -1, -1: two likely, first and last sharpen."""
    p = jnp.array([[0.9, 0.9, 0.1, jnp.nan]])
    advantage = jnp.array([[1.0, -1.0, -1.0, jnp.nan]])
    mask = jnp.array([[True, True, True, False]])
    out = entropy.state_covariance(jnp.ones((1, 4)), jnp.log(p), advantage, mask)
    np.testing.assert_allclose(out["policy/polarity_positive"], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(out["policy/polarity_sharpening"], 2 / 3, rtol=1e-6)


def test_record_tells_its_means_apart():
    """Responses of 1 and 3 tokens: token mean and mean of sequence means differ. Junk outside the mask is unseen."""
    h = jnp.array([[1.0, jnp.nan, jnp.nan], [0.0, 0.0, 0.6]])
    mask = jnp.array([[True, False, False], [True, True, True]])
    decisions = jnp.array([[True, True, True], [False, False, True]])
    group = jnp.array([0, 0])
    out = entropy.record(h, jnp.where(mask, -h, jnp.nan), jnp.where(mask, 1.0, jnp.nan), mask, decisions, group)
    np.testing.assert_allclose(out["policy/entropy"], 0.4, rtol=1e-6)
    np.testing.assert_allclose(out["policy/entropy_sequence"], 0.6, rtol=1e-6)
    np.testing.assert_allclose(out["policy/entropy_low"], 0.5)
    np.testing.assert_allclose(out["policy/entropy_decisions"], 0.8, rtol=1e-6)
    np.testing.assert_allclose(out["policy/entropy_format"], 0.0)
    np.testing.assert_allclose(out["policy/entropy_p50"], 0.3, rtol=1e-6)
    np.testing.assert_allclose(out["policy/cov"], 0.0, atol=1e-7)
    assert {"policy/cov_top_0.0002", "policy/cov_top_0.5", "policy/cov_sequence", "policy/cov_state"} <= out.keys()
    assert all(np.isfinite(v) for v in out.values())
