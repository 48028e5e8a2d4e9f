"""Your own model: GRPO on a Hugging Face folder, then the law, and a folder that transformers loads.

python -m experiments.quickstart --config=configs/rl/hf.py:path=MODEL,task=TASK --workdir=runs/mine
python -m experiments.quickstart --workdir=runs/mine \
    --config=configs/rl/hf.py:tiny,path=runs/tiny/model,task=chain_sum,max_terms=2,min_digits=2,max_digits=2

MODEL is a folder with config.json, safetensors and tokenizer.json, of a family that docs/your_model.md lists. TASK is
one of ours (gsm8k, jsonl, parquet, tfds, countdown) or any of reasoning-gym's. Its arguments are flags, such as
`--config.task.args.path=gsm8k`; settings of a reasoning-gym task stand beside it: `task=chain_sum,max_terms=3`.
Without `tiny`, RL begins with the model as it is, at the learning rate that papers use for 0.5 B to 32 B parameters;
`--config.sft.steps=100` imitates the task's worked answers first. `tiny` is for a model of experiments.tiny_model.
`part=rl` is the same RL run for experiments.train_rl alone, `part=sft` the imitation for experiments.train_sft.
`critique` is Critique-GRPO: failed attempts are criticised in natural language and retried, by
`--config.rl.critique.source=arithmetic oracle self frozen learned indicative none random ...` (docs/critique.md).
`--config.rl.critique.learn=joint` learns retries under their critique too, `turns` several attempts in one context.
`lessons` teaches critiques of experiments.make_critiques before RL, or with `part=sft` alone: a critique model.
Time: with `tiny` about 6 CPU-minutes. Expect on two-digit sums entropy 0.44 -> 0.32 nats a token, held-out
pass@1 0.36 -> 0.44, pass@8 0.91 -> 0.90; for a real model see configs/rl/qwen_math.py.
"""

import ast
import inspect
import re

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common
from configs.laws import fit
from configs.rl import base
from configs.sft import countdown, lessons
from entropy_rl.errors import InputError, lookup
from entropy_rl.tasks import base as tasks

# keys of `make` that the scripts give themselves
GIVEN = ("split", "size")
# Critique-GRPO (arXiv:2506.03106) by whoever can criticise any text
CRITIQUE = {
    "advantage": common.choice("dr_grpo"),
    "loss": common.choice("shaped", gamma=0.1, clip_low=0.2, clip_high=0.2),
    "critique__source": "arithmetic",
}
KINDS = {"str": str, "int": int, "float": float, "bool": bool, "Iterable": tuple, "Sequence": tuple}


def get_config(arg: str = "") -> ConfigDict:
    """`arg`: key=value and variants with commas between, as above; `smoke` takes a few steps of whatever model."""
    variants, given = parse(arg, "smoke", "tiny", "critique", "lessons")
    smoke, tiny = "smoke" in variants, "tiny" in variants
    c = ConfigDict()
    c.seed = 0
    c.path = placeholder(str)  # of the model's folder
    if "path" in given:
        c.path = given.pop("path")
    part = given.pop("part", "")
    lookup(dict.fromkeys(("", "rl", "sft")), part, "part")
    c.task = task(given.pop("task", "countdown"), given, boxed=not tiny)
    lengths = (64, 48) if smoke else (32, 8) if tiny else (512, 1024)
    c.prompt = common.prompt("plain" if tiny else "boxed", *lengths)
    c.types = ConfigDict({"param_dtype": placeholder(str), "dtype": placeholder(str)})  # None: as the folder has it
    # activations made again in the backward pass: none, linear or block; attention own, blocks, xla or cudnn
    c.types.update(remat="none", attention="naive")
    # rank 0: all parameters are trained
    c.lora = ConfigDict({"rank": 0, "alpha": 16.0, "targets": "attention|gate|up|down"})
    c.sft, c.rl = sft(smoke, tiny), rl(smoke, tiny, "critique" in variants)
    if "lessons" in variants:
        c.sft.lessons = lessons.get_config("").lessons
    for run in (c.sft, c.rl):
        run.seed = c.get_ref("seed")
        run.model = ConfigDict({"path": c.get_ref("path"), "args": common.linked(c.types)})
        run.task, run.prompt, run.lora = common.linked(c.task), common.linked(c.prompt), common.linked(c.lora)
    if part:
        return c[part]
    del c.rl.init
    c.law = fit.of_a_run("smoke" if smoke else "")
    c.law.seed = c.get_ref("seed")
    c.export = ConfigDict({"dtype": placeholder(str), "shard_bytes": 5_000_000_000})  # see configs/convert_hf.py
    return c


def parse(arg: str, *known: str) -> tuple[set[str], dict[str, str]]:
    """Variants, and values by key; a comma within a value is one that nothing with = or no variant follows."""
    items = [x for x in re.split(r",(?=\w+(?:=|,|$))", arg) if x]
    given = dict(x.split("=", 1) for x in items if "=" in x)
    variants = {x for x in items if "=" not in x}
    for name in variants:
        common.variant(name, *known)
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
        raise InputError(
            f"configs/rl/hf.py knows no key {key!r}: arguments of {name} are flags, --config.task.args.{key}="
        )
    for key, parameter in inspect.signature(tasks.module(name).make).parameters.items():
        if key in GIVEN or key in c.args:
            continue
        default = parameter.default
        kind = KINDS.get(re.split(r"[\[ ]", str(parameter.annotation))[0])
        c.args[key] = placeholder(kind) if default is None and kind else default
    if boxed and name == "countdown_words":
        c.args.form = "boxed"
    return c


def sft(smoke: bool, tiny: bool) -> ConfigDict:
    """Imitation of worked answers; 0 steps: none."""
    c = countdown.get_config("")
    c.steps = 1000 if tiny else 0
    c.batch = 64
    if not tiny:
        c.optimizer = common.optimizer(1e-5, decay_to=0.1, b2=0.98)
        c.microbatches = 0  # of 8 rows, or of one a device where there are more
        c.rollout.slots = 128
    c.eval.every = 1_000_000  # before and after
    if smoke:
        c.update(steps=2, batch=4, microbatches=1)
        c.optimizer.warmup = 0
    return _small_evaluations(c, smoke)


def rl(smoke: bool, tiny: bool, critique: bool = False) -> ConfigDict:
    """GRPO, strictly on-policy, of a tiny model with four updates a rollout; or Critique-GRPO (critique_grpo.py)."""
    c = base.recipe("", updates=4 if tiny else 1, **(CRITIQUE if critique else {}))
    if critique and (tiny or smoke):  # whose tokenizer knows the words of its task and no others
        c.critique.update(max_tokens=32, prompt_length=1536)
    if tiny:
        c.steps = 300
        c.optimizer = common.optimizer(2e-4, warmup=20)  # without a warm-up the first steps cost a third of pass@1
        c.eval.update(every=10)
    else:
        c.optimizer = common.optimizer(1e-6)
        c.microbatches = 0
        c.rollout.slots = 128
        c.eval.update(problems=128, samples=4, ks=(1, 2, 4))
    if smoke:
        c.update(steps=10, microbatches=1)
        c.optimizer.warmup = 0
        c.rollout.update(prompts=4, samples=2, slots=8)
        c.eval.every = 1
    return _small_evaluations(c, smoke)


def _small_evaluations(c: ConfigDict, smoke: bool) -> ConfigDict:
    if smoke:
        c.eval.update(problems=4, samples=2, ks=(1, 2))
        if "last" in c.eval:
            c.eval.last.update(problems=4, samples=2)
    return c


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
