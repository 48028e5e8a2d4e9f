"""A small Qwen3 folder with random weights, and a tokenizer for a task's texts: a model to try configs/rl/hf.py with.

python -m experiments.tiny_model --config=configs/tiny_model.py:task=chain_sum --workdir=runs/tiny

Task and settings are given as in configs/rl/hf.py.
Time: a few seconds. Outcome: runs/tiny/model, 0.15 M parameters.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """`arg`: task=NAME and its settings; `smoke` is a smaller model."""
    variants, given = common.parse(arg, "smoke")
    smoke = "smoke" in variants
    c = ConfigDict()
    c.seed = 0
    c.task = common.task(given.pop("task", "countdown"), given)
    c.texts = 100 if smoke else 5000  # problems whose texts the tokenizer is trained on
    c.critiques = False  # whether it is trained on critiques of attempts at them and on requests to try again too
    c.vocabulary = 300 if smoke else 512  # tokens at most; 259 are bytes and special tokens
    c.model = ConfigDict(
        {
            "d_model": 32 if smoke else 64,
            "layers": 2,
            "heads": 4,
            "kv_heads": 2,
            "head_dim": 8 if smoke else 32,
            "d_ff": 64 if smoke else 192,
            "tied": True,
            "qk_norm": True,  # False: a Llama
            "rope_theta": 1e4,
        }
    )
    return c
