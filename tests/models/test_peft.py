"""models/peft.py: folders as peft writes them, made by hand: its formula, what it writes again, what is refused."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from entropy_rl.errors import InputError
from entropy_rl.models import hf, lora, peft

BASE = pathlib.Path(__file__).parent / "hf" / "qwen3"
WEIGHTS = safetensors.numpy.load_file(BASE / "model.safetensors")
MODULES = [f"model.layers.{i}.{x}" for i in (0, 1) for x in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")]


@pytest.fixture(scope="module")
def base():
    return hf.load(BASE, param_dtype="float32")


def weight(module, weights=WEIGHTS):
    return weights[f"{module}.weight"].astype(np.float32)


def halves(modules=MODULES, rank=2, weights=WEIGHTS):
    """A and B of modules, as torch holds them."""
    rng, out = np.random.default_rng(0), {}
    for module in modules:
        m, n = weight(module, weights).shape
        r = rank[module] if isinstance(rank, dict) else rank
        out[module] = rng.normal(size=(r, n)).astype(np.float32), rng.normal(size=(m, r)).astype(np.float32)
    return out


ABOUT = {
    **{"alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "Qwen/Qwen3-tiny", "bias": "none"},
    **{"corda_config": None, "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False},
    **{"inference_mode": True, "init_lora_weights": True, "layer_replication": None, "layers_pattern": None},
    **{"layers_to_transform": None, "loftq_config": {}, "lora_alpha": 16, "lora_bias": False, "lora_dropout": 0.05},
    **{"megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA"},
    **{"qalora_group_size": 16, "r": 2, "rank_pattern": {}, "revision": None, "target_parameters": None},
    **{"target_modules": ["q_proj", "o_proj", "down_proj"], "task_type": "CAUSAL_LM", "use_dora": False},
    **{"trainable_token_indices": None, "use_qalora": False, "use_rslora": False, "peft_version": "0.18.0"},
}


def write(path, given=None, **about):
    """An adapter's folder; `about` changes its settings."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "adapter_config.json").write_text(json.dumps(ABOUT | about))
    tensors = {}
    for module, (a, b) in (halves() if given is None else given).items():
        tensors |= {f"base_model.model.{module}.lora_{x}.weight": y for x, y in (("A", a), ("B", b))}
    safetensors.numpy.save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
    return path


def theirs(params, module):
    """A kernel as torch holds it."""
    ours = (
        module.replace("model.layers.", "layer_")
        .replace("self_attn", "attention")
        .replace("mlp.", "")
        .replace("_proj", "")
    )
    node = params["params"]
    for part in (*ours.split("."), "kernel"):
        node = node[part]
    return np.asarray(node).T


@pytest.mark.parametrize(
    "about, scale",
    [
        ({}, lambda module: 16 / 2),
        ({"use_rslora": True}, lambda module: 16 / np.sqrt(2)),
        (
            {"alpha_pattern": {"q_proj": 4, "model.layers.1.mlp.down_proj": 6, "k_proj": 99, "proj": 99}},
            lambda module: (4 if "q_proj" in module else 6 if module == MODULES[-1] else 16) / 2,
        ),
    ],
    ids=["alpha/r", "alpha/sqrt(r)", "patterns"],
)
def test_merged_is_pefts_formula(base, tmp_path, about, scale):
    """W + s B A on its kernels, and no other parameter. Mutations: alpha alone; A and B swapped; s squared."""
    model, params = base
    adapter = peft.load(write(tmp_path / "a", **about), model)
    assert adapter.rank == 2 and adapter.base == "Qwen/Qwen3-tiny" and len(adapter.kernels) == len(MODULES)
    merged = lora.merge(adapter.onto(params))
    for module, (a, b) in halves().items():
        want = weight(module) + scale(module) * (b @ a)
        np.testing.assert_allclose(theirs(merged, module), want, rtol=1e-5, atol=1e-5)
    for module in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"):
        np.testing.assert_array_equal(theirs(merged, module), weight(module))
    np.testing.assert_array_equal(merged["params"]["embed"]["embedding"], params["params"]["embed"]["embedding"])


