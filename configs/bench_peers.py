"""A GRPO step here, in tunix 0.1.7 and in TRL 1.16, on the same checkpoint, prompts, reward, batch and lengths.

make bench-peers
python -m experiments.bench_peers --config=configs/bench_peers.py --workdir=runs/bench_peers

Time: five minutes on 2 idle CPU cores, and as long before for the two environments (1.5 GB each). Expect both to take
more than twice the CPU-seconds of a step here, at both sizes; docs/speed.md has the table.
"""

from ml_collections import ConfigDict

from configs import common
from configs.bench import MEDIUM, SMALL


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model, and needs no other project."""
    smoke = common.variant(arg, "smoke") == "smoke"
    c = ConfigDict()
    c.seed = 0
    c.peers = () if smoke else ("tunix", "trl")  # .venv-NAME and experiments/hardware/peers/NAME_worker.py
    c.repeats = 1 if smoke else 11  # rounds in which each does a step
    c.learning_rate = 1e-5
    tiny = {"model": "test", "vocab": 64, "prompts": 2, "samples": 2, "prompt": 4, "new": 8}
    # 1e6, as tunix 0.1.7's Qwen3 rotates by that whatever its config says
    c.sizes = {"tiny": tiny} if smoke else {"small": SMALL | {"rope_theta": 1e6}, "medium": MEDIUM}
    return c
