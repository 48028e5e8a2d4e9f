from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.data import packing
from entropy_rl.errors import InputError
from entropy_rl.models import presets
from entropy_rl.models.rope import Scaling
from entropy_rl.sampling import decode, engine, warp
from entropy_rl.sampling.engine import generate

EOS = 1
score = jax.jit(engine.score, static_argnums=(0, 3))


@pytest.fixture(scope="module")
def policy():
    """A random model with an opinion (large weights), and ragged prompts."""
    model = presets.make("test", 23)
    init = jax.jit(lambda key: jax.tree.map(lambda x: 2 * x, model.init(key, jnp.zeros((1, 2), jnp.int32))))
    params = init(jax.random.key(0))
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 23, n).tolist() for n in (3, 6, 4, 6, 1)]
    return model, params, prompts


def sample(policy, **kw):
    model, params, prompts = policy
    kw = {"samples": 4, "max_new": 11, "eos": EOS, **kw}
    return generate(model, params, prompts, jax.random.key(5), **kw)


def tokens(groups):
    return [c.tokens.tolist() for g in groups for c in g]


def test_the_schedule_does_not_change_what_is_sampled(policy):
    """Mutation: noise by slot instead of by request, or a stale column of the cache left valid."""
    want = tokens(sample(policy))
    assert {len(t) for t in want} > {11}, "ragged lengths, or slots would never be refilled"
    for slots, chunk in ((1, 32), (3, 4), (8, 3), (20, 1)):
        assert tokens(sample(policy, slots=slots, chunk=chunk)) == want


@pytest.mark.parametrize("streams, slots", [(2, 20), (3, 8), (4, 3)])
def test_neither_do_threads(policy, streams, slots):
    """Slots and requests shared by threads, unevenly. Mutation: a stream numbers its requests from 0."""
    assert tokens(sample(policy, streams=streams, slots=slots)) == tokens(sample(policy, streams=1))


@pytest.mark.parametrize("slots, streams", [(12, 1), (8, 2), (None, 2)])
def test_neither_do_slots_that_are_left_out(policy, monkeypatch, slots, streams):
    """Half of the slots go on when so few requests are left. Mutation: the first half of the slots, live or not."""
    want, sizes = tokens(sample(policy)), []
    monkeypatch.setattr(engine, "LONG", 11)
    keep = decode.compact
    monkeypatch.setattr(decode, "compact", lambda state, kept, **kw: sizes.append(len(kept)) or keep(state, kept, **kw))
    assert tokens(sample(policy, slots=slots, streams=streams, fewest=4)) == want
    assert sizes[0] == (slots or len(want)) // streams // 2


@pytest.mark.parametrize("streams", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_parts_with_keys_of_their_own_are_calls_of_their_own(policy, streams):
    """In shared slots. Mutations: one key for all; requests numbered through."""
    model, params, prompts = policy
    keys = [jax.random.key(n) for n in (5, 6, 7)]
    how = {"samples": 4, "max_new": 11, "eos": EOS}
    want = [generate(model, params, prompts[2 * i : 2 * i + 2], k, **how) for i, k in enumerate(keys)]
    got = generate(model, params, prompts, jnp.stack(keys), slots=6, part=2, streams=streams, **how)
    assert tokens(got) == tokens(sum(want, []))


def test_the_host_looks_when_an_eighth_of_the_slots_is_free(policy, monkeypatch):
    """And only then, while there is who waits: chunks may be long. Mutation: `until` not given to decode."""
    calls = []
    original = decode.decode
    monkeypatch.setattr(decode, "decode", lambda *args, **kw: calls.append(kw["until"]) or original(*args, **kw))
    sample(policy, slots=8, chunk=11, streams=1)
    lengths = [len(t) for t in tokens(sample(policy))]
    assert calls.count(7) >= 5 and set(lengths) > {11}


def test_neither_do_the_other_requests(policy):
    model, params, prompts = policy
    alone = generate(model, params, prompts[:2], jax.random.key(5), samples=4, max_new=11, eos=EOS)
    assert tokens(alone) == tokens(sample(policy)[:2])


def test_prompt_padding_does_not_change_what_is_sampled(policy):
    assert tokens(sample(policy, prompt_length=9)) == tokens(sample(policy))


def test_neither_do_turned_keys(policy, monkeypatch):
    """Where caches are long, on CPUs. Mutation: `decode` gives its state out with keys as it turned them."""
    want = sample(policy, slots=3, chunk=4)
    monkeypatch.setattr(decode, "TURNED", 1)
    decode.decode.clear_cache()
    got = sample(policy, slots=3, chunk=4)
    decode.decode.clear_cache()
    assert tokens(got) == tokens(want)
    for a, b in zip(sum(got, []), sum(want, []), strict=True):
        np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)