def test_ranks_of_their_own(base, tmp_path):
    ranks = {module: 3 if "q_proj" in module else 2 for module in MODULES}
    adapter = peft.load(write(tmp_path / "a", halves(rank=ranks), rank_pattern={"q_proj": 3}), base[0])
    a, b = halves(rank=ranks)[MODULES[0]]
    merged = theirs(lora.merge(adapter.onto(base[1])), MODULES[0])
    np.testing.assert_allclose(merged, weight(MODULES[0]) + 16 / 3 * (b @ a), rtol=1e-5, atol=1e-5)
    assert adapter.rank is None


def test_what_it_writes_it_reads(base, tmp_path):
    """And peft's layout: every tensor by its name, in its shape. Mutation: the scale written and put into B."""
    model, params = base
    given = halves()
    adapter = peft.load(write(tmp_path / "a", given), model)
    scaled = lora.scaled(adapter.onto(params), 0.125)
    peft.save(tmp_path / "b", model, scaled, scale=8.0, base="Qwen/Qwen3-tiny")
    there = safetensors.numpy.load_file(tmp_path / "b" / "adapter_model.safetensors")
    assert there.keys() == safetensors.numpy.load_file(tmp_path / "a" / "adapter_model.safetensors").keys()
    for module, (a, b) in given.items():
        np.testing.assert_array_equal(there[f"base_model.model.{module}.lora_A.weight"], a)
        np.testing.assert_allclose(there[f"base_model.model.{module}.lora_B.weight"], b, rtol=1e-6)
    about = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert (about["r"], about["lora_alpha"], about["peft_type"], about["bias"]) == (2, 16.0, "LORA", "none")
    assert set(about["target_modules"]) == set(MODULES)
    again = peft.load(tmp_path / "b", model)
    jax.tree.map(np.testing.assert_allclose, again.tree, adapter.tree)
    with pytest.raises(InputError, match="is there already: give another folder"):
        peft.save(tmp_path / "b", model, scaled, scale=8.0, base="")
    with pytest.raises(InputError, match="have no adapters"):
        peft.save(tmp_path / "c", model, params, scale=8.0, base="")


def test_of_fused_layers(tmp_path):
    """Phi-3's: read by peft's formula on the whole layer, and written again for it, with parts that have no adapters.

    Mutations: rows of B from the first one on; columns of one part for all; alpha of one part's rank; bytes as
    they lie, of an array that is another's transpose.
    """
    folder, name = BASE.parent / "phi3", "Phi3ForCausalLM"
    model, params = hf.load(folder, param_dtype="float32")
    layers = {"self_attn.qkv_proj": "qkv", "mlp.gate_up_proj": ("gate", "up"), "mlp.down_proj": ("down",)}
    whole = lambda params, layer: np.concatenate(  # noqa: E731
        [theirs(params, f"model.layers.1.{layer.split('.')[0]}.{part}_proj") for part in layers[layer]]
    )
    weights = {f"model.layers.1.{layer}.weight": whole(params, layer) for layer in layers}
    given = halves([f"model.layers.1.{layer}" for layer in layers], weights=weights)
    adapted = peft.load(write(tmp_path / "a", given), model, name).onto(params)
    merged = lora.merge(adapted)
    for layer in layers:
        a, b = given[f"model.layers.1.{layer}"]
        np.testing.assert_allclose(whole(merged, layer), whole(params, layer) + 8 * (b @ a), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="mlp.gate_up_proj.lora_A.weight is LoRA of no linear layer of the base"):
        peft.load(tmp_path / "a", model)

    flat = {k: jnp.array((1 + i) * x) for i, (k, x) in enumerate(lora.flat(adapted["lora"]).items()) if "/q/" not in k}
    adapted["lora"] = traverse_util.unflatten_dict(flat, sep="/")
    peft.save(tmp_path / "b", model, adapted, scale=0.5, base="x", architecture=name)
    there = safetensors.numpy.load_file(tmp_path / "b" / "adapter_model.safetensors")
    ranks = {k.split(".")[-3]: x.shape[0] for k, x in there.items() if "lora_A" in k}
    assert ranks == {"qkv_proj": 4, "gate_up_proj": 4, "down_proj": 2}
    got, want = lora.merge(peft.load(tmp_path / "b", model, name).onto(params)), lora.merge(adapted, 0.5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), got, want)


