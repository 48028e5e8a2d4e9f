"""The token microscope on a policy for Countdown: where its entropy is, which tokens are forks, Table 1's covariances.

python -m experiments.tokens --config=configs/tokens.py --config.init=runs/sft --workdir=runs/tokens

python -m experiments.tokens --config=configs/tokens.py --config.model.path=FOLDER --config.rollouts=dump/40.jsonl \\
    --workdir=runs/theirs

The second looks at rollouts that verl, TRL or another trainer wrote down, with the checkpoint in FOLDER.

After arXiv:2505.22617 (Table 1) and arXiv:2506.01939 (forking tokens). 8,192 responses have some 150,000 tokens, of
which the highest row of Table 1, 0.02 %, are 30.
Time: about 30 seconds on 2 CPU cores. Expect after imitation an entropy of 0.3 nats a token, half of the tokens below
0.01 nats, and the forks among the decisions: first operands and operators.
"""

from ml_collections.config_dict import placeholder

from configs import common


def get_config(arg=""):
    """`:smoke` reads 8 responses of a tiny model; `:path=MODEL,task=TASK` is of a folder."""
    variants, given = common.parse(arg, "smoke")
    c = common.base(levels=(3, 4, 5))
    del c.eval  # nothing is evaluated
    c.init = placeholder(str)  # workdir of the run whose last policy is measured; None: random weights
    common.of_folder(c, given, "smoke" in variants)
    c.rollouts = placeholder(str)  # a dump of another trainer (data/dumps.py), in place of own samples
    c.batch = 16  # of its rows, scored at a time
    c.ends = True  # whether its responses end with the end-of-sequence token, which dumps leave out
    c.forks = 20  # tokens of the highest entropies that are kept with the text around them
    c.split = "train"  # as the entropy record of a training run
    c.rollout = common.rollout()
    c.rollout.prompts = 1024
    c.rollout.samples = 8  # a prompt: the group
    c.advantage = common.choice("grpo", eps=1e-4)
    c.bins = 36  # of the histogram of entropies; of covariances as many on either side of 0
    c.top = 0.2  # share of the tokens that are called forks
    c.words = 80  # rows about words, the most frequent
    c.examples = 6  # responses that are kept word by word
    if "smoke" in variants:
        c.model.name = "test"
        c.rollout.update(prompts=4, samples=2)
    return c
