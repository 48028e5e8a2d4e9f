"""A critique model: imitation of the solver's critiques (arXiv:2411.16579, critic training by plain SFT).

python -m experiments.train_sft --config=configs/sft/critique_model.py --config.init=runs/start \
    --config.lessons.path=runs/said_more --workdir=runs/critique_model

It starts from the policy that it is to criticise, which can solve, and is taught the solver's critiques of that
policy's attempts, up to a hint; what is heard of it is `critique.level` of the run that uses it.
On a Hugging Face folder: `--config=configs/sft/critique_model.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about 8 minutes on one core. It is scored by experiments.critique_scores. Expect verdicts right in 99 %, the first
wrong step in 70 %. From a policy that was taught 5,000 updates, and critiques of another one's attempts, it was 58 %.
"""

from configs.sft import lessons


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:path=MODEL,task=TASK` is of a folder."""
    c = lessons.get_config(arg)
    c.lessons.update(solve=0.2, critique=0.8, refine=0.0, level="hint")
    if not arg:
        c.steps = 10000
    return c