def without(name):
    return lambda path: (path / name).unlink()


def tensors(**changes):
    """Another set of tensors."""

    def spoil(path):
        file = path / "adapter_model.safetensors"
        there = safetensors.numpy.load_file(file)
        first = min(there)
        for what, name in changes.items():
            if what == "drop":
                del there[first]
            elif what == "rename":
                there[name] = there.pop(first)
            else:
                there[first] = np.ascontiguousarray(there[first][:, :-1])
        safetensors.numpy.save_file(there, file)

    return spoil


def settings(**about):
    return lambda path: write(path, **about)


def pickled(path):
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")


def linked(path):
    (path / "adapter_model.safetensors").rename(path.parent / "elsewhere")
    (path / "adapter_model.safetensors").symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (settings(use_dora=True), "use_dora=True is not supported: merge the adapter into its base"),
        (settings(modules_to_save=["embed_tokens"]), "modules_to_save=..embed_tokens.. is not supported"),
        (settings(bias="lora_only"), "bias 'lora_only' is not supported: adapters without trained biases are"),
        (settings(lora_bias=True), "lora_bias=True is not supported"),
        (settings(layer_replication=[[0, 2]]), "layer_replication=.* is not supported"),
        (settings(trainable_token_indices=[1]), "trainable_token_indices=.1. is not supported"),
        (settings(what_is_new=1), "what_is_new=1 is not supported"),
        (settings(peft_type="IA3"), "peft_type 'IA3' is not supported: LORA is"),
        (settings(init_lora_weights="pissa"), "init_lora_weights 'pissa' changes the base: convert the adapter"),
        (settings(r=4), r"A and B of shapes .* rank 4 on the base asks for .*: give the base"),
        (settings(r=0), "r='0' must be a number above 0"),
        (settings(lora_alpha=None), "lora_alpha='None' must be a number above 0"),
        (settings(rank_pattern={"(a+)+$": 2}), "rank_pattern has .* which is no name of a module: write it out"),
        (tensors(drop=True), r"model\.layers\.0\.mlp\.down_proj has lora_B alone: copy adapter_model"),
        (tensors(cut=True), "rank 2 on the base asks for"),
        (
            tensors(rename="base_model.model.model.layers.7.mlp.down_proj.lora_A.weight"),
            "tensor base_model.model.model.layers.7.* is LoRA of no linear layer of the base: give the base",
        ),
        (
            tensors(rename="base_model.model.model.embed_tokens.lora_embedding_A"),
            "lora_embedding_A is LoRA of no linear",
        ),
        (pickled, "adapter_model.bin is a pickle, and loading one runs the code in it"),
        (without("adapter_model.safetensors"), "adapter_model.safetensors is missing: copy it too"),
        (without("adapter_config.json"), "adapter_config.json is missing: give the folder of an adapter"),
        (linked, "is a link to .*elsewhere, outside of the folder"),
        (lambda path: (path / "adapter_config.json").write_text("[]"), "is no table of settings"),
        (lambda path: (path / "adapter_model.safetensors").write_bytes(b"x" * 40), "is truncated or damaged"),
    ],
)
def test_what_is_refused_is_named(base, tmp_path, spoil, message):
    path = write(tmp_path / "a")
    assert peft.is_adapter(path)
    spoil(path)
    with pytest.raises(InputError, match=message) as e:
        peft.load(path, base[0])
    assert "\n" not in str(e.value) and str(path) in str(e.value)
