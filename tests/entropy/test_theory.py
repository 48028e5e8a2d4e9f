import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.entropy import theory

# On tables of softmax policies, in float64. A law "to order n" is held by the slope of its error over the step on
# doubly logarithmic paper, which a wrong coefficient turns into n - 1 or less.
ETAS = np.geomspace(1e-4, 1e-2, 9)


def table(rng, states=6, actions=8):
    """A random softmax policy and an advantage with mean 0 under it."""
    with jax.enable_x64(True):
        logits = jnp.asarray(rng.normal(size=(states, actions)))
        a = jnp.asarray(rng.normal(size=(states, actions)))
        return logits, a - jnp.sum(jax.nn.softmax(logits) * a, axis=-1, keepdims=True)


def measured(logits, change):
    return theory.entropy_of(logits + change) - theory.entropy_of(logits)


def slopes(error):
    """Slope of log|error(eta)| over log eta, for every state: error of ETAS stacked, f64[len(ETAS), S]."""
    return np.polyfit(np.log(ETAS), np.log(np.abs(np.stack([error(eta) for eta in ETAS]))), 1)[0]


def sampled(logits, token):
    """onehot(token) - p: the gradient of log p(token), for every state of a table."""
    return jax.nn.one_hot(token, logits.shape[-1], dtype=logits.dtype) - jax.nn.softmax(logits)


def policy_gradient(logits, advantage, eta):
    """dH(s) = -eta Cov_{a ~ pi}(log pi(a|s), pi(a|s) A(s, a)): arXiv:2505.22617, Theorem 1, of z' = z + eta pi A."""
    return -eta * theory.cov_under_policy(logits, jax.nn.softmax(logits, axis=-1) * advantage)


def natural_gradient(logits, advantage, eta):
    """dH(s) = -eta Cov_{a ~ pi}(log pi(a|s), A(s, a)): Theorem 2, of z' = z + eta A."""
    return -eta * theory.cov_under_policy(logits, advantage)


def random_reward(logits, scale):
    """Mean entropy change when advantages say nothing about the tokens: E[dH] = -c Phi(pi) eta^2 (arXiv:2512.16912).

    For z' = z + eta / G sum_{j <= G} A_j (onehot(i_j) - p), with i_j ~ p drawn apart and A of mean 0 that does not
    depend on them, the first order vanishes in the mean. Of the second (`change_second_order`) the products of
    different j vanish too, and with q_n = sum_a p_a^n there remains

        E[dH] = -(scale^2 / 2) sum_a p_a (1 + log p_a + H) (p_a - 3 p_a^2 + 2 p_a q_2 + q_3 - q_2^2) + O(eta^3)

    where scale^2 = eta^2 E[A^2] / G; the error is O(eta^4) where A and -A are equally likely. Phi may have either sign:
    a uniform policy loses entropy, one with a dominant action and a thin tail gains.

    Departs from the paper, whose step is pi' ~ pi exp(eta A~) with advantages divided by pi: this is the Phi of the
    plain gradient, derived here from H''.
    """
    log_p, p, entropy = theory._policy(logits)
    q2, q3 = (jnp.sum(p**n, axis=-1, keepdims=True) for n in (2, 3))
    spread = p - 3 * p**2 + 2 * p * q2 + q3 - q2**2  # E[(d_a - E_p[d])^2] at scale 1
    return -0.5 * scale**2 * jnp.sum(p * (1 + log_p + entropy) * spread, axis=-1)


@pytest.mark.parametrize(
    "theorem, gradient",
    [(policy_gradient, lambda z, a: jax.nn.softmax(z) * a), (natural_gradient, lambda z, a: a)],
)
def test_theorems_1_and_2_hold_to_second_order(rng, theorem, gradient):
    """dH + eta Cov = O(eta^2), at every state. Mutation: a factor of pi too many or too few."""
    with jax.enable_x64(True):
        logits, advantage = table(rng)
        change = lambda eta: measured(logits, eta * gradient(logits, advantage))  # noqa: E731
        np.testing.assert_allclose(slopes(lambda eta: change(eta) - theorem(logits, advantage, eta)), 2.0, atol=0.05)
        np.testing.assert_allclose(slopes(change), 1.0, atol=0.05)  # there is a first order to be predicted
        assert np.all(np.sign(change(1e-4)) == np.sign(theorem(logits, advantage, 1e-4)))


