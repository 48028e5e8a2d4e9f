"""Decoding over slots, as pure functions of an explicit state: prefill, insert, decode.

Each slot holds one request. The cache has a part for the prompt (columns 0 .. P-1) and a ring of R columns for what is
generated, R being the longest response. All slots write to the same column of the ring, the one that the clock points
at, so that a step is one slice update whatever the lengths of prompts and responses; which columns belong to a slot's
own request is kept in `valid`. A request lives for at most R ticks, so the ring never overwrites what is still
needed, and keys carry their rotary position, so their place in the cache does not matter.

On a mesh every program here leaves its results where RULES say: a device has its share of the slots, and of the
prompts, and no array of all of them is ever on one. `mesh` is a static argument of each; None: one device.

The noise of a token depends on (key, request, position) and on nothing else: slots, batch shape and the order in which
requests are served do not change what is sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from entropy_rl.models import steering
from entropy_rl.models.experts import chosen_of
from entropy_rl.models.logprobs import categorical_stats
from entropy_rl.models.transformer import Cache, Transformer
from entropy_rl.parallel.sharding import ROWS, infer_sharding, row_shards

Warp = Callable[[jax.Array], jax.Array]
TURNED = 128  # columns of the cache from which it pays
# Where a State lies on a mesh (sharding.infer_sharding): slots over the rows' axes, heads as those of the kernels.
RULES = (
    (r"(k|v)/\d+", (ROWS, "tensor", None, None)),  # of the slots' cache and of prefixes
    (r"(^|/)at", (ROWS, None, None, None)),
    (r"experts", (ROWS, None, None, None)),
    (r"valid", (ROWS, None)),
    (r"token|position|request|left|take|prompt|kept", (ROWS,)),
)


@struct.dataclass
class State:
    """S slots. A slot that is not active keeps computing, and what it computes is thrown away."""

    cache: Cache  # [S, kv_heads, P + R, head_dim] a layer
    valid: jax.Array  # bool[S, P + R], the columns that belong to this slot's request
    token: jax.Array  # i32[S], next to be fed
    position: jax.Array  # i32[S], of that token
    request: jax.Array  # i32[S]
    left: jax.Array  # i32[S], tokens that the request may still get; 0: the slot is free
    tick: jax.Array  # i32 scalar, the clock


@struct.dataclass
class Emitted:
    """What a run of decode steps produced: column t of row s is what slot s sampled at the t-th of them."""

    token: jax.Array  # i32[S, ticks]
    logp: jax.Array  # f32[S, ticks], of the warped distribution that was drawn from
    entropy: jax.Array  # f32[S, ticks], of the policy itself, at temperature 1
    live: jax.Array  # bool[S, ticks], whether a request was being served
    steered: jax.Array | None = None  # bool[S, ticks], whether the model was (models/steering.py); None: it never is
    # i32[S, ticks, sparse layers, experts a token] of the state that chose the token; None: not asked for
    experts: jax.Array | None = None


@partial(jax.jit, static_argnames=("model", "mesh", "context"))
def prefill(
    model: Transformer, params, prompts: jax.Array, *, mesh: Mesh | None = None, context: int | None = None
) -> Cache:
    """Keys and values of prompts: i32[N, P] right-padded -> [N, kv_heads, P, head_dim] a layer.

    What padding contributes is never attended to: `insert` marks only the prompt's own columns. On a mesh, of which the
    devices that cut rows must divide N, each runs its N / devices prompts. `context` is P + R, for models whose
    positions depend on it (Transformer.__call__); a program is compiled for each.
    """
    tokens = _shared(mesh, {"prompt": prompts}, ((r"", (ROWS, None)),))["prompt"]
    _, out = model.over(mesh).apply(steering.plain(params), tokens, context=context)
    return _shared(mesh, out["cache"])


@partial(jax.jit, static_argnames=("model", "mesh", "context"))
def prompt_experts(model: Transformer, params, prompts: jax.Array, *, mesh=None, context: int | None = None):
    """Experts that prompts' tokens go to, by one more pass: i32[N, P] -> i32[N, P, sparse layers, experts a token]."""
    _, out = model.over(mesh).apply(steering.plain(params), prompts, context=context, logits=False)
    return chosen_of(out["routes"])


