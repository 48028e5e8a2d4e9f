"""A task frozen into train, validation and test, with checksums: data that stays the same.

python -m experiments.make_dataset --config=configs/make_dataset.py:task=chain_sum,max_terms=3 --workdir=runs/data

Task and settings are given as in configs/rl/hf.py. To train on it: configs/rl/hf.py:path=MODEL,task=tfds with
`--config.task.args.name=chain_sum --config.task.args.data_dir=runs/data`.
Time: seconds for most tasks; a million lines a minute are written. Outcome: runs/data/chain_sum/1.0.0.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    """`arg`: task=NAME and its settings; `smoke` takes a few problems."""
    variants, given = common.parse(arg, "smoke")
    c = ConfigDict()
    c.task = common.task(given.pop("task", "countdown"), given)
    c.name = placeholder(str)  # of the dataset; None: that of the task
    c.version = "1.0.0"  # raise it when the content is to be another
    # problems; 0: no such split
    c.sizes = ConfigDict({"train": 10_000, "validation": 500, "test": 500})
    if "smoke" in variants:
        c.sizes.update(train=20, validation=5, test=5)
    return c
