"""Every command of docs/large_runs.md is built, at abstract level, with as many devices as it names (fake)."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.parallel import sharding
from experiments import tiny_model
from experiments.lib import build, launch

ROOT = pathlib.Path(__file__).parents[2]
DEVICES = 64


def commands():
    """The arguments of each train_rl of the page that names a config."""
    text = (ROOT / "docs" / "large_runs.md").read_text().replace("\\\n", " ")
    found = re.findall(r"experiments\.train_rl +(--config=[^\n\"`]*)", text)
    return [shlex.split(x) for x in found]


BUILD = """
import sys, json
import jax
jax.config.update("jax_num_cpu_devices", {devices})
from entropy_rl.parallel import sharding
from experiments.lib import build, launch
from experiments.rl import parts
made = []
for flags in json.loads(sys.argv[1]):
    config = launch.load_config(flags.pop("config"))
    config.update_from_flattened_dict(flags)
    size = config.mesh.data * config.mesh.fsdp * config.mesh.tensor
    mesh = sharding.make_mesh(**config.mesh, devices=jax.devices()[:size])
    build.mesh = lambda _: mesh
    p = parts.make(config)
    parts.abstract(p)
    made.append([size, p.learning["microbatches"], p.learning["group_size"]])
print(json.dumps(made))
"""


def test_the_commands_of_the_page_are_runs(tmp_path):
    """Mutation: `--config.microbatches=64` in one of them, whose 8 rows 32 devices cannot share."""
    folder = tiny_model.run(launch.load_config("configs/tiny_model.py:smoke"), str(tmp_path))
    about = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(about))
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        rows = ({"question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(1400))
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    all_flags = []
    for arguments in commands():
        config, *rest = (a for a in arguments if a.startswith("--config"))
        spec = config.partition("=")[2].replace("$MODEL", str(folder))
        flags = dict(a.removeprefix("--config.").split("=", 1) for a in rest)
        values = {k: int(v) if v.isdigit() else v.replace("$DATA", str(data)) for k, v in flags.items()}
        all_flags.append(values | {"config": spec})
    assert len(all_flags) == 2
    env = os.environ | {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(tmp_path / "tfds")}
    command = [sys.executable, "-c", BUILD.format(devices=DEVICES), json.dumps(all_flags)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[32, 16, 1], [64, 32, 1]]


class Mesh:
    """As much of a mesh as is read."""

    def __init__(self, fsdp):
        self.shape = {"data": 1, "fsdp": fsdp, "tensor": 1}


@pytest.mark.parametrize(
    "devices, rows, given, want", [(1, 512, 0, 64), (8, 512, 0, 64), (32, 512, 0, 16), (8, 512, 4, 4), (1, 4, 0, 1)]
)
def test_micro_batches_are_chosen(devices, rows, given, want):
    """Eight rows or more, and each device as many. Mutation: 8 rows whatever the devices."""
    assert build.microbatches(Mesh(devices), rows, given) == want


def test_a_device_without_a_row_is_refused():
    message = (
        r"config.microbatches=64: a micro-batch has 8 of 512 rows, .* = 32 does not divide: give one of 2, 4, 8, 16"
    )
    with pytest.raises(InputError, match=message) as e:
        build.microbatches(Mesh(32), 512, 64)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("devices, parts, want", [(1, 1, 8), (8, 16, 4), (8, 64, 1), (8, 8, 8), (8, 32, 2)])
def test_prompts_are_shared_by_the_rows_that_stay_together(devices, parts, want):
    """64 groups of 8. Mutation: only where all of a group does."""
    assert build.shared_prompts(Mesh(devices), 64, 8, parts, 5) == {"samples": want, "prompt_length": 5}


def test_devices_that_cut_rows():
    assert sharding.row_shards(Mesh(np.int64(4))) == 4
