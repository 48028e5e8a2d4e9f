"""GGUF files to folders: weights bit for bit, token ids of the original tokenizer, and what is refused.

The files are written by gguf_files.py beside this one; parity.py compares with transformers' own reading of them.
"""

import json
import pathlib
import shutil

import gguf as package
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from entropy_rl.data.gguf import ARCHITECTURES
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from entropy_rl.models import gguf, hf
from tests.models import gguf_files

HERE = pathlib.Path(__file__).parent / "hf"
# of each architecture: tied and not, biased, heads that are no divisor of the width, rope scalings
FLOATS = ["llama", "llama_biased", "llama_linear", "qwen2", "qwen3"]


def tensors(folder):
    return safetensors.numpy.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", FLOATS)
def test_floats_come_back_bit_for_bit(name, tmp_path):
    """Mutation: q's rows as the file has them, k's by the heads of q, biases left in their order, theta forgotten."""
    theirs = HERE / name
    dtype = hf.load_config(theirs).dtype.__name__
    path = gguf_files.write(tmp_path / "x.gguf", theirs, kind="F16" if dtype == "float16" else "F32")
    made = gguf.convert(path, tmp_path / "ours", dtype=dtype)
    old, new = tensors(theirs), tensors(tmp_path / "ours")
    assert old.keys() == new.keys()
    for k, x in old.items():
        assert x.dtype == new[k].dtype and x.tobytes() == new[k].tobytes(), k
    want, got = hf.load_config(theirs), hf.load_config(tmp_path / "ours")
    assert got == want == made
    before, after = (json.loads((p / "config.json").read_text()) for p in (theirs, tmp_path / "ours"))
    assert {k: after[k] for k in ("architectures", "max_position_embeddings")} == {
        k: before[k] for k in ("architectures", "max_position_embeddings")
    }


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ],
    ids=["yarn", "llama3"],
)
def test_rope_scalings_come_back(scaling, tmp_path):
    """Llama 3's is a tensor of factors. Mutation: the factor's 32 read as the 8 of Llama 3.1."""
    theirs = gguf_files.random_folder(tmp_path / "theirs", "llama", 40)
    raw = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(raw | {"head_dim": 8, "rope_parameters": scaling}))
    made = gguf.convert(gguf_files.write(tmp_path / "x.gguf", theirs), tmp_path / "ours")
    assert made == hf.load_config(theirs) == hf.load_config(tmp_path / "ours")
    assert made.rope_scaling.kind == scaling["rope_type"]


def test_other_factors_than_llama_3s_are_refused(tmp_path):
    theirs = shutil.copytree(HERE / "llama3_old", tmp_path / "theirs")  # an original context of 32
    path = gguf_files.write(tmp_path / "x.gguf", theirs)
    refused(path, "the factors in rope_freqs.weight are not those of Llama 3.1's rope scaling")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_are_dequantised(architecture, tmp_path):
    """Q8_0: within half a step of its block of 32, whose step is its largest value / 127, held in float16."""
    path = gguf_files.tiny(tmp_path, architecture, kind="Q8_0")
    gguf.convert(path, tmp_path / "ours")
    old, new = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert old.keys() == new.keys()
    for k, x in old.items():
        if x.ndim == 1:
            np.testing.assert_array_equal(new[k], x)
            continue
        step = np.abs(x.reshape(-1, 32)).max(1, keepdims=True) / 127
        gap = np.abs(x - new[k]).reshape(-1, 32)
        assert (gap <= step * (0.5 + 127 * 2**-11)).all() and gap.max() > 0, k


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_type_is_rounded_to(dtype, tmp_path):
    path = gguf_files.tiny(tmp_path, "qwen3")
    gguf.convert(path, tmp_path / "ours", dtype=dtype)
    _, params = hf.load(tmp_path / "ours")
    _, want = hf.load(tmp_path / "theirs", param_dtype=dtype)
    assert str(params["params"]["embed"]["embedding"].dtype) == dtype
    np.testing.assert_array_equal(
        params["params"]["layer_1"]["up"]["kernel"], want["params"]["layer_1"]["up"]["kernel"]
    )


def test_what_float16_cannot_hold_is_refused(tmp_path):
    large = np.full((32,), 1e6, np.float32)
    path = gguf_files.tiny(tmp_path, "qwen3", drop=["output_norm.weight"])
    assert path.exists()
    path = gguf_files.write(
        tmp_path / "large.gguf", tmp_path / "theirs", tensors={"blk.9.attn_norm.weight": large, "x": large}
    )
    refused(path, "has tensor blk.9.attn_norm.weight, which a qwen3 has not")
    weights = tensors(tmp_path / "theirs") | {"model.norm.weight": large}
    safetensors.numpy.save_file(weights, tmp_path / "theirs" / "model.safetensors")
    path = gguf_files.write(tmp_path / "larger.gguf", tmp_path / "theirs")
    refused(path, "tensor output_norm.weight goes beyond float16: give another dtype", dtype="float16")
    gguf.convert(path, tmp_path / "whole", dtype="bfloat16")


