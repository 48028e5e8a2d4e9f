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
`critique_clip_cov` is that with Clip-Cov on own samples (configs/rl/critique_clip_cov.py), `sdpo` self-distillation
from the same critiques and right siblings (configs/rl/sdpo.py).
`lessons` teaches critiques of experiments.make_critiques before RL, or with `part=sft` alone: a critique model.
Time: with `tiny` about 6 CPU-minutes. Expect on two-digit sums entropy 0.44 -> 0.32 nats a token, held-out
pass@1 0.36 -> 0.44, pass@8 0.91 -> 0.90; for a real model see configs/rl/qwen_math.py.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common
from configs.laws import fit
from configs.rl import base
from configs.rl.sdpo import SDPO
from configs.sft import countdown
from entropy_rl.errors import InputError, lookup

# Critique-GRPO (arXiv:2506.03106) by whoever can criticise any text
CRITIQUE = {
    "advantage": common.choice("dr_grpo"),
    "loss": common.choice("shaped", gamma=0.1, clip_low=0.2, clip_high=0.2),
    "critique__source": "arithmetic",
}
# and with Clip-Cov (arXiv:2505.22617) on the own samples, as configs/rl/critique_clip_cov.py
CLIP_COV = common.choice("shaped_clip_cov", gamma=0.1, frac=0.02, lower=1.0, upper=5.0, clip_low=1.0, clip_high=1.0)
VARIANTS = {"critique": CRITIQUE, "critique_clip_cov": CRITIQUE | {"loss": CLIP_COV}}
VARIANTS |= {"sdpo": {"critique__source": "arithmetic", **SDPO}}


def get_config(arg: str = "") -> ConfigDict:
    """`arg`: key=value and variants with commas between, as above; `smoke` takes a few steps of whatever model."""
    variants, given = common.parse(arg, "smoke", "tiny", "lessons", *VARIANTS)
    smoke, tiny = "smoke" in variants, "tiny" in variants
    c = ConfigDict()
    c.seed = 0
    c.path = placeholder(str)  # of the model's folder
    if "path" in given:
        c.path = given.pop("path")
    part = given.pop("part", "")
    lookup(dict.fromkeys(("", "rl", "sft")), part, "part")
    c.task = common.task(given.pop("task", "countdown"), given, boxed=not tiny)
    lengths = (64, 48) if smoke else (32, 8) if tiny else (512, 1024)
    c.prompt = common.prompt("plain" if tiny else "boxed", *lengths)
    c.types = ConfigDict({"param_dtype": placeholder(str), "dtype": placeholder(str)})  # None: as the folder has it
    # activations made again in the backward pass: none, save_linear or block; layers as a loop, which compiles sooner;
    # attention naive, chunked, xla, cudnn (GPUs) or splash (TPUs); products of a model with experts: blocks, or ragged
    # for accelerators
    c.types.update(remat="none", scan_layers=False, attention="naive", grouped="blocks")
    c.lora = common.lora()
    if len(chosen := variants & set(VARIANTS)) > 1:
        raise InputError(f"configs/rl/hf.py: {', '.join(VARIANTS)} are ways to learn from critiques: give one of them")
    c.sft, c.rl = sft(smoke, tiny), rl(smoke, tiny, *chosen)
    if "lessons" in variants:
        c.sft.lessons = common.lessons()
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
        common.evaluate_little(c)
    return c


def rl(smoke: bool, tiny: bool, variant: str = "") -> ConfigDict:
    """GRPO, strictly on-policy, of a tiny model with four updates a rollout; or one of VARIANTS."""
    c = base.recipe("", updates=4 if tiny and variant != "sdpo" else 1, **VARIANTS.get(variant, {}))
    if variant and (tiny or smoke):  # whose tokenizer knows the words of its task and no others
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
        common.evaluate_little(c)
    return c
