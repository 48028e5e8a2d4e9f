"""Hugging Face folders: the same numbers as transformers, bit for bit there and back, and bad folders named.

tests/models/hf holds what transformers wrote and said (make_hf_fixtures.py beside this file); nothing here needs it.
"""

import json
import pathlib
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from entropy_rl.errors import InputError
from entropy_rl.models import hf, lora, presets
from entropy_rl.models.transformer import Config, Transformer
from entropy_rl.parallel.sharding import make_mesh
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import generate, score

FOLDERS = sorted(path for path in (pathlib.Path(__file__).parent / "hf").iterdir() if path.is_dir())
NAMES = [path.name for path in FOLDERS]
TOLERANCE = 1e-4


def copy(name, tmp_path):
    return pathlib.Path(shutil.copytree(pathlib.Path(__file__).parent / "hf" / name, tmp_path / name))


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module")
def loaded(request):
    model, params = hf.load(request.param, param_dtype="float32")
    return model, params, np.load(request.param / "reference.npz")


# Folders whose short rows and greedy continuations are in the slow suite: the long rows reach what is theirs.
LONG_ALONE = ("smollm3", "olmo2", "gemma3", "phi3_longrope")
# Those that are there altogether: what they have, the others have too, or a test of the model's own.
SLOW = ("qwen2_windows", "mistral", "phi3", "llama_dynamic", "gemma2", "qwen3_moe")


def of_folders(rows, fast):
    """The folders' numbers of these rows; all but the fast ones in the slow suite."""
    marks = lambda name: () if fast(name) else pytest.mark.slow  # noqa: E731
    return [pytest.param(path, rows, marks=marks(path.name), id=f"{path.name}-{rows}") for path in FOLDERS]


