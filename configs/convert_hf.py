"""A trained policy as a folder that transformers loads.

python -m experiments.convert_hf --config=configs/convert_hf.py --config.source=runs/grpo --workdir=runs/served

`--config.adapter=True` writes the adapters of a LoRA run alone, runs/served/adapter, for peft and servers.
Time: a few seconds, and the time that the disk takes. Outcome: runs/served/model, weights bit for bit.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` is the same, as there is nothing to spare."""
    common.variant(arg, "smoke")
    c = ConfigDict()
    c.source = placeholder(str)  # workdir of train_rl or train_sft
    c.dtype = placeholder(str)  # float32, bfloat16 or float16; None: that of the parameters
    c.adapter = False  # the adapters of a LoRA run alone, as peft writes them, into workdir/adapter
    c.shard_bytes = 5_000_000_000  # a file has at most so many
    return c
