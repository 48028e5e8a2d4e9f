"""Which keys of which runs go to notebooks/data.

python -m experiments.curate --config=configs/curate.py --config.runs=runs/seeds --workdir=notebooks/data/seeds

Three variants are for the notebooks of the study of controls, whose runs are folders `<control>,seed=<k>`:
python -m experiments.curate --config=configs/curate.py:controls --config.runs=runs/controls --workdir=notebooks/data/controls
python -m experiments.curate --config=configs/curate.py:changes --config.runs=runs/controls --workdir=notebooks/data/changes
python -m experiments.curate --config=configs/curate.py:tokens --config.runs=runs/tokens --workdir=notebooks/data/tokens
and one for those of the study of the law:
python -m experiments.curate --config=configs/curate.py:laws --config.runs=runs/laws --workdir=notebooks/data/laws
and one for that of critiques in the loop:
python -m experiments.curate --config=configs/curate.py:critique --config.runs=runs/critique --workdir=notebooks/data/critique
and for those of self-training and of critique fine-tuning:
python -m experiments.curate --config=configs/curate.py:self_train --config.runs=runs/self_train --workdir=notebooks/data/self_train
python -m experiments.curate --config=configs/curate.py:cft --config.runs=runs/cft --workdir=notebooks/data/cft
and for that of diversity:
python -m experiments.curate --config=configs/curate.py:darling --config.runs=runs/darling --workdir=notebooks/data/darling
and for RLP, its reading and what comes after:
python -m experiments.curate --config=configs/curate.py:rlp --config.runs=runs/rlp --workdir=notebooks/data/rlp
and for those of the sweep of shares of forking tokens:
python -m experiments.curate --config=configs/curate.py:forking --config.runs=runs/forking --workdir=notebooks/data/forking
and for those of ways to learn from a critique and of mixtures of experts:
python -m experiments.curate --config=configs/curate.py:critique_learn --config.runs=runs/critique_learn --workdir=runs/curated/critique_learn
python -m experiments.curate --config=configs/curate.py:moe --config.runs=runs/moe --workdir=runs/curated/moe
python -m experiments.curate --config=configs/curate.py:mismatch --config.runs=runs/mismatch --workdir=runs/curated/mismatch
python -m experiments.curate --config=configs/curate.py:small_english --config.runs=runs/small_english --workdir=runs/curated/small_english
python -m experiments.curate --config=configs/curate.py:critique_smollm2 --config.runs=runs/smollm2/study --workdir=runs/curated/critique_smollm2
python -m experiments.curate --config=configs/curate.py:equal_entropy --config.runs=runs/equal --workdir=runs/curated/equal_entropy
python -m experiments.curate --config=configs/curate.py:critique_closed --config.runs=runs/closed --workdir=runs/curated/critique_closed

These seven are one archive, notebooks/data/studies: `logs.archive.pack` of a folder with each of them unpacked in it; and
python -m experiments.curate --config=configs/curate.py:controls2026 --config.runs=runs/controls2026 --workdir=notebooks/data/controls2026

Time: seconds. Expect a compressed table for each kind of file, with the rows of all runs: some kB a run.
"""  # noqa: E501  commands on one line, to be copied

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:changes` keeps the curves of entropy, `:tokens` tokens.json, the other variants the curves of their study."""
    studies = ("controls", "changes", "tokens", "laws", "critique", "self_train", "cft", "darling", "rlp", "forking")
    studies += ("critique_learn", "moe", "controls2026", "mismatch", "equal_entropy")
    common.variant(arg, *studies, "small_english", "critique_smollm2", "critique_closed")
    c = ConfigDict()
    c.runs = placeholder(str)  # a folder with runs below it
    c.match = "*rl"  # of their paths below it
    c.metrics = ("policy/entropy*", "policy/cov", "entropy/*", "rollout/reward", "rollout/answer_entropy")
    c.evals = ("pass@*", "coverage*", "distinct*", "answer_entropy", "entropy_sequence")
    c.solved = False  # whether solved.jsonl is kept
    c.problems = False  # whether problems.jsonl is
    c.every = 1  # of rows of metrics.jsonl, those at multiples of it
    c.digits = 17  # significant ones; 17 keep every bit
    if arg == "controls":
        c.update(match="*,seed=*", every=10, digits=5)
        c.metrics = ("policy/entropy_sequence", "rollout/reward")
        c.evals = ("pass@1", "pass@8", "distinct_count")  # of 8 attempts, so pass@8 is the coverage
    elif arg in ("controls2026", "mismatch", "equal_entropy"):
        c.update(match="*,seed=*", every=20, digits=4)
        c.metrics = ("policy/entropy_sequence", "rollout/reward", "time/*", "policy/sampler_*", "policy/importance*")
        c.evals = ("pass@1", "pass@8", "distinct_count")
    elif arg == "changes":
        c.update(match="*,seed=0", every=20, digits=5)
        c.metrics, c.evals = ("entropy/change_*",), ()
    elif arg == "laws":
        c.update(match="*mix=*", digits=5)
        c.metrics, c.evals = ("policy/entropy_sequence", "rollout/reward"), ("pass@1", "pass@1/level*")
    elif arg in ("critique", "critique_learn", "moe", "small_english", "critique_smollm2", "critique_closed"):
        c.update(match="*,seed=*", every=10, digits=4, solved=arg == "critique")
        c.metrics = ("policy/entropy", "policy/entropy_*", "rollout/*", "refine/*", "critique/*", "time/*")
        c.metrics += () if arg == "critique" else ("distillation/*", "moe/*", "policy/logp_gap*")
        c.evals = ("pass@1*", "pass@8", "entropy_sequence", "answer_entropy", "distinct_count")
    elif arg == "self_train":
        c.update(match="*,seed=*", digits=4, problems=True)
        c.metrics = ("data/*", "policy/entropy_sequence", "rollout/*", "refine/*", "critique/*")
        c.evals = ("pass@*", "coverage*", "distinct*", "entropy*", "answer_entropy")
    elif arg == "cft":
        c.update(match="*,seed=*", digits=4, problems=True)
        c.metrics, c.evals = ("sft/nll",), ("pass@1*", "pass@8", "entropy_sequence", "answer_entropy", "distinct_count")
    elif arg == "darling":
        c.update(match="*,seed=*", every=20, digits=4, solved=True)
        c.metrics = ("policy/entropy_sequence", "rollout/*")
        c.evals = ("pass@1", "pass@8", "entropy_sequence", "distinct_count")
    elif arg == "rlp":
        c.update(match="*", every=10, digits=4, solved=True)
        c.metrics = ("rollout/*", "policy/entropy_sequence", "text/tokens", "sft/nll")
        c.evals = ("ce_*", "reduction", "says", "nll", "length", "entropy*", "pass@1", "pass@8", "distinct_count")
    elif arg == "forking":
        c.update(match="*,seed=*", every=5, digits=4, solved=True)
        c.metrics, c.evals = ("policy/entropy_sequence", "rollout/reward"), ("pass@1*", "pass@8*", "entropy_sequence")
    elif arg == "tokens":
        c.match = "*"
    return c