def test_neither_do_columns_that_no_prompt_has(policy, monkeypatch):
    """The same tokens, as likely, of prompts that are run in the first width that the longest of them fits. Mutations:
    a width below it; the prompt's own length as its position."""
    want, widths, run = sample(policy, prompt_length=32), [], decode.prefill
    monkeypatch.setattr(decode, "prefill", lambda *args, **kw: widths.append(args[2].shape[1]) or run(*args, **kw))
    model, params, prompts = policy
    dear = engine.token_work(params, len(prompts) * 32) / 8.5
    for pays, width in ((9 * dear, 32), (dear, 8)):
        monkeypatch.setattr(packing, "PAYS", pays)
        got = sample(policy, prompt_length=32)
        assert widths.pop() == width and tokens(got) == tokens(want)
        for a, b in zip(sum(got, []), sum(want, []), strict=True):
            np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)
    longer = presets.make("test", 23, rope_scaling=Scaling("dynamic", 2.0, 8))
    sample((longer, params, prompts), prompt_length=32)
    assert widths == [32], "positions that follow from the length of rows stay as they are"


@pytest.mark.parametrize("temperature", [pytest.param(1.0, marks=pytest.mark.slow), 0.7])
def test_alignment_with_the_learner(policy, temperature):
    """The sampler's log-probs and entropies are those of the learner on the same tokens. Mutation: a shift by one."""
    model, params, prompts = policy
    groups = sample(policy, slots=3, warp=partial(warp.temperature, value=temperature))
    rows = np.zeros((20, 6 + 11), np.int32)
    pairs = [(prompt, c) for prompt, group in zip(prompts, groups) for c in group]
    for row, (prompt, c) in zip(rows, pairs, strict=True):
        row[: len(prompt) + len(c.tokens)] = prompt + c.tokens.tolist()
    scored = [np.asarray(x) for x in score(model, params, jnp.asarray(rows), temperature)]
    for (prompt, c), logp, entropy in zip(pairs, *scored):
        own = slice(len(prompt), len(prompt) + len(c.tokens))
        np.testing.assert_allclose(c.logp, logp[own], atol=1e-5)
        np.testing.assert_allclose(c.entropy, entropy[own], atol=1e-5)


def test_alignment_with_the_learner_where_layers_and_lengths_differ(policy):
    """Windows by position and a rope by length, in slots that are refilled, against rows of the learner's length.

    Mutations: a prefix turned for its own length; windows by column; a slot's positions of the request before.
    """
    _, _, prompts = policy
    how = {"windows": (4, 0), "local_theta": 50.0, "rope_scaling": Scaling("dynamic", 2.0, 8)}
    model = presets.make("test", 23, **how)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    groups = sample((model, params, prompts), slots=6, chunk=3)
    rows, said = np.zeros((20, 6 + 11), np.int32), np.zeros((20, 17), np.float32)
    for i, (p, c) in enumerate((p, c) for p, group in zip(prompts, groups) for c in group):
        end = len(p) + len(c.tokens)
        rows[i, :end], said[i, len(p) : end] = [*p, *c.tokens], c.logp
    np.testing.assert_allclose(np.where(said, score(model, params, rows)[0], 0.0), said, atol=1e-5)


