"""Fit of the entropy law and its rivals to logged runs.

Paper: Cui et al. 2025, "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
  arXiv:2505.22617, Eq. 6, R = -a exp(H) + b; the paper prints no coefficients.
Command: python -m experiments.fit_laws --config=configs/laws/fit.py --config.logs=PATH --workdir=OUT
Time: a few seconds on one CPU core, most of it imports and drawing.
Outcome: OUT/law.json, OUT/law.png and OUT/law.md. On runs whose entropy stays below about 0.3 nats expect R2 above
  0.9 for exp and for linear alike, and the verdict that exp is not identified. With 0.05 nats or less left, the
  ceiling is close to the last reward whichever curve is right.
":smoke" takes fewer bootstrap draws: the same coefficients, rougher intervals.
"""

from ml_collections import config_dict

from configs import common


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg` is "" or "smoke"."""
    common.variant(arg, "smoke")
    config = config_dict.ConfigDict()
    config.logs = config_dict.placeholder(str)  # a path, a pattern, or several of them between commas
    # columns; None: guessed, and said in the output
    config.entropy = config_dict.placeholder(str)
    config.score = config_dict.placeholder(str)
    config.step = config_dict.placeholder(str)
    config.run = config_dict.placeholder(str)  # tells runs apart that share a file
    config.group = config_dict.placeholder(str)  # a column: a law for each of its values, over the runs that have it
    config.weight = config_dict.placeholder(str)  # number of samples behind a score
    config.compute = config_dict.placeholder(str)  # for the curves in steps, in their place
    config.join = False  # all the logs are of one run: its entropy is in one, its score in another
    config.length_limit = config_dict.placeholder(float)  # longest response, tokens, where H is scaled by it; 0: never
    config.show_columns = False  # prints every column and what it is taken for
    config.html = False  # law.html too: one page with curves to hover over, by Bokeh
    config.follow = False  # watches the logs, a line an evaluation
    config.follow_for = config_dict.placeholder(float)  # seconds; None: until interrupted
    config.poll = 2.0  # seconds between two looks at the files
    config.fail_on = config_dict.placeholder(str)  # alarms, "collapse,plateau": exit status 3 where one is raised
    config.stop_left = config_dict.placeholder(float)  # alarm "spent" where no more reward than this is left
    config.nonnegative = False  # a >= 0
    config.shares = (0.05, 0.10, 0.15, 0.20, 0.33)  # of each run, to forecast its end from; () for none
    config.horizon = config_dict.placeholder(float)  # a later step, to forecast from all there is
    config.sizes = config_dict.placeholder(str)  # parameters by run, "0.5B=0.36e9,7B=6.53e9": coefficients against them
    config.size_at = config_dict.placeholder(float)  # parameters of a model to predict the coefficients of
    config.level = 0.9  # nominal coverage of the intervals
    config.draws = 200 if arg == "smoke" else 1000
    config.seed = 0
    config.min_points = 8
    return config


def of_a_run(arg: str = "") -> config_dict.ConfigDict:
    """The law of a script that has trained the run itself: without what chooses and watches logs."""
    config = get_config(arg)
    for key in ("logs", "group", "show_columns", "follow", "follow_for", "poll", "fail_on"):
        del config[key]
    return config
