"""config.json of model folders, read and written: what it says, leaves unsaid, and says that is not supported."""

import dataclasses

import jax.numpy as jnp
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import families, hf, presets, rope
from entropy_rl.models.config import ACTIVATIONS, NORMS
from tests.models.folders import FOLDERS

NAMES = [path.name for path in FOLDERS]


def test_the_fixtures_reach_every_family_and_way():
    configs = [hf.load_config(path) for path in FOLDERS]
    raw = [families.read_config(path) for path in FOLDERS]
    assert {c["architectures"][0] for c in raw} == families.FAMILIES.keys()
    assert {c.rope_scaling and c.rope_scaling.kind for c in configs} == {None, *rope.KINDS}
    assert {jnp.dtype(c.dtype).name for c in configs} == families.DTYPES.keys()
    for flag in ("tied", "qk_norm", "qkv_bias", "o_bias", "mlp_bias", "qk_norm_whole", "embed_scale"):
        assert {getattr(c, flag) for c in configs} == {True, False}, flag
    for flag in (
        "windows",
        "rotary_dim",
        "rotated",
        "local_theta",
        "query_scalar",
        "attention_cap",
        "logit_cap",
        "norm_offset",
    ):
        assert len({getattr(c, flag) for c in configs}) > 1, flag
    assert {c.norms for c in configs} == {*NORMS} and {c.activation for c in configs} == ACTIVATIONS.keys()
    assert any(c.head_dim != c.d_model // c.heads for c in configs)
    assert {"rope_parameters" in c for c in raw} == {True, False} and any((p / hf.INDEX).exists() for p in FOLDERS)


def test_scaled_positions_can_be_saved_without_a_folder():
    """Numbers that a kind of scaling does not read are no obstacle. Mutation: all of them compared."""
    for folder in FOLDERS:
        config = hf.load_config(folder)
        assert families.to_config(families.from_config(config), "made") == config, folder.name
    scaled = dataclasses.replace(config, rope_scaling=rope.Scaling("linear", 4.0, 32, beta_fast=1.0))
    read = families.to_config(families.from_config(scaled), "made").rope_scaling
    assert read == rope.Scaling("linear", 4.0)


def test_gemma3_as_transformers_4_spelled_it():
    """Mutation: the base of the local layers for all, or rope_scaling for them too."""
    folder = FOLDERS[NAMES.index("gemma3")]
    want = hf.load_config(folder)
    assert want.local_theta == 1e4 and want.rope_theta == 1e6 and want.rope_scaling == rope.Scaling("linear", 8.0)
    raw = families.read_config(folder)
    for key in ("rope_parameters", "layer_types", "_sliding_window_pattern", "tie_word_embeddings", "head_dim"):
        raw.pop(key)
    raw |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    old = families.to_config(raw | {"sliding_window_pattern": 2, "head_dim": 8}, "old")
    assert old == dataclasses.replace(want, windows=(5, 0, 5)) == want
    assert families.to_config(raw, "old").windows == (5, 5, 5) and families.to_config(raw, "old").head_dim == 256


def test_what_config_json_leaves_unsaid():
    """Keys that are missing mean what transformers takes for them, and null means none. Mutation: no defaults."""
    shape = {"vocab_size": 9, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8}
    shape |= {"intermediate_size": 64}
    read = lambda name, **more: families.to_config({"architectures": [name], **shape, **more}, "x")  # noqa: E731
    assert read("MistralForCausalLM").windows == (4096,) * 4
    assert read("MistralForCausalLM", sliding_window=None).windows == () == read("Phi3ForCausalLM").windows
    qwen = read("Qwen2ForCausalLM", use_sliding_window=True, max_window_layers=3)
    assert qwen.windows == (0, 0, 0, 4096) and read("Qwen2ForCausalLM").windows == ()
    smol = read("SmolLM3ForCausalLM")
    assert smol.rotated == (True, True, True, False) and smol.tied and smol.rope_theta == 2e6 and smol.kv_heads == 4
    gemma = read("Gemma2ForCausalLM")
    assert (gemma.attention_cap, gemma.logit_cap, gemma.windows) == (50.0, 30.0, (4096, 0) * 2)
    su = {"type": "su", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    phi = read("Phi3ForCausalLM", rope_scaling=su, max_position_embeddings=128, original_max_position_embeddings=32)
    assert phi.rope_scaling == rope.Scaling("longrope", 4.0, 32, short_factor=(1.0,) * 4, long_factor=(2.0,) * 4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "its language model, saved as Gemma3ForCausalLM, is"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "its language model, saved as Qwen3ForCausalLM, is"),
        (
            {"architectures": ["MixtralForCausalLM"]},
            r"MixtralForCausalLM is not supported \(a mixture of experts\): Qwen2",
        ),
        ({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM is not supported: Qwen2ForCausalLM, Qwen3"),
        ({"architectures": ["FalconForCausalLM"]}, "FalconForCausalLM is not supported: .*Phi3ForCausalLM are"),
        ({"num_attention_heads": 0}, "has no whole number 'num_attention_heads' of 1 or more"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is left out by transformers' Gemma 3"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is not supported"),
        ({"partial_rotary_factor": 0.5}, "a part of the head are not supported for 'gemma3_text'"),
        ({"sliding_window": None}, "sliding-window attention in some of layer_types, and no window"),
        ({"hidden_activation": "gelu"}, "hidden_activation 'gelu' is not supported: silu, gelu_pytorch_tanh are"),
        ({"rope_parameters": {"sliding_attention": {"rope_type": "yarn"}}}, "rope type of sliding_attention"),
    ],
)
def test_what_is_not_supported_is_named(change, message):
    """With what is, and the nearest only where there is one. Mutation: any of the checks left out."""
    raw = families.read_config(FOLDERS[NAMES.index("gemma3")])
    with pytest.raises(InputError, match=message):
        families.to_config(raw | change, "here")


def test_the_context_of_dynamic_scaling_grows():
    """Mutation: max_position_embeddings for all."""
    lengths = {name: families.context_length(FOLDERS[NAMES.index(name)]) for name in ("llama_dynamic", "llama_linear")}
    assert lengths == {"llama_dynamic": 96, "llama_linear": 256}


def test_no_architecture_has_two_windows():
    config = presets.make("test", 40, windows=(3, 4)).config
    with pytest.raises(InputError, match="no architecture of transformers has this model's flags together"):
        families.from_config(config)
