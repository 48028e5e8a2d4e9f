"""Critique-GRPO that trains refining too: retries are learnt under their critique as well (after arXiv:2602.02482).

python -m experiments.train_rl --config=configs/rl/critique_joint.py --config.init=runs/start --workdir=runs/rl

As configs/rl/critique_grpo.py, where a retry is learnt on the question alone and nothing trains the policy to refine.
Here every retry is a row under question, attempt and critique besides, compared with the others of its problem; four
failed attempts of a group are retried, so that there are some. `--config.critique.learn=refined` is Critique-GRPO.
Time: a minute and a half on one core. Expect `refine/repaired` to fall from .36 to .32 in a run, where there it falls
from .33 to .23, and pass@1 as there; with `--config.critique.count=2`, twice the retries, from .38 to .36, and with
`--config.critique.level=hint` besides to rise from .39 to .43 (five seeds: configs/sweeps/critique_learn.py,
docs/results/critique.md).
"""

from configs.rl import critique_grpo


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = critique_grpo.get_config(arg)
    c.critique.update(learn="joint", attempts=4)
    c.critique.guard.update(repetition=0.5, copying=0.5)
    return c
