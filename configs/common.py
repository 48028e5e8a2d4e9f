"""What several configs share. A config file stays short: what differs from here, and the paper it comes from."""

import ast
import inspect
import re
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from entropy_rl.errors import InputError
from entropy_rl.tasks import base as tasks

# keys of `make` that the scripts give themselves
GIVEN = ("split", "size")
KINDS = {"str": str, "int": int, "float": float, "bool": bool, "Iterable": tuple, "Sequence": tuple}


def choice(name: str, **args) -> ConfigDict:
    """A row of a table and its hyper-parameters: `--config.loss.name=ppo --config.loss.args.clip_high=0.28`."""
    return ConfigDict({"name": name, "args": args})


def base(levels: tuple[int, ...] = (4,), talk: bool = False) -> ConfigDict:
    """Seed, task, model, mesh, evaluation: the same for every script with a policy."""
    c = ConfigDict()
    c.seed = 0
    c.task = choice("countdown", levels=levels, talk=talk)  # talk: whether it has the words of critiques
    c.model = choice("embedded", remat="none")  # what is made again in the backward pass: none, save_linear, block
    c.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})  # -1: the devices that are left
    c.eval = ConfigDict(
        {
            "every": 5,  # steps; also before the first and after the last update
            "split": "test",  # held out; tune on "validation"
            "problems": 256,
            "samples": 8,  # a problem
            "ks": (1, 2, 4, 8),  # pass@k, at most `samples`
            # training samples the policy as it is; papers often evaluate it sharpened
            "temperature": placeholder(float),  # None: rollout.temperature
            "top_k": 0,  # most probable tokens, 0: all
            "top_p": 1.0,  # nucleus
            "min_p": 0.0,  # of the most probable token's probability
        }
    )
    return c


def training(c: ConfigDict, **checkpoint: int) -> None:
    """What every script that trains has beyond `base`; `checkpoint`: in place of what stands here."""
    c.checkpoint = ConfigDict(checkpoint or {"every": 50, "keep": 2})  # steps; the latest that are kept
    c.track = ""  # where numbers and samples go too: tensorboard, trackio, wandb, with commas between


def any_policy(c: ConfigDict) -> None:
    """What a script needs to look at the policy of a Hugging Face folder, or of a run that began with one.

    `--config.model.path=FOLDER` alone is the folder's policy; with `--config.init=WORKDIR` it is that of the run, whose
    adapters, where it has some, are merged. The task is then posed in the folder's tokens.
    """
    c.model.path = placeholder(str)
    c.prompt = prompt()


def of_folder(c: ConfigDict, given: dict[str, str], smoke: bool = False) -> bool:
    """`any_policy`, of what stands behind a config's colon: path=MODEL, task=TASK and the task's settings (`task`).

    Says whether a folder or a task is given, so that the config may have other sizes for it; `smoke`: short texts.
    """
    any_policy(c)
    of = "path" in given or "task" in given
    c.model.path = given.pop("path", None)
    if given:
        c.task = task(given.pop("task", "countdown"), given, boxed=True)
    if of and smoke:
        c.prompt = prompt("boxed", 192, 24)
        if "critique" in c and "max_tokens" in c.critique:  # of a tiny model, whose tokenizer knows few words
            c.critique.update(max_tokens=32, prompt_length=1536)
    return of


def lora() -> ConfigDict:
    """Adapters; rank 0: all parameters are trained."""
    return ConfigDict({"rank": 0, "alpha": 16.0, "targets": "attention|gate|up|down"})


def lessons(solve: float = 0.3, critique: float = 0.1, refine: float = 0.6) -> ConfigDict:
    """What is taught of a critique dataset (critique/lessons.py), in shares."""
    return ConfigDict(
        {
            "path": placeholder(str),  # workdir of experiments.make_critiques
            "solve": solve,
            "critique": critique,
            "refine": refine,
            "refined": 0.0,
            "level": "reason",  # what taught critiques say
            "refine_levels": ("none", "verdict", "step", "reason", "hint"),  # what is said before a refinement
            "even": False,  # critiques of right attempts as often as of wrong ones, however few those are
            "problem": placeholder(str),  # id of the one problem whose rows are used; None: all
        }
    )


