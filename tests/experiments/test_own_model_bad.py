"""configs/rl/hf.py: what it makes of its argument, and what is said of bad folders, values and tasks."""

import json
import re
import shutil

import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import hf
from experiments import quickstart, train_rl, train_sft
from experiments.lib import launch
from tests.experiments.test_own_model import get


def no_eos(path):
    for name, keys in (("tokenizer_config.json", ["eos_token"]), ("generation_config.json", ["eos_token_id"])):
        value = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({k: v for k, v in value.items() if k not in keys}))


def fewer_rows(path):
    """config.json and weights of a smaller vocabulary than the tokenizer's."""
    model, params = hf.load(path)
    params["params"]["embed"]["embedding"] = params["params"]["embed"]["embedding"][:260]
    kept = (path / "tokenizer.json").read_text()
    shape = hf.load_config(path, vocab_size=260)
    shutil.rmtree(path)
    hf.save(path, type(model)(shape), params)
    (path / "tokenizer.json").write_text(kept)
    (path / "generation_config.json").write_text('{"eos_token_id": 2}')


def short_context(path):
    value = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(value | {"max_position_embeddings": 100}))


def pickled(path):
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (no_eos, "the tokenizer has no end-of-sequence token"),
        (fewer_rows, r"the model's vocabulary has 260 tokens and its tokenizer's \d+: give a folder whose tokenizer"),
        (short_context, r"prompt_length \+ response_length = 112 tokens are more than the context of .*, 100: lower"),
        (pickled, "pytorch_model.bin is a pickle, and loading one runs the code in it"),
    ],
)
def test_a_bad_folder_leaves_nothing_behind(folder, tmp_path, spoil, message):
    """Mutation: the folder looked at after the workdir was made."""
    path = tmp_path / "m"
    shutil.copytree(folder, path)
    spoil(path)
    for part, script in (("rl", train_rl), ("sft", train_sft)):
        with pytest.raises(InputError, match=message) as e:
            script.run(get(f",part={part}", **{"model.path": str(path)}), str(tmp_path / part))
        assert "\n" not in str(e.value)
        assert not (tmp_path / part / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"path": None}, "config.model.path is missing: give the folder of a Hugging Face model"),
        ({"prompt.style": "chta"}, r"unknown prompt style 'chta' \(did you mean 'chat'"),
        ({"prompt.prompt_length": 3}, "all of 128 prompts have more tokens than prompt.prompt_length=3: raise it"),
        ({"lora.rank": 4, "lora.targets": "query"}, "lora.targets='query' is found in no kernel"),
        ({"lora.rank": -1}, "config.lora.rank=-1: must be a whole number of 0 or more"),
        ({"types.dtype": "float8"}, "dtype='float8': must be one of float32, bfloat16, float16"),
        ({"rl.critique.source": "oracle"}, "critique"),
        ({"export.dtype": "int8"}, "config.dtype='int8'"),
    ],
)
def test_bad_values_are_named(folder, tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as e:
        quickstart.run(get(**({"path": str(folder)} | changes)), str(tmp_path / "run"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "arg, message",
    [
        (
            ",task=countdown,levels=3",
            "knows no key 'levels': arguments of countdown are flags, --config.task.args.levels=",
        ),
        (",part=law", "unknown part 'law'"),
        (",tinny", "no variant 'tinny'"),
    ],
)
def test_a_bad_argument_of_the_config_is_named(arg, message):
    with pytest.raises(InputError, match=re.escape(message)):
        get(arg)


def test_tasks_by_name():
    """Ours with all their arguments as flags; any other name is reasoning-gym's, with its settings."""
    c = get(",path=/a-1,task=chain_sum,max_terms=3,operators=(1,2)")
    assert (c.path, c.rl.model.path, c.task.name, c.task.args.name) == ("/a-1", "/a-1", "reasoning_gym", "chain_sum")
    assert c.rl.task.args.settings.to_dict() == {"max_terms": 3, "operators": (1, 2)} and "split" not in c.task.args
    c = get(",task=gsm8k")
    c.task.args.path = "files"
    assert c.sft.task.args.path == c.rl.task.args.path == "files" and c.sft.task.args.workers == 1
    part = get(",part=rl,task=gsm8k")
    part.task.args.path = "files"
    assert part.task.name == "gsm8k" and "law" not in part and part.init is None


@pytest.mark.parametrize(
    "arg, message",
    [
        (",task=chain_summ", "unknown reasoning-gym task 'chain_summ' (did you mean 'chain_sum'?)"),
        (",task=chain_sum,max_term=3", "reasoning-gym task 'chain_sum' has no setting 'max_term' (did you mean"),
    ],
)
def test_a_task_that_is_not_there_is_named(folder, tmp_path, arg, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        quickstart.run(get(arg, path=str(folder)), str(tmp_path / "run"))
    assert "\n" not in str(e.value) and not (tmp_path / "run").exists()


def test_text_needs_a_tokenizer(tmp_path):
    """Mutation: an AttributeError from within."""
    (tmp_path / "q.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.task.name = "jsonl"
    config.task.args = {"path": str(tmp_path / "q.jsonl"), "shares": (1.0, 0.0, 0.0)}
    with pytest.raises(InputError, match="task 'jsonl' is text and needs a model with a tokenizer: start from"):
        train_rl.run(config, str(tmp_path / "run"))


def test_the_config_of_smollm2_is_hf_with_other_values():
    """Whole or in parts, for this task or another. Mutation: the parts have tasks and prompts of their own."""
    whole = launch.load_config("configs/rl/smollm2.py")
    assert whole.path == whole.rl.model.path == "runs/smollm2/model"
    for part in ("sft", "rl"):
        config = launch.load_config(f"configs/rl/smollm2.py:part={part}")
        assert config.to_dict() == ({"init": None} if part == "rl" else {}) | whole[part].to_dict()
        assert config.task.args.levels == (3,) and config.prompt.prompt_length == 36
    other = launch.load_config("configs/rl/smollm2.py:task=chain_sum,max_terms=3,path=elsewhere")
    theirs = launch.load_config("configs/rl/hf.py:task=chain_sum,max_terms=3,path=elsewhere")
    assert other.task == theirs.task and other.prompt == theirs.prompt and other.rl.steps == whole.rl.steps
