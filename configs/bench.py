"""Speed on this machine, each figure beside the machine's matrix-product peak measured in the same run.

make bench
python -m experiments.bench --config=configs/bench.py --workdir=runs/bench

Time: about a minute on 2 CPU cores. Expect the GRPO step of the 0.85 M model (8 prompts x 8 samples x 32 tokens,
entropy record on) at 40 to 50 % of the peak: 0.4 CPU-seconds where that is 100 GFLOP per CPU-second.
"""

from ml_collections import ConfigDict

from entropy_rl.errors import InputError


def get_config(arg=""):
    """`:smoke` repeats everything once."""
    if arg not in ("", "smoke"):
        raise InputError(f"configs/bench.py knows no variant {arg!r}: leave it out or say :smoke")
    c = ConfigDict()
    c.seed = 0
    c.repeats = 1 if arg else 11  # of each measurement, interleaved; medians are reported
    c.decode = {"model": "embedded", "vocab": 40, "batch": 512, "prompt": 7, "new": 18}
    c.train = {"model": "embedded", "vocab": 40, "batch": 512, "length": 25}
    c.step = {"model": "small", "vocab": 512, "prompts": 8, "samples": 8, "prompt": 16, "new": 32}
    return c