@partial(jax.jit, static_argnames=("slots", "columns", "mesh"))
def empty(prefix: Cache, *, slots: int, columns: int, mesh: Mesh | None = None) -> State:
    """A state with `slots` free slots whose cache has `columns` columns, made like the prefix."""
    shape = lambda x: (slots, x.shape[1], columns, x.shape[3])  # noqa: E731
    zeros = jax.tree.map(lambda x: jnp.zeros(shape(x), x.dtype), prefix)
    n = lambda: jnp.zeros(slots, jnp.int32)  # noqa: E731
    state = State(zeros, jnp.zeros((slots, columns), bool), n(), n(), n(), n(), jnp.zeros((), jnp.int32))
    return _shared(mesh, state)


def _shared(mesh: Mesh | None, tree, rules=RULES):
    """The tree, whose leaves are to lie where the rules say, in a program."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, infer_sharding(tree, rules, mesh))


def _apart(f: Callable, mesh: Mesh | None, args: dict, out) -> Callable:
    """f(**args), run by each device on its own share of the arguments; `out` is like its result.

    Raises:
      ValueError: rows that the devices do not divide, of which a share means nothing.
    """
    if mesh is None or mesh.size == 1:
        return f(**args)
    for x in jax.tree.leaves(args):
        if x.ndim and x.shape[0] % row_shards(mesh):
            raise ValueError(f"{x.shape[0]} rows on {row_shards(mesh)} devices: give a multiple")
    spec = lambda tree: jax.tree.map(lambda s: s.spec, infer_sharding(tree, RULES, mesh))  # noqa: E731
    how = {"in_specs": (spec(args),), "out_specs": spec(out), "check_vma": False}
    return jax.shard_map(lambda args: f(**args), mesh=mesh, **how)(args)


@partial(jax.jit, static_argnames=("mesh", "far"), donate_argnums=0)
def insert(
    state: State,
    prefix: Cache,
    take: jax.Array,
    prompt: jax.Array,
    request: jax.Array,
    token: jax.Array,
    length: jax.Array,
    left: jax.Array,
    *,
    mesh: Mesh | None = None,
    far: bool = False,
) -> State:
    """Puts new requests into slots; requests of one group share their prompt's prefix.

    Args:
      state: donated.
      prefix: of `prefill`, N prompts.
      take: bool[S], slots that get a new request; the rest of the arguments, i32[S], is read there only.
      prompt: row of the prefix.
      request: number of the request, which seeds its noise.
      token: the prompt's last token, the first to be fed.
      length: tokens in the prompt.
      left: tokens that the response may have.
      mesh: over whose devices slots and prefix are cut.
      far: whether a prompt may lie on another device than its slot. The prefix then goes round, a device's share at a
        time; where it is False nothing is sent.
    """
    shards = row_shards(mesh)

    def put(take, prompt, cache, prefix):
        here = jax.lax.axis_index(ROWS) if shards > 1 else 0

        def of(owner, cache, part):
            """The cache with what a device's part of the prefix gives to the slots."""
            row = prompt - owner * part.shape[0]
            ours = take & (row >= 0) & (row < part.shape[0])
            old = cache[:, :, : part.shape[2]]
            new = jnp.where(ours[:, None, None, None], part[jnp.clip(row, 0, part.shape[0] - 1)], old)
            return jax.lax.dynamic_update_slice(cache, new, (0, 0, 0, 0))

        def turn(i, carry):
            cache, part = carry
            cache = of((here + i) % shards, cache, part)
            return cache, jax.lax.ppermute(part, ROWS, [(j, (j - 1) % shards) for j in range(shards)])

        def one(cache, part):
            return jax.lax.fori_loop(0, shards, turn, (cache, part))[0] if far and shards > 1 else of(here, cache, part)

        return jax.tree.map(one, cache, prefix)

    # The last prompt token is fed by the first decode step, which writes it to the ring: not marked here.
    own = jnp.arange(state.valid.shape[1])[None] < (length - 1)[:, None]
    pick = lambda new, old: jnp.where(take, new, old)  # noqa: E731
    args = {"take": take, "prompt": prompt, "cache": state.cache, "prefix": prefix}
    new = State(
        cache=_apart(put, mesh, args, state.cache),
        valid=jnp.where(take[:, None], own, state.valid),
        token=pick(token, state.token),
        position=pick(length - 1, state.position),
        request=pick(request, state.request),
        left=pick(left, state.left),
        tick=state.tick,
    )
    return _shared(mesh, new)


