"""Against transformers itself, where torch is installed (`make parity` makes such an environment)."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from entropy_rl.data.prompts import BOXED
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.models import hf
from entropy_rl.training.checkpoints import restore_params
from experiments import quickstart, tiny_model
from experiments.lib import build, launch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch: make parity"),
    pytest.mark.filterwarnings("default"),  # those of torch and transformers are theirs
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": " 2 "},
    {"role": "user", "content": f"3 + 4?\n{BOXED}"},
]
# of the making of the templates of Qwen3 and of Llama 3.2
QWEN = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == "user" %}{%- set ns.last = index %}{%- break %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if loop.index0 > ns.last %}{{- 'after' }}{%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content.strip('\\n').lstrip() + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
LLAMA = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|im_start|>system\\n\\n" }}{{- "Today Date: " + date_string + "\\n\\n" }}{{- system_message }}{{- "<|im_end|>" }}
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n\\n'+ message['content'] | trim + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}"""


def cases():
    from tests.models import make_hf_fixtures

    return make_hf_fixtures.CASES


@pytest.mark.parametrize("case", cases() if importlib.util.find_spec("torch") else ["all"])
def test_numbers_are_those_of_transformers(case, tmp_path):
    from tests.models import parity

    row = parity.compare(case, tmp_path)
    assert max(row.numbers()) <= 1e-4, row
    assert row.greedy and row.round_trip, row


def gguf_cases():
    from tests.models import parity

    return parity.GGUF_CASES


@pytest.mark.parametrize("case", gguf_cases() if importlib.util.find_spec("torch") else ["all"])
def test_gguf_files_are_read_as_transformers_reads_them(case, tmp_path):
    """Token ids are those of the original tokenizer; see compare_gguf on transformers' own."""
    from tests.models import parity

    row = parity.compare_gguf(*case, tmp_path)
    assert row.weights and row.round_trip and row.logits <= 1e-4 and row.ids == 0 and row.texts > 1000, row


def their_folder(path, template=QWEN):
    """A tiny Qwen3 folder with a tokenizer, both saved by transformers."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    words = [BOXED, tiny_model.ROLES, *(f"State the final answer to {i} + {i % 7} =" for i in range(200))]
    raw = tiny_model.train(words, 400)
    special = {"eos_token": tiny_model.END, "pad_token": tiny_model.EOT, "bos_token": tiny_model.START}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    tokenizer.chat_template = template
    config = Qwen3Config(
        vocab_size=416,  # padded, as theirs are
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=raw.token_to_id(tiny_model.END),
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = [raw.token_to_id(x) for x in (tiny_model.END, tiny_model.EOT)]
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("template", [QWEN, LLAMA, tiny_model.CHAT], ids=["qwen", "llama", "ours"])
def test_chats_are_those_of_transformers(template, tmp_path):
    """Texts and ids. Mutation: trim_blocks off in the environment."""
    from transformers import AutoTokenizer

    ours = FolderTokenizer(their_folder(tmp_path / "m", template))
    theirs = AutoTokenizer.from_pretrained(tmp_path / "m")
    for messages in (CHAT, CHAT[1:], CHAT[-1:]):
        for more in ({}, {"enable_thinking": False}):
            want = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **more)
            assert ours.chat(messages, **more) == want
            assert ours.encode(want) == theirs(want, add_special_tokens=False).input_ids
    assert ours.eos_id == theirs.eos_token_id and ours.pad_id == theirs.pad_token_id


@pytest.mark.parametrize("rank", [0, 4])
def test_from_their_folder_to_their_folder(rank, tmp_path):
    """Imitation, GRPO, evaluation, law, export; transformers then has our weights bit for bit, and our logits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = their_folder(tmp_path / "m")
    settings = "task=chain_sum,max_terms=3,max_digits=2"
    config = launch.load_config(f"configs/rl/hf.py:smoke,path={path},{settings}")
    config.lora.rank = rank
    config.prompt.style = "chat"
    config.prompt.prompt_length = 160
    for part in (config.sft, config.rl):
        part.optimizer.learning_rate = 1e-2
    quickstart.run(config, str(tmp_path / "run"))

    there = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "export").eval()
    model, params = hf.load(tmp_path / "run" / "export")
    tokens = np.arange(3, 403).reshape(2, 200) % 416
    with torch.no_grad():
        want = there(torch.tensor(tokens)).logits.numpy()
    got, _ = model.apply(params, tokens)
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)
    before = AutoModelForCausalLM.from_pretrained(path).state_dict()
    changed = {k for k, x in there.state_dict().items() if not torch.equal(x, before[k])}
    assert "model.layers.0.self_attn.q_proj.weight" in changed, "something was learned"
    assert ("model.embed_tokens.weight" in changed) == (rank == 0)
    if rank == 0:
        run = launch_config(tmp_path / "run" / "rl")
        like = hf.abstract_params(build.model(run, 1))
        saved = restore_params(tmp_path / "run" / "rl", like)
        jax.tree.map(np.testing.assert_array_equal, params, saved)
    ours, theirs = FolderTokenizer(path), AutoTokenizer.from_pretrained(tmp_path / "run" / "export")
    assert theirs("State 3 + 4").input_ids == ours.encode("State 3 + 4")
    assert list(there.generation_config.eos_token_id) == list(ours.eos_ids)


def launch_config(workdir):
    """The config of a run."""
    from ml_collections import ConfigDict

    return ConfigDict(json.loads((workdir / "config.json").read_text())["config"])
