"""Hugging Face folders: safetensors to parameters on their shards, and back.

    model, params = hf.load("Qwen2.5-0.5B")          logits, _ = model.apply(params, tokens)
    hf.save("out", model, params, like="Qwen2.5-0.5B")

Families are in models/families.py. Each device's part of a tensor is read from the file by itself, one tensor at a
time, so that no host holds a copy of the model besides its shards. Pickled weights are refused: loading one runs code.
"""

from __future__ import annotations

import dataclasses
import json
import math
import mmap
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from entropy_rl.errors import InputError
from entropy_rl.files import contained
from entropy_rl.models.config import Config
from entropy_rl.models.families import DTYPES, architecture_of, from_config, read_config, to_config
from entropy_rl.models.tensor_files import INDEX, SINGLE, Reader, safetensors
from entropy_rl.models.tensor_names import Place, tensor_names
from entropy_rl.models.transformer import RULES, Transformer
from entropy_rl.parallel import processes
from entropy_rl.parallel.sharding import laid_out

# What goes along with the weights when a folder is saved: what a server needs to talk to the model.
COMPANIONS = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json"),
)
_PIECE = 1 * 2**20  # bytes of a tensor that are read at once


def load(
    path: str | os.PathLike,
    *,
    mesh: jax.sharding.Mesh | None = None,
    dtype: Any = None,
    param_dtype: Any = None,
) -> tuple[Transformer, Any]:
    """A model and its parameters from a folder with config.json and safetensors, single or sharded with an index.

    Args:
      path: the folder.
      mesh: where the parameters go, by the model's RULES; None: whole, on jax's default device.
      dtype: of activations; None: that of the parameters. As a name or a jax type.
      param_dtype: of parameters; None: that of config.json.

    Returns:
      (model, params): `model.apply(params, tokens) -> (logits, out)`, as models/transformer says.

    Raises:
      InputError: a folder, architecture, rope type or dtype that cannot be read; a file that is missing, pickled,
        truncated or not what the index says; a tensor that is missing, that nothing asked for, or misshapen.
    """
    config = load_config(path, dtype=dtype, param_dtype=param_dtype)
    model = Transformer(config)
    return model, load_params(path, abstract_params(model, mesh))


def load_config(path: str | os.PathLike, **changes: Any) -> Config:
    """Our Config of the folder's model; `changes` of its fields that are not None are made (dtypes as names or types).

    With a change of `param_dtype` alone, activations follow.
    """
    config = to_config(read_config(path), str(Path(path) / "config.json"))
    changes = {k: v for k, v in changes.items() if v is not None}
    for key in ("dtype", "param_dtype"):
        if key in changes:
            changes[key] = _kind(changes[key], key)
    if "param_dtype" in changes:
        changes.setdefault("dtype", changes["param_dtype"])
    return dataclasses.replace(config, **changes)


def abstract_params(model: Transformer, mesh: jax.sharding.Mesh | None = None, adapt: Callable | None = None) -> Any:
    """Shapes, types and shardings of a model's parameters; with the adapters that `adapt` adds (models/lora.add)."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(model.init, key, jnp.zeros((1, 2), jnp.int32))
    if adapt is not None:
        shapes = jax.eval_shape(adapt, shapes, key)
    if mesh is not None:
        return laid_out(shapes, RULES, mesh)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)


def load_params(path: str | os.PathLike, abstract: Any) -> Any:
    """Parameters of a folder on the shards of `abstract`, converted to its types; see `load`.

    Each parameter is set exactly once, or the first that is not is named.
    """
    raw, where = read_config(path), str(Path(path) / "config.json")
    config = to_config(raw, where)
    wanted = _flat(abstract)
    reader = Reader(Path(path))
    names = tensor_names(config, architecture_of(raw, where), stacked=reader.stacks_experts())
    names = {k: v for k, v in names.items() if k in wanted or not k.startswith("lm_head")}
    if odd := sorted(wanted.keys() ^ names.keys()):
        raise InputError(f"{path}: the model has other parameters than its config.json says, such as {odd[0]}")
    reader.check({x for place in names.values() for x in place.tensors(config.experts)}, tied=config.tied)
    rows: dict[str, int] = {}  # of a tensor of the file that several parameters are parts of
    for k, place in names.items():
        if place.first is not None:
            rows[place.name] = rows.get(place.name, 0) + wanted[k].shape[-1]
    out = {k: _place(reader, names[k], x, rows.get(names[k].name)) for k, x in wanted.items()}
    return {"params": traverse_util.unflatten_dict(out, sep="/")}


def save(
    path: str | os.PathLike,
    model: Transformer,
    params: Any,
    *,
    like: str | os.PathLike | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Writes a folder that transformers and inference servers load: config.json, safetensors, tokenizer.

    The weights are the parameters bit for bit, in their types. Every process calls it; process 0 writes.

    Args:
      path: a new or empty folder.
      model, params: with a language-model head.
      like: folder that the model came from; its config.json and the files in COMPANIONS go along. None: config.json is
        made from the model's shape, and there is no tokenizer.
      shard_bytes: a file's tensors have at most so many bytes, and no more than these are on the host at a time.

    Raises:
      InputError: the folder has files in it, or no architecture of transformers is like this model.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there already: give another folder for the model")
    if model.config.head != "lm":
        raise InputError("a critic has no place in a Hugging Face folder: give the policy")
    leaves = _flat(params)
    kinds = {str(x.dtype) for x in leaves.values()}
    kind = kinds.pop() if len(kinds) == 1 else str(jnp.dtype(model.config.param_dtype))
    raw = from_config(dataclasses.replace(model.config, param_dtype=DTYPES[kind]), like and read_config(like))
    names = tensor_names(model.config, architecture_of(raw, "config.json"))
    # tensor of the file -> the parameters that it is made of, and which expert's part of each
    units: dict[str, list[tuple[str, int | None]]] = {}
    experts = model.config.experts
    for k in leaves:
        for e, name in enumerate(names[k].tensors(experts)):
            units.setdefault(name, []).append((k, e if names[k].each else None))
    size = lambda k, e: leaves[k].nbytes // (1 if e is None else experts)  # noqa: E731
    parts = _parts({theirs: sum(size(*x) for x in ours) for theirs, ours in units.items()}, shard_bytes)
    writes = jax.process_index() == 0
    # under another name until all is there, so that a kill leaves nothing that looks like a model
    new = path.with_name(path.name + ".unfinished")
    if writes:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = SINGLE if len(parts) == 1 else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        tensors = {}
        for theirs in part:
            rows = []
            for k, e in sorted(units[theirs], key=lambda unit: names[unit[0]].first or 0):
                x = processes.fetch(leaves[k] if e is None else leaves[k][e])
                rows.append(x.T if names[k].transposed else x)
            if writes:
                tensors[theirs] = np.ascontiguousarray(rows[0] if len(rows) == 1 else np.concatenate(rows))
            weight_map[theirs] = file
        if writes:
            write_tensors(new / file, tensors)
    if not writes:
        return
    if len(parts) > 1:
        total = sum(x.nbytes for x in leaves.values())
        _write(new / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
    _write(new / "config.json", raw)
    for file in set(weight_map.values()):
        shutil.copymode(new / "config.json", new / file)  # safetensors leaves files that nobody else may read
    for name in COMPANIONS if like else ():
        if (Path(like) / name).is_file():
            contained(Path(like) / name)
            shutil.copyfile(Path(like) / name, new / name)
    if path.exists():
        path.rmdir()
    os.replace(new, path)


def read_tensors(path: str | os.PathLike, file: str) -> dict[str, np.ndarray]:
    """All tensors of one safetensors file of a folder, in their types, on the host; InputError as of `load`."""
    reader = Reader(Path(path), file)
    return {name: reader.read(name) for name in sorted(reader.names()) if reader.shape(name) is not None}


def write_tensors(file: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a safetensors file."""
    whole = {name: np.ascontiguousarray(x) for name, x in tensors.items()}  # the bytes are written as they lie
    safetensors().numpy.save_file(whole, file, metadata={"format": "pt"})


