"""Divergences worked out by hand, against whole logits, and against trl's own (tests/golden/trl_sdpo.py)."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses import distillation
from entropy_rl.losses.importance import token_cap

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "trl_sdpo.json").read_text())


def log(*p):
    return jnp.log(jnp.array(p, jnp.float32))


def test_divergences_by_hand():
    """pi = (1/2, 1/2), nu = (1/4, 3/4): m = (3/8, 5/8) at alpha 1/2. Mutations: the two KLs swapped; the mixture's
    shares swapped, which alpha 1/4 shows."""
    pi, nu = log(0.5, 0.5), log(0.25, 0.75)
    forward = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    reverse = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    middle = 0.5 * (0.5 * np.log(4 / 3) + 0.5 * np.log(4 / 5)) + 0.5 * (0.25 * np.log(2 / 3) + 0.75 * np.log(6 / 5))
    m = 0.75 * np.array([0.5, 0.5]) + 0.25 * np.array([0.25, 0.75])
    quarter = 0.75 * (0.5 * np.log(0.25 / m.prod())) + 0.25 * (0.25 * np.log(0.25 / m[0]) + 0.75 * np.log(0.75 / m[1]))
    for alpha, want in ((0.0, forward), (1.0, reverse), (0.5, middle), (0.25, quarter)):
        np.testing.assert_allclose(distillation.divergence(pi, nu, alpha), want, rtol=1e-5)
        assert abs(float(distillation.divergence(pi, pi, alpha))) < 1e-6


def test_the_gradient_of_the_reverse_kl_by_hand():
    """d KL(pi | nu) / dz_j = pi_j (ln pi_j/nu_j - KL); none to the teacher where it is stopped."""
    z, nu = jnp.array([0.3, -1.0, 0.7]), log(0.2, 0.3, 0.5)
    grad = jax.grad(lambda z: distillation.divergence(jax.nn.log_softmax(z), nu, 1.0))(z)
    p = np.asarray(jax.nn.softmax(z))
    gap = np.log(p) - np.asarray(nu)
    np.testing.assert_allclose(grad, p * (gap - (p * gap).sum()), atol=1e-6)


def test_the_tail_is_what_is_left():
    """Of (.5, .3, .2) two, and of a whole distribution next to nothing. Mutation: no tail, which sums to .8."""
    np.testing.assert_allclose(jnp.exp(distillation.with_tail(log(0.5, 0.3))), [0.5, 0.3, 0.2], rtol=1e-5)
    whole = distillation.with_tail(log(0.5, 0.5))
    assert np.isfinite(whole).all() and np.exp(whole[-1]) < 1e-6
    pi, nu = log(0.5, 0.3), log(0.1, 0.2)
    want = distillation.divergence(log(0.5, 0.3, 0.2), log(0.1, 0.2, 0.7), 0.5)
    np.testing.assert_allclose(distillation.lumped(pi, nu, 0.5, tail=True), want, rtol=1e-5)


def plain(student, teacher, ids, alpha):
    """On whole logits: softmax, the tokens `ids` and all others together."""
    p, q = jax.nn.softmax(student), jax.nn.softmax(teacher)
    p, q = (jnp.take_along_axis(a, ids, -1) for a in (p, q))
    p, q = (jnp.concatenate([a, 1 - a.sum(-1, keepdims=True)], -1) for a in (p, q))
    if alpha in (0, 1):
        a, b = (p, q) if alpha == 1 else (q, p)
        return (a * jnp.log(a / b)).sum(-1)
    m = (1 - alpha) * p + alpha * q
    return ((1 - alpha) * p * jnp.log(p / m) + alpha * q * jnp.log(q / m)).sum(-1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_values_and_gradients_against_whole_logits(rng, alpha):
    student, teacher = rng.normal(size=(2, 3, 4, 20)).astype("f4")
    ids = jax.lax.top_k(student, 5)[1]

    def ours(z):
        at = lambda a: jnp.take_along_axis(jax.nn.log_softmax(a), ids, -1)  # noqa: E731
        return distillation.lumped(at(z), at(teacher), alpha, tail=True)

    for f, g in ((ours, plain), (jax.grad(lambda z: ours(z).sum()), jax.grad(lambda *a: plain(*a).sum()))):
        np.testing.assert_allclose(f(student), g(student, teacher, ids, alpha), atol=1e-5)


@pytest.mark.parametrize("case", GOLDEN["losses"], ids=lambda c: f"{c['alpha']}-{'whole' if c['whole'] else 'top'}")
def test_it_is_that_of_trl(case):
    """Losses, what the ratio to the sampler makes of them, and its gradient. Mutations: a ratio with a gradient, or
    without its cap; the teacher's likeliest tokens in place of the policy's."""
    student, teacher, old = (jnp.array(GOLDEN[k], jnp.float32) for k in ("student", "teacher", "old_logp"))
    chosen = jnp.array(GOLDEN["ids"])[..., None]

    def total(z):
        logp = jax.nn.log_softmax(z)
        ids = jax.lax.top_k(z, z.shape[-1] if case["whole"] else GOLDEN["top"])[1]
        at = lambda a: jnp.take_along_axis(a, ids, -1)  # noqa: E731
        loss = distillation.lumped(at(logp), at(jax.nn.log_softmax(teacher)), case["alpha"], tail=not case["whole"])
        own = jnp.take_along_axis(logp, chosen, -1)[..., 0]
        clipped = loss * token_cap(own, old, jnp.ones(old.shape, bool), cap=GOLDEN["clip"])
        return clipped.sum(), (loss, clipped)

    grad, (loss, clipped) = jax.grad(total, has_aux=True)(student)
    for got, name in ((loss, "loss"), (clipped, "clipped"), (grad, "grad")):
        np.testing.assert_allclose(got, case[name], atol=1e-5)
