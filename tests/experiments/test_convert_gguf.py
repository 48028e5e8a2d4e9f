"""convert_gguf: a file to the folder that a run begins with, and what is said of bad values."""

import re

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import hf
from experiments import convert_gguf
from experiments.lib import launch
from tests.models import gguf_files


def get(path, **changes):
    config = launch.load_config("configs/convert_gguf.py")
    config.update_from_flattened_dict({"gguf": path and str(path), **changes})
    return config


def test_the_folder_is_in_the_workdir(tmp_path, capsys):
    path = gguf_files.tiny(tmp_path, "llama")
    folder = convert_gguf.run(get(path, dtype="bfloat16"), str(tmp_path / "run"))
    assert folder == tmp_path / "run" / "model" and f"wrote {folder}: 2 layers of width 32" in capsys.readouterr().out
    model, params = hf.load(folder)
    _, want = hf.load(tmp_path / "theirs", param_dtype="bfloat16")
    q, p = (x["params"]["layer_0"]["attention"]["q"]["kernel"] for x in (params, want))
    np.testing.assert_array_equal(q, p)
    with pytest.raises(InputError, match="is there already"):
        convert_gguf.run(get(path, dtype="bfloat16"), str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gguf": None}, "config.gguf is missing: give the path of a GGUF file"),
        ({"gguf": "none.gguf"}, "config.gguf=none.gguf is no file"),
        ({"dtype": "int8"}, "config.dtype='int8': must be one of float32"),
        ({"shard_bytes": 0}, "config.shard_bytes=0: must be"),
    ],
)
def test_bad_values_leave_no_workdir(changes, said, tmp_path):
    with pytest.raises(InputError, match=re.escape(said)):
        convert_gguf.run(get("x.gguf", **changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
