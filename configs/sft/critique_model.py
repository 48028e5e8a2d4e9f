"""A critique model: imitation of the solver's critiques (arXiv:2411.16579, critic training by plain SFT).

python -m experiments.train_sft --config=configs/sft/critique_model.py --config.init=runs/sft \
    --config.lessons.path=runs/said --workdir=runs/critique

Time: about 4 minutes on one core. It is scored by experiments.critique_scores. Expect verdicts right in 94 %,
the first wrong step in 58 %. It answers no questions any more: its pass@1 is 0.
"""

from configs.sft import lessons


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = lessons.get_config(arg)
    c.lessons.update(solve=0.0, critique=1.0, refine=0.0, level="hint")  # what is heard of it, critique.level says
    if not arg:
        c.model.name = "small"
        c.optimizer.learning_rate = 2e-3
        c.steps = 8000
        c.eval.problems = 64  # it solves nothing any more
    return c