@pytest.mark.parametrize(
    "loaded, rows",
    [
        *of_folders("long", lambda name: name not in SLOW),
        *of_folders("short", lambda name: name not in LONG_ALONE + SLOW),
    ],
    indirect=["loaded"],
)
def test_logits_log_probabilities_and_entropies_are_those_of_transformers(loaded, rows):
    """Mutation: no bias, another norm_eps, heads grouped otherwise, theta of the other spelling, no yarn factor."""
    model, params, said = loaded
    tokens = said[f"{rows}_tokens"]
    run = jax.jit(lambda params, tokens: (model.apply(params, tokens)[0], score(model, params, tokens)))  # one program
    logits, (logp, entropy) = run(params, tokens)
    want = said[f"{rows}_logits"]
    np.testing.assert_allclose(logits[:, -want.shape[1] :], want, atol=TOLERANCE, rtol=0)
    assert np.ptp(want) > 3  # these are no flat distributions
    np.testing.assert_allclose(logp[:, 1:], said[f"{rows}_logp"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(entropy[:, 1:], said[f"{rows}_entropy"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "loaded, rows",
    [*of_folders("long", lambda name: name not in LONG_ALONE + SLOW), *of_folders("short", lambda name: False)],
    indirect=["loaded"],
)
def test_greedy_continuations_are_those_of_transformers(loaded, rows):
    """Mutation: positions off by one in the cache, rope scaling without it, a prompt turned for its own length."""
    model, params, said = loaded
    prompt = said[f"{rows}_tokens"][0]
    prompt, want = prompt[: len(prompt) // 2].tolist(), said[f"{rows}_greedy"]
    [[got]] = generate(model, params, [prompt], jax.random.key(0), max_new=len(want), eos=-1, warp=warp.greedy)
    assert got.tokens.tolist() == want.tolist()


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
@pytest.mark.parametrize("shard_bytes", [5_000_000_000, 9_000], ids=["single", "sharded"])
def test_there_and_back_is_bit_equal(folder, shard_bytes, tmp_path):
    """Mutation: no transposition on the way back, float32 on the way, a tensor twice."""
    model, params = hf.load(folder)
    hf.save(tmp_path / "new", model, params, like=folder, shard_bytes=shard_bytes)
    old, new = (tensors(path) for path in (folder, tmp_path / "new"))
    assert old.keys() == new.keys()
    for name, x in old.items():
        assert x.dtype == new[name].dtype and x.shape == new[name].shape and x.tobytes() == new[name].tobytes(), name
    assert (tmp_path / "new" / hf.INDEX).exists() == (shard_bytes == 9_000)
    assert (tmp_path / "new" / "generation_config.json").read_text() == (folder / "generation_config.json").read_text()
    assert hf.load_config(tmp_path / "new") == hf.load_config(folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new"]


def tensors(folder):
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        part = safetensors.numpy.load_file(path) if "BF16" not in path.read_bytes()[:9000].decode("latin1") else {}
        if not part:
            with safetensors.safe_open(path, "numpy") as f:
                part = {name: f.get_slice(name)[:] for name in f.keys()}
        assert not out.keys() & part.keys()
        out |= part
    return out


@pytest.mark.parametrize("name", ["embedded", "small"])
def test_presets_can_be_saved(name, tmp_path):
    """A model of ours, which no folder was there for, comes back the same: config.json says it all."""
    model = presets.make(name, 40, qkv_bias=name == "embedded")
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    hf.save(tmp_path / "new", model, params)
    again, loaded = hf.load(tmp_path / "new")
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, params, loaded)


def test_adapters_of_parts_of_a_fused_matrix(tmp_path):
    """Merged, saved and loaded again; q alone is changed. Mutation: parts of a tensor in the order of their names."""
    folder = FOLDERS[NAMES.index("phi3")]
    model, params = hf.load(folder, param_dtype="float32")
    adapted = lora.add(params, jax.random.key(0), rank=2, targets="attention/q")
    adapted["lora"] = jax.tree.map(lambda x: x + 0.1, adapted["lora"])
    merged = lora.merge(adapted)
    hf.save(tmp_path / "new", model, merged, like=folder)
    _, again = hf.load(tmp_path / "new")
    jax.tree.map(np.testing.assert_array_equal, again, merged)
    old, new = (tensors(path)["model.layers.1.self_attn.qkv_proj.weight"] for path in (folder, tmp_path / "new"))
    assert np.all(old[:24] != new[:24]) and np.all(old[24:] == new[24:])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_types_on_demand(dtype):
    path = FOLDERS[NAMES.index("qwen3")]
    model, params = hf.load(path, param_dtype=dtype)
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {dtype} == {jnp.dtype(model.config.dtype).name}
    logits, _ = jax.jit(model.apply)(params, np.zeros((1, 3), np.int32))
    assert logits.dtype == jnp.float32
    model, params = hf.load(path, dtype=dtype)
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"float32"}
    assert jnp.dtype(model.config.dtype).name == dtype


def test_on_a_mesh_of_one(tmp_path):
    mesh = make_mesh(devices=jax.devices()[:1])
    path = FOLDERS[NAMES.index("qwen2")]
    _, plain = hf.load(path)
    _, sharded = hf.load(path, mesh=mesh)
    jax.tree.map(np.testing.assert_array_equal, plain, sharded)
    assert {x.sharding.mesh for x in jax.tree.leaves(sharded)} == {mesh}


PEAK = """
import pathlib, sys
import jax, numpy as np
from entropy_rl.models import hf
status = lambda key: 1024 * int(pathlib.Path("/proc/self/status").read_text().split(key + ":")[1].split()[0])
hf.load(sys.argv[1])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
_, params = hf.load(sys.argv[2], param_dtype=sys.argv[3])
jax.block_until_ready(params)
print(status("VmHWM") - before, sum(x.nbytes for x in jax.tree.leaves(params)))
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_host_holds_more_than_its_shards_and_one_tensor(tmp_path, dtype):
    """Peak <= shards + 1.3 largest tensors; on a CPU, where jax takes the pages that were read, + half of one.

    Mutation: a tensor read whole (1.7 there), or the file read whole.
    """
    shape = dict(vocab_size=8192, d_model=512, layers=2, heads=4, kv_heads=4, head_dim=128, d_ff=2048, tied=False)
    model = Transformer(Config(**shape))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    hf.save(tmp_path / "m", model, jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes))
    command = [sys.executable, "-c", PEAK, str(FOLDERS[0]), str(tmp_path / "m"), dtype]
    done = subprocess.run(command, capture_output=True, text=True, cwd=pathlib.Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    peak, kept = map(int, done.stdout.split())
    largest = max(x.size * 4 for x in jax.tree.leaves(shapes))  # as it is in the file
    assert kept >= sum(x.size * jnp.dtype(dtype).itemsize for x in jax.tree.leaves(shapes))
    assert peak - kept <= 0.5 * largest, f"{(peak - kept) / largest:.2f} tensors"


# What is done to a folder, and what the one line must say.
BAD = {
    "architecture": (
        lambda f: change(f, architectures=["Qwen2MoeForCausalLM"]),
        "Qwen2MoeForCausalLM is not supported",
    ),
    "type": (lambda f: change(f, architectures=None, model_type="gpt2"), "'gpt2' is not supported"),
    "rope": (
        lambda f: change(f, rope_parameters={"rope_type": "longrop"}),
        "rope type 'longrop' is not supported .did",
    ),
    "longrope": (lambda f: change(f, rope_parameters={"rope_type": "longrope"}), "'longrope' without short_factor"),
    "factors": (
        lambda f: change(
            f, rope_parameters={"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "factor": 2}
        ),
        "short_factor has 1 numbers: half of what is rotated of a head has 3",
    ),
    "llama3": (lambda f: change(f, rope_parameters={"rope_type": "llama3", "factor": 8.0}), "without original_max"),
    "layer": (lambda f: change(f, layer_types=["sliding_attention"] * 2), "sliding-window attention in some of"),
    "kind": (
        lambda f: change(f, layer_types=["chunked_attention"] * 2),
        "'chunked_attention': full_attention and sliding_attention are supported",
    ),
    "kinds": (lambda f: change(f, layer_types=["full_attention"]), "of 1 layers: there are 2"),
    "activation": (lambda f: change(f, hidden_act="gelu"), "hidden_act 'gelu' is not supported"),
    "quantised": (lambda f: change(f, quantization_config={"bits": 4}), "quantised weights"),
    "dtype": (lambda f: change(f, dtype="float8_e4m3fn"), "dtype 'float8_e4m3fn' is not supported"),
    "key": (lambda f: change(f, hidden_size=None), "'hidden_size'"),
    "no_config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "json": (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
    "no_weights": (lambda f: (f / hf.SINGLE).unlink(), "has neither model.safetensors nor"),
    "shape": (
        lambda f: change(f, vocab_size=97),
        "model.embed_tokens.weight has shape .96, 24. in the file, and .*97, 24",
    ),
    "more_layers": (
        lambda f: change(f, num_hidden_layers=3, layer_types=None),
        r"lacks tensor model.layers.2.input_lay.* \(and 11 more\)",
    ),
    "fewer_layers": (
        lambda f: change(f, num_hidden_layers=1, layer_types=None),
        r"has tensor model.layers.1.* \(and 11 more\)",
    ),
    "truncated": (lambda f: cut(f / hf.SINGLE), "model.safetensors is truncated or damaged"),
    "empty": (lambda f: (f / hf.SINGLE).write_bytes(b""), "model.safetensors is truncated or damaged"),
    "header": (lambda f: (f / hf.SINGLE).write_bytes(b"\xff" * 64), "model.safetensors is truncated or damaged"),
    "pickle": (lambda f: pickled(f), "pytorch_model.bin is a pickle, and loading one runs the code"),
    "head": (lambda f: odd_head(f), "lm_head.weight is not the embedding"),
    "integers": (lambda f: integers(f), "tensor model.norm.weight is I32: F32, BF16, F16 are supported"),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def pickled(folder):
    (folder / hf.SINGLE).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": 1}))


def rewrite(folder, **more):
    whole = safetensors.numpy.load_file(folder / hf.SINGLE)
    safetensors.numpy.save_file(whole | more, folder / hf.SINGLE)


def odd_head(folder):
    rewrite(folder, **{"lm_head.weight": np.ones((96, 24), np.float32)})


def integers(folder):
    rewrite(folder, **{"model.norm.weight": np.ones(24, np.int32)})


@pytest.mark.parametrize("what", BAD)
def test_a_bad_folder_is_named(what, tmp_path):
    """Mutation: any check in models/hf.py or models/families.py left out."""
    folder = copy("qwen2", tmp_path)
    spoil, message = BAD[what]
    spoil(folder)
    with pytest.raises(InputError, match=message) as e:
        hf.load(folder)
    assert "\n" not in str(e.value)


def stack(whole, turned=False):
    """The tensors of a folder with those of a layer's experts in two, as transformers 5 holds them; [experts, d, 2 f]
    where they are turned."""
    own = lambda layer, part: np.stack([whole.pop(f"{layer}.{e}.{part}_proj.weight") for e in range(5)])  # noqa: E731
    for layer in sorted({name.partition("experts.")[0] + "experts" for name in whole if ".experts." in name}):
        both = np.concatenate([own(layer, "gate"), own(layer, "up")], axis=1)
        whole |= {f"{layer}.gate_up_proj": both.swapaxes(1, 2) if turned else both}
        whole |= {f"{layer}.down_proj": own(layer, "down")}
    return {name: np.ascontiguousarray(x) for name, x in whole.items()}


def test_experts_in_one_tensor_are_read(tmp_path):
    """And written one by one, as transformers does. Mutation: up before gate in gate_up_proj."""
    folder = copy("qwen3_moe_mixed", tmp_path)
    safetensors.numpy.save_file(stack(tensors(folder)), folder / hf.SINGLE)
    (_, got), (model, want) = hf.load(folder), hf.load(FOLDERS[NAMES.index("qwen3_moe_mixed")])
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert [model.config.has_experts(i) for i in range(4)] == [False, True, False, False]
    hf.save(tmp_path / "new", model, got, like=folder)
    assert tensors(tmp_path / "new").keys() == tensors(FOLDERS[NAMES.index("qwen3_moe_mixed")]).keys()


def without(*parts):
    return lambda whole: {k: x for k, x in whole.items() if not k.endswith(parts)}


BAD_EXPERTS = {
    "router": (without("mlp.gate.weight"), {}, "lacks tensor model.layers.1.mlp.gate.weight: config.json asks for it"),
    "expert": (
        without("experts.4.up_proj.weight", "experts.4.down_proj.weight"),
        {},
        r"lacks tensor model.layers.1.mlp.experts.4.down_proj.weight \(and 1 more\)",
    ),
    "one_more": (lambda x: x, {"num_local_experts": 4}, r"has tensor model.layers.1.mlp.experts.4.* \(and 2 more\)"),
    "turned": (lambda x: stack(x, turned=True), {}, "experts.gate_up_proj has shape .5, 24, 16. in"),
    "fused": (
        lambda x: without("_proj.weight")(x) | {"model.layers.1.mlp.experts.w13": np.ones((5, 20, 24), np.float16)},
        {},
        "has tensor model.layers.1.mlp.experts.w13, experts of a kind that is not known: mlp.experts.0.gate_proj",
    ),
    "quantised": (
        lambda x: x | {"model.layers.1.mlp.experts.0.up_proj.weight_scale_inv": np.ones((1, 1), np.float16)},
        {},
        "experts.0.up_proj.weight_scale_inv, experts of a kind that is not known",
    ),
    "config": (lambda x: x, {"quantization_config": {"quant_method": "fp8"}}, "quantised weights are not supported"),
    "top": (lambda x: x, {"num_experts_per_tok": 6}, "experts_per_token=6: must be 1 to 5, the experts of a layer"),
}


@pytest.mark.parametrize("what", BAD_EXPERTS)
def test_bad_experts_are_named(what, tmp_path):
    """Mutation: any of the checks left out."""
    folder = copy("qwen3_moe_mixed", tmp_path)
    spoil, fields, message = BAD_EXPERTS[what]
    safetensors.numpy.save_file(spoil(tensors(folder)), folder / hf.SINGLE)
    change(folder, **fields)
    with pytest.raises(InputError, match=message) as e:
        hf.load(folder)
    assert "\n" not in str(e.value)


BAD_INDEX = {
    "file": (lambda index: {k: v.replace("00003-of", "00009-of") for k, v in index.items()}, "which is missing"),
    "moved": (lambda index: index | {"model.norm.weight": min(index.values())}, "against model.safetensors.index"),
    "left_out": (lambda index: {k: v for k, v in index.items() if k != "model.norm.weight"}, "has in it model.norm"),
    "invented": (lambda index: index | {"model.x": min(index.values())}, "lacks model.x"),
}


@pytest.mark.parametrize("what", BAD_INDEX)
def test_a_wrong_index_is_named(what, tmp_path):
    folder = copy("qwen2_untied_sharded", tmp_path)
    index = json.loads((folder / hf.INDEX).read_text())
    edit, message = BAD_INDEX[what]
    index["weight_map"] = edit(index["weight_map"])
    (folder / hf.INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=message):
        hf.load(folder)


@pytest.mark.parametrize("file", ["../../model.safetensors", "/etc/passwd", "..", 5])
def test_files_outside_of_the_folder_are_not_opened(file, tmp_path):
    """Mutation: the index's names as they are."""
    folder = copy(NAMES[0], tmp_path)
    (folder / hf.INDEX).write_text(json.dumps({"weight_map": {"x": file}}))
    with pytest.raises(InputError, match="which is not in the folder|which is missing"):
        hf.load(folder)


def test_a_link_out_of_the_folder_is_named(tmp_path):
    """But the hub's cache is made of links. Mutation: no `resolve`."""
    folder = copy(NAMES[0], tmp_path / "snapshots")
    single = folder / hf.SINGLE
    (tmp_path / "blobs").mkdir()
    single.rename(tmp_path / "blobs" / "ab12")
    single.symlink_to(tmp_path / "blobs" / "ab12")
    hf.load(folder)
    single.unlink()
    (tmp_path / "blobs" / "ab12").rename(tmp_path / "elsewhere")
    single.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{hf.SINGLE} is a link to .*elsewhere, outside of the folder"):
        hf.load(folder)


def test_an_adapter_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    with pytest.raises(InputError, match="is an adapter of some/base, not a model: merge it"):
        hf.load(tmp_path)


def test_an_index_without_a_map_is_named(tmp_path):
    folder = copy("qwen2_untied_sharded", tmp_path)
    (folder / hf.INDEX).write_text("{}")
    with pytest.raises(InputError, match="has no weight_map"):
        hf.load(folder)


def test_what_old_checkpoints_hold_besides_is_passed_over(tmp_path):
    """A tied head that is the embedding, and buffers of rotary positions."""
    folder = copy("qwen2", tmp_path)
    embedding = safetensors.numpy.load_file(folder / hf.SINGLE)["model.embed_tokens.weight"]
    buffers = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)}
    rewrite(folder, **{"lm_head.weight": embedding}, **buffers)
    jax.tree.map(np.testing.assert_array_equal, hf.load(folder)[1], hf.load(FOLDERS[NAMES.index("qwen2")])[1])


def test_nothing_is_written_over(tmp_path):
    path = FOLDERS[0]
    model, params = hf.load(path)
    (tmp_path / "x").write_text("kept")
    with pytest.raises(InputError, match="is there already"):
        hf.save(tmp_path, model, params, like=path)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_config_that_leaves_the_folder_or_never_ends_is_named(tmp_path):
    """Mutation: no `contained` in read_json; no RecursionError."""
    folder = copy(NAMES[0], tmp_path)
    config = folder / "config.json"
    config.rename(tmp_path / "elsewhere")
    config.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"config\.json is a link to .*elsewhere, outside of the folder"):
        hf.load(folder)
    config.unlink()
    config.write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"config\.json is not JSON \(maximum recursion depth"):
        hf.load(folder)
