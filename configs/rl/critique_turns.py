"""Several attempts in one context, the verdict between them, all learnt (in-context RL; multi-turn RL of 2602.02482).

python -m experiments.train_rl --config=configs/rl/critique_turns.py --config.init=runs/start --workdir=runs/rl

Up to three attempts: a wrong one is followed by the verdict alone and another, and each is learnt under all that was
said before it, by the reward of the last. No retry is learnt on the question alone. Between them a critique:
--config.critique.source=oracle arithmetic self learned. Each by its own reward: --config.critique.credit=each.
Four attempts: --config.critique.turns=3.
Time: two minutes on one core. Expect `refine/repaired` to rise from .22 to .33, more entropy than with GRPO (.14 for
.08 nats a token) and a lower pass@1 (.57 for .72) after as many updates; docs/results/critique.md has three seeds.
"""

from configs.rl import critique_grpo


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = critique_grpo.get_config(arg)
    # of six samples all that fail are retried: with credit of the last, one that is not would count as lost
    c.rollout.samples = 2 if arg == "smoke" else 6
    c.critique.update(source="indicative", learn="joint", turns=2, credit="last", refined=0, attempts=c.rollout.samples)
    c.critique.guard.update(repetition=0.5, copying=0.5)
    return c
