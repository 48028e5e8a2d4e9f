"""Safetensors files of a folder: where each tensor is, and slices of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.errors import InputError
from entropy_rl.files import contained, read_json

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_POINTER = b"version https://git-lfs"
_BITS = ("F32", "BF16", "F16")
# Buffers that old checkpoints hold beside the parameters; they follow from config.json.
_BUFFERS = (".rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias")


class Reader:
    """The tensors of a folder: where each one is, and slices of them."""

    def __init__(self, path: Path, single: str = SINGLE):
        self._path = path
        self._open = safetensors().safe_open
        self._file: dict[str, str] = {}  # name of a tensor -> its file
        if single == SINGLE and (path / INDEX).exists():
            listed = read_json(path / INDEX)
            if not isinstance(listed, Mapping) or not isinstance(listed.get("weight_map"), Mapping):
                raise InputError(f"{path / INDEX} has no weight_map: copy it again")
            index = listed["weight_map"]
            for file in sorted(set(map(str, index.values()))):
                _inside(path, file)
                if not (path / file).is_file():
                    raise InputError(f"{path / INDEX} names {file}, which is missing: copy it too")
                there = self._names(file)
                listed_here = {name for name, where in index.items() if where == file}
                if odd := sorted(listed_here ^ there):
                    how = "has in it" if odd[0] in there else "lacks"
                    raise InputError(f"{path / file} {how} {odd[0]}, against {INDEX}: copy both again")
                self._file |= dict.fromkeys(there, file)
        elif (path / single).exists():
            _inside(path, single)
            self._file = dict.fromkeys(self._names(single), single)
        else:
            pickled = [p.name for p in sorted(path.glob("*")) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
            if pickled:
                raise InputError(
                    f"{path / pickled[0]} is a pickle, and loading one runs the code in it: convert it to safetensors "
                    "(transformers' save_pretrained does)"
                )
            if single != SINGLE:
                raise InputError(f"{path / single} is missing: copy it too")
            raise InputError(f"{path} has neither {SINGLE} nor {INDEX}: give the folder of a Hugging Face model")

    def check(self, wanted: set[str], *, tied: bool) -> None:
        """InputError that names a tensor that is missing, or that is there and nothing asked for."""
        there = {name for name in self._file if not name.endswith(_BUFFERS)}
        known = re.compile(r"\.mlp\.experts\.(\d+\.(gate|up|down)_proj\.weight|gate_up_proj|down_proj)$")
        if odd := sorted(x for x in there - wanted if ".experts." in x and not known.search(x)):
            raise InputError(
                f"{self._path} has tensor {odd[0]}{_more(odd)}, experts of a kind that is not known: mlp.experts.0."
                "gate_proj.weight and so on, or mlp.experts.gate_up_proj and down_proj, unquantised, are read"
            )
        if missing := sorted(wanted - there):
            raise InputError(f"{self._path} lacks tensor {missing[0]}{_more(missing)}: config.json asks for it")
        extra = sorted(there - wanted - ({"lm_head.weight"} if tied else set()))
        if extra:
            raise InputError(
                f"{self._path} has tensor {extra[0]}{_more(extra)}, which the model of its config.json has not"
            )
        # some tied checkpoints hold the head all the same
        if tied and "lm_head.weight" in there:
            head, embedding = (self.read(name) for name in ("lm_head.weight", "model.embed_tokens.weight"))
            if head.shape != embedding.shape or head.tobytes() != embedding.tobytes():
                raise InputError(
                    f"{self._path}: lm_head.weight is not the embedding though config.json says tie_word_embeddings: "
                    "set that to false, or remove the tensor"
                )

    def names(self) -> set[str]:
        """Of all tensors."""
        return set(self._file)

    def stacks_experts(self) -> bool:
        """Whether the experts of a layer are one tensor (models/tensor_names.py)."""
        return any(name.endswith(".mlp.experts.gate_up_proj") for name in self._file)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor as it lies in the file; InputError for a type that is no float."""
        with self._opened(self._file[name]) as f:
            x = f.get_slice(name)
            if x.get_dtype() not in _BITS:
                raise InputError(f"{self._path}: tensor {name} is {x.get_dtype()}: {', '.join(_BITS)} are supported")
            return tuple(x.get_shape())

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """A slice of a tensor, or all of it. The file is opened anew each time, so that no mapped page stays."""
        with self._opened(self._file[name]) as f:
            x = f.get_slice(name)
            return x[index or tuple(slice(None) for _ in x.get_shape())]

    def _names(self, file: str) -> set[str]:
        with self._opened(file) as f:
            return set(f.keys())

    def _opened(self, file: str):
        try:
            return self._open(self._path / file, framework="numpy")
        except Exception as e:  # SafetensorError is no subclass of anything more telling
            if type(e).__name__ != "SafetensorError":
                raise
            path = self._path / file
            with path.open("rb") as f:
                pointer = f.read(len(_POINTER)) == _POINTER
            if pointer:
                raise InputError(f"{path} is a pointer of Git LFS, not the tensors: run git lfs pull there") from e
            raise InputError(f"{path} is truncated or damaged ({e}): copy it again") from e


def _inside(path: Path, file: str) -> None:
    """Refuses a file of the index, or a link, that leaves the folder."""
    if Path(file).name != file or file in (".", ".."):
        raise InputError(f"{path / INDEX} names {file!r}, which is not in the folder: copy it again")
    contained(path / file)


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def safetensors() -> Any:
    """The package, safetensors.numpy loaded; InputError where it is not installed."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise InputError("reading a Hugging Face folder needs safetensors: pip install 'entropy_rl[hf]'") from None
    return safetensors
