"""GRPO runs of TRL's own trainer with the law in its metrics: `python trl_run.py OUT`, in .venv-trl.

A random Llama of one layer learns to say t3. Writes what was reported to OUT/said.json.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
import tokenizers
import torch
import transformers
import trl

from entropy_rl.logs import live, trl_hook

WORDS = 16


class Reports(transformers.TrainerCallback):
    """As wandb's callback: it has its place before the trainer is made, and gets the rows as they are then."""

    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.rows.append({**logs, "step": state.global_step})


def tokenizer():
    words = {f"t{i}": i for i in range(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=f"t{WORDS - 1}", pad_token="t1", unk_token="t0", padding_side="left"
    )


def said(completions, **kwargs):
    """Share of the words that are t3."""
    return [text.split().count("t3") / 6 for text in completions]


def trainer(out, steps, reports):
    transformers.set_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=WORDS, **sizes, num_key_value_heads=2))
    args = trl.GRPOConfig(
        output_dir=out,
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        num_generations=8,
        max_completion_length=6,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        max_steps=steps,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=20,
        report_to=[],
        disable_tqdm=True,
    )
    prompts = [f"t{2 + i % 8} t{4 + i % 5}" for i in range(200)]
    return trl.GRPOTrainer(
        model=model,
        reward_funcs=said,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        eval_dataset=datasets.Dataset.from_dict({"prompt": prompts[:2]}),
        processing_class=tokenizer(),
        callbacks=[reports],
    )


def main(out):
    """Thirty steps; six from the checkpoint after the twentieth, as a new process would; a watch that goes wrong."""
    torch.set_num_threads(1)
    said = {}
    for name, steps, checkpoint in (("first", 30, None), ("resumed", 26, "checkpoint-20"), ("broken", 4, None)):
        reports = Reports()
        made = trainer(out if checkpoint or name == "first" else f"{out}-{name}", steps, reports)
        law = trl_hook.watch(made, draws=100, share=1e9)
        if name == "broken":
            live.Live._keep = None
        made.train(resume_from_checkpoint=checkpoint and os.path.join(out, checkpoint))
        said[name] = {"law": law.live.law, "rows": reports.rows, "steps": made.state.global_step}
    with open(os.path.join(out, "said.json"), "w") as file:
        json.dump(said, file)


if __name__ == "__main__":
    main(sys.argv[1])
