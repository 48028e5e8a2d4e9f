"""TRL's GRPOTrainer on a CPU, a step for each line: `python trl_worker.py SPEC.json`, in an environment of its own.

Its fastest settings here: transformers' generate with a static cache, one update a rollout, no KL, no logging.
"""

from __future__ import annotations

import json
import os
import sys

import pace

pace.begin()

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import datasets
import torch
import transformers
import trl


class Paced(transformers.TrainerCallback):
    """Waits before each step, and answers after it."""

    def on_step_begin(self, args, state, control, **kwargs):
        """Waits."""
        if not pace.asked():
            os._exit(0)
        self._clock = pace.Clock()

    def on_step_end(self, args, state, control, **kwargs):
        """Answers."""
        self._clock.stop()


def parity(completion_ids, **kwargs):
    """1 for an odd sum of tokens."""
    return [float(sum(ids) % 2) for ids in completion_ids]


def main(spec: dict) -> None:
    """Trains until there are no more lines."""
    torch.set_num_threads(spec["threads"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(spec["folder"], padding_side="left")
    prompts = [tokenizer.decode(p) for p in spec["prompts"]]
    rows = len(prompts) * spec["samples"]
    args = trl.GRPOConfig(
        output_dir=os.path.join(spec["folder"], "trl"),
        use_cpu=True,
        bf16=False,
        model_init_kwargs={"dtype": "float32"},
        per_device_train_batch_size=rows // spec["parts"],
        gradient_accumulation_steps=spec["parts"],
        num_generations=spec["samples"],
        max_completion_length=spec["new"],
        cache_implementation="static",
        # no end of sequence before the last token: every response has its full length
        generation_kwargs={"min_new_tokens": spec["new"]},
        steps_per_generation=spec["parts"],  # all rows are sampled at once
        num_iterations=1,
        beta=0.0,
        temperature=1.0,
        top_k=0,
        loss_type="dapo",  # token mean
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="constant",
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        weight_decay=0.0,
        gradient_checkpointing=False,
        max_steps=spec["most_steps"],
        shuffle_dataset=False,
        save_strategy="no",
        report_to=[],
        logging_steps=1_000_000,
        disable_tqdm=True,
    )
    trainer = trl.GRPOTrainer(
        model=spec["folder"],
        reward_funcs=parity,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts * spec["most_steps"]}),
        processing_class=tokenizer,
        callbacks=[Paced()],
    )
    versions = {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    size = sum(p.numel() for p in trainer.model.parameters())
    pace.answer({"ready": versions, "parameters": size, "logp": logp(trainer.model, torch.tensor(spec["prompts"]))})
    trainer.train()


def logp(model: torch.nn.Module, prompts: torch.Tensor) -> float:
    """Mean log-probability of the prompts' tokens after their first: whether this is the model that the others have."""
    with torch.no_grad():
        scores = model(prompts).logits[:, :-1].log_softmax(-1)
        return scores.gather(2, prompts[:, 1:, None]).mean().item()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
