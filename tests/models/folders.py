"""The folders in tests/models/hf, which transformers wrote (make_hf_fixtures.py), as tests read and spoil them."""

import pathlib
import shutil

import numpy as np
import safetensors

HERE = pathlib.Path(__file__).parent / "hf"
FOLDERS = sorted(path for path in HERE.iterdir() if path.is_dir())


def copy(name, place):
    return pathlib.Path(shutil.copytree(HERE / name, place / name))


def tensors(folder):
    """All of a folder, each with its type in the file."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safetensors.safe_open(path, "numpy") as f:
            assert not out.keys() & set(f.keys())
            out |= {name: f.get_slice(name)[:] for name in f.keys()}
    return out


def stack(whole, turned=False):
    """The tensors of a folder with those of a layer's experts in two, as transformers 5 holds them; [experts, d, 2 f]
    where they are turned."""
    own = lambda layer, part: np.stack([whole.pop(f"{layer}.{e}.{part}_proj.weight") for e in range(5)])  # noqa: E731
    for layer in sorted({name.partition("experts.")[0] + "experts" for name in whole if ".experts." in name}):
        both = np.concatenate([own(layer, "gate"), own(layer, "up")], axis=1)
        whole |= {f"{layer}.gate_up_proj": both.swapaxes(1, 2) if turned else both}
        whole |= {f"{layer}.down_proj": own(layer, "down")}
    return {name: np.ascontiguousarray(x) for name, x in whole.items()}
