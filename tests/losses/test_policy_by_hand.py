"""Each row of the table on a few tokens: values, gradients and marks worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses.policy import POLICY_LOSSES


def log(*x):
    """log x, f32[1, T]."""
    return jnp.log(jnp.array([x], jnp.float32))


def row(*x):
    return jnp.array([x], jnp.float32)


def both(name, logp, old_logp, advantage, **kw):
    """Token losses, each one's gradient with respect to its own logp, and the marks, on a full mask."""
    f = lambda x: POLICY_LOSSES[name](x, old_logp, advantage, jnp.ones(logp.shape, bool), **kw)  # noqa: E731
    (loss, marks), pull = jax.vjp(f, logp)
    none = jax.tree.map(lambda m: np.zeros(m.shape, jax.dtypes.float0), marks)
    return loss, pull((jnp.ones_like(loss), none))[0], marks


def test_ppo_by_hand():
    """Ratios 2, 1/2, 2, 1/2, 8 against clips of 0.2 and a dual clip of 3."""
    loss, grad, info = both("ppo", log(2, 0.5, 2, 0.5, 8), row(0, 0, 0, 0, 0), row(1, 1, -1, -1, -1), dual_clip=3.0)
    np.testing.assert_allclose(loss, [[-1.2, -0.5, 2.0, 0.8, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(grad, [[0, -0.5, 2.0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(info["clip"], [[True, False, False, True, False]])
    np.testing.assert_array_equal(info["dual_clip"], [[False, False, False, False, True]])


def test_gspo_by_hand():
    """The first row's mean log-ratio is 0.03, beyond the clip for A > 0; the second's is 0, its tokens' are not."""
    logp = jnp.array([[0.02, 0.04], [0.3, -0.3], [0.02, 0.04]])
    advantage = jnp.array([[2.0] * 2, [2.0] * 2, [-1.0] * 2])
    loss, grad, info = both("gspo", logp, jnp.zeros((3, 2)), advantage)
    np.testing.assert_allclose(loss, [[-2 * 1.0004] * 2, [-2.0] * 2, [np.exp(0.03)] * 2], rtol=1e-6)
    np.testing.assert_allclose(grad, [[0.0] * 2, [-2.0] * 2, [np.exp(0.03)] * 2], rtol=1e-6)
    np.testing.assert_array_equal(info["clip"], [[True] * 2, [False] * 2, [False] * 2])


def test_cispo_by_hand():
    """Ratios 2, 1/2, 2, 1: bounded for either sign of A, and no gradient is zero. By default not bounded below."""
    advantage = row(1, 1, -1, 2)
    args = (row(-1, -1, -1, -1), -1 - log(2, 0.5, 2, 1), advantage)
    loss, grad, info = both("cispo", *args, clip_low=0.2, clip_high=0.3)
    np.testing.assert_allclose(loss, [[1.3, 0.8, -1.3, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(grad, [[-1.3, -0.8, 1.3, -2.0]], rtol=1e-6)
    np.testing.assert_array_equal(info["clip"], [[True, True, True, False]])
    np.testing.assert_allclose(both("cispo", *args)[0], [[1.2, 0.5, -1.2, 2.0]], rtol=1e-6)


def test_ce_gppo_by_hand():
    """As for PPO; beyond the clip the gradient is the bounded value itself. Mutation: swap the betas."""
    args = (log(2, 0.5, 2, 0.5, 8), row(0, 0, 0, 0, 0), row(1, 1, -1, -1, -1))
    loss, grad, info = both("ce_gppo", *args, beta_low=0.5, beta_high=0.75, dual_clip=3.0)
    np.testing.assert_allclose(loss, [[-0.9, -0.5, 2.0, 0.4, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(grad, [[-0.9, -0.5, 2.0, 0.4, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(info["clip"], [[True, False, False, True, False]])
    np.testing.assert_array_equal(info["dual_clip"], [[False, False, False, False, True]])
    np.testing.assert_allclose(both("ce_gppo", *args)[0], [[-1.2, -0.5, 2.0, 0.4, 8.0]], rtol=1e-6)


def test_gppo_by_hand():
    args = (log(2, 0.5, 2, 0.5, 8), row(0, 0, 0, 0, 0), row(1, 1, -1, -1, -1))
    loss, grad, _ = both("gppo", *args)
    np.testing.assert_allclose(loss, [[-1.28, -0.5, 2.0, 0.8, 8.0]], rtol=1e-6)
    np.testing.assert_allclose(grad, loss, rtol=1e-6)


def test_gppo_never_has_zero_gradient_but_for_the_dual_clip_of_its_code():
    """Not even where the log-ratio is held to 20. Mutation: the clamped ratio in place of _one."""
    args = (row(-30, 30), row(0, 0), row(-1, 1))
    np.testing.assert_allclose(both("gppo", *args)[1], [[0.8, -1.28]], rtol=1e-6)
    _, grad, info = both("gppo", log(8), row(0), row(-1), dual_clip=3.0)
    assert grad == 0 and info["dual_clip"]


FOUR = (row(0, -2, 0, -2), row(0, -2, 0, -2), row(1, -1, -1, 1))


@pytest.mark.parametrize(
    "lower, upper, want",
    [(0.5, 1.5, [1, 1, 0, 0]), (1.0, 5.0, [0, 0, 0, 0]), (0.5, 1.0, [0, 0, 0, 0]), (0.999, 1.001, [1, 1, 0, 0])],
)
def test_clip_cov_has_strict_bounds(lower, upper, want):
    """Mutation: <= in place of <."""
    loss, grad, info = both("clip_cov", *FOUR, frac=1.0, lower=lower, upper=upper)
    np.testing.assert_array_equal(info["selected"], np.array([want], bool))
    free = row(-1, 1, 1, -1) * (1 - row(*want))
    np.testing.assert_array_equal(loss, free)
    np.testing.assert_allclose(grad, free, rtol=1e-6)


def test_clip_cov_leaves_what_the_clip_stopped():
    """The first token's ratio is 2.25 against the limit of 2: its value stays. Mutation: make all tokens eligible."""
    logp, _, advantage = FOUR
    loss, _, info = both("clip_cov", logp, logp - log(2.25, 1, 1, 1), advantage, frac=1.0, lower=0.5)
    np.testing.assert_allclose(loss, [[-2.0, 0.0, 1.0, -1.0]])
    np.testing.assert_array_equal(info["selected"], [[False, True, False, False]])
    np.testing.assert_array_equal(info["clip"], [[True, False, False, False]])


def test_the_covariance_is_of_the_current_policy():
    """Mutation: covariance(old_logp, ...)."""
    old = row(-0.6, -0.5, -1, -0.4)  # with these the last two would be the highest
    for name, hparams in (("clip_cov", {"lower": 0.1}), ("kl_cov", {})):
        marks = both(name, FOUR[0], old, FOUR[2], frac=0.5, **hparams)[2]
        np.testing.assert_array_equal(marks["selected"], [[True, True, False, False]], err_msg=name)


def test_random_clip_by_hand():
    """Clip-Cov would drop the first two; of positive advantage are the first and the last, and both have to go."""
    loss, _, marks = both("random_clip", *FOUR, frac=1.0, lower=0.5)
    np.testing.assert_array_equal(marks["selected"], [[True, False, False, True]])
    np.testing.assert_array_equal(loss, [[0, 1, 1, 0]])


def test_kl_cov_by_hand():
    """Ratios 2, 1/2, 2, 1/2; the two highest covariances have the penalty, whose gradient points back to r = 1."""
    old = FOUR[0] - log(2, 0.5, 2, 0.5)
    loss, grad, _ = both("kl_cov", FOUR[0], old, FOUR[2], frac=0.5, coef=3.0)
    np.testing.assert_allclose(loss, [[-2 + 3 * np.log(2), 0.5 + 3 * np.log(2), 2.0, -0.5]], rtol=1e-5)
    np.testing.assert_allclose(grad, [[-2 + 3.0, 0.5 - 3.0, 2.0, -0.5]], rtol=1e-6)


def test_kl_covs_penalty_has_no_gradient_at_ratio_one():
    """The trap: jax.grad(jnp.abs)(0.0) is 1, and would push all selected tokens down. Mutation: jnp.abs."""
    assert jax.grad(jnp.abs)(0.0) == 1.0
    _, grad, marks = both("kl_cov", *FOUR, frac=1.0, coef=3.0)
    assert marks["selected"].all()
    np.testing.assert_array_equal(grad, -FOUR[2])


def test_kl_covs_penalty_still_pulls_beyond_the_clamp():
    _, grad, _ = both("kl_cov", row(-30, 30), row(0, 0), row(1, 1), frac=1.0)
    np.testing.assert_allclose(grad, [[-1.0, 1.0]])


def test_steer_by_hand():
    """pi = 1/2: Omega / (log(2) / 2) is 0 where H = log 2, a token as expected; then 2, 1, and 1/2 with r = 2."""
    pi, old, advantage = log(0.5, 0.5, 0.5, 0.5), log(0.5, 0.5, 0.5, 0.25), row(1, 2, -1, -0.25)
    entropy = row(np.log(2), 0, 0, 0)
    loss, grad, _ = both("steer", pi, old, advantage, entropy=entropy)
    np.testing.assert_allclose(loss, [[-1.2, -2 * 0.8, 1.0, 0.5 * 1.1]], rtol=1e-6)
    np.testing.assert_allclose(grad, loss, rtol=1e-6)  # the weight has none
    loss, grad, _ = both("steer", pi, old, advantage, entropy=entropy, form="exponential")
    np.testing.assert_allclose(loss, [[-1.0, -2 * 0.8, 0.8**0.5, 0.5 * 0.8**0.25]], rtol=1e-6)
    np.testing.assert_allclose(grad, loss, rtol=1e-6)


def test_steer_where_all_change_alike_or_hardly_at_all():
    """Equal Omega: the middle of the weights. Omega far below 0.02: the exponential weights are near 1."""
    args = (log(0.5, 0.5), log(0.5, 0.5))
    np.testing.assert_allclose(both("steer", *args, row(1, -1), entropy=row(0, 0))[0], [[-1.0, 1.0]], rtol=1e-6)
    advantage = 0.01 / (np.log(2) / 2) * row(1, 0.5)
    loss, *_ = both("steer", *args, advantage, entropy=row(0, 0), form="exponential")
    np.testing.assert_allclose(loss / -advantage, [[0.8**0.5, 0.8**0.25]], rtol=1e-6)


def test_shaped_clip_cov_is_both(rng):
    """Mutation: covariance over all rows, a refinement that is dropped."""
    logp, old, advantage = (jnp.asarray(rng.normal(size=(4, 6)), jnp.float32) for _ in range(3))
    mask, refined = jnp.ones((4, 6), bool), jnp.array([False, True, False, True])
    how = {"frac": 0.5, "lower": 0.1, "upper": 9.0, "key": jax.random.key(0)}
    loss, marks = POLICY_LOSSES["shaped_clip_cov"](
        -jnp.abs(logp), -jnp.abs(old), advantage, mask, refined=refined, **how
    )
    own = mask & ~refined[:, None]
    want, of_own = POLICY_LOSSES["clip_cov"](-jnp.abs(logp), -jnp.abs(old), advantage, own, **how)
    np.testing.assert_array_equal(loss[::2], want[::2])
    np.testing.assert_array_equal(marks["selected"], of_own["selected"])
    assert marks["selected"].any()
    f, _ = POLICY_LOSSES["shaped"](-jnp.abs(logp), -jnp.abs(old), advantage, mask, refined=refined)
    np.testing.assert_allclose(loss[1::2], f[1::2], rtol=1e-6)


def test_steer_looks_at_masked_tokens_only():
    """Mutation: the minimum over all places, where omega is 0 outside the mask."""
    args = log(0.5, 0.5, 0.5), log(0.5, 0.5, 0.5), row(2, 1, 1)
    loss, _ = POLICY_LOSSES["steer"](*args, jnp.array([[True, True, False]]), entropy=row(0, 0, 0))
    np.testing.assert_allclose(loss, [[-2 * 0.8, -1.2, 0]], rtol=1e-6)


def test_shaped_by_hand():
    """f(0.1) = 1/2, f(0.3) = 3/4, f(0.9) = 9/10, with gradient gamma p / (p + gamma)^2; the second row is PPO's."""
    logp, old = jnp.tile(log(0.1, 0.3, 0.9), (2, 1)), jnp.tile(log(0.1, 0.15, 0.9), (2, 1))
    advantage = jnp.tile(row(1, -1, 2), (2, 1))
    refined = jnp.array([True, False])
    loss, grad, marks = both("shaped", logp, old, advantage, refined=refined)
    np.testing.assert_allclose(loss, [[-0.5, 0.75, -1.8], [-1, 2, -2]], rtol=1e-6)
    np.testing.assert_allclose(grad, [[-0.25, 0.1875, -0.18], [-1, 2, -2]], rtol=1e-6)
    np.testing.assert_array_equal(marks["refined"], [[True] * 3, [False] * 3])
    assert not marks["clip"].any()
    # as the paper's formula has it: what is unlikely and wrong gets no gradient
    loss, grad, marks = both("shaped", logp, old, advantage, refined=refined, clip_refined=True)
    np.testing.assert_allclose(loss[0], [-0.5, 0.8, -1.8], rtol=1e-6)
    np.testing.assert_allclose(grad[0], [-0.25, 0, -0.18], rtol=1e-6)
    np.testing.assert_array_equal(marks["clip"], [[False, True, False], [False] * 3])