def test_a_large_model_is_cut_into_files(tmp_path):
    path = gguf_files.tiny(tmp_path, "llama")
    gguf.convert(path, tmp_path / "ours", shard_bytes=9_000)
    _, params = hf.load(tmp_path / "ours")
    _, want = hf.load(tmp_path / "theirs")
    np.testing.assert_array_equal(
        params["params"]["layer_0"]["attention"]["q"]["kernel"], want["params"]["layer_0"]["attention"]["q"]["kernel"]
    )
    assert (tmp_path / "ours" / hf.INDEX).exists()
    refused(path, "is there already", folder=tmp_path / "ours")


@pytest.fixture(scope="module", params=["smollm", "gpt-2", "qwen2", "llama-bpe"])
def pair(request, tmp_path_factory):
    """(name, an original tokenizer, the FolderTokenizer of a GGUF file with it)."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    old = gguf_files.original(name)
    keys = {"tokenizer.ggml.bos_token_id": old.token_to_id(gguf_files.BEGIN), "tokenizer.ggml.padding_token_id": 3}
    path = gguf_files.tiny(folder, "qwen2", tokenizer=old, pre=name, keys=keys)
    gguf.convert(path, folder / "ours")
    return name, old, FolderTokenizer(folder / "ours")


def test_ids_are_those_of_the_original_tokenizer(pair):
    """Mutation: PRE's digits in threes for qwen2, no NFC, ignore_merges off, use_regex off for smollm."""
    name, old, new = pair
    for text in gguf_files.sentences():
        want = old.encode(text, add_special_tokens=False).ids
        assert new.encode(text) == want, (name, text)
        assert new.decode(want) == old.decode([i for i in want if i not in (new.pad_id, *new.eos_ids)]), (name, text)
        assert new._tokenizer.encode(text).ids == old.encode(text).ids
    assert new.bos == (gguf_files.BEGIN if name == "llama-bpe" else "")
    assert (new.eos_id, new.pad_id) == (old.token_to_id(gguf_files.END), 3)
    chat = new.chat([{"role": "user", "content": "1 + 1?"}])
    assert chat == f"<user>1 + 1?{gguf_files.END}\n"
    new_added = {i: (t.content, t.special) for i, t in new._tokenizer.get_added_tokens_decoder().items()}
    assert new_added == {i: (t.content, t.special) for i, t in old.get_added_tokens_decoder().items()}


SPLITS = {
    "smollm": ["a", "1", "2", "3", "4", "\u0120b", "'s", "\u0120I", "'", "LL", "\u0120\u0120", "\u0120c", "\u010a"],
    "gpt-2": ["a", "1234", "\u0120b", "'s", "\u0120I", "'", "LL", "\u0120\u0120", "\u0120c", "\u010a"],
    "qwen2": ["a", "1", "2", "3", "4", "\u0120b", "'s", "\u0120I", "'LL", "\u0120\u0120", "\u0120c", "\u010a"],
    "llama-bpe": ["a", "123", "4", "\u0120b", "'s", "\u0120I", "'LL", "\u0120\u0120", "\u0120c", "\u010a"],
}


def test_the_pre_tokenizers_split_as_written_down_by_hand(pair):
    name, _, new = pair
    text = "a1234 b's I'LL   c\n"
    assert [word for word, _ in new._tokenizer.pre_tokenizer.pre_tokenize_str(text)] == SPLITS[name]


def test_all_that_end_a_response_and_all_templates(tmp_path):
    keys = {
        "tokenizer.ggml.eot_token_id": 5,
        "tokenizer.ggml.eom_token_id": 63,
        "tokenizer.chat_templates": ["tools"],
        "tokenizer.chat_template.tools": "never",
        "tokenizer.ggml.add_eos_token": True,
        "general.name": "of no use here",
        "general.type": "model",
    }
    gguf.convert(gguf_files.tiny(tmp_path, "llama", keys=keys), tmp_path / "ours")
    tokenizer = FolderTokenizer(tmp_path / "ours")
    assert tokenizer.eos_ids == (63, 5)
    assert tokenizer.chat([{"role": "user", "content": "hi"}]).startswith("<user>")
    assert tokenizer._tokenizer.encode("!").ids == [*tokenizer.encode("!"), 63]


