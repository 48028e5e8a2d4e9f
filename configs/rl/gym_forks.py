"""80/20 (arXiv:2506.01939) on sums of reasoning-gym: DAPO's loss on the fifth of the tokens with the highest entropy.

python -m experiments.train_rl --config=configs/rl/gym_forks.py --config.path=runs/tiny/model --config.init=runs/sft \
    --workdir=runs/rl

Three or four numbers of one digit, added and subtracted (chain_sum), by a model of text: another tokenizer, short
answers, one right answer each. Before it:
python -m experiments.tiny_model --config=configs/tiny_model.py:task=chain_sum,min_terms=3,max_terms=4,min_digits=1,max_digits=1 --workdir=runs/tiny
python -m experiments.train_sft --config=configs/rl/hf.py:tiny,part=sft,task=chain_sum,min_terms=3,max_terms=4,min_digits=1,max_digits=1 --config.model.path=runs/tiny/model --workdir=runs/sft
--config.weight.args.frac=1.0 learns from every token.
Time: about a minute on one core. Expect little in 100 steps with 32 prompts: pass@1 stays at about 0.3.
"""  # noqa: E501  commands on one line, to be copied

from configs import common
from configs.rl import hf

SUMS = "task=chain_sum,min_terms=3,max_terms=4,min_digits=1,max_digits=1"


def get_config(arg=""):
    """`:smoke` takes a few steps of whatever model."""
    common.variant(arg, "smoke")
    c = hf.get_config(",".join(filter(None, (arg, "tiny,part=rl", SUMS))))
    c.path = c.model.get_ref("path")  # of the model's folder
    c.loss.args.clip_high = 0.28
    c.weight = common.choice("top_entropy", frac=0.2, bottom=False)
    c.weight_policy = "current"
    if arg == "smoke":
        c.prompt.prompt_length = 128  # whatever the tokenizer
    return c
