from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.entropy.record import changes
from entropy_rl.losses.distillation import lumped
from entropy_rl.models.logprobs import choice_stats
from entropy_rl.models.products import matmul
from entropy_rl.models.tiled_change import change_stats
from entropy_rl.models.tiled_head import head_stats, logp_at, top_words
from entropy_rl.models.tiles import ELEMENTS, Layout, _Tiles

ROWS, TIME, WIDTH, VOCAB = 3, 4, 5, 50


def data(rng, scale=1.0):
    """Hidden states, an embedding, targets, and cotangents of both results."""
    x = rng.normal(size=(ROWS, TIME, WIDTH)).astype("f4")
    head = (scale * rng.normal(size=(VOCAB, WIDTH))).astype("f4")
    return x, head, rng.integers(0, VOCAB, (ROWS, TIME)), *rng.normal(size=(2, ROWS, TIME)).astype("f4")


def by_hand(x, head, targets, temperature, g_logp, g_entropy):
    """float64: (logp, entropy, gradient of x, gradient of head), from the softmax and its derivative."""
    x, head = x.astype("f8"), head.astype("f8")
    z = x @ head.T

    def log_softmax(z):
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    log_p, log_pt = log_softmax(z), log_softmax(z / temperature)
    p, hit = np.exp(log_p), np.eye(VOCAB)[targets]
    entropy = -(p * log_p).sum(-1)
    slope = g_logp[..., None] / temperature * (hit - np.exp(log_pt))
    slope -= g_entropy[..., None] * p * (log_p + entropy[..., None])
    return (log_pt * hit).sum(-1), entropy, slope @ head, np.einsum("btv,btd->vd", slope, x)


@partial(jax.jit, static_argnums=3, static_argnames=("words", "elements", "vocab_axis", "cap"))
def ours(x, head, targets, temperature, g_logp, g_entropy, **how):
    def total(x, head):
        logp, entropy = head_stats(x, head, targets, temperature, **how)
        return jnp.sum(g_logp * logp + g_entropy * entropy), (logp, entropy)

    grads, stats = jax.grad(total, (0, 1), has_aux=True)(x, head)
    return *stats, *grads


def test_a_prime_number_of_tokens_is_cut_evenly():
    """8,209 tokens of 2,048 words in two tiles. Mutation: as many as divide the tokens, 8,209 of one token."""
    tiles = _Tiles(np.zeros((8209, 4)), np.zeros((2048, 4)), Layout())
    assert (tiles._parts, tiles._tokens) == (2, 4105)


TILES = {"one": {}, "ragged": {"words": 7}, "even": {"words": 10}, "both": {"words": 8, "elements": 20}}


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("scale", [0.3, 20.0])
def test_values_and_gradients_against_float64(rng, tiles, temperature, scale):
    """Mutations: old columns of the overlapping last tile counted twice; a maximum that does not rescale E."""
    args = data(rng, scale)
    x, head, targets, *slopes = args
    want = by_hand(x, head, targets, temperature, *slopes)
    for got in (
        ours(x, head, targets, temperature, *slopes, **TILES[tiles]),
        ours(x, head.T, targets, temperature, *slopes, **TILES[tiles], vocab_axis=1),
    ):
        got = got if got[3].shape == head.shape else (*got[:3], got[3].T)
        for a, b in zip(got, want):
            # float32 logits of size z have an error of 1e-7 z
            np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, np.abs(b).max(), scale / 4))


@pytest.mark.parametrize("temperature", [pytest.param(1.0, marks=pytest.mark.slow), 0.6])
def test_capped_logits(rng, temperature):
    """As capped ones made whole: values, both gradients, and what a change does. Mutations: no slope of the cap in the
    backward pass, a cap of logits / temperature."""
    x, head, targets, *slopes = data(rng, 3.0)
    cap = 2.5

    def whole(x, head):
        logp, entropy = choice_stats(cap * jnp.tanh(x @ head.T / cap), targets, temperature)
        return jnp.sum(slopes[0] * logp + slopes[1] * entropy), (logp, entropy)

    grads, stats = jax.jit(jax.grad(whole, (0, 1), has_aux=True))(x, head)
    got = ours(x, head, targets, temperature, *slopes, **TILES["both"], cap=cap)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), got, (*stats, *grads))
    new = head + 0.01
    change = change_stats(x, head, x, new, targets, **TILES["both"], cap=cap)
    for name, matrix in (("entropy", head), ("new_entropy", new)):
        np.testing.assert_allclose(change[name], whole(x, matrix)[1][1], atol=1e-5)