def test_a_padded_vocabulary(tmp_path):
    """Rows of the embedding beyond the tokenizer's are no tokens."""
    theirs = gguf_files.random_folder(tmp_path / "theirs", "qwen2", 80)
    path = gguf_files.write(tmp_path / "x.gguf", theirs, tokenizer=gguf_files.letters(64))
    assert gguf.convert(path, tmp_path / "ours").vocab_size == 80
    assert FolderTokenizer(tmp_path / "ours").vocab_size == 64


def refused(path, said, folder=None, **how):
    """One line that has `said` and the path in it, and no folder."""
    folder = folder or path.parent / "refused"
    before = folder.exists()
    with pytest.raises(InputError) as e:
        gguf.convert(path, folder, **how)
    assert said in str(e.value) and "\n" not in str(e.value), e.value
    assert str(path) in str(e.value) or before
    assert folder.exists() == before


TOKENS = "tokenizer.ggml.tokens"
KEYS = {
    "architecture": ({"general.architecture": "gemma2"}, "architecture 'gemma2' is not supported: llama, qwen2, qwen3"),
    "adapter": ({"general.type": "adapter"}, "holds no model but: adapter"),
    "part": ({"split.count": 2}, "is one part of several: join them"),
    "experts": ({"qwen3.expert_count": 8}, "qwen3.expert_count=8 is not supported"),
    "window": ({"qwen3.attention.sliding_window": 512}, "qwen3.attention.sliding_window=512 is not supported"),
    "unknown": ({"qwen3.logit_scale": 0.5}, "qwen3.logit_scale=0.5 is not supported"),
    "heads": (
        {"qwen3.attention.value_length": 4},
        "qwen3.attention.value_length=4 is not supported beside heads of 16",
    ),
    "partial": ({"qwen3.rope.dimension_count": 8}, "qwen3.rope.dimension_count=8 is not supported beside heads of 16"),
    "rope": (
        {"qwen3.rope.scaling.type": "longrope"},
        "rope scaling 'longrope' is not supported: none, linear and yarn",
    ),
    "factor": ({"qwen3.rope.scaling.type": "linear"}, "has no key qwen3.rope.scaling.factor"),
    "layers": ({"qwen3.block_count": None}, "has no key qwen3.block_count"),
    "more layers": ({"qwen3.block_count": 3}, "lacks tensor blk.2.attn_norm.weight"),
    "too many layers": ({"qwen3.block_count": 10**9}, "qwen3.block_count=1000000000 is more than its 24 tensors"),
    "fewer layers": ({"qwen3.block_count": 1}, "has tensor blk.1.attn_k.weight, which a qwen3 has not"),
    "eps": ({"qwen3.attention.layer_norm_rms_epsilon": None}, "has no key qwen3.attention.layer_norm_rms_epsilon"),
    "context": ({"qwen3.context_length": None}, "has no key qwen3.context_length"),
    "type": ({"qwen3.embedding_length": "32"}, "qwen3.embedding_length is 32, not one int"),
    "per layer": ({"qwen3.attention.head_count": [4, 4]}, "qwen3.attention.head_count is [4, 4], not one int"),
    "no heads": ({"qwen3.attention.head_count": 0}, "qwen3.attention.head_count is 0, not 1 or more"),
    "no kv heads": ({"qwen3.attention.head_count_kv": 0}, "qwen3.attention.head_count_kv is 0, not 1 or more"),
    "groups": ({"qwen3.attention.head_count_kv": 3}, "head_count=4 is no multiple of head_count_kv=3"),
    "narrow": (
        {"qwen3.attention.head_count": 64, "qwen3.attention.key_length": None},
        "qwen3.attention.key_length is 0, not 1 or more",
    ),
    "no width": ({"qwen3.embedding_length": 0}, "qwen3.embedding_length is 0, not 1 or more"),
    "no mlp": ({"qwen3.feed_forward_length": 0}, "qwen3.feed_forward_length is 0, not 1 or more"),
    "shape": ({"qwen3.feed_forward_length": 48}, "has shape (64, 32), and its keys ask for (48, 32)"),
    "rows": ({"qwen3.vocab_size": 65}, "vocab_size is 65, the embedding has 64 rows"),
    "sentencepiece": (
        {"tokenizer.ggml.model": "llama"},
        "tokenizer 'llama' is not supported: byte-level BPE ('gpt2') is",
    ),
    "pre": (
        {"tokenizer.ggml.pre": "tekken"},
        "pre-tokenizer 'tekken' is not supported: gpt-2, smollm, qwen2, llama-bpe",
    ),
    "no pre": ({"tokenizer.ggml.pre": None}, "has no key tokenizer.ggml.pre"),
    "space": ({"tokenizer.ggml.add_space_prefix": True}, "tokenizer.ggml.add_space_prefix is not supported"),
    "no tokens": ({TOKENS: None}, "has no key tokenizer.ggml.tokens"),
    "tokens": ({TOKENS: [str(i) for i in range(63)]}, "has 63 tokens, 64 kinds of them and 64 rows of the embedding"),
    "twice": ({TOKENS: ["a", "a", *map(str, range(62))]}, "has token 'a' twice, 0 and 1"),
    "kind": ({"tokenizer.ggml.token_type": [1] * 60 + [6] * 4}, "is of kind 6, which byte-level BPE has not"),
    "merge": ({"tokenizer.ggml.merges": ["a b c"]}, "merge 'a b c' is not of two tokens"),
    "merged": ({"tokenizer.ggml.merges": ["zz zz"]}, "its tokenizer is damaged ("),
    "eos": ({"tokenizer.ggml.eos_token_id": None}, "has no key tokenizer.ggml.eos_token_id"),
    "far eos": ({"tokenizer.ggml.eos_token_id": 64}, "tokenizer.ggml.eos_token_id=64 is no token of its vocabulary"),
    "bos": ({"tokenizer.ggml.pre": "llama-bpe"}, "has no key tokenizer.ggml.bos_token_id"),
    "template": ({"tokenizer.chat_templates": ["tools"]}, "has no key tokenizer.chat_template.tools"),
}


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    """A folder to write files of."""
    return gguf_files.random_folder(tmp_path_factory.mktemp("qwen3") / "theirs", "qwen3", 64)


