"""What a chip can do, by its maker's public figures, and the devices to compile for that are not there.

TPU: the pages of v5e, v5p and v6e under cloud.google.com/tpu/docs (read in November 2026; the interconnect there is
counted in both directions, here in one). GPU: NVIDIA's data sheets of A100 80GB SXM, H100 SXM and H200 SXM, dense
bfloat16, NVLink in one direction.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from typing import Any

import jax

from entropy_rl.errors import InputError, lookup


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak figures of one chip."""

    flops: float  # bfloat16, a second
    memory: float  # bytes
    bandwidth: float  # of memory, bytes a second
    link: float  # to other chips, bytes a second in one direction, all links together
    platform: str  # what is compiled for


CHIPS = {
    "v5e": Chip(197e12, 16e9, 819e9, 200e9, "tpu"),
    "v5p": Chip(459e12, 95e9, 2765e9, 600e9, "tpu"),
    "v6e": Chip(918e12, 32e9, 1638e9, 400e9, "tpu"),
    "a100": Chip(312e12, 80e9, 2039e9, 300e9, "cpu"),
    "h100": Chip(989e12, 80e9, 3350e9, 450e9, "cpu"),
    "h200": Chip(989e12, 141e9, 4800e9, 450e9, "cpu"),
}


def parse(hardware: str) -> tuple[Chip, int]:
    """`v5e:8x8` or `h100:8` -> the chip and how many of them.

    Raises:
      InputError: no such chip, or no number of them.
    """
    name, _, shape = hardware.partition(":")
    chip = lookup(CHIPS, name, "chip")
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise InputError(f"config.hardware={hardware}: give chips and their number, such as {name}:4x4 or h100:8")
    return chip, math.prod(map(int, shape.split("x")))


def devices(hardware: str) -> list[Any]:
    """Devices to compile for: of a TPU topology that libtpu describes, or as many that the host pretends to have.

    Raises:
      InputError: libtpu is not installed or knows no such topology; jax has started with another number of devices.
    """
    chip, count = parse(hardware)
    if chip.platform == "tpu":
        # no TPU is looked for, neither here nor by asking Google Cloud's metadata server
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        from jax.experimental import topologies

        try:
            return list(topologies.get_topology_desc(platform="tpu", topology_name=hardware).devices)
        except Exception as e:
            text = str(e).strip().splitlines()[0][:300]
            raise InputError(
                f"config.hardware={hardware}: cannot compile for it ({text}): pip install 'entropy_rl[tpu]', and give "
                "a shape that Cloud TPU has; one process at a time can load libtpu"
            ) from e
    if jax.device_count() != count:
        raise InputError(f"config.hardware={hardware}: jax has started with {jax.device_count()} devices already")
    return jax.devices()


def prepare(hardware: str) -> None:
    """To be called before jax starts: the host alone, with as many devices as are needed."""
    chip, count = parse(hardware)
    os.environ["JAX_PLATFORMS"] = "cpu"  # libtpu and CUDA are not to start
    jax.config.update("jax_platforms", "cpu")
    if chip.platform == "tpu":
        # programs for devices that are not there cannot be loaded, from a cache either
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        with contextlib.suppress(RuntimeError):  # jax has started: `devices` says so where it matters
            jax.config.update("jax_num_cpu_devices", count)


def of(kind: str) -> Chip | None:
    """The chip that jax calls by this device_kind; None where it is none of them."""
    names = {"v5 lite": "v5e", "v5p": "v5p", "v5": "v5p", "v6": "v6e", "a100": "a100", "h100": "h100", "h200": "h200"}
    return next((CHIPS[name] for sign, name in names.items() if sign in kind.lower()), None)
