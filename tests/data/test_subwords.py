"""subwords.FolderTokenizer on folders made on the spot by `tokenizers`: what real ones have, and what is wrong."""

import datetime
import json
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

TEXTS = ["Is 3 + 4 = 7? Yes, it is: 3 + 4 = 7.\n", "user\nassistant\nsystem\n"] * 5
TINY = tiny_model.train(TEXTS, 400)
HI = [{"role": "user", "content": "hi"}]


def write(folder, name, value):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))


def about(folder, **changes):
    """tokenizer_config.json with other values; None: without the key."""
    path = folder / "tokenizer_config.json"
    value = json.loads(path.read_text()) | changes
    write(folder, path.name, {k: v for k, v in value.items() if v is not None})
    return folder


@pytest.fixture
def folder(tmp_path):
    """A tokenizer like Qwen's: two tokens end a response, and a text begins with nothing."""
    tiny_model.write_tokenizer(tmp_path, TINY)
    return tmp_path


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


def test_a_chat(folder):
    t = FolderTokenizer(folder)
    want = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert t.chat([{"role": "system", "content": "Be brief."}, *HI]) == want
    assert t.encode(want).count(TINY.token_to_id(tiny_model.START)) == 3


def test_where_templates_are(folder):
    """A file of its own comes first, then the tokenizer's, of which a list has names."""
    about(folder, chat_template=[{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}])
    assert FolderTokenizer(folder).chat(HI) == "D"
    write(folder, "chat_template.jinja", "J {{ eos_token }}")
    assert FolderTokenizer(folder).chat(HI) == f"J {tiny_model.END}"
    (folder / "chat_template.jinja").unlink()
    about(folder, chat_template=None)
    write(folder, "chat_template.json", {"chat_template": "O"})
    assert FolderTokenizer(folder).chat(HI) == "O"


@pytest.mark.parametrize(
    "template, text",
    [
        ("{% if enable_thinking is defined and not enable_thinking %}no{% else %}yes{% endif %}", "yes"),
        ("{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content|trim }}{% endfor %}", "hi"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "hi"}'),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul 2024{% endif %}", "26 Jul 2024"),
    ],
)  # fmt: skip
def test_what_templates_use(folder, template, text):
    """Of those of Qwen3 and Llama 3. Mutation: today's date in a prompt."""
    assert FolderTokenizer(about(folder, chat_template=template)).chat(HI) == text
    assert str(datetime.date.today().year) not in text


@pytest.mark.parametrize(
    "template, text",
    [
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "hi"),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
    ],
)
def test_what_transformers_adds(folder, template, text):
    """Mutation: no extension; today's date."""
    assert FolderTokenizer(about(folder, chat_template=template)).chat(HI) == text


@pytest.mark.parametrize(
    "template, message",
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "refuses the conversation: OverflowError"),
        ("{% include 'other' %}", "refuses the conversation: TypeError"),
        ("{{ 'x' * 10**10 }}", "was stopped .memory.: 10 s, 1024 MB"),
        ("{{ 'x' * 10**8 }}", "writes more than 10000000 characters"),
    ],
)
def test_a_hostile_template_is_stopped(folder, template, message):
    """Mutation: rendered in this process."""
    with pytest.raises(InputError, match=f"^chat template of {folder} .*{message}") as e:
        FolderTokenizer(about(folder, chat_template=template)).chat(HI)
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_a_template_without_end_is_stopped(folder):
    loops = "".join(f"{{% for {x} in range(90000) %}}" for x in "abc") + "{% endfor %}" * 3
    with pytest.raises(InputError, match=r"was stopped \(timeout\)"):
        FolderTokenizer(about(folder, chat_template=loops)).chat(HI)


def test_a_variable_reaches_the_template(folder):
    t = FolderTokenizer(about(folder, chat_template="{{ 'on' if enable_thinking else 'off' }}"))
    assert t.chat(HI, enable_thinking=False) == "off"


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch owned') }}",
        "{% set x = messages.append(1) %}",
        "{{ raise_exception('only user turns') }}",
        "{% for %}",
        "{{ messages[0]",
    ],
)
def test_a_template_runs_no_code(folder, template, monkeypatch):
    """Mutation: an Environment without a sandbox."""
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=f"^chat template of {folder} refuses the conversation: ") as e:
        FolderTokenizer(about(folder, chat_template=template)).chat(HI)
    assert "\n" not in str(e.value) and not (folder / "owned").exists()


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


def test_a_chat_without_a_template_is_named(folder):
    with pytest.raises(InputError, match="has no chat template: give prompt.style boxed or plain, or add"):
        FolderTokenizer(about(folder, chat_template=None)).chat(HI)
