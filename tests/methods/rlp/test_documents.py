"""A text file as documents: windows, splits, places, and what is refused."""

import pytest

from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from entropy_rl.methods.rlp import documents
from experiments import rlp, tiny_model
from experiments.lib import launch


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    config = launch.load_config("configs/tiny_model.py:smoke,task=chain_sum")
    return FolderTokenizer(tiny_model.run(config, str(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("".join(f"Line {i} says {i * i}.\n" for i in range(200)))
    return path


def test_windows_of_a_file(tokenizer, file):
    """Mutations: one order for every epoch; a token of the window after the place in its context; splits that share."""
    made = {s: documents.make(str(file), tokenizer, s, 3, window=8, thought=4) for s in ("train", "validation", "test")}
    ids = tokenizer.encode(file.read_text())
    assert sum(len(m.windows) for m in made.values()) == len(ids) // 8
    rows = {s: {tuple(row) for row in m.windows.tolist()} for s, m in made.items()}
    assert not rows["train"] & rows["test"] and len(rows["train"]) > len(rows["test"]) > 0
    train, n = made["train"], len(made["train"].windows)
    tokens, mask = train.documents(0, 2 * n)
    assert sorted(map(tuple, tokens[:n])) == sorted(map(tuple, tokens[n:])) and (tokens[:n] != tokens[n:]).any()
    assert not mask[:, 0].any() and mask[:, 1:].all()
    questions = train.questions(0, n)
    for row, context, result in zip(tokens, questions.contexts, questions.results):
        assert [*context, result] == row[: len(context) + 1].tolist() and 1 <= len(context) <= train.context_length
    assert len({len(c) for c in questions.contexts}) == 7  # every place


def test_no_window_is_held_out_twice(tokenizer, file):
    """Its copies would count as documents of their own. Mutation: they come again, as in another epoch."""
    c = launch.load_config(f"configs/rlp.py:smoke,path={tokenizer.path},text={file}")
    c.eval.problems = len(rlp.texts(c)[1].windows)
    windows, _ = rlp.texts(c)[1].documents(0, c.eval.problems)
    assert len(set(map(tuple, windows.tolist()))) == len(windows)
    c.eval.problems += 1
    with pytest.raises(InputError, match=f"problems={c.eval.problems}: .* has {len(windows)} windows"):
        rlp.texts(c)


def test_what_ends_a_thought(tokenizer, file):
    """One token closes a thought; several do not, and the end of sequence always does. Mutation: their first one."""
    ends = lambda closes: documents.make(str(file), tokenizer, window=8, closes=closes).delimiters[1:]  # noqa: E731
    assert ends("</think>")[1] == tokenizer.eos_ids and len(ends("</think>")[0]) > 1
    (one,) = tokenizer.encode("7")
    assert ends("7") == ((one,), (one, *tokenizer.eos_ids))


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (None, {}, "config.text.path=.* is no file"),
        (b" \n", {}, "is empty"),
        (b"MZ\x00\x01 text", {}, "is binary, with a zero at byte 2"),
        (b"caf\xe9 noir", {}, "is not text in UTF-8 .byte 3."),
        (b"a b", {}, "tokens and text.window is 256"),
        (b"a " * 20, {"window": 20, "split": "test"}, "windows of 20 tokens, none of them in the split test"),
        (b"a " * 20, {"window": 1}, "window=1"),
        (b"a " * 20, {"window": 4, "opens": ""}, "opens=''"),
    ],
)
def test_what_is_refused(tokenizer, tmp_path, data, changes, message):
    if data is not None:
        (tmp_path / "x.txt").write_bytes(data)
    with pytest.raises(InputError, match=message):
        documents.make(str(tmp_path / "x.txt"), tokenizer, **changes)
