"""Sparse autoencoders: shapes by hand, a planted dictionary found again, scores of features with pencil and paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.elicit import sae

HAND = {
    "encoder": jnp.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
    "bias": jnp.array([0.0, 0.5, 0.0]),
    "decoder": jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
    "pre": jnp.array([1.0, 0.0]),
}


def test_encode_and_decode_by_hand():
    """h - b_pre = (2, 1): before the choice 2, 1 + 0.5, relu(-2) = 0; the largest alone gives back (1 + 2, 0)."""
    x = jnp.array([[3.0, 1.0]])
    np.testing.assert_allclose(sae.encode(HAND, x, 2), [[2.0, 1.5, 0.0]])
    np.testing.assert_allclose(sae.encode(HAND, x, 1), [[2.0, 0.0, 0.0]])
    np.testing.assert_allclose(sae.decode(HAND, sae.encode(HAND, x, 1)), [[3.0, 0.0]])


def test_quality_by_hand():
    """Rows (3, 1) and (0, 1): with one latent they come back as (3, 0) and (1, 0) + 1.5 (0, 1) = (1, 1.5).

    Errors 1 and 1 + 0.25; around the mean (1.5, 1) there are 2.25 + 2.25. Latent 2 is 1 at (0, 1), below 1.5.
    """
    got = sae.quality(HAND, np.array([[3.0, 1.0], [0.0, 1.0]], np.float32), 1)
    assert got["explained"] == pytest.approx(1 - 2.25 / 4.5)
    assert got["dead"] == pytest.approx(1 / 3) and got["active"] == 1.0


def test_a_planted_dictionary_is_found():
    """Mutation: decoder rows that are not made unit again, or no top-k."""
    rng = np.random.default_rng(0)
    truth = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    z = np.zeros((4096, 8), np.float32)
    for row in z:
        row[rng.choice(8, 2, replace=False)] = rng.uniform(1, 2, 2)
    how = {"latents": 16, "k": 2, "steps": 400, "rows": 256, "learning_rate": 1e-2}
    params = sae.fit(z @ truth, jax.random.key(0), **how)
    np.testing.assert_allclose(jnp.linalg.norm(params["decoder"], axis=1), 1.0, atol=1e-5)
    got = sae.quality(params, z @ truth, 2)
    assert got["explained"] > 0.9 and got["active"] <= 2.01 and got["dead"] < 0.7
    nearest = np.abs(truth @ np.asarray(params["decoder"]).T).max(axis=1)
    assert (nearest > 0.9).sum() >= 6
    random = sae.init(jax.random.key(0), z @ truth, 16)
    assert sae.quality(random, z @ truth, 2)["explained"] < 0.6


def test_differential_by_hand():
    z = np.array([[1.0, 0.0], [3.0, 2.0], [0.0, 4.0]])
    np.testing.assert_allclose(sae.differential(z, [True, True, False]), [2.0, -3.0])


def test_reason_score_by_hand():
    """Words 0 and 1, and two tokens of none. Feature 0 is 2 at both words: H = 1. Feature 1 is 4 at word 1: H = 0.

    Feature 2 is 1 at word 0 and 3 at word 1: H = -(.25 ln .25 + .75 ln .75) / ln 2 = .81128. mu+ = 2, 2, 2: shares 1/3.
    mu- = 1, 1, 0: shares 1/2, 1/2, 0.
    """
    z = np.array([[2.0, 0.0, 1.0], [2.0, 4.0, 3.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0]])
    got = sae.reason_score(z, np.array([0, 1, -1, -1]), alpha=0.7)
    np.testing.assert_allclose(got, [1 / 3 - 1 / 2, -1 / 2, 0.811278**0.7 / 3], rtol=1e-5)
    one = sae.reason_score(z, np.array([0, 0, -1, -1]))  # a single word has no entropy to speak of
    np.testing.assert_allclose(one, np.array([1 / 3, 1 / 3, 1 / 3]) - [0.5, 0.5, 0.0])


def test_what_cannot_be_done():
    x = np.ones((4, 2), np.float32)
    how = {"latents": 4, "steps": 1, "rows": 2, "learning_rate": 0.1}
    with pytest.raises(InputError, match="k must be 1 to 4"):
        sae.fit(x, jax.random.key(0), k=5, **how)
    with pytest.raises(InputError, match="all the same"):
        sae.fit(x, jax.random.key(0), k=1, **how)
    with pytest.raises(InputError, match="of 3 tokens 3 are"):
        sae.differential(x[:3], [True] * 3)
    with pytest.raises(InputError, match="of 3 tokens 0 are"):
        sae.reason_score(x[:3], [-1] * 3)
