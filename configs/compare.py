"""Arms against a baseline: the table of a sweep.

python -m experiments.compare --config=configs/compare.py --config.runs=runs/study --workdir=runs/study_table

Time: about 3 seconds for 80 runs, half of it imports; 20 for the calibration of 15 policies. Outcome: table.json and
table.md in the workdir, the latter printed; experiments/studies/compare_attempts.py says what is in them. Where runs
of one setting differ by 0.02 from seed to seed (standard deviation of pass@1), expect 90 % intervals of about +-0.05
from 3 seeds and +-0.03 from 5.
`:darling` has the columns of configs/sweeps/darling.py: pass@1 and pass@128 by level, classes of solutions, and
of what training rollouts are made.
`:calibration` has accuracy, entropy and calibration of the policies that experiments.calibrate has measured, less those
of `base`, and reliability.png, as for configs/sweeps/rlsf.py.
`:text` has what thoughts are worth on held-out text, for runs of experiments.rlp as in configs/sweeps/rlp.py; its files
are rlp.json and rlp.md.
`:smoke` takes fewer bootstrap draws: the same means, rougher intervals.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common

MORE = ("pass@1", "pass@128", "classes")
# of a training rollout: where texts and n-grams of right responses grow and classes do not, form was rewarded
LOGGED = tuple(f"rollout/{x}" for x in "reward length ngram ngram_right texts_right classes_right unused".split())


def get_config(arg=""):
    """`arg` is "", "smoke", "darling", "calibration" or "text"."""
    common.variant(arg, "smoke", "darling", "calibration", "text")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with folders such as clip_cov,seed=1 in it: runs of train_rl
    c.kind = arg if arg in ("calibration", "text") else "attempts"  # what the runs are, which says what is compared
    c.baseline = "grpo" if c.kind == "attempts" else "base"
    c.level = 0.9  # nominal coverage of each interval
    c.draws = {"smoke": 200, "calibration": 1000}.get(arg, 4000)
    c.seed = 0  # of the draws
    if c.kind == "attempts":
        c.k = 16  # of pass@k, or all attempts where there are fewer
        c.together = False  # whether the intervals of a column hold for all arms at once, not each by itself
        c.more = ()  # further columns: pass@32, pass@1/level5, coverage, classes, distinct/level3, rollout/length
    if c.kind == "calibration":
        c.bins = 10  # of confidence
    if arg == "darling":
        c.k = 128
        c.more = ("pass@8", "classes", *(f"{what}/level{n}" for n in (3, 4, 5) for what in MORE), *LOGGED)
    return c