def test_stops_at_any_end_of_sequence_token_and_says_what_was_cut(policy):
    for groups, eos in ((sample(policy), (EOS,)), (sample(policy, eos=(EOS, 2, 3)), (EOS, 2, 3))):
        for c in (c for g in groups for c in g):
            assert not set(c.tokens[:-1].tolist()) & set(eos)
            assert c.truncated == (c.tokens[-1] not in eos)
            assert len(c.tokens) == 11 or not c.truncated


def test_samples_of_a_group_differ_and_another_key_gives_others(policy):
    model, params, prompts = policy
    first = sample(policy)
    assert all(len({tuple(c.tokens) for c in g}) > 1 for g in first)
    other = generate(model, params, prompts, jax.random.key(6), samples=4, max_new=11, eos=EOS)
    assert tokens(other) != tokens(first)


def test_bad_prompts_are_named(policy):
    model, params, _ = policy
    for prompts, message in (([[2], []], "prompt 1 has 0 tokens"), ([[2] * 5], "prompt 0 has 5 tokens")):
        with pytest.raises(InputError, match=message):
            generate(model, params, prompts, jax.random.key(0), max_new=2, eos=1, prompt_length=4)


def test_equal_warps_are_one_program(policy):
    """Mutation: each call's own partial, which compiles decode anew: ten times the seconds of a small call."""
    sample(policy, warp=partial(warp.temperature, value=0.7))
    programs = decode.decode._cache_size()
    sample(policy, warp=partial(warp.temperature, value=0.7))
    assert decode.decode._cache_size() == programs
    sample(policy, warp=partial(warp.temperature, value=0.8))
    assert decode.decode._cache_size() == programs + 1


def test_a_warp_may_bind_an_array(policy):
    """Mutation: a cache that needs a hash."""
    only = jnp.where(jnp.arange(23) == EOS, 0.0, -1e9)
    bias = partial(lambda logits, value: logits + jnp.broadcast_to(value, logits.shape), value=only)
    assert tokens(sample(policy, warp=bias)) == [[EOS]] * 20


def test_below_float32_sampler_and_learner_differ_by_what_the_type_explains():
    """At most twice the learner's own rounding against float32. Mutation: a position off by one in the sampler."""
    low = presets.make("test", 23, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    high = presets.make("test", 23)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(low.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    prompts = [[3, 5, 7, 9], [2, 4, 6, 8]]
    groups = generate(low, params, prompts, jax.random.key(5), samples=16, max_new=11, eos=EOS)
    rows = np.zeros((32, 15), np.int32)
    mask = np.zeros(rows.shape, bool)
    sampled = np.zeros(rows.shape, np.float32)
    for i, c in enumerate(c for g in groups for c in g):
        rows[i, :4], n = prompts[i // 16], len(c.tokens)
        rows[i, 4 : 4 + n], mask[i, 4 : 4 + n], sampled[i, 4 : 4 + n] = c.tokens, True, c.logp
    learner = np.asarray(score(low, params, rows)[0])
    exact = np.asarray(score(high, jax.tree.map(lambda x: x.astype(jnp.float32), params), rows)[0])
    gap, rounding = (np.abs(learner - other)[mask] for other in (sampled, exact))
    assert 0 < gap.mean() <= 2 * rounding.mean() and gap.max() <= 4 * rounding.max()
    assert rounding.mean() < 0.05


def test_how_many_prompts_are_served_together():
    """By hand: of SmolLM2-135M a prompt of 256 tokens has 11.8 MB of keys and values in float32, and 182 of them 2 GiB.
    Mutations: heads for kv heads; values left out; heads cut over an axis that does not divide them."""
    shape = {"layers": 30, "heads": 9, "kv_heads": 3, "head_dim": 64}
    model = SimpleNamespace(config=SimpleNamespace(**shape, dtype=jnp.float32))
    assert engine.together(model, 256) == 128
    assert engine.together(model, 1 << 20) == 1
    assert engine.together(presets.make("test", 24), 256) == 1024
    mesh = lambda data, tensor: SimpleNamespace(shape={"data": data, "fsdp": 1, "tensor": tensor})  # noqa: E731
    assert engine.together(model, 256, mesh=mesh(8, 1)) == 1024
    assert [engine.together(model, 256, mesh=mesh(2, n)) for n in (3, 4)] == [1024, 256]