def conversation() -> ConfigDict:
    """How critiques are asked for in natural language, of a folder's model."""
    return ConfigDict(
        {
            "style": "auto",  # chat (the folder's template), plain; auto: chat if it can
            "max_tokens": placeholder(int),  # of a critique; None: 24 in closed sentences, 256 in natural language
            "prompt_length": placeholder(int),  # of conversations; None: room for all; longer ones are left and counted
        }
    )


def prompt(style: str = "boxed", prompt_length: int = 512, response_length: int = 1024) -> ConfigDict:
    """How questions become prompts of the model of a folder."""
    return ConfigDict(
        {
            "style": style,  # plain, boxed or chat
            "prompt_length": prompt_length,  # tokens of the longest
            "response_length": response_length,  # with its end-of-sequence token
            "ask": placeholder(str),  # in place of what the style asks after the question
            "system": "",  # what a chat begins with
            "too_long": "drop",  # problems with longer prompts are left out, and counted; or "error"
        }
    )


def optimizer(learning_rate: float, **changes) -> ConfigDict:
    """AdamW: a constant rate after `warmup` updates, or a cosine down to `decay_to` of it."""
    defaults = {"warmup": 0, "decay_to": 1.0, "b1": 0.9, "b2": 0.95, "weight_decay": 0.0, "clip": 1.0}
    defaults["state_dtype"] = "float32"  # of both moments; bfloat16 takes half the memory
    return ConfigDict({"learning_rate": learning_rate, **defaults, **changes})


def rollout() -> ConfigDict:
    """How responses are sampled, in training and in evaluation."""
    return ConfigDict({"slots": 512, "temperature": 1.0})  # slots: responses sampled at once


