"""A GRPO step here, in tunix 0.1.7 and in TRL 1.16, on the same checkpoint, prompts, reward, batch and lengths.

make bench-peers
python -m experiments.bench_peers --config=configs/bench_peers.py --workdir=runs/bench_peers

Variants: `smollm2`, `small`, `medium`: that size alone. `smollm2` has that folder's weights; tunix' worker reads Qwen3
folders alone, so there it is named as failed.
Time: five minutes on 2 idle CPU cores for the two small sizes, ten for `smollm2`, and five minutes before for the two
environments (1.5 GB each). Expect both to take more than twice the CPU-seconds of a step here, at every size;
docs/speed.md has the table.
"""

from ml_collections import ConfigDict

from configs import common
from configs.bench import MEDIUM, SMALL

# of `make smollm2`; fewer rounds, as a step takes half a minute; updates in four micro-batches, as all rows at once
# take 10 GB here and more in TRL, and both are in memory together
SMOLLM2 = {"folder": "runs/smollm2/model", "vocab": 49_152, "prompts": 16, "samples": 4, "prompt": 16, "new": 48}
SMOLLM2 |= {"parts": 4}
# 1e6, as tunix 0.1.7's Qwen3 rotates by that whatever its config says
SIZES = {"small": SMALL | {"rope_theta": 1e6}, "medium": MEDIUM, "smollm2": SMOLLM2 | {"repeats": 3}}


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model, and needs no other project."""
    what = common.variant(arg, "smoke", *SIZES)
    smoke = what == "smoke"
    c = ConfigDict()
    c.seed = 0
    c.peers = () if smoke else ("tunix", "trl")  # .venv-NAME and experiments/hardware/peers/NAME_worker.py
    c.repeats = 1 if smoke else 11  # rounds in which each does a step
    c.learning_rate = 1e-5
    tiny = {"model": "test", "vocab": 64, "prompts": 2, "samples": 2, "prompt": 4, "new": 8}
    c.sizes = {"tiny": tiny} if smoke else {size: SIZES[size] for size in SIZES if what in ("", size)}
    return c
