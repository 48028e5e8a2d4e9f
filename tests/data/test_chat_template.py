"""Chat templates of a folder, as subwords.FolderTokenizer uses them: where they are, what they may and may not do."""

import datetime

import pytest

from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from experiments import tiny_model
from tests.data.tokenizer_folders import TINY, about, write

HI = [{"role": "user", "content": "hi"}]


def turns(end):
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '" + end + "' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def test_the_end_of_a_turn_ends_a_response(folder):
    """Of a base model, whose own token ends a document. Mutation: eos_token and generation_config.json alone."""
    end, eot = (TINY.token_to_id(x) for x in (tiny_model.END, tiny_model.EOT))
    write(folder, "generation_config.json", {"eos_token_id": eot})
    base = FolderTokenizer(about(folder, eos_token=tiny_model.EOT))
    assert base.eos_ids == (eot,) and base.turn_end() == tiny_model.END
    chat, said = base.for_chat()
    assert (chat.eos_id, chat.eos_ids, chat.pad_id, base.eos_ids) == (end, (end, eot), eot, (eot,))
    assert chat.decode([*chat.encode("Yes"), end]) == "Yes"
    assert said == f"chat template of {folder} ends a turn with <|im_end|>, which ends a response besides <|endoftext|>"
    write(folder, "generation_config.json", {"eos_token_id": [eot, end]})
    listed, said = FolderTokenizer(folder).for_chat()
    assert (listed.eos_id, listed.eos_ids, said) == (end, (end, eot), "")
    whole = FolderTokenizer(about(folder, eos_token=tiny_model.END))
    assert whole.for_chat() == (whole, "")


@pytest.mark.parametrize(
    "template, end, said",
    [
        (turns("<|end|>\n"), "<|end|>", "ends a turn with '<|end|>', which is no token of its tokenizer"),
        (turns("\n"), "", ""),
        (turns(" <|im_end|>"), "<|im_end|>", ""),
        ("{{ messages[0].content }}", "", ""),
        ("{{ raise_exception('no') }}", "", ""),
    ],
)
def test_ends_of_turns(folder, template, end, said):
    t = FolderTokenizer(about(folder, chat_template=template))
    assert t.turn_end() == end
    same, line = t.for_chat()
    assert same is t and said in line and bool(said) == bool(line)


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


def test_a_chat_without_a_template_is_named(folder):
    with pytest.raises(InputError, match="has no chat template: give prompt.style boxed or plain, or add"):
        FolderTokenizer(about(folder, chat_template=None)).chat(HI)