def policy_gradient(c: ConfigDict) -> None:
    """What any RL config has beyond its losses, all of it off: 0 is off wherever a number can be 0."""
    c.epochs = 1  # passes over a rollout
    c.microbatches = 1  # a mini-batch in parts: less memory, the same gradient; 0: parts of 8 rows, or one a device
    c.weight = choice("token_mean")
    c.weight_policy = "data"  # whose entropy weights see: that of the policy that sampled, or the "current" one
    c.entropy_coef = choice("constant", value=0.0)  # of the entropy bonus; any row of CONTROLLERS
    c.kl = ConfigDict(
        {
            "coef": choice("constant", value=0.0),  # of the KL to the reference, the policy of the start
            "estimator": "k3",  # k1, k2, k3
            "place": "loss",  # or "reward"
            "reset_every": 0,  # steps after which the reference becomes the current policy
        }
    )
    c.entropy_advantage = ConfigDict({"alpha": 0.0, "kappa": 2.0})  # A + min(alpha H, |A| / kappa)
    # between sampler and learner: any row of losses/importance.IMPORTANCE, "off" (pi_old is the policy that sampled),
    # or "auto": token_cap of 2 where one of the two has fewer bits than float32, else off
    c.importance = choice("auto")
    c.importance_cap = placeholder(float)  # as it was called before: a number is token_cap with this cap, 0 is off
    c.rollout.lag = 0  # steps by which the policy that samples is behind
    # most numbers of columns that updates run responses in, the fewest that the longest of a step fits; fewer where
    # a program more would not pay (data/packing.widths): 1 at small models
    c.rollout.widths = 8
    # whether the sampler holds its weights cut over the mesh's axis tensor alone, gathered over fsdp once a step: more
    # memory, and no weights on the wires in decode steps
    c.rollout.gather_weights = False
    c.rollout.dtype = placeholder(str)  # what the sampler computes in; None: as the learner
    c.rollout.param_dtype = placeholder(str)  # what the sampler's weights are rounded to; None: as they are
    c.entropy_band = ConfigDict(  # outside of it rows of one sign teach nothing; bounds are rows of CONTROLLERS
        {"low": choice("constant", value=0.0), "high": choice("constant", value=0.0)}  # nats; 0: none
    )
    c.load_coef = 0.0  # of the loss that evens out the load of a model's experts; Qwen3-MoE's: 0.001
    # whose choices of experts a step's updates use: of the router at the time (off), of the policy before the updates
    # ("learner", R2), or of the policy that sampled ("sampler", R3)
    c.replay = "off"
    c.smoothing = ConfigDict({"right": 0.0, "wrong": 0.0})  # reward less (right) or plus (wrong) so many ln pi
    # SIREN: coef (H_n - H_0)^2, H_n the entropy over the top_p nucleus at the `frac` of tokens where it is highest
    c.nucleus = ConfigDict({"coef": 0.0, "top_p": 0.8, "frac": 0.2})
    c.min_p = 0.02  # of the filtered policy, for losses that want one (lp_reg)
    c.filter_rounds = 0  # dynamic sampling: rounds of rollout.prompts at most until enough groups differ in reward
    c.critique = ConfigDict(  # failed attempts are criticised and retried, and retries join their group
        {
            "source": "off",  # any row of methods/critique/critics.SOURCES, or "self", "frozen", "learned", "api"
            "level": "reason",  # what it says: verdict, step, reason, hint, answer, each with those before
            "model": placeholder(str),  # of "learned": workdir of the run that trained it, or a Hugging Face folder
            "reference": False,  # whether a model sees the reference solution
            "api": {  # of "api": an OpenAI-compatible server (methods/critique/api.py)
                "url": "",  # such as http://localhost:8000/v1
                "model": "",  # its name there
                "key_from": "OPENAI_API_KEY",  # environment variable with the key; "": none is wanted
                "concurrency": 8,  # questions under way at once
                "timeout": 60.0,  # seconds of a try
                "retries": 3,  # further tries
                "backoff": 1.0,  # seconds before the first of them, then twice as many each time
                "max_calls": 0,  # in all, 0: any number
                "max_tokens": 0,  # of questions and replies in all, 0: any number
                "on_failure": "stop",  # saved, the same command goes on; or "verdict", which goes on and counts
            },
            "refined": 1,  # k, of the rollout.samples of a group
            "attempts": 2,  # failed attempts of a group that are retried at most
            "count": 1,  # critiques of each of them, with a retry after each
            "turns": 1,  # retries after each other in one context at most, so one more attempts: 1 to 3
            "learn": "refined",  # refined: retries on the question alone; joint: also under their own context
            "credit": "each",  # of what joint learns: its own reward; or last: that of the last retry of its context
            # most that a retry may have to be learnt from; 0: any (methods/critique/refine.Guard)
            "guard": {"repetition": 0.0, "copying": 0.0, "entropy": 0.0},
            "unsolved": False,  # only in groups without a right attempt
            "repeats": True,  # whether a retry that says its failed attempt again may join its group
            "until": 0,  # step at which critiques are withdrawn; 0: never
        }
    )
    c.critique.update(conversation())
    # towards the policy that sees the critique of a failed attempt (of critique.source) and a right one (SDPO)
    c.distillation = ConfigDict(
        {
            "coef": 0.0,  # of the divergence; 0: off
            "outcome": 0.0,  # of the policy loss beside it
            "alpha": 0.5,  # weight of the teacher in the mixture; 0: KL(teacher|policy), 1: KL(policy|teacher)
            "top": 100,  # likeliest tokens of the policy; all others together are one more
            "clip": 2.0,  # largest ratio to the policy that sampled; 0: no ratio
            "rate": 0.05,  # of the mean of parameters that teaches; 0: the policy of the start, 1: the policy itself
            "siblings": True,  # whether the teacher sees another right attempt of the group
        }
    )
    c.diversity = ConfigDict(  # rewards are worth more for responses unlike the others of their group (DARLING)
        {
            "predicate": choice("off"),  # who says the same: any row of diversity.PREDICATES, or ngram
            "combine": choice("multiplicative"),  # or additive, or none: only measured
            "floor": 0.1,  # least diversity
            "correct_only": False,  # whether right responses are compared with right ones only
        }
    )
    c.overlong_cache = 0  # tokens before the longest response over which a penalty grows to -1
    c.change = ConfigDict({"every": 10, "rows": 64})  # steps between measurements of an update's entropy change
    c.alarm = ConfigDict({"collapse": 0.2, "explosion": 2.0})  # shares of the first entropy
    c.samples = 4  # texts kept at each evaluation
    # after the last update, of eval.split, into problems.jsonl: what experiments.compare reads; 0 problems: none
    c.eval.last = ConfigDict({"problems": 0, "samples": 16})


