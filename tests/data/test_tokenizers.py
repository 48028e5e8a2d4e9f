import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.data.tokenizers import EOS, PAD, Tokenizer, WordTokenizer
from entropy_rl.errors import InputError

WORDS = ["3", "5", "+", "=", "->"]
TOKENIZER = WordTokenizer(WORDS)


def test_ids_by_hand():
    assert isinstance(TOKENIZER, Tokenizer)
    assert (TOKENIZER.vocab_size, TOKENIZER.pad_id, TOKENIZER.eos_id) == (7, 0, 1)
    assert TOKENIZER.encode("5 ->\n 3\t+  <eos>") == [3, 6, 2, 4, 1]
    assert TOKENIZER.encode("") == []
    assert TOKENIZER.decode([]) == ""


def test_decode_drops_pad_and_eos_wherever_they_are():
    assert TOKENIZER.decode([0, 3, 1, 6, 0, 0]) == "5 ->"


@pytest.mark.parametrize("container", [list, tuple, iter, np.array, lambda x: np.array(x, np.int32)])
def test_decode_takes_any_container(container):
    assert TOKENIZER.decode(container([2, 4, 3, 1, 0])) == "3 + 5"


@settings(derandomize=True, max_examples=200)
@given(st.lists(st.sampled_from(WORDS)))
def test_round_trip(words):
    text = " ".join(words)
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert all(2 <= i < TOKENIZER.vocab_size for i in ids)


@pytest.mark.parametrize("text, word", [("3 + seven", "seven"), ("3 +5", "+5"), ("٣", "٣")])
def test_unknown_word_is_named(text, word):
    with pytest.raises(InputError, match="not in the vocabulary") as error:
        TOKENIZER.encode(text)
    assert repr(word) in str(error.value) and "\n" not in str(error.value)


def test_a_long_unknown_word_is_cut():
    with pytest.raises(InputError) as error:
        TOKENIZER.encode("x" * 10**6)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("bad", [-1, 7, 10**9])
def test_unknown_id_is_named(bad):
    with pytest.raises(InputError, match=rf"token id {bad} is outside 0\.\.6"):
        TOKENIZER.decode([2, bad])


@pytest.mark.parametrize("words, named", [(["a", "b", "a"], "'a'"), ([PAD], PAD), ([EOS], EOS)])
def test_repeated_words_are_refused(words, named):
    with pytest.raises(InputError, match=f"{named}.* given twice"):
        WordTokenizer(words)


@pytest.mark.parametrize("word", ["", "a b", "a\n", " "])
def test_words_that_no_text_contains_are_refused(word):
    with pytest.raises(InputError, match="whitespace"):
        WordTokenizer(["a", word])


def test_smallest_vocabulary():
    with pytest.raises(InputError, match="'x'"):
        WordTokenizer([]).encode("x")
