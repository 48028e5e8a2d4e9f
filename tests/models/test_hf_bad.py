"""Hugging Face folders that cannot be used: each is named in one line, and nothing outside of a folder is opened."""

import json
import pickle

import numpy as np
import pytest
import safetensors.numpy

from entropy_rl.errors import InputError
from entropy_rl.models import hf
from tests.models.folders import copy, stack, tensors


def config(**values):
    """Changes config.json."""

    def spoil(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def weights(edit):
    """Changes the tensors."""
    return lambda folder: safetensors.numpy.save_file(edit(tensors(folder)), folder / hf.SINGLE)


def index(edit):
    """Changes which file holds which tensor."""

    def spoil(folder):
        whole = json.loads((folder / hf.INDEX).read_text())
        (folder / hf.INDEX).write_text(json.dumps({"weight_map": edit(whole["weight_map"])}))

    return spoil


def without(*parts):
    return lambda whole: {k: x for k, x in whole.items() if not k.endswith(parts)}


def cut(folder):
    path = folder / hf.SINGLE
    path.write_bytes(path.read_bytes()[:-1000])


def pickled(folder):
    (folder / hf.SINGLE).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": 1}))


LONGROPE = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "factor": 2}
W13 = {"model.layers.1.mlp.experts.w13": np.ones((5, 20, 24), np.float16)}
SCALE = {"model.layers.1.mlp.experts.0.up_proj.weight_scale_inv": np.ones((1, 1), np.float16)}

