"""Rows of token ids: prompt ++ response ++ pad, and the mask of the response; nothing else lays them out.

The columns of a batch are as many as its longest text needs, in a few widths, where another program pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from entropy_rl.data.tokenizers import Tokenizer
from entropy_rl.errors import InputError

# floating-point operations, a CPU-second or so, that a call must spare for another width: another program to compile
PAYS = 1e11


def widths(work: float, most: int = 8) -> int:
    """How many widths rows may have whose columns, all of them, take `work` floating-point operations a call: `most`,
    or fewer, so many that those between two of them take PAYS. Half a minute of compiling then pays within some fifty
    calls, and small models have one width."""
    return int(max(1, min(most, work // PAYS)))


def room(longest: int, most: int, widths: int) -> int:
    """Columns for texts of which the longest has `longest` tokens: the fewest of ceil(most / widths), twice as many and
    so on up to `most` that it fits.

    A function of the texts alone, so that a resumed run and every process of a run have the same.
    """
    unit = -(-most // widths)
    return min(-(-longest // unit) * unit, most)


def pack_rows(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], length: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of equal length, filled up on the right.

    Args:
      prompts, responses: token ids of B prompts and of what follows each; either may be empty.
      length: T.
      pad_id: fills up.

    Returns:
      (tokens i32[B, T], mask bool[B, T]). With P = len(prompt) and R = len(response), tokens[b, :P] is the prompt,
      tokens[b, P:P+R] the response (its end-of-sequence token included, where it has one), and mask[b, t] is True
      exactly for P <= t < P + R.

    Raises:
      InputError: a prompt and its response are longer than `length`.
      ValueError: not as many responses as prompts.
    """
    tokens = np.full((len(prompts), length), pad_id, np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start, end = len(prompt), len(prompt) + len(response)
        if end > length:
            raise InputError(
                f"row {row}: prompt {start} + response {len(response)} tokens exceed the batch length {length}: raise "
                "the length of prompts or responses, or leave this row out"
            )
        tokens[row, :start], tokens[row, start:end] = prompt, response
        mask[row, start:end] = True
    return tokens, mask


def pack_texts(pairs: Iterable[tuple[str, str]], tokenizer: Tokenizer, length: int) -> tuple[np.ndarray, np.ndarray]:
    """`pack_rows` of (prompt, response) texts; each response is followed by the end-of-sequence token, in the mask."""
    ids = [(tokenizer.encode(prompt), [*tokenizer.encode(text), tokenizer.eos_id]) for prompt, text in pairs]
    return pack_rows([p for p, _ in ids], [r for _, r in ids], length, tokenizer.pad_id)
