"""Drives requests through slots: generate; and score, the learner's view of the same tokens."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from entropy_rl.errors import InputError
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import processes
from entropy_rl.parallel.sharding import infer_sharding
from entropy_rl.sampling import decode
from entropy_rl.sampling import warp as warps

LONG = 64  # tokens: where responses can be so long, free slots are left out when nobody waits for them


@dataclasses.dataclass(frozen=True)
class Completion:
    """One sampled response: parallel arrays over its tokens, the end-of-sequence token included."""

    tokens: np.ndarray  # i32[n]
    logp: np.ndarray  # f32[n], under the distribution that was drawn from
    entropy: np.ndarray  # f32[n], of the policy at temperature 1, nats
    truncated: bool  # ran into max_new without an end-of-sequence token
    steered: np.ndarray | None = None  # bool[n], tokens at which the model was steered (models/steering.py)


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
) -> list[list[Completion]]:
    """Samples responses.

    Request r = i * samples + j is sample j of prompt i. Its token at position p is drawn with the noise of
    (key, r, p): the number of slots, and so memory and speed, does not change what is sampled.

    Args:
      model, params: the policy.
      prompts: token ids of N prompts, none empty.
      key: random key of this call.
      samples: responses a prompt.
      slots: requests served at once; None: all. Fewer take less memory.
      max_new: the longest response, in tokens.
      eos: token id or ids that end a response.
      warp: logits -> logits before drawing, e.g. partial(warp.temperature, value=0.6). A program is compiled for each,
        where equal partials are one.
      prompt_length: pad prompts to this many tokens, so that calls share one compiled program; None: the longest.
      chunk: most decode steps between two looks at which slots are free to be refilled; fewer where an eighth of them
        is, and somebody waits.
      mesh: over which the parameters lie; slots and cache are cut like them (decode.RULES). None: one device.
      streams: threads that share the slots and the requests. None: two where the slots lie on one CPU, whose small
        operations XLA would do on a single core (on two cores they give 1.8 times the tokens a second), and one
        elsewhere. The size of a batch may change the last bit of a log-probability, so this number is not taken from
        the machine.
      fewest: slots that stay. Once nobody waits, half of the slots are left out whenever so many are free, down to
        this number, where max_new is LONG or more; each size is a program that is compiled once.

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
    padded = np.zeros((len(prompts), width), np.int32)
    for i, p in enumerate(prompts):
        padded[i, : len(p)] = p
    eos = (int(eos),) if isinstance(eos, (int, np.integer)) else tuple(int(e) for e in eos)

    requests = len(prompts) * samples
    slots = min(slots or requests, requests)
    streams = min(streams or _streams(mesh), slots)
    prefix = decode.prefill(model, params, jnp.asarray(padded))
    serve = partial(
        _serve,
        model,
        params,
        prefix,
        padded,
        lengths,
        key,
        samples=samples,
        max_new=max_new,
        eos=eos,
        warp=_one(warp),
        chunk=chunk,
        mesh=mesh,
        fewest=max(fewest // streams, 1),
    )
    # each stream has its share of the slots and of the requests; the noise does not know which
    slot_parts, parts = (np.array_split(np.arange(n), streams) for n in (slots, requests))
    if streams == 1:
        pieces = serve(parts[0], slots)
    else:
        with ThreadPoolExecutor(streams) as pool:
            served = pool.map(serve, parts, map(len, slot_parts))
            pieces = [p for part in served for p in part]
    done = [_completion(p, eos) for p in pieces]
    return [done[i : i + samples] for i in range(0, requests, samples)]


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


def _placed(state: decode.State, mesh: Mesh | None) -> decode.State:
    if mesh is None:
        return state
    return processes.reshard(state, infer_sharding(state, decode.RULES, mesh))


def _serve(
    model, params, prefix, padded, lengths, key, requests, slots, *, samples, max_new, eos, warp, chunk, mesh, fewest
) -> list[list[tuple]]:
    """Serves `requests` (numbers) in slots of its own; for each of them the pieces (token, logp, entropy, steered)."""
    width = padded.shape[1]
    devices = 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
    state = _placed(decode.empty(prefix, slots=slots, columns=width + max_new), mesh)
    serving = np.full(slots, -1)  # request of each slot, by its place in `requests`
    pieces: list[list[tuple]] = [[] for _ in requests]
    waiting = 0  # the next request to be served
    while waiting < len(requests) or (serving >= 0).any():
        free = np.flatnonzero(serving < 0)[: len(requests) - waiting]
        if free.size:
            take = np.zeros(len(serving), bool)
            take[free] = True
            serving[free] = np.arange(waiting, waiting + free.size)
            waiting += free.size
            request = requests[np.maximum(serving, 0)].astype(np.int32)
            prompt = request // samples
            length = lengths[prompt]
            last = padded[prompt, length - 1]
            left = np.full(len(serving), max_new, np.int32)
            state = decode.insert(state, prefix, take, prompt, request, last, length, left)
        fewer = _fewer(len(serving), max_new, devices, fewest)
        if waiting == len(requests) and fewer and (serving >= 0).sum() <= fewer:
            # the live ones first; the rest is free
            kept = np.argsort(serving < 0, kind="stable")[:fewer].astype(np.int32)
            state, serving = _placed(decode.compact(state, kept), mesh), serving[kept]
            fewer = _fewer(fewer, max_new, devices, fewest)
        # while there is who waits, an eighth of the slots may stand idle before the host looks
        until = len(serving) - max(len(serving) // 8, 1) if waiting < len(requests) else fewer
        state, out = decode.decode(
            model, params, state, key, ticks=min(chunk, max_new), eos=eos, warp=warp, width=width, until=until
        )
        token, logp, entropy, live, left, steered = processes.fetch(
            (out.token, out.logp, out.entropy, out.live, state.left, out.steered)
        )
        count = live.sum(axis=1)
        for s in np.flatnonzero(serving >= 0):
            n = count[s]
            one = (x[s, :n] for x in (token, logp, entropy, steered) if x is not None)
            pieces[serving[s]].append(tuple(one))
        serving[left == 0] = -1
    return pieces


def _fewer(slots: int, max_new: int, devices: int, fewest: int) -> int:
    """With how many slots it goes on once so few requests are left; 0: with as many as there are.

    Half of them, as each number is a program that is compiled; short responses are not worth one.
    """
    half = slots // 2
    return half if max_new >= LONG and half >= fewest and slots % 2 == 0 and half % devices == 0 else 0


def _completion(pieces: list[tuple], eos: tuple[int, ...]) -> Completion:
    token, logp, entropy, *steered = pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces))
    return Completion(token, logp, entropy, int(token[-1]) not in eos, *steered)


@partial(jax.jit, static_argnames=("model", "temperature"))
def score(model: Transformer, params, tokens: jax.Array, temperature: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Log-probability and entropy of given tokens in one forward pass: i32[B, T] -> f32[B, T], f32[B, T]."""
    scores = token_scores(model, temperature=temperature)(params, tokens, tokens >= 0)
    return scores["logp"], scores["entropy"]
