"""Coverage of the law's 90 % intervals on planted curves, by simulation.

Paper: Cui et al. 2025, arXiv:2505.22617, Eq. 6, gives the planted curve; it reports no intervals.
Command: python -m experiments.coverage --config=configs/laws/coverage.py --workdir=OUT
Time: about 8 minutes on one CPU core. Expect 88 to 93 % in every row, and 39 to 67 % for naive intervals where noise
  is autocorrelated.
":smoke" plants fewer curves.
"""

from ml_collections import config_dict

from configs import common


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg` is "" or "smoke"."""
    common.variant(arg, "smoke")
    config = config_dict.ConfigDict()
    config.curves = 20 if arg == "smoke" else 1000  # planted for each row
    config.draws = 100 if arg == "smoke" else 1000  # of the bootstrap, for each curve
    config.points = (40, 400)
    config.rho = (0.0, 0.5, 0.8)
    config.others = ("linear", "sqrt", "log", "quadratic", "exp_rate", "sigmoid", "power")  # at the last rho
    config.runs = (3, 5)  # sizes of the sets of runs
    config.spread = 2.0  # of the runs' coefficients, in units of the noise
    config.noise = 0.01
    config.level = 0.9
    config.seed = 0
    return config