@pytest.mark.parametrize("name", KEYS)
def test_unknown_and_missing_keys_are_named(name, qwen3, tmp_path):
    keys, said = KEYS[name]
    refused(gguf_files.write(tmp_path / "x.gguf", qwen3, keys=keys), said)


def test_missing_tensors_are_named(tmp_path):
    refused(gguf_files.tiny(tmp_path, "qwen3", drop=["blk.1.attn_q_norm.weight"]), "lacks tensor blk.1.attn_q_norm.wei")
    one = gguf_files.write(tmp_path / "b.gguf", tmp_path / "theirs", drop=["token_embd.weight"])
    refused(one, "lacks tensor token_embd.weight")


def test_types_that_nobody_dequantises_are_named(tmp_path):
    """One that the package does not know, and one that it cannot dequantise."""
    path = gguf_files.tiny(tmp_path, "qwen3")
    data = bytearray(path.read_bytes())
    place = data.index(b"blk.0.ffn_up.weight") + len("blk.0.ffn_up.weight") + 4 + 2 * 8  # after rank and dimensions
    assert data[place : place + 4] == bytes(4)
    for number, said in ((4, "in a type that the package gguf does not know"), (26, "ffn_up.weight is of type I32")):
        data[place] = number
        path.write_bytes(data)
        refused(path, said)
    assert package.GGMLQuantizationType(26).name == "I32"


def test_damaged_files_are_refused_in_one_line(tmp_path):
    """Cut anywhere before the end of the last tensor. Mutation: an `except` of one kind of error fewer."""
    path = gguf_files.tiny(tmp_path, "qwen3")
    whole = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in [4, 7, 15, 24, 30, *np.linspace(40, len(whole) - 64, 40).astype(int).tolist()]:
        cut.write_bytes(whole[:size])
        refused(cut, "is truncated or damaged (")
    cut.write_bytes(b"PK\x03\x04" + whole)
    refused(cut, "is no GGUF file")
    cut.write_bytes(b"")
    refused(cut, "is no GGUF file")
    refused(tmp_path / "none.gguf", "No such file or directory: give a GGUF file")
    refused(tmp_path, "Is a directory: give a GGUF file")


def test_wrong_bytes_never_raise_anything_else(tmp_path):
    """A byte of the keys or of the list of tensors is another one: refused, or a folder that can be read."""
    path = gguf_files.tiny(tmp_path, "llama")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = []
    for place in rng.integers(4, package.GGUFReader(path).data_offset, 40).tolist():
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            gguf.convert(path, tmp_path / "ours")
        except InputError as e:
            assert "\n" not in str(e)
            outcomes.append("refused")
        else:
            hf.load_config(tmp_path / "ours")
            shutil.rmtree(tmp_path / "ours")
            outcomes.append("read")
    assert set(outcomes) == {"refused", "read"}


def test_an_infinite_weight_is_named(tmp_path):
    path = gguf_files.tiny(tmp_path, "llama")
    weights = tensors(tmp_path / "theirs")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = np.inf
    safetensors.numpy.save_file(weights, tmp_path / "theirs" / "model.safetensors")
    path = gguf_files.write(tmp_path / "inf.gguf", tmp_path / "theirs")
    refused(path, "tensor blk.1.ffn_up.weight has values that are not finite")
