import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "verl_losses.json").read_text())
IN = {k: jnp.asarray(v, jnp.float32) for k, v in GOLDEN["inputs"].items()}
MASK = IN["mask"] > 0


@pytest.mark.parametrize(
    "golden, loss, hparams, weight, args",
    [
        ("ppo|token-mean", "ppo", {"dual_clip": 3.0}, "token_mean", {}),
        ("ppo|seq-mean-token-sum", "ppo", {"dual_clip": 3.0}, "sequence_sum", {}),
        ("ppo|seq-mean-token-mean", "ppo", {"dual_clip": 3.0}, "sequence_mean", {}),
        ("ppo|seq-mean-token-sum-norm", "ppo", {"dual_clip": 3.0}, "fixed_length", {"length": 17}),
        ("ppo_cliphigher_c10|token-mean", "ppo", {"clip_high": 0.28, "dual_clip": 10.0}, "token_mean", {}),
    ],
)
def test_golden_losses_and_gradients(golden, loss, hparams, weight, args):
    def total(logp):
        token_loss, _ = POLICY_LOSSES[loss](logp, IN["old_logp"], IN["advantage"], MASK, **hparams)
        return jnp.sum(WEIGHTS[weight](MASK, **args) * token_loss)

    value, grad = jax.value_and_grad(total)(IN["logp"])
    np.testing.assert_allclose(value, GOLDEN["losses"][golden]["loss"], rtol=1e-6)
    np.testing.assert_allclose(grad, GOLDEN["losses"][golden]["grad"], atol=1e-6)


def test_ppo_by_hand():
    """Ratios 2, 1/2, 2, 1/2, 8 against clips of 0.2 and a dual clip of 3."""
    logp = jnp.log(jnp.array([[2.0, 0.5, 2.0, 0.5, 8.0]]))
    advantage = jnp.array([[1.0, 1.0, -1.0, -1.0, -1.0]])
    mask = jnp.ones((1, 5), bool)
    loss, info = POLICY_LOSSES["ppo"](logp, jnp.zeros((1, 5)), advantage, mask, dual_clip=3.0)
    np.testing.assert_allclose(loss, [[-1.2, -0.5, 2.0, 0.8, 3.0]], rtol=1e-6)
    np.testing.assert_array_equal(info["clip"], [[True, False, False, True, False]])
    np.testing.assert_array_equal(info["dual_clip"], [[False, False, False, False, True]])


def test_a_dual_clip_below_one_is_refused():
    with pytest.raises(ValueError, match="dual_clip"):
        POLICY_LOSSES["ppo"](*[jnp.zeros((1, 1))] * 3, jnp.ones((1, 1), bool), dual_clip=0.5)


@pytest.mark.parametrize("name", POLICY_LOSSES)
class TestLaws:
    """What holds for every row of the table."""

    def total(self, name, logp, old_logp, advantage, mask):
        token_loss, _ = POLICY_LOSSES[name](logp, old_logp, advantage, mask, key=jax.random.key(0))
        return jnp.sum(WEIGHTS["token_mean"](mask) * token_loss)

    def test_masked_junk_is_invisible(self, name):
        """Mutation: multiply by the mask instead of selecting with it."""
        clean = [jnp.where(MASK, IN[k], 0.0) for k in ("logp", "old_logp", "advantage")]
        junk = [jnp.where(MASK, x, jnp.nan) for x in clean]
        f = jax.value_and_grad(lambda *a: self.total(name, *a, MASK))
        (a, grad_a), (b, grad_b) = f(*clean), f(*junk)
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(grad_a, grad_b)
        _, marks = POLICY_LOSSES[name](*junk, MASK, key=jax.random.key(0))
        for mark in marks.values():
            assert not np.any(mark & ~MASK)

    def test_nothing_masked_in_gives_zero(self, name):
        none = jnp.zeros_like(MASK)
        value, grad = jax.value_and_grad(lambda x: self.total(name, x, IN["old_logp"], IN["advantage"], none))(
            IN["logp"]
        )
        assert value == 0.0 and not np.any(grad)

    def test_jit_is_eager(self, name):
        args = (IN["logp"], IN["old_logp"], IN["advantage"])
        f = lambda *a: self.total(name, *a, MASK)  # noqa: E731
        np.testing.assert_allclose(jax.jit(f)(*args), f(*args), rtol=1e-6)

    def test_on_policy_gradient_is_reinforce(self, name):
        """At pi = pi_old the gradient is -w A. Mutation: a wrong sign, a clip around 0."""
        grad = jax.grad(lambda x: self.total(name, x, IN["logp"], IN["advantage"], MASK))(IN["logp"])
        want = jnp.where(MASK, -IN["advantage"], 0.0) / MASK.sum()
        np.testing.assert_allclose(grad, want, atol=1e-7)

    def test_permuting_rows_permutes_the_result(self, name, rng):
        order = rng.permutation(12)
        args = [IN[k] for k in ("logp", "old_logp", "advantage")] + [MASK]
        whole, _ = POLICY_LOSSES[name](*args, key=jax.random.key(0))
        mixed, _ = POLICY_LOSSES[name](*(x[order] for x in args), key=jax.random.key(0))
        np.testing.assert_allclose(mixed, whole[order], rtol=1e-6)

    def test_a_huge_log_ratio_stays_finite(self, name):
        logp = jnp.array([[-1e4, 1e3]])
        value, grad = jax.value_and_grad(
            lambda x: self.total(name, x, jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones((1, 2), bool))
        )(logp)
        assert np.isfinite(value) and np.isfinite(grad).all()

    def test_a_bandit_improves(self, name):
        """200 steps on three arms with rewards 0, 0.5, 1: the best arm ends above 0.9."""
        key, logits = jax.random.key(1), jnp.zeros(3)

        @jax.jit
        def step(logits, key):
            arms = jax.random.categorical(key, logits, shape=(64,))
            advantage = arms / 2 - jnp.mean(arms / 2)
            old = jax.nn.log_softmax(logits)[arms]

            def loss(z):
                logp = jax.nn.log_softmax(z)[arms]
                return self.total(name, logp[:, None], old[:, None], advantage[:, None], jnp.ones((64, 1), bool))

            return logits - 0.5 * jax.grad(loss)(logits)

        for k in jax.random.split(key, 200):
            logits = step(logits, k)
        assert jax.nn.softmax(logits)[2] > 0.9