def test_operands_in_bfloat16_and_statistics_in_float32(rng):
    """The head's products are those of the rounded operands. Mutation: bfloat16 logits, which bias the entropy."""
    x, head, targets, *slopes = data(rng)
    low = [jnp.asarray(a, jnp.bfloat16) for a in (x, head)]
    want = by_hand(*(np.asarray(a, "f4") for a in low), targets, 0.6, *slopes)
    got = ours(*low, targets, 0.6, *slopes, words=8)
    assert [a.dtype for a in got] == [jnp.float32, jnp.float32, jnp.bfloat16, jnp.bfloat16]
    for a, b in zip(got[:2], want):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(got[2:], want[2:]):
        np.testing.assert_allclose(np.asarray(a, "f4"), b, atol=2e-2 * np.abs(b).max())


def test_a_certain_token_has_no_entropy_and_a_finite_gradient():
    x, head = jnp.ones((1, 1, 1)), jnp.array([[1e4], [-1e4], [0.0]])
    logp, entropy, *grads = ours(x, head, jnp.array([[0]]), 1.0, jnp.ones((1, 1)), jnp.ones((1, 1)), words=1)
    assert logp == 0.0 and entropy == 0.0 and all(np.isfinite(g).all() for g in grads)


def test_memory_at_a_real_vocabulary():
    """4,096 tokens, 151,936 words, width 896: a twentieth of the plain way's temporaries at most; nothing is run."""
    shapes = [jax.ShapeDtypeStruct(s, t) for s, t in (((8, 512, 896), "f4"), ((151_936, 896), "f4"), ((8, 512), "i4"))]

    def temporaries(stats):
        total = lambda x, w, y: sum(map(jnp.sum, stats(x, w, y)))  # noqa: E731
        step = jax.jit(jax.value_and_grad(total, (0, 1))).lower(*shapes).compile()
        return step.memory_analysis().temp_size_in_bytes

    plain = temporaries(lambda x, w, y: choice_stats(matmul(x, w.T), y))
    tiled = temporaries(head_stats)
    assert tiled <= plain / 20, (tiled, plain)
    assert tiled <= 2 * 4 * ELEMENTS


def distance(x, head, new_x, new_head, top, temperature=1.0, **how):
    """SDPO's divergence of two heads over the likeliest words of the first."""
    ids = top_words(x, head, top, **how)
    teacher = jax.lax.stop_gradient(logp_at(new_x, new_head, ids, temperature, **how))
    return lumped(logp_at(x, head, ids, temperature, **how), teacher, 0.5, tail=True)


def whole_distance(x, head, new_x, new_head, top, temperature=1.0, cap=None, vocab_axis=0):
    """The same of whole logits."""
    bend = lambda z: z if cap is None else cap * jnp.tanh(z / cap)  # noqa: E731
    own, seen = (
        jax.nn.log_softmax(bend(matmul(a, b if vocab_axis else b.T)) / temperature)
        for a, b in ((x, head), (new_x, new_head))
    )
    _, ids = jax.lax.top_k(own, top)
    at = lambda a: jnp.take_along_axis(a, ids, -1)  # noqa: E731
    return lumped(at(own), jax.lax.stop_gradient(at(seen)), 0.5, tail=True)


