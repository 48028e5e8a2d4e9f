"""Hugging Face folders: the same numbers as transformers, and bit for bit there and back.

tests/models/hf holds what transformers wrote and said (make_hf_fixtures.py beside this file); nothing here needs it.
"""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from entropy_rl.errors import InputError
from entropy_rl.models import hf, lora, presets
from entropy_rl.models.config import Config
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel.sharding import make_mesh
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import generate, score
from tests.models.folders import FOLDERS, HERE, copy, stack, tensors

TOLERANCE = 1e-4


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


@pytest.mark.parametrize("folder", FOLDERS, ids=[path.name for path in FOLDERS])
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
    folder = HERE / "phi3"
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
    path = HERE / "qwen3"
    model, params = hf.load(path, param_dtype=dtype)
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {dtype} == {jnp.dtype(model.config.dtype).name}
    logits, _ = jax.jit(model.apply)(params, np.zeros((1, 3), np.int32))
    assert logits.dtype == jnp.float32
    model, params = hf.load(path, dtype=dtype)
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"float32"}
    assert jnp.dtype(model.config.dtype).name == dtype


def test_on_a_mesh_of_one(tmp_path):
    mesh = make_mesh(devices=jax.devices()[:1])
    path = HERE / "qwen2"
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


def test_experts_in_one_tensor_are_read(tmp_path):
    """And written one by one, as transformers does. Mutation: up before gate in gate_up_proj."""
    folder = copy("qwen3_moe_mixed", tmp_path)
    safetensors.numpy.save_file(stack(tensors(folder)), folder / hf.SINGLE)
    (_, got), (model, want) = hf.load(folder), hf.load(HERE / "qwen3_moe_mixed")
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert [model.config.has_experts(i) for i in range(4)] == [False, True, False, False]
    hf.save(tmp_path / "new", model, got, like=folder)
    assert tensors(tmp_path / "new").keys() == tensors(HERE / "qwen3_moe_mixed").keys()


def test_what_old_checkpoints_hold_besides_is_passed_over(tmp_path):
    """A tied head that is the embedding, and buffers of rotary positions."""
    folder = copy("qwen2", tmp_path)
    whole = tensors(folder)
    whole |= {"lm_head.weight": whole["model.embed_tokens.weight"]}
    whole |= {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)}
    safetensors.numpy.save_file(whole, folder / hf.SINGLE)
    jax.tree.map(np.testing.assert_array_equal, hf.load(folder)[1], hf.load(HERE / "qwen2")[1])


def test_nothing_is_written_over(tmp_path):
    path = FOLDERS[0]
    model, params = hf.load(path)
    (tmp_path / "x").write_text("kept")
    with pytest.raises(InputError, match="is there already"):
        hf.save(tmp_path, model, params, like=path)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
