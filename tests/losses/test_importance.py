"""Corrections of the mismatch of sampler and learner: verl's numbers, and each row by hand."""

import inspect
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.losses.importance import IMPORTANCE, statistics

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "verl_losses_2026.json").read_text())
IN = {k: jnp.asarray(v, jnp.float32) for k, v in GOLDEN["inputs"].items()}
ARGS = (IN["old_logp"], IN["sampler_logp"], IN["mask"] > 0)

# Three responses; weights 2, 1/2, 1 (product 1), 4, 3/2 (6), and 1/8, 1 (1/8); their geometric means 1, 2.449, .354.
MASK = jnp.array([[True, True, True], [False, True, True], [True, True, False]])
W = jnp.array([[2.0, 0.5, 1.0], [9.0, 4.0, 1.5], [0.125, 1.0, 9.0]])
ADVANTAGE = jnp.array([[-1.0] * 3, [-1.0] * 3, [-1.0] * 3])


def call(name, logp, sampler_logp, mask, advantage=None, **hparams):
    row = IMPORTANCE[name]
    more = {"advantage": advantage} if "advantage" in inspect.signature(row).parameters else {}
    return row(logp, sampler_logp, mask, **more, **hparams)


def by_hand(name, advantage=ADVANTAGE, **hparams):
    return call(name, jnp.log(W) - 3.0, jnp.full(W.shape, -3.0), MASK, advantage, **hparams)


@pytest.mark.parametrize(
    "golden, name, hparams",
    [
        ("token_cap_2", "token_cap", {"cap": 2.0}),
        ("sequence_cap_2", "sequence_cap", {"cap": 2.0}),
        ("token_band_.5_5 (IcePop)", "token_band", {"low": 0.5, "high": 5.0}),
    ],
)
def test_golden(golden, name, hparams):
    """verl 0.9.1, and the defaults are these. Mutations: sampler over learner; the mean for the sum over a response."""
    (want,) = GOLDEN["corrections"][golden]
    np.testing.assert_allclose(call(name, *ARGS, **hparams), want, atol=1e-6, rtol=1e-6)
    np.testing.assert_array_equal(call(name, *ARGS), call(name, *ARGS, **hparams))


@pytest.mark.parametrize(
    "name, hparams, want",
    [
        ("recompute", {}, [[1, 1, 1], [0, 1, 1], [1, 1, 0]]),
        ("token_cap", {}, [[2, 0.5, 1], [0, 2, 1.5], [0.125, 1, 0]]),
        ("token_cap", {"cap": 1.25}, [[1.25, 0.5, 1], [0, 1.25, 1.25], [0.125, 1, 0]]),
        ("sequence_cap", {}, [[1, 1, 1], [0, 2, 2], [0.125, 0.125, 0]]),
        ("token_band", {"low": 0.25, "high": 3.0}, [[2, 0.5, 1], [0, 0, 1.5], [0, 1, 0]]),
        ("sequence_mask", {}, [[1, 1, 1], [0, 0, 0], [0.125, 0.125, 0]]),
        ("sequence_mask", {"cap": 7.0}, [[1, 1, 1], [0, 6, 6], [0.125, 0.125, 0]]),
        ("geometric_band", {}, [[1, 1, 1], [0, 0, 0], [0, 0, 0]]),
        ("geometric_band", {"low": 0.3, "high": 2.0}, [[1, 1, 1], [0, 0, 0], [1, 1, 0]]),
        ("negative_mask", {}, [[1, 1, 1], [0, 1, 1], [0, 0, 0]]),  # drifts 0, -.9, 1.04 nats a token
        ("negative_mask", {"delta": 1.1}, [[1, 1, 1], [0, 1, 1], [1, 1, 0]]),
        # squares of logs .48 .48 0 | 1.92 .16 | 4.32 0: without the two largest their mean is .225
        ("m2po", {"threshold": 0.23}, [[2, 0.5, 1], [0, 0, 1.5], [0, 1, 0]]),
        ("m2po", {"threshold": 0.22}, [[0, 0, 1], [0, 0, 1.5], [0, 1, 0]]),
        ("m2po", {"threshold": 9.0}, [[2, 0.5, 1], [0, 4, 1.5], [0.125, 1, 0]]),
        ("m2po", {"threshold": 1e-9}, [[0, 0, 1], [0, 0, 0], [0, 1, 0]]),
    ],
)
def test_by_hand(name, hparams, want):
    """Mutations: masks that cut the weight; bands of the product; a drift of the learner over the sampler."""
    np.testing.assert_allclose(by_hand(name, **hparams), want, rtol=1e-5)


