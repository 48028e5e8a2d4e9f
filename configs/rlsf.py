"""RL from self-feedback (RLSF, arXiv:2507.21931) on Countdown: the policy's own confidence is the reward.

python -m experiments.self_feedback --config=configs/rlsf.py --config.init=runs/sft --workdir=runs/dpo

`:reward_model` is the other arm: a Bradley-Terry reward model of such pairs, and PPO on its scores. `init` is a run of
configs/sft/countdown.py with `task.args.levels=(3,4,5)` and `task.args.talk=True`. From the released code: the better
branch of a pair has confidence 0.9 or more (`ranking_threshold`), 5 branches (`num_beams`), margin exp(conf_i-conf_j);
rates, beta and the KL are ours, as none is published. The confidence is that of the final number; with
`--config.branches.span=solution --config.branches.threshold=0.5` it is that of all decisions.
On a Hugging Face folder: `--config=configs/rlsf.py:path=MODEL,task=TASK` (docs/systems.md).
Time: about a minute on one core, two with `:reward_model`. Expect it to lose accuracy and calibration
on Countdown: pass@1 .33 to .20 in three rounds of DPO, to .03 or .13 in 120 steps of PPO.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke`, `:reward_model,smoke`: two rounds or steps of a tiny model; `:path=MODEL,task=TASK`: of a folder."""
    arg = arg.replace("reward_model_smoke", "reward_model,smoke")  # as it was called
    variants, given = common.parse(arg, "smoke", "reward_model")
    smoke = "smoke" in variants
    c = by_reward_model("smoke" if smoke else "") if "reward_model" in variants else by_preference(smoke)
    c.lora = common.lora()
    if common.of_folder(c, given, smoke) and not smoke:
        sizes(c)
    c.branches = ConfigDict(
        {
            "k": 5,  # first tokens of a question, each continued greedily
            "span": "answer",  # of what: the final "answer", the decisions of the "solution", the "response"
            "threshold": 0.9,  # confidence of the better one of a pair, at least
        }
    )
    if smoke:
        c.questions = 8
        c.branches.update(k=3, span="response", threshold=0.0)  # an untrained policy has no answers
    return c


def sizes(c: ConfigDict) -> None:
    """Sizes and rates for a model of 0.1 B parameters or more, as in configs/rl/hf.py."""
    c.optimizer = common.optimizer(1e-6)
    c.rollout.slots = 128
    c.microbatches = 0
    c.eval.update(problems=128, samples=4, ks=(1, 2, 4))
    c.questions = 256
    if "reward_model" in c:
        c.critic.optimizer = common.optimizer(1e-5)
        c.reward_model.update(microbatches=0, optimizer=common.optimizer(1e-5, warmup=10))


def by_preference(smoke: bool) -> ConfigDict:
    """DPO in rounds."""
    c = common.base(levels=(3, 4, 5), talk=True)
    common.training(c, keep=2)
    c.arm = "dpo"
    c.init = placeholder(str)  # workdir of the run whose policy to start from; None: random weights
    c.rounds = 3  # 0: the start is evaluated, no more
    c.questions = 1024  # a round
    c.loss = common.choice("dpo", beta=0.1, scale=0.0)
    c.updates = 80  # a round
    c.batch = 64  # pairs an update
    c.microbatches = 1
    c.optimizer = common.optimizer(1e-4)  # 3e-4 destroys the policy in three rounds (validation pass@1 .33 -> .03)
    c.rollout = common.rollout()  # of evaluations, and slots of branching
    c.eval.last = ConfigDict({"problems": 0, "samples": 16})
    del c.eval["every"]  # after every round
    if smoke:
        c.model.name = "test"
        c.update(rounds=2, updates=2, batch=4)
        common.evaluate_little(c)
    return c


def by_reward_model(arg: str) -> ConfigDict:
    """A reward model, and PPO as configs/rl/ppo.py with the KL that RL from human feedback has."""
    c = base.recipe(
        arg,
        task__args__levels=(3, 4, 5),
        task__args__talk=True,
        rollout__prompts=4 if arg else 32,
        steps=120,
        advantage=common.choice("gae", gamma=1.0, lam=1.0),
        critic=ConfigDict({"optimizer": common.optimizer(1e-3), "clip": 0.5, "warmup": 10}),
        kl__coef=common.choice("constant", value=0.05),
        kl__place="reward",
        kl__estimator="k1",
    )
    c.arm = "reward_model"
    c.questions = 2048  # all before the first step of PPO
    c.reward_model = ConfigDict(
        {
            "loss": common.choice("bradley_terry", scale=1.0),
            "updates": 160,
            "batch": 64,  # pairs an update
            "microbatches": 1,
            "held_out": 0.1,  # of the questions, whose pairs it is tested on
            "optimizer": common.optimizer(3e-4, warmup=10),
        }
    )
    if arg:
        c.reward_model.update(updates=2, batch=4)
        c.reward_model.optimizer.warmup = 0
    return c