def test_two_orders_of_any_change_of_logits(rng):
    """Lemma 1 leaves O(|d|^2), with the second order O(|d|^3). Mutation: the 1 of 1 + log p + H forgotten."""
    with jax.enable_x64(True):
        logits, direction = table(rng)
        first = lambda e: theory.change_first_order(logits, logits + e * direction)  # noqa: E731
        second = lambda e: theory.change_second_order(logits, logits + e * direction)  # noqa: E731
        error = lambda e: measured(logits, e * direction) - first(e)  # noqa: E731
        np.testing.assert_allclose(slopes(error), 2.0, atol=0.05)
        np.testing.assert_allclose(slopes(lambda e: error(e) - second(e)), 3.0, atol=0.05)
        np.testing.assert_allclose(second(1.0), second(-1.0), rtol=1e-12)  # even, and blind to a constant
        np.testing.assert_allclose(theory.change_second_order(logits, logits + direction + 3.0), second(1.0), rtol=1e-9)


def test_orders_are_the_derivatives(rng):
    """Against automatic differentiation, forward over forward and by the Hessian."""
    with jax.enable_x64(True):
        z, d = (x[0] for x in table(rng, actions=5))
        slope = lambda t: jax.jvp(theory.entropy_of, (z + t * d,), (d,))[1]  # noqa: E731
        first, twice = jax.jvp(slope, (0.0,), (1.0,))
        np.testing.assert_allclose(theory.change_first_order(z, z + d), first, rtol=1e-12)
        np.testing.assert_allclose(theory.change_second_order(z, z + d), twice / 2, rtol=1e-12)
        np.testing.assert_allclose(twice, d @ jax.hessian(theory.entropy_of)(z) @ d, rtol=1e-12)


def test_second_order_by_hand():
    """Two equal actions, d = (1, -1): H'' = -(1 + ln 1/2 + ln 2) * 1 = -1."""
    np.testing.assert_allclose(theory.change_second_order(jnp.zeros(2), jnp.array([1.0, -1.0])), -0.5, rtol=1e-6)


def test_polarity_turns_at_exp_minus_entropy(rng):
    """A bump of one logit lowers the entropy iff p > exp(-H). Mutation: H with the wrong sign."""
    with jax.enable_x64(True):
        logits, _ = table(rng)
        log_p, h = jax.nn.log_softmax(logits), theory.entropy_of(logits)[:, None]
        s = theory.polarity(log_p, h)
        np.testing.assert_array_equal(s > 0, jnp.exp(log_p) > jnp.exp(-h))
        assert 0 < np.mean(s > 0) < 1
        for action in range(logits.shape[1]):
            bump = 1e-6 * jax.nn.one_hot(action, logits.shape[1], dtype=logits.dtype)
            np.testing.assert_allclose(measured(logits, bump[None]) / -1e-6, s[:, action], rtol=1e-3, atol=1e-5)


def test_theorem_3_3_is_first_order_of_the_tokens_gradient(rng):
    with jax.enable_x64(True):
        logits, _ = table(rng)
        token, alpha = jnp.arange(6), jnp.linspace(-1.0, 1.0, 6)
        change = alpha[:, None] * sampled(logits, token)
        predicted = theory.change_single_token(logits, token, alpha)
        np.testing.assert_allclose(predicted, theory.change_first_order(logits, logits + change), rtol=1e-10)
        error = lambda e: measured(logits, e * change) - theory.change_single_token(logits, token, e * alpha)  # noqa: E731
        np.testing.assert_allclose(slopes(error), 2.0, atol=0.05)