def _place(reader: Reader, place: Place, x: jax.ShapeDtypeStruct, rows: int | None) -> jax.Array:
    """A tensor of the file on the shards of `x`, each of which is read by itself, and once; or a part of one that has
    `rows`."""
    _, transposed, first = place
    here = tuple(x.shape)
    inner = here[-2:]  # of an expert's kernel, and of all else
    asked = inner[::-1] if transposed else inner
    if rows is not None:
        asked = (rows, *asked[1:])
    if here[:-2] and not place.each:
        asked = (*here[:-2], *asked)
    for name in place.tensors(here[0]):
        if (there := reader.shape(name)) != asked:
            raise InputError(f"tensor {name} has shape {there} in the file, and config.json asks for {asked}")

    held: dict[Any, np.ndarray] = {}  # of devices that hold the same

    def part(index):
        spans = [range(*i.indices(n)) for i, n in zip(index, here)]
        if (key := tuple(spans)) not in held:
            held[key] = read(spans)
            return held[key]
        out = _pages([len(span) for span in spans], x.dtype)  # its own, as a CPU device may write to what it is given
        out[...] = held[key]
        return out

    def read(spans):
        out = _pages([len(span) for span in spans], x.dtype)
        if len(spans) == 3:
            for e, own in zip(spans[0], out):
                if place.each:
                    fill(own, place.name.format(e), spans[1:])
                else:
                    fill(own, place.name, spans[1:], (slice(e, e + 1),))
        else:
            fill(out, place.name, spans)
        return out

    def fill(out, name, spans, within=()):
        spans = spans[::-1] if transposed else spans
        if first:
            spans[0] = range(spans[0].start + first, spans[0].stop + first)
        view = out.T if transposed else out
        # a piece at a time, so that nothing as large as the tensor is held beside what is kept
        rows = max(1, _PIECE // max(1, out.nbytes // max(1, len(spans[0]))))
        for start in range(0, len(spans[0]), rows):
            piece = spans[0][start : start + rows], *spans[1:]
            index = (*within, *(slice(s.start, s.stop) for s in piece))
            view[start : start + rows] = reader.read(name, index).reshape([len(span) for span in piece])

    return jax.make_array_from_callback(here, x.sharding, part)


def _pages(shape: list[int], dtype: Any) -> np.ndarray:
    """An array in pages of its own: they leave no holes in the heap, and on a CPU jax takes them over as they are."""
    size = math.prod(shape) * jnp.dtype(dtype).itemsize
    pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype, math.prod(shape)).reshape(shape)


def _parts(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    total = 0
    for name, size in sizes.items():
        if parts[-1] and total + size > most:
            parts.append([])
            total = 0
        parts[-1].append(name)
        total += size
    return parts


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree["params"], sep="/")


def _kind(dtype: Any, key: str) -> Any:
    for name, kind in DTYPES.items():
        if dtype == name or (not isinstance(dtype, str) and jnp.dtype(dtype) == jnp.dtype(kind)):
            return kind
    raise InputError(f"{key}={dtype!r}: must be one of {', '.join(DTYPES)}")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
