import numpy as np
import pytest

from entropy_rl.data.packing import pack_rows, pack_texts
from entropy_rl.data.tokenizers import WordTokenizer
from entropy_rl.errors import InputError

EOS, PAD = 1, 0


def test_rows_by_hand():
    """Mutations: a mask from start - 1, from start + 1, to end - 1, to end + 1; the response over the prompt's end."""
    tokens, mask = pack_rows([[5, 6, 7], [8]], [[9, EOS], [2, 3, EOS]], 6, PAD)
    assert tokens.tolist() == [[5, 6, 7, 9, EOS, PAD], [8, 2, 3, EOS, PAD, PAD]]
    assert mask.tolist() == [[False] * 3 + [True] * 2 + [False], [False] + [True] * 3 + [False] * 2]
    assert (tokens.dtype, mask.dtype) == (np.int32, bool)
    assert not mask[0, 2] and tokens[0, 2] == 7  # the prompt's last token is not the policy's
    assert mask[0, 3] and tokens[0, 3] == 9  # the response's first one is
    assert mask[0, 4] and tokens[0, 4] == EOS  # and so is what ends it
    assert tokens[mask].tolist() == [9, EOS, 2, 3, EOS]


def test_exact_fit_and_one_too_long():
    """Mutation: `end >= length`, or no check, where numpy would say that it cannot broadcast."""
    tokens, mask = pack_rows([[5, 6]], [[7, EOS]], 4, PAD)
    assert tokens.tolist() == [[5, 6, 7, EOS]] and mask.tolist() == [[False, False, True, True]]
    with pytest.raises(InputError, match=r"row 1: prompt 3 \+ response 2 tokens exceed the batch length 4") as e:
        pack_rows([[5, 6], [5, 6, 6]], [[7, EOS], [7, EOS]], 4, PAD)
    assert "\n" not in str(e.value)


def test_empty_responses_prompts_and_batches():
    tokens, mask = pack_rows([[5, 6], []], [[], [7]], 3, 9)
    assert tokens.tolist() == [[5, 6, 9], [7, 9, 9]]
    assert mask.tolist() == [[False] * 3, [True, False, False]]
    tokens, mask = pack_rows([], [], 3, PAD)
    assert tokens.shape == mask.shape == (0, 3)
    with pytest.raises(ValueError):
        pack_rows([[5], [6]], [[7]], 3, PAD)


def test_texts_end_with_the_end_of_sequence_token():
    """Mutation: the end-of-sequence token left out, or outside the mask; an exact fit is one too long without it."""
    tokenizer = WordTokenizer(["a", "b", "c"])
    tokens, mask = pack_texts([("a b", "c"), ("a", "")], tokenizer, 4)
    assert tokens.tolist() == [[2, 3, 4, EOS], [2, EOS, PAD, PAD]]
    assert mask.tolist() == [[False, False, True, True], [False, True, False, False]]
    with pytest.raises(InputError, match="prompt 2 . response 2 tokens exceed the batch length 3"):
        pack_texts([("a b", "c")], tokenizer, 3)
