import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses.kl import KL

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "verl_losses.json").read_text())
LOGP, REF = (jnp.asarray(GOLDEN["inputs"][k], jnp.float32) for k in ("logp", "ref_logp"))


@pytest.mark.parametrize("name, golden", [("k1", "klpen_kl"), ("k2", "klpen_mse"), ("k3", "klpen_low_var_kl")])
def test_golden(name, golden):
    np.testing.assert_allclose(KL[name](LOGP, REF), GOLDEN["losses"][golden], atol=1e-6)


def test_by_hand():
    d = jnp.log(jnp.array([[0.25, 1.0, 2.0]]))
    zero = jnp.zeros((1, 3))
    np.testing.assert_allclose(KL["k1"](d, zero), [[-2 * np.log(2), 0, np.log(2)]], rtol=1e-6)
    np.testing.assert_allclose(KL["k2"](d, zero), [[2 * np.log(2) ** 2, 0, np.log(2) ** 2 / 2]], rtol=1e-6)
    np.testing.assert_allclose(KL["k3"](d, zero), [[3 - 2 * np.log(2), 0, np.log(2) - 0.5]], rtol=1e-6)


def test_k3_is_held_as_in_verl():
    """d = -2.6 and 10 are free, -2.7 and 12 are held at 10 and have no gradient. Mutation: no bound."""
    d = jnp.array([-2.6, 10.0, -2.7, 12.0, -1e4, 1e4])
    value, grad = jax.vmap(jax.value_and_grad(KL["k3"]), in_axes=(0, None))(d, 0.0)
    np.testing.assert_allclose(value, [np.exp(2.6) - 3.6, 9, 10, 10, 10, 10], rtol=1e-5)
    np.testing.assert_allclose(grad, [1 - np.exp(2.6), 1 - np.exp(-10.0), 0, 0, 0, 0], rtol=1e-5)


def expected(name, z, reference):
    """E_{a ~ pi}[k(a)] with the sampling held fixed, as a loss on sampled tokens sees it."""
    log_pi = jax.nn.log_softmax(z)
    return jnp.sum(jax.lax.stop_gradient(jnp.exp(log_pi)) * KL[name](log_pi, jax.nn.log_softmax(reference)))


def divergence(z, reference):
    return jnp.sum(jax.nn.softmax(z) * (jax.nn.log_softmax(z) - jax.nn.log_softmax(reference)))


Z, Z_REF = jnp.array([0.3, -0.5, 0.9, 0.1]), jnp.array([-0.4, 0.2, 0.5, 0.6])


def test_k1_and_k3_are_unbiased_and_k2_nearly():
    want = divergence(Z, Z_REF)
    np.testing.assert_allclose(expected("k1", Z, Z_REF), want, rtol=1e-5)
    np.testing.assert_allclose(expected("k3", Z, Z_REF), want, rtol=1e-5)
    near = [s * jnp.array([2.0, 0.0, 0.0, 0.0]) for s in (0.4, 0.2)]
    bias = [float(expected("k2", z, 0 * z) - divergence(z, 0 * z)) for z in near]
    assert 7 < bias[0] / bias[1] < 8  # third order: halving the distance leaves about an eighth


@pytest.mark.parametrize(
    "name, objective",
    [
        ("k1", lambda z: jnp.sum(0.0 * z)),
        ("k2", lambda z: divergence(z, Z_REF)),
        ("k3", lambda z: divergence(Z_REF, z)),
    ],
)
def test_gradients_are_those_of_the_docstring(name, objective):
    """Mutation: k2 and k3 swapped; logp and ref_logp swapped."""
    got = jax.grad(lambda z: expected(name, z, Z_REF))(Z)
    np.testing.assert_allclose(got, jax.grad(objective)(Z), atol=1e-6)


@pytest.mark.parametrize("name", KL)
class TestLaws:
    """What holds for every row of the table."""

    def test_zero_where_the_policies_agree(self, name):
        assert not np.any(KL[name](LOGP, LOGP))

    def test_jit_is_eager(self, name):
        np.testing.assert_allclose(jax.jit(KL[name])(LOGP, REF), KL[name](LOGP, REF), atol=1e-6)

    def test_huge_distances_stay_finite(self, name):
        value, grad = jax.vmap(jax.value_and_grad(KL[name]), in_axes=(0, None))(jnp.array([-1e4, 1e4]), 0.0)
        assert np.isfinite(value).all() and np.isfinite(grad).all()

    def test_never_negative_but_for_k1(self, name):
        """k1 is negative wherever the policy holds a token less likely than the reference does."""
        assert (float(jnp.min(KL[name](LOGP, REF))) < 0) == (name == "k1")
