"""GRPO of a real model on chips that are not there: what fits, what moves, how long a step takes at least.

python -m experiments.plan --config=configs/plan.py:qwen2.5-7b,v5e:8x8 --workdir=runs/plan
python -m experiments.plan --config=configs/plan.py:h100:8 --config.model.path=Qwen2.5-1.5B --workdir=runs/plan_mine

Time: one to four minutes on 2 CPU cores, compilation. Expect for Qwen2.5-7B with responses of 4,096 tokens on 64 chips
of v5e that it fits, and a step that is bound by the links between chips; see docs/large_runs.md for the tables.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common
from entropy_rl.errors import InputError
from entropy_rl.models import presets

# fsdp and tensor, micro-batches: settings with which each fits
READY = {
    ("qwen2.5-7b", "v5e:8x8"): (16, 4, 64),
    ("qwen2.5-7b", "v5e:16x16"): (64, 4, 8),
    ("qwen2.5-32b", "v5e:16x16"): (32, 8, 32),
    ("qwen2.5-32b", "v5p:4x4x4"): (16, 4, 32),
    ("qwen3-30b-a3b", "v5e:16x16"): (64, 4, 8),  # but for the decode step: 1.23 GB too much
    ("qwen3-30b-a3b", "v5p:4x4x4"): (16, 4, 32),
}


def get_config(arg=""):
    """`MODEL,HARDWARE`, or one of them; `smoke`: almost nothing."""
    parts = [x for x in arg.split(",") if x]
    smoke = "smoke" in parts
    hardware = [x for x in parts if ":" in x]
    names = [x for x in parts if ":" not in x and x != "smoke"]
    if len(hardware) > 1 or len(names) > 1:
        raise InputError(f"configs/plan.py:{arg}: give MODEL,HARDWARE, such as qwen2.5-7b,v5e:8x8")
    for name in names:
        common.variant(name, "smoke", *presets.PRESETS)
    c = ConfigDict()
    c.model = ConfigDict({"name": placeholder(str), "path": placeholder(str), "vocab": 512})
    c.model.name = names[0] if names else "test" if smoke else "qwen2.5-7b"
    c.hardware = hardware[0] if hardware else "h100:1" if smoke else "v5e:8x8"  # CHIP:SHAPE, see hardware/chips.py
    fsdp, tensor, microbatches = READY.get((c.model.name, c.hardware), (1, 1, 4) if smoke else (1, 1, 1))
    c.mesh = ConfigDict({"data": -1, "fsdp": fsdp, "tensor": tensor})
    c.work = ConfigDict(
        {
            "prompts": 8 if smoke else 128,
            "samples": 4 if smoke else 8,
            "prompt": 8 if smoke else 512,  # tokens of the longest
            "response": 16 if smoke else 4096,
            "slots": 32 if smoke else 1024,
            "microbatches": microbatches,  # 0: of 8 rows, or of one a device where there are more
            "gather_weights": False,  # as rollout.gather_weights of a run
            "reference": False,  # whether there is a policy to keep near to
        }
    )
    c.param_dtype, c.dtype, c.state_dtype = "bfloat16", "bfloat16", "float32"
    c.remat, c.scan_layers = "block", True
    c.attention = placeholder(str)  # None: splash on TPUs, chunked elsewhere
    c.search = 2 if smoke else 0  # programs that are compiled to find the largest batch and context that fit
    return c
