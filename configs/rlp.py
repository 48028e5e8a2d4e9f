"""RLP, reinforcement as a pretraining objective (arXiv:2510.01265), on worked arithmetic with steps removed.

python -m experiments.rlp --config=configs/rlp.py:cpt --config.init=runs/sft --config.steps=800 --config.documents=64 \\
    --config.updates=1 --config.optimizer.learning_rate=3e-3 --config.optimizer.decay_to=0.05 --workdir=runs/base
python -m experiments.rlp --config=configs/rlp.py --config.init=runs/base --workdir=runs/rlp

The first lets a policy of configs/sft/countdown.py read (one with task.args.talk=True: configs/sweeps/rlp.py makes it).

`:cpt` is plain (continued) pretraining: the next-token loss on the same text, in which half of the documents have
steps. Its 768 documents a step are about as many tokens as RLP's 64 with 8 thoughts of 18 tokens each: see text/tokens.
The paper: rate 1e-6, 512 positions a step, 16 thoughts at temperature 0.7, one update a rollout, no KL; it gives
neither clip. Here temperature 1, four updates.
On a Hugging Face folder and any text file: `--config=configs/rlp.py:path=MODEL,text=FILE` (docs/systems.md).
Time: about 2 minutes for 100 steps on 2 busy CPU cores. Expect, from the base of configs/sweeps/rlp.py, the result's
cross-entropy after a thought to fall from 1.6 to 0.6 nats in 100 steps, where without one it is 2.2.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common
from entropy_rl.errors import lookup


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model, `:cpt` pretrains; `:path=MODEL,text=FILE` is of a folder and a file."""
    variants, given = common.parse(arg, "smoke", "cpt")
    c = common.base()
    common.training(c)
    del c.task
    c.model.path = placeholder(str)  # a Hugging Face folder, whose model reads the file text.path
    c.lora = common.lora()
    c.init = placeholder(str)  # workdir of a run whose policy to start from; None: random weights
    c.objective = "cpt" if "cpt" in variants else "rlp"
    c.steps = 100
    c.documents = 768 if "cpt" in variants else 64  # a step
    c.text = ConfigDict({"levels": (3, 4, 5), "worked": 0.5, "whole": 0.9})
    c.rollout = common.rollout()
    c.rollout.samples = 8  # thoughts before a result: the group
    c.microbatches = 1  # a mini-batch in parts: less memory, the same gradient; 0: parts of 8 rows
    c.updates = 4  # mini-batches that a step's documents are split into
    c.advantage = common.choice("rloo")
    c.loss = common.choice("ppo", clip_low=0.2, clip_high=0.2)
    c.weight = common.choice("sequence_mean")
    c.tau = 0.999  # of the average of parameters that predicts without a thought
    c.optimizer = common.optimizer(3e-4)
    c.log_every = 1  # steps
    # documents without their steps, of a split, with `samples` thoughts each; the first and last are these too
    c.eval = ConfigDict({"every": 25, "split": "test", "problems": 256, "samples": 8})
    c.samples = 4  # thoughts kept at each evaluation
    if given:
        of_folder(c, given)
    if "smoke" in variants:
        c.steps, c.model.name, c.documents, c.checkpoint.every = 2, "test", 4, 1
        c.rollout.samples = 2
        c.eval.update(every=1, problems=4, samples=2)
        if "window" in c.text:
            c.update(updates=2)
            c.text.update(window=16, thought=8)
    return c


def of_folder(c: ConfigDict, given: dict[str, str]) -> None:
    """A file that the model of a folder reads, and the paper's rate and temperature."""
    known = {"path": None, "text": None}
    for key in given:
        lookup(known, key, "key of configs/rlp.py")
    c.model.path = given.get("path")
    c.text = ConfigDict(
        {
            "path": given.get("text", placeholder(str)),  # of a text file
            "window": 256,  # tokens of a document, which ends with the one that is predicted
            "thought": 128,  # of the longest thought
            "opens": "<think>",
            "closes": "</think>",  # ends a thought where it is one token; an end-of-sequence token always does
        }
    )
    c.update(documents=64 if c.objective == "rlp" else 256, updates=1, microbatches=0)
    c.rollout.update(slots=128, temperature=0.7)
    c.optimizer = common.optimizer(1e-6)
    c.eval.update(problems=128, samples=4)
