"""A small Qwen3 folder with random weights and a BPE tokenizer trained on a task's texts: to try everything with.

    python -m experiments.tiny_model --config=configs/tiny_model.py:task=chain_sum --workdir=runs/tiny

What is in `workdir`/model is what a real model's folder holds: config.json, model.safetensors, tokenizer.json, a chat
template and a generation config with two tokens that end a response. Digits are tokens of their own, as in Qwen's
tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.prompts import BOXED
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import arithmetic, chat
from entropy_rl.models import hf
from entropy_rl.models.config import Config
from entropy_rl.models.transformer import Transformer
from entropy_rl.tasks import base as tasks
from experiments.convert_hf import FOLDER
from experiments.lib import checks, launch, workdirs

EOT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ROLES = "user\nassistant\nsystem\n"


def run(config: ConfigDict, workdir: str) -> Path:
    """Writes the folder and gives its path.

    Raises:
      InputError: a bad value, or a folder that is there already.
    """
    numbers = [f"model.{key}" for key, value in config.model.items() if not isinstance(value, bool)]
    checks.positive(config, "vocabulary", "texts", *numbers)
    checks.seed(config)
    task = tasks.get(config.task.name, split="train", **config.task.args.to_dict())
    folder = workdirs.open_workdir(config, workdir) / FOLDER
    known = texts(task, config.texts) + (conversations(task, config.texts) if config.critiques else [])
    tokenizer = train(known, config.vocabulary)
    model = Transformer(Config(vocab_size=tokenizer.get_vocab_size(), **config.model))
    params = jax.jit(model.init)(jax.random.key(config.seed), jnp.zeros((1, 2), jnp.int32))
    hf.save(folder, model, params)
    write_tokenizer(folder, tokenizer)
    count = sum(x.size for x in jax.tree.leaves(params))
    print(f"wrote {folder}: {count:,} parameters, {model.config.vocab_size} tokens", flush=True)
    return folder


def texts(task: tasks.Task | tasks.TextTask, count: int) -> list[str]:
    """Prompts and answers of the first problems, and what is written around them."""
    problems = [task[i] for i in range(min(count, len(task)))]
    return [BOXED, ROLES, *(text for p in problems for text in (p.prompt, p.answer, p.demonstration) if text)]


def conversations(task: tasks.Task | tasks.TextTask, count: int) -> list[str]:
    """What is asked and said of three wrong attempts at each of the first problems (methods/critique/chat.py): one with
    a false last line, one that ends after its first line, and the answer of the next problem."""
    rng, out = np.random.default_rng(0), [chat.indicative(True), chat.indicative(False)]
    truth = getattr(task, "oracle", lambda *_, **__: chat.ChatCritique(False))
    problems = [task[i] for i in range(min(count, len(task)))]
    for problem, other in zip(problems, problems[1:]):
        *before, last = (problem.demonstration or problem.answer).splitlines() or [""]
        slip = "\n".join([*before, arithmetic.plant(last, 1) or last])
        for attempt in (slip, (before or [last])[0], other.answer):
            said = chat.write(truth(problem, attempt, rng, level="hint"))
            asked = chat.critique_messages(problem.prompt, attempt)
            asked += chat.refinement_messages(problem.prompt, attempt, said, chat.FORM)
            out += [said, *(message["content"] for message in asked)]
    return out


def train(texts: Iterable[str], vocabulary: int):
    """A byte-level BPE tokenizer (tokenizers.Tokenizer) of at most so many tokens.

    Raises:
      InputError: `tokenizers` is not installed; less than the bytes and three special tokens.
    """
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise InputError("training a tokenizer needs tokenizers: pip install 'entropy_rl[hf]'") from None
    special = [EOT, START, END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + len(special):
        raise InputError(
            f"config.vocabulary={vocabulary}: must be {len(alphabet) + len(special)} or more, bytes and special tokens"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # words, single digits and runs of marks, each with the space before it; other white space
            pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_tokenizer(folder: Path, tokenizer) -> None:
    """The tokenizer's files, as transformers writes them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": EOT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT,
    }
    end, eot = (tokenizer.token_to_id(token) for token in (END, EOT))
    ends = {"eos_token_id": [end, eot], "pad_token_id": eot}
    for name, value in (("tokenizer_config.json", about), ("generation_config.json", ends)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    launch.main(run)
