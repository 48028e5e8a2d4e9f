"""A GGUF file as a folder that hf.load and transformers load: weights dequantised, tokenizer rebuilt.

python -m experiments.convert_gguf --config=configs/convert_gguf.py --config.gguf=MODEL.gguf --workdir=runs/mine

`make smollm2` does this with SmolLM2-135M-Instruct, which it fetches first.
Time: 18 seconds for 0.13 G parameters on one core. Outcome: runs/mine/model, 4 bytes a parameter in float32.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` is the same, as there is nothing to spare."""
    common.variant(arg, "smoke")
    c = ConfigDict()
    c.gguf = placeholder(str)  # the file
    c.dtype = "float32"  # of the weights; bfloat16 and float16 round them
    c.shard_bytes = 5_000_000_000  # a file has at most so many
    return c
