"""Fit of the entropy law to a logged run.

Paper: Cui et al. 2025, "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
  arXiv:2505.22617, Eq. 6, R = -a exp(H) + b; the paper prints no coefficients.
Command: python -m experiments.fit_laws --config=configs/laws/fit.py --config.logs=PATH --workdir=OUT
Time: about 2 seconds on one CPU core, nearly all of it imports and drawing.
Outcome: OUT/law.json and OUT/law.png. On runs whose entropy stays below about 0.3 nats expect R2 above 0.9
  for exp and for linear alike, and the verdict that they cannot be told apart. With 0.05 nats or less left,
  the ceiling is close to the last reward whichever curve is right.
":smoke" takes fewer bootstrap draws: the same coefficients, rougher intervals.
"""

from ml_collections import config_dict

from entropy_rl.errors import InputError


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg` is "" or "smoke"."""
    if arg not in ("", "smoke"):
        raise InputError(f"configs/laws/fit.py knows no variant {arg!r}: leave it out or say :smoke")
    config = config_dict.ConfigDict()
    config.logs = config_dict.placeholder(str)  # a workdir, or a .csv, .tsv or .jsonl file
    # columns; None: guessed, and said in the output
    config.entropy = config_dict.placeholder(str)
    config.score = config_dict.placeholder(str)
    config.step = config_dict.placeholder(str)
    config.level = 0.9  # nominal coverage of the intervals
    config.draws = 200 if arg == "smoke" else 1000
    config.seed = 0
    config.min_points = 8
    return config
