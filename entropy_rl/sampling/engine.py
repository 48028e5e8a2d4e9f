"""Drives requests through slots: generate; and score, the learner's view of the same tokens."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from entropy_rl.data import packing
from entropy_rl.errors import InputError
from entropy_rl.models import rope
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.parallel.sharding import batch_sharding, row_shards
from entropy_rl.sampling import decode
from entropy_rl.sampling import warp as warps

LONG = 64  # tokens: where responses can be so long, free slots are left out when nobody waits for them
CACHE = 2 << 30  # bytes of the keys and values of the prompts of a call, on a device
MOST = 1024  # prompts of a call of `together`


@dataclasses.dataclass(frozen=True)
class Completion:
    """One sampled response: parallel arrays over its tokens, the end-of-sequence token included."""

    tokens: np.ndarray  # i32[n]
    logp: np.ndarray  # f32[n], under the distribution that was drawn from
    entropy: np.ndarray  # f32[n], of the policy at temperature 1, nats
    truncated: bool  # ran into max_new without an end-of-sequence token
    steered: np.ndarray | None = None  # bool[n], tokens at which the model was steered (models/steering.py)
    # i32[P - 1 + n, sparse layers, experts a token] of the prompt's tokens and the response's, but for the last one
    experts: np.ndarray | None = None


def generate(
    model: Transformer,
    params,
    prompts: Sequence[Sequence[int]],
    key: jax.Array,
    *,
    samples: int = 1,
    slots: int | None = None,
    max_new: int,
    eos: int | Sequence[int],
    warp: decode.Warp = warps.temperature,
    prompt_length: int | None = None,
    chunk: int = 32,
    mesh: Mesh | None = None,
    streams: int | None = None,
    fewest: int = 32,
    part: int | None = None,
    routes: bool = False,
    first: int = 0,
) -> list[list[Completion]]:
    """Samples responses.

    Request r = i * samples + j is sample j of prompt i. Its token at position p is drawn with the noise of
    (key, r, p): the number of slots, and so memory and speed, does not change what is sampled.

    Args:
      model, params: the policy.
      prompts: token ids of N prompts, none empty.
      key: random key of this call; with `part` keys [K].
      samples: responses a prompt.
      slots: requests served at once; None: all. Fewer take less memory.
      max_new: the longest response, in tokens.
      eos: token id or ids that end a response.
      warp: logits -> logits before drawing, e.g. partial(warp.temperature, value=0.6). A program is compiled for each,
        where equal partials are one.
      prompt_length: pad prompts to this many tokens, so that calls share one compiled program; None: the longest. Where
        that is dear, and positions do not follow from it, only to the first of a few widths that the longest of this
        call fits (data/packing.widths), which decoding attends to as well: the same tokens are drawn.
      chunk: most decode steps between two looks at which slots are free to be refilled; fewer where an eighth of them
        is, and somebody waits.
      mesh: over which the parameters lie; slots, cache and prompts are cut over the same devices (decode.RULES), and
        there are as many slots more as make a multiple of them. None: one device.
      streams: threads that share the slots and the requests. None: two where the slots lie on one CPU, whose small
        operations XLA would do on a single core (on two cores they give 1.8 times the tokens a second), and one
        elsewhere. The size of a batch may change the last bit of a log-probability, so this number is not taken from
        the machine.
      fewest: slots that stay. Once nobody waits, half of the slots are left out whenever so many are free, down to
        this number, where max_new is LONG or more; each size is a program that is compiled once.
      routes: whether completions have the experts that tokens went to, of a model that has some.
      part: None, or so many prompts, one after the other, have a key of their own and are sampled as in a call of their
        own, but in slots that do not wait for the slowest of them.
      first: r of the first request, for calls that have a part each of the requests of one key; without `part`.

    Returns:
      N lists of `samples` Completions.

    Raises:
      InputError: an empty prompt, or one longer than prompt_length.
    """
    lengths = np.array([len(p) for p in prompts], np.int32)
    width = int(max(lengths) if prompt_length is None else prompt_length)
    for i, n in enumerate(lengths):
        if not 0 < n <= width:
            raise InputError(f"prompt {i} has {n} tokens: it must have 1 to {width} (prompt_length)")
    context = width + max_new if rope.by_length(model.config.rope_scaling) else None
    if context is None and prompts:
        width = packing.room(int(max(lengths)), width, packing.widths(token_work(params, len(prompts) * width)))
    padded = np.zeros((len(prompts), width), np.int32)
    for i, p in enumerate(prompts):
        padded[i, : len(p)] = p
    eos = (int(eos),) if isinstance(eos, (int, np.integer)) else tuple(int(e) for e in eos)

    requests = len(prompts) * samples
    shards = row_shards(mesh)
    each = -(-min(slots or requests, requests) // shards)  # slots of a device
    streams = min(streams or _streams(mesh), each)
    parts = shares(requests, samples, shards)
    prefix = decode.prefill(model, params, _rows(padded[parts.prompts], mesh), mesh=mesh, context=context)
    new = partial(decode.empty, prefix, columns=width + max_new, mesh=mesh)
    how = {"ticks": min(chunk, max_new), "eos": eos, "warp": _one(warp), "width": width, "mesh": mesh}
    how |= {"each": part and part * samples, "routes": routes}

    def put(state, take, request, far):
        row, length = parts.row[request].astype(np.int32), lengths[request // samples]
        last, left = padded[request // samples, length - 1], np.full(len(take), max_new, np.int32)
        numbers = request + np.int32(first)
        return decode.insert(state, prefix, take, row, numbers, last, length, left, mesh=mesh, far=far)

    step = lambda state, **stop: decode.decode(model, params, state, key, **how, **stop)  # noqa: E731
    serve = partial(_serve, new, put, step, parts.home, max_new, max(fewest // streams, 1), mesh)
    # each stream has its share of every device's slots and requests; the noise does not know which
    slot_parts = [shards * len(part) for part in np.array_split(np.arange(each), streams)]
    of_devices = [np.array_split(np.flatnonzero(parts.home == d), streams) for d in range(shards)]
    served = [np.concatenate(part) for part in zip(*of_devices)]
    done: dict[int, Completion] = {}
    with ThreadPoolExecutor(streams) if streams > 1 else contextlib.nullcontext() as pool:
        for part, pieces in zip(served, (pool.map if pool else map)(serve, served, slot_parts), strict=True):
            done.update({r: _completion(p, eos) for r, p in zip(part.tolist(), pieces, strict=True)})
    if routes:
        rows = _rows(padded[parts.prompts], mesh)
        of_prompts = processes.fetch(decode.prompt_experts(model, params, rows, mesh=mesh, context=context))
        for r, c in done.items():
            own = of_prompts[parts.row[r], : lengths[r // samples] - 1]
            done[r] = dataclasses.replace(c, experts=np.concatenate([own, c.experts]))
    return [[done[i + j] for j in range(samples)] for i in range(0, requests, samples)]


def together(model: Transformer, columns: int, *, mesh: Mesh | None = None) -> int:
    """How many prompts of so many columns one call serves at most: MOST, or the power of 2 whose keys and values take
    CACHE bytes on a device. `of_part` has the noise that does not depend on it."""
    m = model.config
    each = 2 * m.layers * m.kv_heads * m.head_dim * columns * np.dtype(m.dtype).itemsize
    cut = 1  # devices that share them; heads that the axis does not divide are whole on each of it
    if mesh is not None:
        tensor = mesh.shape["tensor"]
        cut = row_shards(mesh) * (1 if m.kv_heads % tensor else tensor)
    room = CACHE * cut // each
    return min(MOST, 1 << max(room.bit_length() - 1, 0))


def of_part(key: jax.Array, start: int) -> tuple[jax.Array, int]:
    """Key and `first` of `generate` for the part of many prompts, one sample each, that begins at prompt `start`: what
    is sampled depends neither on the memory nor on the number of devices, which decide how long the parts are."""
    return jax.random.fold_in(key, start - start % MOST), start % MOST


def token_work(params, tokens: int) -> float:
    """Floating-point operations of a forward pass over so many tokens: 2 for each parameter and token."""
    return 2.0 * sum(x.size for x in jax.tree.leaves(params)) * tokens


@dataclasses.dataclass(frozen=True)
class Shares:
    """Which device serves a request, and where its prompt's prefix lies."""

    prompts: np.ndarray  # i64[devices M], numbers of the prompts that are run, M a device, the last repeated to fill up
    home: np.ndarray  # i64[requests], the device of each
    row: np.ndarray  # i64[requests], of `prompts`


