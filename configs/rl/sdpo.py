"""SDPO (arXiv:2601.20802): self-distillation from feedback. The teacher is the policy that sees more; no advantage.

python -m experiments.train_rl --config=configs/rl/sdpo.py --config.init=runs/start --workdir=runs/sdpo

The teacher of a row is the policy after the critique of the row's failed attempt (--config.critique.source) and another
right attempt of its group; what it gives each token of the response is what the policy on the question alone is pulled
towards. Paper and code: alpha .5, top 100 and a tail, mean of parameters at rate .05, ratio held to 2, 8 responses to
each of 32 questions, one update, rate 1e-5; here 5e-5, as 7e-4 loses half of the reward in 40 steps.
distillation.rate=0: the policy of the start teaches, 1: the policy itself (SDFT). distillation.outcome=1 adds the loss
of the advantages. critique.source=off: right siblings alone. The start must know the words of critiques:
runs/critique/start of configs/sweeps/critique.py.
Time: about two minutes on one core. Expect the policy to be lost by it alone: in 240 steps of the toy pass@1 goes from
.35 to .05 while token entropy rises, with distillation.outcome=1 to .51 (three seeds, docs/results/critique.md).
"""

from configs import common
from configs.rl import base

# what makes a recipe with critiques one of SDPO
SDPO = {"critique__refined": 0, "critique__attempts": 8, "distillation__coef": 1.0}


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(
        arg,
        updates=1,
        task__args__levels=(3, 4, 5),
        task__args__talk=True,
        rollout__prompts=32,
        advantage=common.choice("grpo", eps=1e-4),
        critique__source="oracle",
        optimizer=common.optimizer(5e-5),
        **SDPO,
    )
