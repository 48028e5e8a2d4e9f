"""Qwen2.5-1.5B on GSM8K or DAPO-Math with eight 80 GB GPUs: the recipe of a real run.

python -m experiments.quickstart --config=configs/rl/qwen_math.py:path=Qwen2.5-1.5B --config.task.args.path=gsm8k \
    --workdir=runs/qwen
python -m experiments.quickstart --config=configs/rl/qwen_math.py:path=Qwen2.5-1.5B,task=parquet \
    --config.task.args.path=dapo-math-17k.parquet --config.prompt.response_length=1536 --workdir=runs/qwen_dapo

GRPO as in configs/rl/hf.py, strictly on-policy, bfloat16 with float32 masters, a replica of the model on every GPU.
The folder and the data are downloaded beforehand: gsm8k/ has train.jsonl and test.jsonl of openai/grade-school-math.

Memory of one GPU, by arithmetic (P = 1.54e9 parameters, V = 151,936 tokens, T = 512 + 1024 columns):
  parameters 2 P, masters and both moments 12 P bytes                            21.6 GB
  gradients, 4 P                                                                 6.2 GB
  keys and values, 2 x 28 layers x 2 heads x 128 x 2 bytes a token, 64 x T       2.8 GB
  the row of a micro-batch: logits 4 V T bytes, a few times; attention 12 heads x T^2 x 4 bytes x 28 layers, two to
  three times; activations about 3 GB                                            15 to 20 GB
XLA for eight host devices asks for 21.6 GB of state and 36 GB of temporaries, 58 GB; 67 GB at T = 2048. 3,584 columns
would be 101 GB: activations are not recomputed here yet, so responses of 3,000 tokens do not fit.
Time: by arithmetic 10 to 15 s a step and about an hour for 200 steps with evaluations. The update is 6 P FLOP for each
  of 512 x T padded tokens, 7.3e15: 2.3 s at 40 % of 8 x 989 TFLOP/s, 5 s at 20 %. A token of all responses reads the
  parameters and the cache, 4.9 GB: at least 1.5 ms at 3.35 TB/s, times 1,024.
Outcome: not known here, as nothing of this could be run: no GPU, no weights, no data. What was run is the same code on
  tiny folders made by transformers (make parity), and the compiler over these shapes on eight host devices.
"""

from configs.rl import hf


def get_config(arg: str = ""):
    """`arg` as of configs/rl/hf.py; the task is gsm8k where none is given."""
    variants, given = hf.parse(arg, "smoke")
    smoke = "smoke" in variants
    if "task" not in given and not smoke:
        arg = ",".join(filter(None, (arg, "task=gsm8k")))
    c = hf.get_config(arg)
    if "rl" not in c:  # part=...
        return c
    c.prompt.style = "chat"
    if not smoke:
        c.rl.rollout.slots = 512  # all responses of a step at once, 64 a GPU
        c.rl.eval.update(every=10, problems=256)
        c.rl.eval.last.update(problems=1319)
        c.rl.checkpoint.every = 20
    return c