def test_theorem_1_is_the_mean_of_theorem_3_3(rng):
    """Exactly, over tokens drawn from the policy. Mutation: E[S] left out, seen once the advantage has a mean."""
    with jax.enable_x64(True):
        logits, advantage = table(rng)
        p, eta = jax.nn.softmax(logits), 0.1
        for offset in (0.0, 0.7):  # REINFORCE's gradient does not see a constant in the advantage
            each = [
                p[:, i] * theory.change_single_token(logits, jnp.full(6, i), eta * (advantage[:, i] + offset))
                for i in range(8)
            ]
            np.testing.assert_allclose(sum(each), policy_gradient(logits, advantage, eta), rtol=1e-12)


def test_random_rewards_move_the_entropy_at_second_order(rng):
    """Exact mean over all tokens and both signs of the advantage: no first order, -c Phi eta^2, then eta^4.

    Mutation: any coefficient of Phi; E[A^2] forgotten in the scale.
    """
    with jax.enable_x64(True):
        logits, _ = table(rng)
        p, a = jax.nn.softmax(logits), 1.5
        outcomes = list(itertools.product(range(8), (-a, a)))

        def mean(change):
            """Mean over the outcomes of change(d), with d = A (onehot(i) - p) for a step of 1."""
            return sum(p[:, i] / 2 * change(x * sampled(logits, jnp.full(6, i))) for i, x in outcomes)

        phi = lambda eta: random_reward(logits, eta * a)  # noqa: E731
        np.testing.assert_allclose(mean(lambda d: theory.change_first_order(logits, logits + d)), 0.0, atol=1e-14)
        np.testing.assert_allclose(
            mean(lambda d: theory.change_second_order(logits, logits + d)), phi(1.0), rtol=1e-12, atol=1e-14
        )
        steps = np.geomspace(0.05, 0.2, 5)  # the error is of order 4: below, it drowns in rounding
        got = np.stack([mean(lambda d, e=e: measured(logits, e * d)) for e in steps])
        error = got - np.stack([phi(e) for e in steps])
        np.testing.assert_allclose(np.polyfit(np.log(steps), np.log(np.abs(got)), 1)[0], 2.0, atol=0.1)
        np.testing.assert_allclose(np.polyfit(np.log(steps), np.log(np.abs(error)), 1)[0], 4.0, atol=0.1)


def test_random_rewards_either_raise_or_lower_the_entropy():
    """A uniform policy sharpens. One dominant action with a thin tail spreads."""
    assert random_reward(jnp.zeros(8), 0.1) < 0
    assert random_reward(jnp.array([3.0] + [0.0] * 7), 0.1) > 0


def test_random_rewards_by_sampling(rng):
    """200,000 updates from groups of 8 with centred coin-flip rewards, one state: what a run would see.

    The mean first order is 0 and the mean change is the second order, each within 4 standard errors, while the change
    itself is many away from 0. Centring within a group takes nothing from the law but E[A^2] = (1 - 1/8) / 4.
    """
    with jax.enable_x64(True):
        logits = jnp.asarray([[2.0, 0.5, 0.0, -0.5, -1.0]])
        n, g, eta = 200_000, 8, 0.5
        p = np.asarray(jax.nn.softmax(logits))[0]
        tokens = rng.choice(5, size=(n, g), p=p)
        reward = rng.integers(0, 2, size=(n, g)).astype(float)
        advantage = reward - reward.mean(axis=1, keepdims=True)
        d = np.stack([np.sum(advantage * (tokens == a), axis=1) for a in range(5)], axis=1) * eta / g
        change = np.asarray(measured(logits, d))  # sum_j A_j = 0: the -p of each token cancels
        first = np.asarray(theory.change_first_order(logits, logits + d))
        predicted = float(random_reward(logits, eta * np.sqrt((1 - 1 / g) / 4 / g))[0])
        error = lambda x: x.std() / np.sqrt(n)  # noqa: E731
        assert abs(first.mean()) < 4 * error(first)
        rest = change - first  # without the first order's noise, which is far larger than the mean sought
        assert abs(rest.mean() - predicted) < 4 * error(rest) + 0.05 * abs(predicted)  # 5 %: the order eta^4
        assert abs(predicted) > 20 * error(rest)
        assert abs(change.mean() - predicted) < 4 * error(change) + 0.05 * abs(predicted)
