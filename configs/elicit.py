"""Hidden reasoning: steering vectors, critique fine-tuning, CoT-decoding, autoencoder features and RLVR, side by side.

python -m experiments.elicit --config=configs/elicit.py --config.init=runs/sft --config.rl="('runs/grpo',)" \\
    --config.cft="('runs/cft',)" --workdir=runs/elicit

Each of `rl` is a seed: a run from the base, and of `cft` the run that stands beside it. configs/sweeps/elicit.py makes
all of them. What is measured: arXiv:2504.13837 (pass@k, crossover), 2510.07364 (gap recovery against the share of
tokens steered), 2402.10200 (CoT-decoding), 2601.08058 and 2503.18878 (features of an autoencoder), 2506.03295 (critique
fine-tuning on one problem).
On a Hugging Face folder: `--config=configs/elicit.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about three minutes a seed on one core.
Expect, with the sweep's runs, pass@1 .36 for the base, .43 with a trained vector, .36 with an autoencoder's feature or
one at random, .31 by CoT-decoding (.62 greedy), .01 after critique fine-tuning, .70 after GRPO, whose pass@256 is .86
for the base's 1.00; nothing solves what 256 samples of the base do not.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` runs all of it with untrained policies; `:path=MODEL,task=TASK` is of a folder."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5), talk=True)
    c.init = placeholder(str)  # workdir of the base; None: random weights
    of_folder = common.of_folder(c, given, "smoke" in variants)
    c.layers = ()  # blocks that are looked into and steered, from 0; (): all of 4 or fewer, else the middle one
    c.rl = ()  # workdirs of runs of reinforcement learning from it, one a seed; (): one of random weights
    c.cft = ()  # workdirs of critique fine-tuning, as many; (): left out
    c.eval = ConfigDict({"split": "test", "problems": 102, "samples": 256})
    c.choose = ConfigDict({"split": "validation", "problems": 64, "samples": 12})  # by whom all choices are made
    c.text = ConfigDict({"problems": 384, "samples": 8})  # training problems whose responses are analysed
    c.vector = ConfigDict(
        {
            "strengths": (0.5, 1.0, 2.0),  # of the vectors
            "steps": 150,  # updates that train vectors; 0: only mean differences of activations
            "rows": 128,  # responses in each
            "learning_rate": 3e-2,
            "shares": (0.05, 0.1, 0.2, 0.5),  # of tokens, those of the highest entropy; besides all, and the first
            "samples": 32,  # a problem, for the recovery at each share
        }
    )
    c.sae = ConfigDict(
        {
            "latents": 256,
            "k": 8,  # active ones
            "steps": 600,
            "rows": 512,  # a step
            "learning_rate": 3e-3,
            "features": 2,  # of the highest score by each criterion, and as many at random
            "strengths": (0.06, 0.12, 0.25, 0.5),  # of the mean norm of the residual stream
            "alpha": 0.7,  # of ReasonScore
            "words": 0.2,  # share of tokens whose entropy makes a decision a reasoning word
        }
    )
    c.cot = ConfigDict({"k": 10, "spans": ("answer", "solution")})  # branches; tokens that confidence is about
    c.interval = 0.9
    c.draws = 4000  # of the bootstrap
    c.rollout = common.rollout()
    if of_folder:
        c.cot.spans = ("answer",)  # which tokens of free text are decisions is not known
        c.rollout.slots = 128
        c.eval.update(problems=64, samples=16)
        c.choose.update(problems=32, samples=4)
        c.text.update(problems=64, samples=4)
        c.vector.update(rows=16, samples=4, shares=(0.2,))
    if "smoke" in variants:
        c.model.name = "test"
        c.eval.update(problems=6, samples=4)
        c.choose.update(problems=3, samples=2)
        c.text.update(problems=6, samples=4)
        c.vector.update(strengths=(1.0,), shares=(0.5,), samples=2, steps=2, rows=4)
        c.sae.update(latents=32, k=4, steps=5, rows=16, features=1, strengths=(0.5,))
        c.cot.k = 3
        c.draws = 100
    return c