# By folder: what is done to it, and what the one line must say.
BAD = {
    "qwen2": {
        "architecture": (config(architectures=["Qwen2MoeForCausalLM"]), "Qwen2MoeForCausalLM is not supported"),
        "type": (config(architectures=None, model_type="gpt2"), "'gpt2' is not supported"),
        "rope": (config(rope_parameters={"rope_type": "longrop"}), "rope type 'longrop' is not supported .did"),
        "longrope": (config(rope_parameters={"rope_type": "longrope"}), "'longrope' without short_factor"),
        "factors": (
            config(rope_parameters=LONGROPE),
            "short_factor has 1 numbers: half of what is rotated of a head has 3",
        ),
        "llama3": (config(rope_parameters={"rope_type": "llama3", "factor": 8.0}), "without original_max"),
        "layer": (config(layer_types=["sliding_attention"] * 2), "sliding-window attention in some of"),
        "kind": (
            config(layer_types=["chunked_attention"] * 2),
            "'chunked_attention': full_attention and sliding_attention are supported",
        ),
        "kinds": (config(layer_types=["full_attention"]), "of 1 layers: there are 2"),
        "activation": (config(hidden_act="gelu"), "hidden_act 'gelu' is not supported"),
        "quantised": (config(quantization_config={"bits": 4}), "quantised weights"),
        "dtype": (config(dtype="float8_e4m3fn"), "dtype 'float8_e4m3fn' is not supported"),
        "key": (config(hidden_size=None), "'hidden_size'"),
        "no_config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        "json": (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
        "deep": (
            lambda f: (f / "config.json").write_text("[" * 200_000),
            r"config\.json is not JSON \(maximum recursion depth",
        ),
        "no_weights": (lambda f: (f / hf.SINGLE).unlink(), "has neither model.safetensors nor"),
        "shape": (config(vocab_size=97), "model.embed_tokens.weight has shape .96, 24. in the file, and .*97, 24"),
        "more_layers": (
            config(num_hidden_layers=3, layer_types=None),
            r"lacks tensor model.layers.2.input_lay.* \(and 11 more\)",
        ),
        "fewer_layers": (
            config(num_hidden_layers=1, layer_types=None),
            r"has tensor model.layers.1.* \(and 11 more\)",
        ),
        "truncated": (cut, "model.safetensors is truncated or damaged"),
        "pointer": (
            lambda f: (f / hf.SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
            "model.safetensors is a pointer of Git LFS, not the tensors: run git lfs pull",
        ),
        "empty": (lambda f: (f / hf.SINGLE).write_bytes(b""), "model.safetensors is truncated or damaged"),
        "header": (lambda f: (f / hf.SINGLE).write_bytes(b"\xff" * 64), "model.safetensors is truncated or damaged"),
        "pickle": (pickled, "pytorch_model.bin is a pickle, and loading one runs the code"),
        "head": (
            weights(lambda whole: whole | {"lm_head.weight": np.ones((96, 24), np.float32)}),
            "lm_head.weight is not the embedding",
        ),
        "integers": (
            weights(lambda whole: whole | {"model.norm.weight": np.ones(24, np.int32)}),
            "tensor model.norm.weight is I32: F32, BF16, F16 are supported",
        ),
    },
    "qwen3_moe_mixed": {
        "router": (
            weights(without("mlp.gate.weight")),
            "lacks tensor model.layers.1.mlp.gate.weight: config.json asks for it",
        ),
        "expert": (
            weights(without("experts.4.up_proj.weight", "experts.4.down_proj.weight")),
            r"lacks tensor model.layers.1.mlp.experts.4.down_proj.weight \(and 1 more\)",
        ),
        "one_more": (config(num_local_experts=4), r"has tensor model.layers.1.mlp.experts.4.* \(and 2 more\)"),
        "turned": (
            weights(lambda whole: stack(whole, turned=True)),
            "experts.gate_up_proj has shape .5, 24, 16. in",
        ),
        "fused": (
            weights(lambda whole: without("_proj.weight")(whole) | W13),
            "has tensor model.layers.1.mlp.experts.w13, experts of a kind that is not known: mlp.experts.0.gate_proj",
        ),
        "scales": (
            weights(lambda whole: whole | SCALE),
            "experts.0.up_proj.weight_scale_inv, experts of a kind that is not known",
        ),
        "quantised": (config(quantization_config={"quant_method": "fp8"}), "quantised weights are not supported"),
        "top": (config(num_experts_per_tok=6), "experts_per_token=6: must be 1 to 5, the experts of a layer"),
    },
    "qwen2_untied_sharded": {
        "file": (
            index(lambda of: {k: v.replace("00003-of", "00009-of") for k, v in of.items()}),
            "which is missing",
        ),
        "moved": (
            index(lambda of: of | {"model.norm.weight": min(of.values())}),
            "against model.safetensors.index",
        ),
        "left_out": (index(without("model.norm.weight")), "has in it model.norm"),
        "invented": (index(lambda of: of | {"model.x": min(of.values())}), "lacks model.x"),
        "no_map": (lambda f: (f / hf.INDEX).write_text("{}"), "has no weight_map"),
    },
}


@pytest.mark.parametrize("name, what", [(name, what) for name, rows in BAD.items() for what in rows])
def test_a_bad_folder_is_named(name, what, tmp_path):
    """Mutation: any check in models/hf.py or models/families.py left out, or the RecursionError of read_json."""
    folder = copy(name, tmp_path)
    spoil, message = BAD[name][what]
    spoil(folder)
    with pytest.raises(InputError, match=message) as e:
        hf.load(folder)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("file", ["../../model.safetensors", "/etc/passwd", "..", 5])
def test_files_outside_of_the_folder_are_not_opened(file, tmp_path):
    """Mutation: the index's names as they are."""
    folder = copy("gemma2", tmp_path)
    (folder / hf.INDEX).write_text(json.dumps({"weight_map": {"x": file}}))
    with pytest.raises(InputError, match="which is not in the folder|which is missing"):
        hf.load(folder)


@pytest.mark.parametrize("file", [hf.SINGLE, "config.json"])
def test_a_link_out_of_the_folder_is_named(file, tmp_path):
    """But the hub's cache is made of links. Mutations: no `resolve`; no `contained` in read_json."""
    folder = copy("gemma2", tmp_path / "snapshots")
    (tmp_path / "blobs").mkdir()
    (folder / file).rename(tmp_path / "blobs" / "ab12")
    (folder / file).symlink_to(tmp_path / "blobs" / "ab12")
    hf.load(folder)
    (folder / file).unlink()
    (tmp_path / "blobs" / "ab12").rename(tmp_path / "elsewhere")
    (folder / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{file} is a link to .*elsewhere, outside of the folder"):
        hf.load(folder)


def test_an_adapter_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    with pytest.raises(InputError, match="is an adapter of some/base, not a model: merge it"):
        hf.load(tmp_path)
