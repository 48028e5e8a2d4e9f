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


def test_dppo_tv_by_hand():
    """Probabilities .1 to .4 (too far up), .5 to .4, .8 to .5 (too far down), .5 to .9 with A < 0, .01 to .1: a ratio
    of 10 that PPO would clip, and 25 for a cap of 20. Mutations: bounds on the ratio; swapped bounds."""
    p, q = (0.4, 0.4, 0.5, 0.9, 0.1, 0.15), (0.1, 0.5, 0.8, 0.5, 0.01, 0.006)
    advantage = row(1, 1, -1, -1, 2, 1)
    loss, grad, info = both("dppo_tv", log(*p), log(*q), advantage)
    weight = np.array([0, 0.8, 0, 1.8, 10, 20])
    np.testing.assert_allclose(grad, [-weight * advantage[0]], rtol=1e-5)
    np.testing.assert_allclose(loss, [-weight * advantage[0] * np.log(p)], rtol=1e-5)
    np.testing.assert_array_equal(info["clip"], [[True, False, True, False, False, False]])
    np.testing.assert_array_equal(info["cap"], [[False] * 5 + [True]])
    np.testing.assert_array_equal(both("dppo_tv", log(0.4), log(0.1), row(1), delta_high=0.31)[2]["clip"], [[False]])
    np.testing.assert_array_equal(both("dppo_tv", log(0.1), log(0.4), row(1))[2]["clip"], [[False]], "down is free")


def test_dppo_kl_by_hand():
    """From .5 to .7: .5 ln(5/7) + .5 ln(5/3) = .0872. To .6: .0204. Moves that help A are stopped, others are not."""
    p, q = (0.7, 0.6, 0.3, 0.4, 0.3, 0.7), (0.5,) * 6
    info = both("dppo_kl", log(*p), log(*q), row(1, 1, -1, -1, 1, -1))[2]
    np.testing.assert_array_equal(info["clip"], [[True, False, True, False, False, False]])
    for delta, clip in ((0.0871, True), (0.0873, False)):
        assert both("dppo_kl", log(0.7), log(0.5), row(1), delta_high=delta)[2]["clip"].item() is clip
        assert both("dppo_kl", log(0.3), log(0.5), row(-1), delta_low=delta)[2]["clip"].item() is clip


def test_sapo_by_hand():
    """At r = 1 the value is -2 A / tau and the gradient -A; at r = 1 + ln 3 / tau the sigmoid is 3/4."""
    np.testing.assert_allclose(both("sapo", log(1, 1), log(1, 1), row(1, -1))[0], [[-2, 2 / 1.05]], rtol=1e-6)
    r = 1 + np.log(3) / np.array([1.0, 1.05])
    loss, grad, marks = both("sapo", log(*r), row(0, 0), row(1, -1))
    np.testing.assert_allclose(loss, [[-3, 3 / 1.05]], rtol=1e-6)
    np.testing.assert_allclose(grad, [[-0.75 * r[0], 0.75 * r[1]]], rtol=1e-6)
    assert marks == {}


def test_gmpo_by_hand():
    """Log-ratios .6 -.6 against clips of .4, one-sided: means (.4 - .6) / 2 and (.6 - .4) / 2. Mutation: two-sided."""
    gap = jnp.array([[0.6, -0.6], [0.6, -0.6], [0.6, -0.6]])
    advantage = jnp.array([[2.0] * 2, [-2.0] * 2, [0.0] * 2])
    loss, grad, info = both("gmpo", gap, jnp.zeros((3, 2)), advantage)
    s = np.exp([[-0.1], [0.1], [0.0]])
    np.testing.assert_allclose(loss, -advantage * s, rtol=1e-6)
    want = [[0, -2], [2, 0], [0, 0]] * s  # both tokens' losses share s, of which each has half the gradient
    np.testing.assert_allclose(grad, want, rtol=1e-6)
    np.testing.assert_array_equal(info["clip"], [[True, False], [False, True], [False, False]])


