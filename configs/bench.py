"""Speed on this machine, each figure beside the machine's matrix-product peak measured in the same run.

make bench
python -m experiments.bench --config=configs/bench.py --workdir=runs/bench
python -m experiments.bench --config=configs/bench.py:growth --workdir=runs/bench_growth

Variants: `growth` (cost against model size, batch, context and vocabulary), `sampler` (slots against a plain scan, and
on ragged lengths against batches that wait), `experts` (a mixture against a dense model of as many active parameters,
the two of configs/sweeps/moe.py), `head` (without logits against with them: 8 GB, four minutes), `accelerator`
(bfloat16 update and decode of a 1.5 B-shaped model against a GPU's or TPU's own figures).
Time: about a minute on 2 CPU cores, two for each variant. Expect the GRPO step of `small` (0.85 M parameters, 8 prompts
x 8 samples x 32 tokens, entropy record on) at 30 to 50 % of its arithmetic at the peak, that of `medium` (12 M) at 50
to 60 %.
"""

from ml_collections import ConfigDict

from configs import common

STEP = {"prompts": 8, "samples": 8, "prompt": 16, "new": 32}
SMALL = {"model": "small", "vocab": 512, **STEP}
MEDIUM = {"model": "medium", "vocab": 32_000, **STEP}


def get_config(arg=""):
    """One of the variants above; `:smoke` does everything once, small."""
    what = common.variant(arg, "smoke", "growth", "sampler", "experts", "head", "accelerator")
    smoke = what == "smoke"
    c = ConfigDict()
    c.seed = 0
    # of each measurement, interleaved; medians are reported
    c.repeats = {"smoke": 1, "growth": 5, "sampler": 5, "head": 3}.get(what, 11)
    if what in ("", "smoke"):
        c.steps = {"small": SMALL, "medium": MEDIUM}
    if what in ("growth", "smoke"):
        c.growth = {
            "embedded": SMALL | {"model": "embedded"},
            "small": SMALL,
            "medium, vocabulary 512": MEDIUM | {"vocab": 512},
            "64 prompts": SMALL | {"prompts": 64},
            "128 tokens": SMALL | {"new": 128},
            "512 tokens": SMALL | {"new": 512, "prompts": 2},
            "vocabulary 8,000": SMALL | {"vocab": 8_000},
            "vocabulary 32,000": SMALL | {"vocab": 32_000},
        }
    if what == "experts":
        toy = {"vocab": 64, "prompts": 32, "samples": 8, "prompt": 16, "new": 24}
        c.growth = {"dense": toy | {"model": "embedded"}, "experts": toy | {"model": "moe"}}
    if what in ("sampler", "smoke"):
        ragged = SMALL | {"prompts": 64, "new": 128, "batch": 64}
        c.sampler = {"even": SMALL | {"prompts": 16, "new": 64}, "ragged": ragged}
    if what in ("head", "smoke"):
        c.head = {"tokens": 4096, "vocab": 151_936, "width": 896}
    if what == "accelerator":
        large = {"model": "qwen2.5-1.5b", "vocab": 151_936, "dtype": "bfloat16", "param_dtype": "bfloat16"}
        large |= {"remat": "save_linear", "attention": "cudnn"}
        c.steps = {"large": {**large, "prompts": 8, "samples": 1, "prompt": 256, "new": 768}}
    if smoke:
        tiny = {"model": "test", "vocab": 24, "prompts": 2, "samples": 2, "prompt": 4, "new": 8}
        c.steps, c.growth = {"test": tiny}, {"as well": tiny}
        c.sampler = {"even": tiny, "ragged": tiny | {"batch": 2}}
        c.head = {"tokens": 16, "vocab": 50, "width": 8}
    return c
