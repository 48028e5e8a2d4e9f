"""Qwen2.5-1.5B on GSM8K or DAPO-Math with eight 80 GB GPUs: the recipe of a real run.

python -m experiments.quickstart --config=configs/rl/qwen_math.py:path=Qwen2.5-1.5B --config.task.args.path=gsm8k \
    --workdir=runs/qwen
python -m experiments.quickstart --config=configs/rl/qwen_math.py:path=Qwen2.5-1.5B,task=parquet \
    --config.task.args.path=dapo-math-17k.parquet --config.prompt.response_length=3072 --workdir=runs/qwen_dapo

GRPO as in configs/rl/hf.py, strictly on-policy, bfloat16 with float32 masters, a replica of the model on every GPU.
The folder and the data are downloaded beforehand: gsm8k/ has train.jsonl and test.jsonl of openai/grade-school-math.

Memory of one GPU, as experiments.plan gives it (P = 1.54e9 parameters, T = 512 + 1024 columns):
  python -m experiments.plan --config=configs/plan.py:qwen2.5-1.5b,h100:8 --config.work.prompts=64 \
      --config.work.response=1024 --config.work.microbatches=64 --config.work.slots=512 --workdir=runs/plan
  parameters 2 P, masters and both moments 12 P bytes          21.6 GB
  keys and values of 64 responses                               2.8 GB
  peak: update 49 GB, decode step 31 GB; with responses of 3,072 tokens (DAPO) 59 and 35 GB
That is XLA for eight host devices, which keeps what recomputation spares on a GPU: an upper bound.
Time: at peak figures a step takes 2.4 s or more: the update's arithmetic 1.3 s, its wires 2.4 s, as each of the 64
  micro-batches adds its gradient over all GPUs (raise the rows of one where memory allows), the 1,024 decode steps 2 s
  of memory bandwidth. At a third of these figures, 10 to 15 s a step and an hour for 200 steps with evaluations.
Outcome: not known here, as nothing of this could be run: no GPU, no weights, no data. What was run is the same code on
  tiny folders made by transformers (make parity), and the compiler over these shapes on eight host devices.
"""

from configs import common
from configs.rl import hf


def get_config(arg: str = ""):
    """`arg` as of configs/rl/hf.py; the task is gsm8k where none is given."""
    variants, given = common.parse(arg, "smoke")
    smoke = "smoke" in variants
    if "task" not in given and not smoke:
        arg = ",".join(filter(None, (arg, "task=gsm8k")))
    c = hf.get_config(arg)
    if "rl" not in c:  # part=...
        return c
    c.prompt.style = "chat"
    if not smoke:
        c.types.update(remat="block", scan_layers=True, attention="splash")  # chunked where there is no TPU
        c.rl.rollout.slots = 512  # all responses of a step at once, 64 a GPU
        c.rl.eval.update(every=10, problems=256)
        c.rl.eval.last.update(problems=1319)
        c.rl.checkpoint.every = 20
    return c
