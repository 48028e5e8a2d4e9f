"""Makes the folders in tests/models/hf with transformers itself: tiny random models, and what it says of some tokens.

    python -m venv /tmp/ref && /tmp/ref/bin/pip install torch==2.13.0 transformers==5.24.0
    /tmp/ref/bin/python tests/models/make_hf_fixtures.py tests/models/hf

The names of some folders after that of hf make these alone. The suite reads them without torch. A folder holds a model
as `save_pretrained` wrote it, and reference.npz: tokens, the logits of the last columns, log-probability and entropy of
every token, and a greedy continuation, all in float32.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

VOCAB, LAST = 96, 8
SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    initializer_range=0.3,
    bos_token_id=None,
    eos_token_id=95,
    pad_token_id=None,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,  # with heads of 16, a frequency in each of the three ranges
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=4.0)
DYNAMIC = dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)
LONGROPE = dict(
    rope_type="longrope", short_factor=[1.0, 1.1, 1.3], long_factor=[1.2, 2.5, 6.0], partial_rotary_factor=0.75
)
BY_KIND = {
    "full_attention": dict(rope_type="linear", rope_theta=1000000.0, factor=8.0),
    "sliding_attention": dict(rope_type="default", rope_theta=10000.0),
}
GEMMA = dict(num_hidden_layers=3, head_dim=8, query_pre_attn_scalar=12, sliding_window=5, final_logit_softcapping=12.0)
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
EXPERTS = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8, head_dim=8)
WINDOW = dict(use_sliding_window=True, sliding_window=7)
F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


def case(family, dtype, *, tied, most="5GB", old=False, **shape):
    """Config, type of the weights, tensors of a file at most, whether config.json is in the spelling of transformers 4;
    `shape` is what differs from SHAPE."""
    return family(**SHAPE | shape, tie_word_embeddings=tied), dtype, most, old


CASES = {
    "qwen2": case(Qwen2Config, F32, tied=True),
    "qwen2_untied_sharded": case(Qwen2Config, BF16, tied=False, most="12KB", old=True),
    "qwen2_yarn": case(Qwen2Config, BF16, tied=True, head_dim=16, rope_parameters=YARN),
    "qwen3": case(Qwen3Config, F32, tied=True, head_dim=16),
    "qwen3_untied_biased": case(Qwen3Config, F16, tied=False, old=True, head_dim=8, attention_bias=True),
    "llama": case(LlamaConfig, F32, tied=False, old=True),
    "llama_biased": case(LlamaConfig, F16, tied=False, attention_bias=True, mlp_bias=True, head_dim=10),
    "llama3": case(LlamaConfig, BF16, tied=True, head_dim=16, rope_parameters=LLAMA3),
    "llama3_old": case(LlamaConfig, F32, tied=True, old=True, head_dim=16, rope_parameters=LLAMA3),
    "llama_linear": case(LlamaConfig, F16, tied=True, rope_parameters=LINEAR),
    "qwen2_windows": case(Qwen2Config, BF16, tied=True, old=True, **WINDOW, max_window_layers=1),
    "mistral": case(MistralConfig, BF16, tied=False, most="12KB", head_dim=8, sliding_window=7),
    "phi3": case(Phi3Config, BF16, tied=False, old=True, sliding_window=9),
    "phi3_longrope": case(
        *(Phi3Config, F16),
        tied=False,
        most="12KB",
        hidden_size=32,
        original_max_position_embeddings=32,
        rope_parameters=LONGROPE,
    ),
    "llama_dynamic": case(LlamaConfig, F16, tied=True, old=True, max_position_embeddings=48, rope_parameters=DYNAMIC),
    "smollm3": case(
        SmolLM3Config, BF16, tied=True, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=6
    ),
    "olmo2": case(Olmo2Config, BF16, tied=False),
    "gemma3": case(Gemma3TextConfig, BF16, tied=True, **GEMMA, layer_types=MIXED, rope_parameters=BY_KIND),
    "gemma2": case(Gemma2Config, BF16, tied=True, **GEMMA, attn_logit_softcapping=6.0),
    "qwen3_moe": case(Qwen3MoeConfig, BF16, tied=False, most="20KB", old=True, **EXPERTS, norm_topk_prob=True),
    # dense layers between, weights as they are, a window and biases
    "qwen3_moe_mixed": case(
        *(Qwen3MoeConfig, F16),
        tied=True,
        num_hidden_layers=4,
        **EXPERTS,
        decoder_sparse_step=2,
        mlp_only_layers=[3],
        norm_topk_prob=False,
        **WINDOW,
        attention_bias=True,
    ),
}


def make(folder, config, dtype, most, old, seed):
    """One folder."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):  # else all 1
                p.copy_(("gemma" not in config.model_type) + 0.3 * torch.randn(p.shape))
            elif name.endswith("bias"):  # else all 0
                p.copy_(0.3 * torch.randn(p.shape))
    model.save_pretrained(folder, max_shard_size=most)
    if old:
        spell_as_before(folder / "config.json")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [95, 94]}) + "\n")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    np.savez_compressed(folder / "reference.npz", **reference(model, seed))


def spell_as_before(path):
    """config.json in the spelling of transformers 4."""
    c = json.loads(path.read_text())
    rope = c.pop("rope_parameters")
    c["rope_theta"] = rope.pop("rope_theta")
    c["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    c["torch_dtype"] = c.pop("dtype")
    if "num_local_experts" in c:
        c["num_experts"] = c.pop("num_local_experts")
    c.pop("layer_types", None)
    path.write_text(json.dumps(c, indent=2) + "\n")


def reference(model, seed):
    """What transformers says: of short rows, and of a long one that goes past any original context."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in (("short", (3, 12)), ("long", (1, 200))):
        tokens = torch.tensor(rng.integers(0, VOCAB - 2, shape))
        with torch.no_grad():
            logits = model(tokens).logits.double()
            log_p = torch.log_softmax(logits, -1)
        out[f"{name}_tokens"] = tokens.numpy().astype(np.int32)
        out[f"{name}_logits"] = logits[:, -LAST:].numpy().astype(np.float32)
        out[f"{name}_logp"] = log_p[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0].numpy().astype(np.float32)
        out[f"{name}_entropy"] = -(log_p.exp() * log_p).sum(-1)[:, :-1].numpy().astype(np.float32)
        prompt = tokens[:1, : shape[1] // 2]
        if model.config.get_text_config().rope_parameters.get("rope_type") in ("dynamic", "longrope"):
            out[f"{name}_greedy"] = by_rows(model, prompt, 24)
            continue
        with torch.no_grad():
            seen = torch.ones_like(prompt)  # or token 0, which is ordinary here, would be taken for padding
            grown = model.generate(
                prompt, attention_mask=seen, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        out[f"{name}_greedy"] = grown[0, prompt.shape[1] :].numpy().astype(np.int32)
    return out


def by_rows(model, prompt, count):
    """Greedy tokens where frequencies are by length: of rows as long as the last, which transformers' own generation,
    with keys that were turned for shorter ones, is not."""
    row = torch.nn.functional.pad(prompt, (0, count))
    for t in range(prompt.shape[1], row.shape[1]):
        with torch.no_grad():
            model(row[:, :1])  # or it would keep the frequencies of a longer call
            row[:, t] = model(row).logits[:, t - 1].argmax(-1)
    return row[0, prompt.shape[1] :].numpy().astype(np.int32)


if __name__ == "__main__":
    for number, (name, case) in enumerate(CASES.items()):
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        make(pathlib.Path(sys.argv[1]) / name, *case, seed=number)
        print(name)