def test_aspo_by_hand():
    """Ratios .5 1.1 2 (clipped) .2 (5, cut to 3) for A = 1; 2, .5 (clipped), 5 (cut to 3) for A = -1."""
    r = (0.5, 1.1, 2, 0.2, 2, 0.5, 5)
    loss, grad, info = both("aspo", log(*r), row(*[0] * 7), row(1, 1, 1, 1, -1, -1, -1))
    np.testing.assert_allclose(grad, [[-2, -1 / 1.1, 0, -3, 2, 0, 3]], rtol=1e-6)
    np.testing.assert_allclose(
        loss, [[-2, -1 / 1.1, -1 / 1.2, -3 * np.log(0.2), 2, 0.8, 3 * np.log(5)]], rtol=1e-5
    )
    np.testing.assert_array_equal(info["clip"], [[False, False, True, False, False, True, False]])
    np.testing.assert_array_equal(info["cap"], [[False, False, False, True, False, False, True]])


def test_bapo_by_hand():
    """Positive ratios 1.15 and 1.97, negative 1, .72 and .63. P = 1.15 is the share .33 with all negative tokens, .4007
    once the lower bound has passed .63, .53 above .72. For .7 the upper bound must reach 2: P = 3.12 of 4.12. For .99
    both bounds go to their ends. Mutations: the upper bound first; a stopped token counted at its bound."""
    args = (log(1.15, 1.97, 1, 0.72, 0.63), row(0, 0, 0, 0, 0), row(1, 1, -1, -1, -1))
    grad = lambda **kw: both("bapo", *args, **kw)[1][0]  # noqa: E731
    np.testing.assert_allclose(grad(share=0.3), [-1.15, 0, 1, 0.72, 0.63], rtol=1e-6)
    np.testing.assert_allclose(grad(share=0.4), [-1.15, 0, 1, 0.72, 0], rtol=1e-6)
    np.testing.assert_allclose(grad(), [-1.15, 0, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(grad(share=0.7), [-1.15, -1.97, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(grad(share=0.99, high_max=1.8), [-1.15, 0, 1, 0, 0], rtol=1e-6)


def test_erc_by_hand():
    """Entropies .5 to .53 (1.06), to .52, to .47, to .48. Mutations: the gradient of the entropy; a band of 2."""
    entropy, old = row(0.53, 0.52, 0.47, 0.48, 0.53), row(*[0.5] * 5)
    args = (log(1, 1, 1, 2, 2), row(0, 0, 0, 0, 0), row(1, 1, 1, 1, 1))
    loss, grad, info = both("erc", *args, entropy=entropy, old_entropy=old)
    np.testing.assert_allclose(grad, [[0, -1, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(loss, [[0, -1, 0, -1.28, 0]], rtol=1e-6)
    np.testing.assert_array_equal(info["band"], [[True, False, True, False, True]])
    np.testing.assert_array_equal(info["clip"], [[False, False, False, True, False]])


def test_lp_reg_by_hand():
    """Of four negative tokens the two least likely are .1 and .05; the filter keeps .1 (as .2) and drops .05.

    At pi = .1 and pi~ = .2: k3 = 2 - 1 - ln 2, with the gradient 1 - 2. Mutations: positive tokens ranked too; k3
    turned round.
    """
    logp = log(0.1, 0.05, 0.5, 0.6, 0.01)
    filtered = jnp.where(logp < np.log(0.07), -jnp.inf, logp + np.log(2.0))
    args = (logp, logp, row(-1, -1, -1, -1, 1))
    loss, grad, info = both("lp_reg", *args, filtered_logp=filtered, frac=0.5, coef=3.0)
    np.testing.assert_allclose(grad, [[1 - 3, 1, 1, 1, -1]], rtol=1e-5)
    np.testing.assert_allclose(loss, [[1 + 3 * (1 - np.log(2)), 1, 1, 1, -1]], rtol=1e-5)
    np.testing.assert_array_equal(info["selected"], [[True, False, False, False, False]])
    above = both("lp_reg", *args, filtered_logp=filtered - 1.0, frac=0.5)[2]  # already more likely than the target
    assert not above["selected"].any()
