"""What thoughts are worth on held-out text: the table of a sweep of RLP.

python -m experiments.rlp_table --config=configs/rlp_table.py --config.runs=runs/rlp --workdir=runs/rlp-table

Time: about 2 seconds. Outcome: rlp.json and rlp.md in the workdir, the latter printed. `:smoke` takes fewer bootstrap
draws.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`arg` is "" or "smoke"."""
    common.variant(arg, "smoke")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with folders base and rlp_text.0 in it: runs of experiments.rlp
    c.level = 0.9  # nominal coverage of each interval
    c.draws = 200 if arg == "smoke" else 4000
    c.seed = 0  # of the draws
    return c
