"""A real pretrained model on two cores: SmolLM2-135M-Instruct, imitation, GRPO, the law and an export.

make smollm2
python -m experiments.quickstart --config=configs/rl/smollm2.py --workdir=runs/smollm2/countdown

The task is Countdown in words: three numbers up to 20, answers as lines. All parameters are trained. The imitation is
short, so that RL begins with entropy left to lose. Started again, the command goes on where it was.
Time: 64 CPU-minutes, of which imitation 8; 11.5 GB of memory, 8 GB of disk. Expect entropy 0.28 -> 0.09 nats a token
in the 60 steps of RL, held-out pass@1 .08 -> .25, pass@4 .25 -> .50, distinct right solutions .85 -> .51, and a ceiling
of .31 (.27 to .34) by the law, which cannot be told from a line (one seed).
"""

from ml_collections import ConfigDict

from configs import common
from configs.rl import hf

PATH = "runs/smollm2/model"
TASK = {"task.args.levels": (3,), "task.args.largest": 20, "task.args.form": "lines", "prompt.style": "plain"}
TASK |= {"prompt.prompt_length": 36, "prompt.response_length": 28}  # no shorter ones would do
CONVERSATION = {"critique.max_tokens": 128, "critique.prompt_length": 256}


def get_config(arg: str = "") -> ConfigDict:
    """`arg`: as in configs/rl/hf.py, without `tiny`; path=FOLDER for another model of that size.

    `:smoke` takes a few steps of whatever folder path= says.
    """
    variants, given = common.parse(arg, "smoke", "critique", "lessons", "sdpo")
    smoke = "smoke" in variants
    given = {"task": "countdown_words"} | ({} if smoke else {"path": PATH}) | given
    c = hf.get_config(",".join([*variants, *(f"{key}={value}" for key, value in given.items())]))
    part = given.get("part", "")
    if given["task"] == "countdown_words":
        c.update_from_flattened_dict(TASK)
    if smoke:
        c.prompt.update(prompt_length=128, response_length=48)
        return c
    if part != "rl":  # float32 as the folder: bfloat16 takes the same time here, and 7.3 GB for 5.5
        sft = c if part else c.sft
        sft.update(steps=60, batch=16, log_every=5)
        sft.optimizer = common.optimizer(2e-4, warmup=10, decay_to=0.1, b2=0.98)
        sft.checkpoint.every = 20
        sft.rollout.slots = 64
        sft.eval.update(problems=64, samples=4, ks=(1, 2, 4))
    if part != "sft":
        rl = c if part else c.rl
        rl.steps = 60
        rl.optimizer = common.optimizer(2e-5, warmup=4)
        rl.rollout.update(prompts=8, samples=8, slots=64)
        rl.checkpoint.every = 10
        rl.eval.update(every=5, problems=64, samples=4, ks=(1, 2, 4))
        rl.update_from_flattened_dict(CONVERSATION)
    return c
