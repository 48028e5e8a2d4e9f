"""subwords.FolderTokenizer on folders made on the spot by `tokenizers`: what real ones have, and what is wrong."""

import re

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.data.tokenizers import Tokenizer
from entropy_rl.errors import InputError
from experiments import tiny_model
from tests.data.tokenizer_folders import TINY, about, write


def test_it_is_a_tokenizer(folder):
    """Ids are those of `tokenizers`. Mutation: special tokens added to every text."""
    t = FolderTokenizer(folder)
    assert isinstance(t, Tokenizer)
    text = "Is 3 + 4 = 12?\nÜber 7 \U0001f600"
    assert t.encode(text) == TINY.encode(text).ids and len(t.encode(" Yes")) == 1
    assert t.decode(t.encode(text)) == text
    pieces = t.pieces([*t.encode(text)[:3], t.pad_id, *t.encode(text)[3:], t.eos_id])
    assert "".join(pieces) == text and pieces[3] == pieces[-1] == "" and "\ufffd" not in pieces
    assert t.vocab_size == TINY.get_vocab_size() == 1 + max(t.encode(text) + [t.vocab_size - 1])
    assert t.bos == "" and t.encode("") == [] and t.decode([]) == ""


def test_what_ends_and_what_fills(folder):
    """Mutation: only the tokenizer's own end-of-sequence token."""
    t = FolderTokenizer(folder)
    ids = {x: TINY.token_to_id(x) for x in (tiny_model.END, tiny_model.EOT)}
    assert t.eos_id == ids[tiny_model.END] and t.eos_ids == (ids[tiny_model.END], ids[tiny_model.EOT])
    assert t.pad_id == ids[tiny_model.EOT]
    assert t.decode([t.pad_id, *t.encode("Yes"), *t.eos_ids, t.pad_id]) == "Yes"
    assert t.encode(f"Yes{tiny_model.END}") == [*t.encode("Yes"), t.eos_id], "special tokens may stand in a text"
    write(folder, "config.json", {"eos_token_id": 7})
    assert FolderTokenizer(folder).eos_ids == (*t.eos_ids, 7)


def test_without_a_token_that_fills(folder):
    t = FolderTokenizer(about(folder, pad_token=None))
    assert t.pad_id == t.eos_id


def test_tokens_as_old_and_new_files_have_them(folder):
    """As a string, as an object with content, or in special_tokens_map.json."""
    want = FolderTokenizer(folder).eos_ids
    assert FolderTokenizer(about(folder, eos_token={"content": tiny_model.END, "lstrip": False})).eos_ids == want
    about(folder, eos_token=None)
    write(folder, "special_tokens_map.json", {"eos_token": tiny_model.END})
    assert FolderTokenizer(folder).eos_ids == want


def test_what_begins_a_text(folder):
    """Llama's tokenizers put a token before any text; prompts need it, and encode leaves it out."""
    with_bos = tokenizers.Tokenizer.from_str(TINY.to_str())
    start = TINY.token_to_id(tiny_model.START)
    with_bos.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{tiny_model.START} $A", special_tokens=[(tiny_model.START, start)]
    )
    with_bos.save(str(folder / "tokenizer.json"))
    t = FolderTokenizer(folder)
    assert t.bos == tiny_model.START
    assert t.encode("Yes") == TINY.encode("Yes", add_special_tokens=False).ids
    assert t.encode(t.bos + "Yes") == with_bos.encode("Yes").ids


def their_ids(tokenizer, text):
    return tokenizer(text).input_ids


def test_a_class_that_begins_a_text_itself(folder):
    """DeepSeek-R1-Distill-Qwen's files: nothing in tokenizer.json. Mutation: tokenizer.json alone is asked."""
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=TINY, bos_token=tiny_model.START, add_bos_token=True)
    named = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": {"content": tiny_model.START}}
    t = FolderTokenizer(about(folder, **named, add_bos_token=True))
    assert t.bos == tiny_model.START and t.encode(t.begun("Yes 3")) == their_ids(theirs, "Yes 3")
    for changes in ({"add_bos_token": False}, {"add_bos_token": None}):
        t = FolderTokenizer(about(folder, **named, **changes))
        assert t.bos == "" and t.begun("Yes") == "Yes"
    # Qwen's class has the key and adds nothing
    assert FolderTokenizer(about(folder, add_bos_token=True, tokenizer_class="Qwen2Tokenizer")).bos == ""
    with pytest.raises(InputError, match="add_bos_token is true and bos_token None is not in tokenizer.json: correct"):
        FolderTokenizer(about(folder, add_bos_token=True, tokenizer_class="LlamaTokenizer", bos_token=None))


def test_a_class_that_begins_no_text(folder):
    """The key is the class's word, against tokenizer.json."""
    start = TINY.token_to_id(tiny_model.START)
    with_bos = tokenizers.Tokenizer.from_str(TINY.to_str())
    with_bos.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{tiny_model.START} $A", special_tokens=[(tiny_model.START, start)]
    )
    with_bos.save(str(folder / "tokenizer.json"))
    assert FolderTokenizer(about(folder, add_bos_token=False)).bos == tiny_model.START
    assert FolderTokenizer(about(folder, add_bos_token=False, tokenizer_class="LlamaTokenizerFast")).bos == ""


WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    *(f"<0x{i:02X}>" for i in range(256)),
    *"\u2581Yes3[IN]/",
    "Ye",
    "Yes",
    "\u2581Yes",
    "\u25813",
]
MERGES = [("Y", "e"), ("Ye", "s"), ("\u2581", "Yes"), ("\u2581", "3")]
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[IN] {{ m.content }} [/IN]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)


def old_llama(normalized):
    """tokenizer.json of Llama 2 as transformers 4 made it, before and after it matched `<s>` in the text as it is."""
    vocab = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab, MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")]
    )
    made.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("\u2581", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.add_special_tokens([tokenizers.AddedToken(x, normalized=normalized) for x in WORDS[:3]])
    return made


def llama(path, kind):
    """A folder like Llama 2's, and what transformers makes of it."""
    from transformers import LlamaTokenizer, PreTrainedTokenizerFast

    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if isinstance(kind, bool):
        made = PreTrainedTokenizerFast(tokenizer_object=old_llama(kind), **special)
    else:
        vocab = {word: i for i, word in enumerate(WORDS)}
        made = LlamaTokenizer(vocab, MERGES, legacy=kind == "legacy", add_bos_token=True)
    made.chat_template = LLAMA2
    made.save_pretrained(path)
    return FolderTokenizer(path), made


@pytest.mark.parametrize("kind", ["first", "legacy", False, True])
def test_the_boundary_of_a_word_after_what_begins_a_text(tmp_path, kind):
    """Ids are those of transformers, of a text and of a chat. Mutation: the token and the text written together."""
    ours, theirs = llama(tmp_path, kind)
    assert ours.bos == "<s>" and ours.eos_ids == (2,)
    for text in ("Yes 3", " Yes", "3Yes", "  3", "[IN]", "\nYes", ""):
        assert ours.encode(ours.begun(text)) == their_ids(theirs, text), text
    assert ours.encode(ours.begun("Yes")) == [1, WORDS.index("\u2581Yes")]
    turns = (("user", "hi"), ("assistant", "Yes"), ("user", "3"))
    chat = ours.chat([{"role": role, "content": content} for role, content in turns])
    assert ours.encode(chat) == theirs(chat, add_special_tokens=False).input_ids
    ids = ours.encode("Yes 3Yes  3\nYes")
    assert "".join(ours.pieces(ids)) == ours.decode(ids) == "Yes 3Yes  3\nYes"


def test_words_that_are_named_as_special_are_tokens(folder):
    """As transformers adds them, wherever they stand. Mutation: `Yes` stays a word."""
    ye = FolderTokenizer(folder).encode("Ye")
    t = FolderTokenizer(about(folder, eos_token="Y"))
    assert len(ye) == 1 and t.encode("Yes")[0] == t.eos_id != ye[0] and t.decode(t.encode("Yes")) == "es"


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.integers(-5, 10**6), max_size=30))
def test_decode_is_total(total, ids):
    """Also for ids that only the model has, and numpy's."""
    assert isinstance(total.decode(ids), str)
    if "\ufffd" not in total.decode(ids):
        assert "".join(total.pieces(ids)) == total.decode(ids)
    assert total.decode(np.array(ids, np.int32)) == total.decode(ids)


@pytest.fixture(scope="module")
def total(tmp_path_factory):
    """A tokenizer that many examples share."""
    path = tmp_path_factory.mktemp("total")
    tiny_model.write_tokenizer(path, TINY)
    return FolderTokenizer(path)


def test_truncation_and_padding_of_the_file_are_off(folder):
    """Mutation: a file saved with truncation cuts long prompts in silence."""
    cut = tokenizers.Tokenizer.from_str(TINY.to_str())
    cut.enable_truncation(4)
    cut.enable_padding(length=4)
    cut.save(str(folder / "tokenizer.json"))
    t = FolderTokenizer(folder)
    assert len(t.encode("3 4 3 4 3 4 3 4")) == 8 and len(t.encode("3")) == 1


def without(name):
    return lambda folder: (folder / name).unlink()


def no_eos(folder):
    about(folder, eos_token=None)
    write(folder, "generation_config.json", {})


@pytest.mark.parametrize(
    "spoil, message",
    [
        (without("tokenizer.json"), "tokenizer.json is missing: give the folder of a model whose tokenizer"),
        (lambda f: write(f, "tokenizer.json", "{"), r"tokenizer.json is damaged \(.*\): copy it again"),
        (lambda f: write(f, "tokenizer_config.json", "{"), r"tokenizer_config.json is not JSON \(.*\): copy it again"),
        (no_eos, "the tokenizer has no end-of-sequence token, and no response would end: name it as eos_token"),
        (lambda f: about(f, eos_token="</s>"), "eos_token '</s>' is not in tokenizer.json: correct"),
        (
            lambda f: write(f, "generation_config.json", {"eos_token_id": [2, 9999]}),
            "eos_token_id 9999 is no id of its tokenizer: correct",
        ),
    ],
)
def test_a_bad_folder_is_named(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError, match=f"^{re.escape(str(folder))}.*{message}") as e:
        FolderTokenizer(folder)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_link_out_of_the_folder_is_named(folder, file, tmp_path_factory):
    """Mutation: no `contained`: a folder's chat_template.jinja may be a link to any file, which is the prompt then."""
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("{}")
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(secret)
    with pytest.raises(InputError, match=f"{file} is a link to .*secret, outside of the folder"):
        FolderTokenizer(folder)