def linked(c: ConfigDict) -> ConfigDict:
    """References to all values of `c`: who changes one there or here changes both."""
    return ConfigDict({k: linked(v) if isinstance(v, ConfigDict) else c.get_ref(k) for k, v in c.items()})


def part(name: str, script: str, config: str, overrides: dict[str, Any], *after: str) -> dict[str, Any]:
    """A run of a sweep (experiments/sweep.py) that comes after others; `config`: FILE or FILE:arg, as of rl/hf.py."""
    file, colon, arg = config.partition(":")
    about = {"name": name, "script": f"experiments.{script}", "config": f"configs/{file}.py{colon}{arg}"}
    return about | {"overrides": overrides, "after": list(after)}


def imitation(name: str = "sft", levels: tuple[int, ...] = (3, 4, 5), talk: bool = True) -> dict[str, Any]:
    """The run of a sweep on Countdown that teaches to solve; `talk`: with the words of critiques."""
    words = {"task.args.talk": True} if talk else {}
    how = {"task.args.levels": levels, **words, "steps": 3500, "eval.split": "validation"}
    return part(name, "train_sft", "sft/countdown", how)


def variant(arg: str, *known: str) -> str:
    """`arg`, if it is "" or one of `known`."""
    if arg and arg not in known:
        ways = " or ".join(f":{v}" for v in known)
        raise InputError(f"this config knows no variant {arg!r}: leave it out or say {ways}")
    return arg


def smoke(c: ConfigDict, arg: str, variants: tuple[str, ...] = ()) -> bool:
    """For `arg` "smoke" two steps of a tiny model (does it run), for "" or another variant nothing; says which."""
    if variant(arg, "smoke", *variants) != "smoke":
        return False
    c.steps = 2
    c.model.name = "test"
    c.eval.every = c.checkpoint.every = 1
    c.optimizer.warmup = 0
    evaluate_little(c)
    return True


def evaluate_little(c: ConfigDict) -> None:
    """Evaluations of a run that is to end in seconds."""
    c.eval.update(problems=4, samples=2, ks=(1, 2))
    if "last" in c.eval:
        c.eval.last.update(problems=4, samples=2)


def parse(arg: str, *known: str) -> tuple[set[str], dict[str, str]]:
    """Variants, and values by key; a comma within a value is one that nothing with = or no variant follows."""
    items = [x for x in re.split(r",(?=\w+(?:=|,|$))", arg) if x]
    given = dict(x.split("=", 1) for x in items if "=" in x)
    variants = {x for x in items if "=" not in x}
    for name in variants:
        variant(name, *known)
    return variants, given


def task(name: str, settings: dict[str, str], boxed: bool = False) -> ConfigDict:
    """The task with all its arguments, so that each is a flag; a name that is none of ours is reasoning-gym's.

    `boxed`: the prompt asks for a box, so a task that can ask for another form (countdown_words) leaves it to that.
    """
    args = {}
    if name not in tasks.names():
        args = {"name": name, "settings": {k: _value(v) for k, v in settings.items()}}
        name, settings = "reasoning_gym", {}
    c = ConfigDict({"name": name, "args": args})
    if settings:
        key = next(iter(settings))
        raise InputError(f"this config knows no key {key!r}: arguments of {name} are flags, --config.task.args.{key}=")
    for key, parameter in inspect.signature(tasks.module(name).make).parameters.items():
        if key in GIVEN or key in c.args:
            continue
        default = parameter.default
        kind = KINDS.get(re.split(r"[\[ ]", str(parameter.annotation))[0])
        c.args[key] = placeholder(kind) if default is None and kind else default
    if boxed and name == "countdown_words":
        c.args.form = "boxed"
    return c


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