def test_what_was_good_is_not_masked_for_its_drift():
    """Mutation: the sign of the advantage not looked at."""
    advantage = jnp.array([[1.0] * 3, [1.0] * 3, [0.5] * 3])
    np.testing.assert_array_equal(by_hand("negative_mask", advantage=advantage), MASK)
    assert not np.any(by_hand("negative_mask", advantage=jnp.full(W.shape, jnp.nan).at[2, :2].set(-1.0))[2])


def test_statistics_by_hand():
    """Weights 2, .5, 1, 1.5: (5)^2 / (4 * 7.5), and none of four is masked; with a band one of seven is."""
    mask = jnp.array([[True, True, True, True]])
    logp, sampler = jnp.log(jnp.array([[2.0, 0.5, 1.0, 1.5]])), jnp.zeros((1, 4))
    got = statistics(call("token_cap", logp, sampler, mask), logp, sampler, mask)
    np.testing.assert_allclose(got["policy/importance_ess"], 25 / 30, rtol=1e-6)
    assert got["policy/importance_masked"] == 0
    np.testing.assert_allclose(got["policy/sampler_gap"], (2 * np.log(2) + np.log(1.5)) / 4, rtol=1e-6)
    np.testing.assert_allclose(got["policy/sampler_gap_max"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(got["policy/sampler_kl"], (1 - np.log(1.5)) / 4, rtol=1e-5)
    got = statistics(by_hand("token_band"), jnp.log(W), jnp.zeros_like(W), MASK)
    np.testing.assert_allclose(got["policy/importance_masked"], 1 / 7, rtol=1e-6)
    got = statistics(jnp.zeros(W.shape), jnp.log(W), jnp.zeros_like(W), jnp.zeros_like(MASK))
    assert all(np.isfinite(x) and x == 0 for x in got.values())


@pytest.mark.parametrize("name", IMPORTANCE)
class TestLaws:
    """What holds for every row of the table."""

    def test_the_same_policy_weighs_one(self, name):
        mask = ARGS[2]
        np.testing.assert_array_equal(call(name, ARGS[0], ARGS[0], mask, IN["advantage"]), mask)

    def test_masked_junk_is_invisible(self, name):
        """Mutation: no `mask_out`."""
        junk = [jnp.where(ARGS[2], x, jnp.nan) for x in (*ARGS[:2], IN["advantage"])]
        got = call(name, *junk[:2], ARGS[2], junk[2])
        np.testing.assert_array_equal(got, call(name, *ARGS, IN["advantage"]))
        assert np.isfinite(got).all() and not np.any(jnp.where(ARGS[2], 0.0, got))
        assert got.dtype == jnp.float32

    def test_no_gradient_flows(self, name):
        grad = jax.grad(lambda x: jnp.sum(call(name, x, *ARGS[1:], IN["advantage"])))(ARGS[0])
        assert not np.any(grad)

    def test_jit_is_eager_and_rows_can_be_permuted(self, name, rng):
        order = rng.permutation(12)
        want = call(name, *ARGS, IN["advantage"])
        got = jax.jit(lambda *a: call(name, *a))(*(x[order] for x in (*ARGS, IN["advantage"])))
        np.testing.assert_allclose(got, want[order], rtol=1e-6)

    def test_huge_ratios_are_finite_and_an_empty_mask_is_zero(self, name):
        x, ones = jnp.array([[-1e4, 0.0], [1e4, 0.0]]), jnp.ones((2, 2), bool)
        assert np.isfinite(call(name, x, jnp.zeros((2, 2)), ones, ones - 0.5)).all()
        assert not np.any(call(name, x, jnp.zeros((2, 2)), ~ones, ones - 0.5))


@pytest.mark.parametrize(
    "name, hparams, message",
    [
        ("token_cap", {"cap": 0.0}, "cap=0.0: must be above 0"),
        ("sequence_cap", {"cap": -1.0}, "cap=-1.0: must be above 0"),
        ("sequence_mask", {"cap": 0.0}, "cap=0.0: must be above 0"),
        ("token_band", {"low": 2.0, "high": 1.0}, "a band needs"),
        ("geometric_band", {"low": 0.0}, "a band needs"),
        ("negative_mask", {"delta": -0.1}, "delta=-0.1: must be 0 or more"),
        ("m2po", {"threshold": 0.0}, "threshold=0.0: must be above 0"),
    ],
)
def test_bad_values_are_refused(name, hparams, message):
    with pytest.raises(InputError, match=message):
        by_hand(name, **hparams)
