"""Which keys of which runs go to notebooks/data.

python -m experiments.curate --config=configs/curate.py --config.runs=runs/seeds --workdir=notebooks/data/seeds
python -m experiments.curate --config=configs/curate.py:controls --config.runs=runs/controls --workdir=notebooks/data/controls

The second is of a study. So are, with their names in place of controls, changes, tokens, laws, critique, self_train,
cft, darling, rlp, forking and controls2026, and eight that go to runs/curated/NAME and are one archive,
notebooks/data/studies (`logs.archive.pack` of a folder with each of them unpacked in it): critique_learn, moe,
mismatch, small_english, critique_smollm2, equal_entropy, critique_closed, narrowing. Runs lie elsewhere for changes
(runs/controls), equal_entropy (runs/equal), critique_smollm2 (runs/smollm2/study) and critique_closed (runs/closed).

Time: seconds. Expect a compressed table for each kind of file, with the rows of all runs: some kB a run.
"""  # noqa: E501  commands on one line, to be copied

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common

CURVE, ENDS = ("policy/entropy_sequence", "rollout/reward"), ("pass@1", "pass@8", "distinct_count")
SEEDS = {"match": "*,seed=*", "digits": 4}
SAMPLER = SEEDS | {"every": 20, "metrics": (*CURVE, "time/*", "policy/sampler_*", "policy/importance*"), "evals": ENDS}
LOOP = SEEDS | {
    "every": 10,
    "metrics": ("policy/entropy", "policy/entropy_*", "rollout/*", "refine/*", "critique/*", "time/*"),
    "evals": ("pass@1*", "pass@8", "entropy_sequence", "answer_entropy", "distinct_count"),
}
WAYS = LOOP | {"metrics": (*LOOP["metrics"], "distillation/*", "moe/*", "policy/logp_gap*")}
# of a study what differs from the keys below
STUDIES = {
    "controls": SEEDS | {"every": 10, "digits": 5, "metrics": CURVE, "evals": ENDS},  # 8 attempts: pass@8 is coverage
    "changes": {"match": "*,seed=0", "every": 20, "digits": 5, "metrics": ("entropy/change_*",), "evals": ()},
    "tokens": {"match": "*"},  # tokens.json alone
    "laws": {"match": "*mix=*", "digits": 5, "metrics": CURVE, "evals": ("pass@1", "pass@1/level*")},
    "critique": LOOP | {"solved": True},
    "self_train": SEEDS
    | {"metrics": ("data/*", "policy/entropy_sequence", "rollout/*", "refine/*", "critique/*"), "problems": True}
    | {"evals": ("pass@*", "coverage*", "distinct*", "entropy*", "answer_entropy")},
    "cft": SEEDS | {"metrics": ("sft/nll",), "evals": LOOP["evals"], "problems": True},
    "darling": SEEDS
    | {"every": 20, "metrics": ("policy/entropy_sequence", "rollout/*"), "solved": True}
    | {"evals": ("pass@1", "pass@8", "entropy_sequence", "distinct_count")},
    "rlp": {"match": "*", "every": 10, "digits": 4, "solved": True}
    | {"metrics": ("rollout/*", "policy/entropy_sequence", "text/tokens", "sft/nll")}
    | {"evals": ("ce_*", "reduction", "says", "nll", "length", "entropy*", "pass@1", "pass@8", "distinct_count")},
    "forking": SEEDS
    | {"every": 5, "metrics": CURVE, "evals": ("pass@1*", "pass@8*", "entropy_sequence"), "solved": True},
    "critique_learn": WAYS,
    "moe": WAYS,
    "controls2026": SAMPLER,
    "mismatch": SAMPLER,
    "equal_entropy": SAMPLER,
    "small_english": WAYS,
    "critique_smollm2": WAYS,
    "critique_closed": WAYS,
    "narrowing": WAYS,
}


def get_config(arg=""):
    """`arg`: a study, or nothing for the runs of configs/sweeps/seeds.py."""
    common.variant(arg, *STUDIES)
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with runs below it
    c.match = "*rl"  # of their paths below it
    c.metrics = ("policy/entropy*", "policy/cov", "entropy/*", "rollout/reward", "rollout/answer_entropy")
    c.evals = ("pass@*", "coverage*", "distinct*", "answer_entropy", "entropy_sequence")
    c.solved = False  # whether solved.jsonl is kept
    c.problems = False  # whether problems.jsonl is
    c.every = 1  # of rows of metrics.jsonl, those at multiples of it
    c.digits = 17  # significant ones; 17 keep every bit
    c.update(STUDIES.get(arg, {}))
    return c
