"""Steering: the vectors are where they should be, in the whole pass, by prompt and in decoding, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import presets, steering
from entropy_rl.models.scoring import token_scores
from entropy_rl.sampling import decode
from entropy_rl.sampling.engine import generate

EOS = 1
PROMPTS = [[3, 4, 5], [6, 7, 8, 9]]


@pytest.fixture(scope="module")
def policy():
    model = presets.make("test", 12, remat="save_linear")
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    return model, jax.tree.map(lambda x: x * 3, params)


VECTORS = 3.0 * jax.random.normal(jax.random.key(5), (2, 32))


def test_after_which_block_and_where_by_hand(policy):
    """What is added at (0, 1) is the vector, first seen after its block; later tokens feel it, earlier ones not."""
    model, params = policy
    tokens = jnp.array([[3, 4, 5]])
    gate = jnp.array([[False, True, False]])
    only = VECTORS * jnp.array([[1.0], [0.0]])
    apply = jax.jit(model.apply)
    _, was = apply(params, tokens)
    _, out = apply(steering.steer(params, only, 2.0), tokens, gate=gate)
    moved = out["layer_0"] - was["layer_0"]
    np.testing.assert_allclose(moved[0, 1], 2 * VECTORS[0], atol=1e-4)
    np.testing.assert_array_equal(moved[0, [0, 2]], 0.0)
    later = jnp.abs(out["layer_1"] - was["layer_1"]).max(axis=-1)[0]
    assert later[0] == 0 and later[1] > 0.1 and later[2] > 1e-4
    _, all_ = apply(steering.steer(params, only, 2.0), tokens)
    np.testing.assert_allclose((all_["layer_0"] - was["layer_0"])[0], np.tile(2 * VECTORS[0], (3, 1)), atol=1e-4)


def test_zeros_and_plain_change_nothing(policy):
    model, params = policy
    tokens = jnp.array([[3, 4, 5]])
    apply = jax.jit(model.apply)
    want, _ = apply(params, tokens)
    steered = steering.steer(params, VECTORS)
    np.testing.assert_array_equal(apply(steering.steer(params, 0 * VECTORS), tokens)[0], want)
    np.testing.assert_array_equal(apply(steering.plain(steered), tokens)[0], want)
    assert steering.plain(params) is params and steering.present(steered) and not steering.present(params)


WHERE = {"every": {}, "first": {"first": True}, "above": {"above": 2.1}}


@pytest.mark.parametrize("where", WHERE)
def test_what_is_decoded_is_what_is_scored(policy, where):
    """Log-probabilities of the sampler are the scorer's, whole and by prompt; the prompt is steered nowhere.

    Mutation: prefill with steered parameters, or `columns` without its shift, or `left == ring` -> `left > 0`.
    """
    model, params = policy
    steered = steering.steer(params, VECTORS, 2.0, **WHERE[where])
    done = generate(model, steered, PROMPTS, jax.random.key(1), samples=4, max_new=6, eos=EOS, slots=3)
    tokens, mask = np.zeros((8, 10), np.int32), np.zeros((8, 10), bool)
    on = np.zeros((8, 10), bool)
    for row, (prompt, made) in enumerate((p, c) for p, group in zip(PROMPTS, done) for c in group):
        own = slice(len(prompt), len(prompt) + len(made.tokens))
        tokens[row, : len(prompt)], tokens[row, own], mask[row, own] = prompt, made.tokens, True
        on[row, own] = made.steered
        assert len(made.steered) == len(made.tokens)
    if where == "every":
        np.testing.assert_array_equal(on, mask)
    elif where == "first":
        np.testing.assert_array_equal(on, mask & (np.cumsum(mask, axis=1) == 1))
    else:
        assert 0.1 < on.sum() / mask.sum() < 0.9
    logp = np.concatenate([c.logp for group in done for c in group])
    score = jax.jit(token_scores(model))
    scored = score(steered, jnp.asarray(tokens), jnp.asarray(on if where == "above" else mask))["logp"]
    np.testing.assert_allclose(logp, np.asarray(scored)[mask], atol=2e-4)
    off = score(params, jnp.asarray(tokens), jnp.asarray(mask))["logp"]
    assert np.abs(logp - np.asarray(off)[mask]).max() > 0.01
    shared = jax.jit(token_scores(model, samples=4, prompt_length=4))
    if where == "above":
        with pytest.raises(InputError, match="score rows one by one"):
            shared(steered, jnp.asarray(tokens), jnp.asarray(mask))
    else:
        by_prompt = shared(steered, jnp.asarray(tokens), jnp.asarray(mask))["logp"]
        np.testing.assert_allclose(logp, np.asarray(by_prompt)[mask], atol=2e-4)


def test_the_threshold_asks_the_policy_without_the_vector(policy):
    """A vector that takes all entropy away leaves the first token's decision as it was."""
    model, params = policy
    _, stats = generate_stats(model, params)
    bounds = sorted(stats)
    middle = (bounds[0] + bounds[-1]) / 2
    steered, _ = generate_stats(model, steering.steer(params, 50 * VECTORS, above=middle))
    np.testing.assert_array_equal(steered, np.array(stats) > middle)


def generate_stats(model, params):
    """(whether the first token was steered, its entropy) for each prompt."""
    done = generate(model, params, PROMPTS, jax.random.key(1), max_new=2, eos=EOS)
    first = [group[0] for group in done]
    return [c.steered[0] if c.steered is not None else None for c in first], [float(c.entropy[0]) for c in first]


def test_no_program_is_compiled_again(policy):
    """Without steering there is one program, and with it one for all vectors, strengths and `first`."""
    model, params = policy
    run = lambda p: generate(model, p, PROMPTS, jax.random.key(1), max_new=5, eos=EOS, streams=1)  # noqa: E731
    assert run(params)[0][0].steered is None
    before = decode.decode._cache_size()
    run(steering.steer(params, VECTORS))
    assert decode.decode._cache_size() == before + 1
    run(steering.steer(params, 2 * VECTORS, 3.0, first=True))
    run(params)
    assert decode.decode._cache_size() == before + 1


def test_bad_vectors(policy):
    _, params = policy
    with pytest.raises(InputError, match=r"shape \(3, 32\): this model takes \(2, 32\)"):
        steering.steer(params, jnp.zeros((3, 32)))
    with pytest.raises(InputError, match="not finite"):
        steering.steer(params, jnp.full((2, 32), jnp.nan))