def shares(requests: int, samples: int, shards: int) -> Shares:
    """Requests next to each other go to one device with their prompts: a prompt is run by several where its samples are
    on several."""
    parts = np.array_split(np.arange(requests), shards)
    # of a device without requests, prompt 0
    prompts = [np.unique(part // samples) if part.size else np.zeros(1, int) for part in parts]
    most = max(map(len, prompts))
    home = np.repeat(np.arange(shards), [len(part) for part in parts])
    row = [d * most + np.searchsorted(prompts[d], part // samples) for d, part in enumerate(parts)]
    filled = [np.pad(p, (0, most - len(p)), mode="edge") for p in prompts]
    return Shares(np.concatenate(filled), home, np.concatenate(row))


def _rows(x: np.ndarray, mesh: Mesh | None):
    """An array of the host, whose rows the devices share."""
    return x if mesh is None else processes.put_global(x, batch_sharding(mesh))


def _one(warp: decode.Warp) -> decode.Warp:
    """The same object for equal partials: jax tells static arguments apart by ==, and no partial equals another.

    One that binds what has no hash, such as an array, stays a warp of its own.
    """
    if not isinstance(warp, partial):
        return warp
    try:
        return _bound(warp.func, *warp.args, **warp.keywords)
    except TypeError:
        return warp


@functools.cache
def _bound(function, *args, **keywords) -> partial:
    return partial(function, *args, **keywords)


def _streams(mesh: Mesh | None) -> int:
    one = mesh is None or mesh.size == 1
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    return 2 if one and device.platform == "cpu" else 1


def _serve(new, put, step, home, max_new, fewest, mesh, requests, slots) -> list[list[tuple]]:
    """Serves `requests` (numbers) in slots of its own; for each of them the pieces (token, logp, entropy, steered,
    experts), the last two None where they are not made.

    Args:
      new: gives a state with `slots` free slots.
      put: (state, take, request, far) -> the state with requests in the slots `take`, as decode.insert.
      step: (state, until=, most=) -> decode.decode's.
      home, max_new, fewest, mesh: of `Shares` and `generate`.
      requests, slots: of this stream.
    """
    shards, state = row_shards(mesh), new(slots=slots)
    serving = np.full(slots, -1)  # request of each slot, by its place in `requests`
    pieces: list[list[tuple]] = [[] for _ in requests]
    waiting = [collections.deque(np.flatnonzero(home[requests] == d).tolist()) for d in range(shards)]
    while any(waiting) or (serving >= 0).any():
        before = serving.copy()
        far = _refill(serving, waiting)
        take = serving != before
        if take.any():
            state = put(state, take, requests[np.maximum(serving, 0)].astype(np.int32), far)
        fewer = 0 if any(waiting) else _fewer(len(serving), max_new, shards, fewest)
        by_device = (serving >= 0).reshape(shards, -1)
        if fewer and by_device.sum(axis=1).max() <= fewer // shards:
            # of each device the live ones first; the rest is free
            kept = np.argsort(~by_device, axis=1, kind="stable")[:, : fewer // shards].astype(np.int32)
            state = decode.compact(state, _rows(kept.reshape(-1), mesh), mesh=mesh)
            serving = np.take_along_axis(serving.reshape(shards, -1), kept, axis=1).reshape(-1)
            fewer = _fewer(fewer, max_new, shards, fewest)
        # while there is who waits, an eighth of the slots may stand idle before the host looks
        most = len(serving) if any(waiting) else fewer // shards
        until = len(serving) - max(len(serving) // 8, 1) if any(waiting) else fewer
        state, out = step(state, until=until, most=most)
        live, left, *made = processes.fetch(
            (out.live, state.left, out.token, out.logp, out.entropy, out.steered, out.experts)
        )
        count = live.sum(axis=1)
        for s in np.flatnonzero(serving >= 0):
            n = count[s]
            pieces[serving[s]].append(tuple(None if x is None else x[s, :n] for x in made))
        serving[left == 0] = -1
    return pieces


def _refill(serving: np.ndarray, waiting: list[collections.deque]) -> bool:
    """Gives free slots of `serving` requests that wait, in place; whether one came from another device's.

    A device's slots take from its own, whose prompts are there; where it has none, from that which has the most.
    """
    each, far = len(serving) // len(waiting), False
    free = np.flatnonzero(serving < 0)
    for s in free:
        if waiting[s // each]:
            serving[s] = waiting[s // each].popleft()
    for s in free[serving[free] < 0]:
        longest = max(waiting, key=len)
        if not longest:
            break
        serving[s], far = longest.popleft(), True
    return far


def _fewer(slots: int, max_new: int, devices: int, fewest: int) -> int:
    """With how many slots it goes on once so few requests are left; 0: with as many as there are.

    Half of them, as each number is a program that is compiled; short responses are not worth one.
    """
    half = slots // 2
    return half if max_new >= LONG and half >= fewest and slots % 2 == 0 and half % devices == 0 else 0


def _completion(pieces: list[tuple], eos: tuple[int, ...]) -> Completion:
    join = lambda parts: None if parts[0] is None else np.concatenate(parts)  # noqa: E731
    token, logp, entropy, *more = pieces[0] if len(pieces) == 1 else map(join, zip(*pieces))
    return Completion(token, logp, entropy, int(token[-1]) not in eos, *more)


@partial(jax.jit, static_argnames=("model", "temperature"))
def score(model: Transformer, params, tokens: jax.Array, temperature: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Log-probability and entropy of given tokens in one forward pass: i32[B, T] -> f32[B, T], f32[B, T]."""
    scores = token_scores(model, temperature=temperature)(params, tokens, tokens >= 0)
    return scores["logp"], scores["entropy"]
