"""Critique-GRPO (arXiv:2506.03106): failed attempts are criticised, retried, and a retry joins its group.

python -m experiments.train_rl --config=configs/rl/critique_grpo.py --config.init=runs/start --workdir=runs/rl

The paper: 7 own samples and 1 refinement share one baseline without std; refined tokens are learnt on the question
alone with f(p) = p / (p + 0.1). Its formula clips f, its code does not, nor does this (`loss.args.clip_refined`); its
script normalises by std and has an entropy bonus of 0.001, this has neither. Two failed attempts of a group are
retried here, in the code all of them. `:paper` retries all.
Who writes the critique: --config.critique.source=oracle learned self indicative indicative_answer random none fresh.
Time: about a minute on one core. Expect, with the start of configs/sweeps/critique.py and 240 steps, entropy 0.27 to
0.07 and pass@1 .37 to .74, as with critique.source=off (notebooks/critique_and_entropy.ipynb).
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        task__args__levels=(3, 4, 5),
        task__args__talk=True,
        rollout__prompts=32,
        advantage=common.choice("dr_grpo"),
        loss=common.choice("shaped", gamma=0.1, clip_low=0.2, clip_high=0.2),
        critique__source="oracle",
        paper={"critique__attempts": 7},
    )
