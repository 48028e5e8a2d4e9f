"""The field's claims, held against runs.

python -m experiments.retest --config=configs/retest.py --workdir=runs/retest

With `--config.runs=FOLDER[,FOLDER]` they are tested on your runs. The claims are those of arXiv:2505.22617 (the law,
its coefficients, the front-loaded collapse, forecasts, the covariance, the ceiling), 2506.01939 (forking tokens),
2411.16579 and 2506.03106 (critiques), 2506.04210 (test-time variance), 2504.13837 (selection), 2507.21931 (confidence).
Time: about 25 seconds for the curated runs of notebooks/data (916), half of it reading and drawing.
Outcome: retest.md, retest.json and figures in the workdir. Expect `undecided` wherever a claim has fewer than 3 seeds.
`:smoke` takes fewer bootstrap draws: the same values, rougher intervals.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`arg` is "" or "smoke"."""
    common.variant(arg, "smoke")
    c = ConfigDict()
    c.runs = placeholder(str)  # folders with runs below them, between commas; None: notebooks/data
    c.level = 0.9  # nominal coverage of each interval
    c.draws = 200 if arg == "smoke" else 1000
    c.margin = 0.02  # a difference of pass@k that is worth the name
    c.least = 3  # seeds, or runs, that a test needs
    c.seed = 0  # of the draws
    return c