@pytest.mark.parametrize("how", [{}, {"temperature": 0.6, "cap": 2.5}], ids=["plain", "capped"])
@pytest.mark.parametrize("tiles", TILES)
def test_a_divergence_over_the_likeliest_words_is_that_of_whole_logits(rng, tiles, how):
    """Words, values and both gradients, with ties between tiles. Mutations: old columns of the overlapping last tile
    found again; a place beyond the tile that is not dropped; no sum of the slopes in the gradient."""
    x, head, *_ = data(rng, 2.0)
    new_x, new_head, *_ = data(rng, 2.0)
    head[40] = head[3]  # as likely, in another tile
    for axis, flip in ((0, lambda a: a), (1, lambda a: a.T)):
        # neither form is to see through the other's constants
        z = x @ head.T if "cap" not in how else how["cap"] * np.tanh(x @ head.T / how["cap"])
        ids = top_words(x, flip(head), 6, vocab_axis=axis, **TILES[tiles], cap=how.get("cap"))
        np.testing.assert_array_equal(np.take_along_axis(z, np.asarray(ids), -1), jax.lax.top_k(z, 6)[0])
        has = lambda word: (ids == word).any(-1)  # noqa: B023, E731
        assert (has(3) | ~has(40)).all() and has(3).any()
        got, want = (
            jax.jit(jax.value_and_grad(lambda a, b: jnp.sum(f(a, b, new_x, flip(new_head), 6)), (0, 1)))(x, flip(head))  # noqa: B023
            for f in (
                partial(distance, vocab_axis=axis, **TILES[tiles], **how),
                partial(whole_distance, vocab_axis=axis, **how),
            )
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


def test_a_divergence_at_the_vocabulary_of_smollm2_takes_a_twentieth_of_the_memory():
    """Temporaries of the compiled gradients, 4,096 tokens of 49,152 words, top 100. Mutation: a tile of all words."""
    shape = lambda *n: jax.ShapeDtypeStruct(n, jnp.float32)  # noqa: E731
    x, head = shape(8, 512, 64), shape(49_152, 64)

    def temporaries(f):
        step = jax.jit(jax.value_and_grad(lambda *args: jnp.sum(f(*args, 100)), (0, 1)))
        return step.lower(x, head, x, head).compile().memory_analysis().temp_size_in_bytes

    tiled, plain = temporaries(distance), temporaries(whole_distance)
    assert tiled <= plain / 20, (tiled, plain)


def change_by_hand(z, after, y):
    """What change_stats returns, in float64 from whole logits and the theory's own sums."""
    log_p, log_new = (a - np.log(np.exp(a).sum(-1, keepdims=True)) for a in (z, after))
    p, d = np.exp(log_p), after - z
    entropy, new_entropy = -(p * log_p).sum(-1), -(np.exp(log_new) * log_new).sum(-1)
    d = d - (p * d).sum(-1, keepdims=True)
    s = p * (log_p + entropy[..., None])
    return {
        "entropy": entropy,
        "new_entropy": new_entropy,
        "first": -(p * log_p * d).sum(-1),
        "second": -0.5 * (p * (1 + log_p + entropy[..., None]) * d**2).sum(-1),
        "polarity": np.take_along_axis(s, y[..., None], -1)[..., 0] - (p * s).sum(-1),
    }


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_what_a_change_of_logits_does_against_float64(rng, tiles, shift):
    """Where all logits move by 50 too. Mutations: a term of `_joined` left out; sums of d^2 that are not centred."""
    x, head, y, *_ = data(rng, 2.0)
    new_x, new_head = (a + 0.02 * rng.normal(size=a.shape).astype("f4") for a in (x, head))
    # a column on which every word has the same weight
    wide = lambda a, value: np.concatenate([a, np.full((*a.shape[:-1], 1), value, "f4")], -1)  # noqa: E731
    x, new_x, head, new_head = wide(x, 0), wide(new_x, shift), wide(head, 1), wide(new_head, 1)
    want = change_by_hand(x.astype("f8") @ head.T.astype("f8"), new_x.astype("f8") @ new_head.T.astype("f8"), y)
    for args, axis in (((x, head, new_x, new_head), 0), ((x, head.T, new_x, new_head.T), 1)):
        got = jax.jit(partial(change_stats, vocab_axis=axis, **TILES[tiles]))(*args, y)
        for name, value in want.items():
            bound = (1e-3 if shift else 1e-5) * np.abs(value).max()
            np.testing.assert_allclose(got[name], value, atol=bound, err_msg=name)


def test_a_change_at_a_real_vocabulary_takes_a_twentieth_of_the_memory():
    """Temporaries of the compiled programs, 1,024 tokens of 151,936 words. Mutation: a tile of all words."""
    tokens, words, width = 1024, 151_936, 64
    shape = lambda *n: jax.ShapeDtypeStruct(n, jnp.float32)  # noqa: E731
    x, head, y = shape(1, tokens, width), shape(words, width), jax.ShapeDtypeStruct((1, tokens), jnp.int32)

    def plain(x, head, new_x, new_head, y):
        z, after = (jnp.einsum("btd,vd->btv", a, h) for a, h in ((x, head), (new_x, new_head)))
        return changes(z, after, y, jnp.ones(y.shape))

    programs = (jax.jit(f).lower(x, head, x, head, y).compile() for f in (change_stats, plain))
    small, large = (p.memory_analysis().temp_size_in_bytes for p in programs)
    assert small * 20 <= large