def noise(key: jax.Array, request: jax.Array, position: jax.Array, vocab: int, each: int | None = None) -> jax.Array:
    """What `draw` needs for each (request, position): Exp(1) variables, i32[S], i32[S] -> f32[S, n].

    E = -log(1 - v) with v uniform of two words of 32 bits: v has the 24 bits of a float32 however small it is, down to
    2^-64. An improbable token is drawn when its own E is small, so that is where bits are needed; of 23-bit numbers
    all below 2^-23 are one.

    Args:
      key: of this call of the sampler; with `each` keys [K], of so many requests each, numbered from 0 in it.
      request, position: whose noise it is.
      vocab: V, of which n follows.
    """
    count = sum(_blocks(vocab))

    def one(r, p):
        first, number = (key, r) if each is None else (key[r // each], r % each)
        own = jax.random.fold_in(jax.random.fold_in(first, number), p)
        high, low = jax.random.bits(own, (2, count), jnp.uint32).astype(jnp.float32)
        v = high * 2.0**-32 + low * 2.0**-64
        return -jnp.log1p(-jnp.clip(v, 2.0**-65, 1 - 2.0**-24))  # neither 0 nor infinite

    return jax.vmap(one)(request, position)


def draw(logits: jax.Array, noise: jax.Array) -> jax.Array:
    """A token of softmax(logits): f32[S, V], f32[S, n] of `noise` -> i32[S].

        argmax_i p_i / E_i,  E_i ~ Exp(1)        P(i) = p_i, as in the Gumbel trick (its logarithm)

    In two levels of independent noise, first among blocks of about sqrt(V) tokens and then within one, so that a token
    takes 2 sqrt(V) random numbers instead of V. No sum runs over the vocabulary: P(i) is p_i to the relative rounding
    of float32 for every token, however improbable beside the others, down to 2^-64.
    """
    slots, vocab = logits.shape
    outer, inner = _blocks(vocab)
    p = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    p = jnp.pad(p, ((0, 0), (0, outer * inner - vocab))).reshape(slots, outer, inner)
    block = jnp.argmax(jnp.sum(p, axis=-1) / noise[:, :outer], axis=-1).astype(jnp.int32)
    within = jnp.take_along_axis(p, block[:, None, None], axis=1)[:, 0]
    return block * inner + jnp.argmax(within / noise[:, outer:], axis=-1).astype(jnp.int32)


def _blocks(vocab: int) -> tuple[int, int]:
    """How many blocks of how many tokens."""
    inner = max(int(vocab**0.5), 1)
    return -(-vocab // inner), inner


@partial(jax.jit, static_argnames="mesh")
def compact(state: State, kept: jax.Array, *, mesh: Mesh | None = None) -> State:
    """A state of these slots alone: i32[n]. On a mesh each device has n / devices of them, counted from its own first
    slot, and nothing is sent."""
    some = lambda state, kept: jax.tree.map(lambda x: x[kept] if x.ndim else x, state)  # noqa: E731
    return _apart(some, mesh, {"state": state, "kept": kept}, state)


def turned(columns: int, mesh: Mesh | None) -> bool:
    """Whether steps of `decode` have keys turned (transformer.Cache): on a CPU, in caches of TURNED columns or more.

    Of keys as they are, [columns, head_dim], the product with the few queries of a step is made from a copy in another
    order, which takes longer than the product.
    """
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    return device.platform == "cpu" and columns >= TURNED


@partial(
    jax.jit,
    static_argnames=("model", "ticks", "eos", "warp", "width", "mesh", "each", "routes"),
    donate_argnames="state",
)
def decode(
    model: Transformer,
    params,
    state: State,
    key: jax.Array,
    *,
    ticks: int,
    eos: tuple[int, ...],
    warp: Warp,
    width: int,
    until: jax.Array | int = 0,
    most: jax.Array | int | None = None,
    mesh: Mesh | None = None,
    each: int | None = None,
    routes: bool = False,
) -> tuple[State, Emitted]:
    """Up to `ticks` steps of all slots, fewer if only `until` are active any more.

    Args:
      model, params: the policy, steered or not. A request whose `left` is R chooses its first token.
      state: donated.
      key, each: of `noise`.
      ticks: at most R = columns - width.
      eos: tokens that end a response; the response includes it.
      warp: f32[S, V] -> f32[S, V], the behaviour distribution's logits.
      width: P, the prompt part of the cache.
      until: active slots at which it ends, so that others can be refilled, or left out.
      most: active slots that a device may have at that end, so that each can leave its own out; None: any number.
      mesh: over which slots and parameters are cut.
      routes: whether the experts of each token are given out.

    Returns:
      (state, emitted).
    """
    slots, columns = state.valid.shape
    shards = 1 if slots % row_shards(mesh) else row_shards(mesh)
    ring = columns - width
    blank = lambda dtype: jnp.zeros((ticks, slots), dtype)  # noqa: E731
    steered = steering.present(params)
    emitted = Emitted(blank(jnp.int32), blank(jnp.float32), blank(jnp.float32), blank(bool))
    emitted = emitted.replace(steered=blank(bool) if steered else None)
    if routes:
        m = model.config
        layers = sum(map(m.has_experts, range(m.layers)))
        emitted = emitted.replace(experts=jnp.zeros((ticks, slots, layers, m.experts_per_token), jnp.int32))

    def more(carry):
        t, state, _ = carry
        active = state.left > 0
        on = jnp.sum(active) > until
        if most is not None and shards > 1:
            on |= jnp.max(jnp.sum(active.reshape(shards, -1), axis=1)) > most
        return (t < ticks) & on

    def step(carry):
        t, state, emitted = carry
        live = state.left > 0
        column = width + state.tick % ring
        # a free slot marks the column too: it computes something harmless instead of a softmax over nothing
        valid = jax.lax.dynamic_update_slice_in_dim(state.valid, jnp.ones((slots, 1), bool), column, axis=1)
        run = partial(
            *(model.over(mesh).apply, params, state.token[:, None], state.position[:, None]),
            **{"cache": state.cache, "column": column, "valid": valid},
        )

        def without():
            off, _ = run(gate=jnp.zeros((slots, 1), bool))
            return categorical_stats(off[:, 0], state.token)[1]

        gate = steering.gate(params, state.left == ring, without) if steered else None
        logits, out = run(gate=gate[:, None]) if steered else run()
        logits = logits[:, 0]
        warped = warp(logits)
        token = draw(warped, jax.lax.dynamic_index_in_dim(race, t, 0, keepdims=False))
        logp, entropy = categorical_stats(logits, token)
        if warped is not logits:
            logp, _ = categorical_stats(warped, token)
        row = Emitted(token, logp, entropy, live, gate, chosen_of(out["routes"])[:, 0] if routes else None)
        emitted = jax.tree.map(lambda all, x: jax.lax.dynamic_update_index_in_dim(all, x, t, 0), emitted, row)
        ended = jnp.any(token[:, None] == jnp.asarray(eos, jnp.int32)[None], axis=1)
        state = State(
            cache=out["cache"],
            valid=valid,
            token=jnp.where(live, token, state.token),
            position=state.position + live,
            request=state.request,
            left=jnp.where(live & ~ended, state.left - 1, 0),
            tick=state.tick + 1,
        )
        return t + 1, state, emitted

    # of all ticks at once: a request keeps its slot, and one that has ended needs none
    race = jax.vmap(lambda t: noise(key, state.request, state.position + 1 + t, model.config.vocab_size, each))(
        jnp.arange(ticks)
    )
    turn = turned(columns, mesh)
    if turn:
        state = state.replace(cache=state.cache.turn())
    _, state, emitted = jax.lax.while_loop(more, step, (jnp.zeros((), jnp.int32), state, emitted))
    if turn:
        state = state.replace(cache=state.cache.turn())
    emitted = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), emitted)
    return _shared(mesh, state), _shared(mesh, emitted, (RULES[2], (r"", (ROWS, None))))
