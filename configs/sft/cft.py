"""Critique fine-tuning, CFT: imitation of critiques, and the question answered directly at test time.

python -m experiments.train_sft --config=configs/sft/cft.py --config.init=runs/sft --config.lessons.path=runs/said \\
    --workdir=runs/cft

    -log p(critique | question, attempt)                          (arXiv:2501.17703, Eq. 1)

`:sft` is what the paper compares it with: -log p(a right solution | question) on the same rows, those of the solver.
One-problem CFT (arXiv:2506.03295) is the same on a dataset of one problem: make_critiques with `--config.first=N
--config.problems=1 --config.most=600`, several `generators` and several `annotators`; configs/sweeps/cft.py has the
commands. The papers' critiques are teachers' texts, which go on to the right solution: `lessons.level="answer"`.
On a Hugging Face folder: `--config=configs/sft/cft.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about a minute on one core. Expect pass@1 to fall from .32 to .05, and to rise to .33 with `:sft`: a model of this
size, which knows nothing besides, unlearns to solve (notebooks/critique_fine_tuning.ipynb).
"""

from configs import common
from configs.sft import lessons


def get_config(arg=""):
    """`:sft` teaches right solutions instead, `:smoke` takes two steps; `:path=MODEL,task=TASK` is of a folder."""
    variants, given = common.parse(arg, "sft", "smoke")
    smoke = "smoke" in variants
    c = lessons.get_config(",".join(["smoke"] * smoke + [f"{key}={value}" for key, value in given.items()]))
    c.lessons.update(solve=0.0, critique=1.0, refine=0.0, level="answer")
    if "sft" in variants:
        c.lessons.update(critique=0.0, refined=1.0)
    if given:
        c.optimizer.learning_rate = 5e-6  # of the papers, for 7 B parameters
        c.eval.last = {"problems": 128, "samples": 16}
    else:
        c.optimizer.learning_rate = 1e-3
        c.eval.last = {"problems": 510, "samples": 64}
    if smoke:
        c.eval.last.update(problems=4, samples=2)
    elif not given:
        c.steps = 1000
        c.eval.every = 200
    return c
