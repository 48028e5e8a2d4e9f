"""Any text file as documents: windows of its tokens, and in each a place before which RLP thinks (methods/rlp).

A window is `window` tokens of the file, one after the other without overlap, and what is left at its end is left out.
A split has the windows that it gets by a hash of their tokens (data/splits.py), so that a window that stands in the
file twice is in one split alone. A run takes windows in an order of its seed, each once an epoch (data/order.py), and
the place in a window is drawn anew each time: the token there is what is predicted, with and without a thought.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from entropy_rl.data.order import index
from entropy_rl.data.splits import SPLITS, digest, split_of
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError, lookup
from entropy_rl.methods.rlp.worked import Questions

KEY = "config.text.path"  # what messages call the file


@dataclasses.dataclass(frozen=True)
class Documents:
    """Windows of one split; made by `make`, with the same interface as worked.Worked.

    Attributes:
      windows: i32[N, W], token ids.
      bos: what the tokenizer puts before any text.
      delimiters: tokens that open a thought, that close it, and any of which ends it where it is sampled.
      thought_length: tokens of the longest thought, what ends it included.
      seed: of the order.
      tokenizer: of the model's folder.
    """

    windows: np.ndarray
    bos: tuple[int, ...]
    delimiters: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    thought_length: int
    seed: int
    tokenizer: FolderTokenizer
    name = "text"  # of evaluations
    says = None  # what a thought should say is not known

    @property
    def context_length(self) -> int:
        """Tokens of the longest context, `bos` included."""
        return len(self.bos) + self.windows.shape[1] - 1

    def documents(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows at places first..first + count - 1 of the order, as text to be read: tokens i32[count, T], and mask
        bool[count, T], True on what is learnt, all but the first token."""
        windows = np.stack([self._at(first + i) for i in range(count)])
        tokens = np.concatenate([np.tile(np.array(self.bos, np.int32), (count, 1)), windows], axis=1)
        return tokens, np.broadcast_to(np.arange(tokens.shape[1]) > 0, tokens.shape).copy()

    def questions(self, first: int, count: int) -> Questions:
        """The same windows up to a place in each, and what stands there; all of level 0."""
        contexts, results = [], []
        for place in range(first, first + count):
            window = self._at(place)
            cut = 1 + digest(f"{self.seed}/{place}") % (len(window) - 1)
            contexts.append([*self.bos, *window[:cut].tolist()])
            results.append(int(window[cut]))
        return Questions(contexts, np.array(results, np.int32), np.zeros(count, np.int64))

    def _at(self, place: int) -> np.ndarray:
        return self.windows[index(len(self.windows), self.seed, place)]


def make(
    path: str | None,
    tokenizer: FolderTokenizer,
    split: str = "train",
    seed: int = 0,
    *,
    window: int = 256,
    thought: int = 128,
    opens: str = "<think>",
    closes: str = "</think>",
) -> Documents:
    """Windows of a file.

    Args:
      path: of a text file in UTF-8. tokenizer: of the model.
      split: train, validation or test. seed: of the order.
      window: tokens of a document, the one that is predicted included.
      thought: tokens of the longest thought.
      opens, closes: texts around a thought. Where `closes` is one token it ends a thought that says it; an
        end-of-sequence token always does. What ended a thought is not kept: `closes` stands in its place.

    Raises:
      InputError: no file, or one that is empty, binary or shorter than a window; no window in the split.
    """
    lookup(dict.fromkeys(SPLITS), split, "split of a text file")
    if window < 2 or thought < 1:
        raise InputError(f"config.text: window={window} and thought={thought}: give 2 or more, and 1 or more tokens")
    if path is None:
        raise InputError(f"{KEY} is missing: a folder's model reads a text file; give one")
    if not Path(path).is_file():
        raise InputError(f"{KEY}={path} is no file: give one of text")
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"{KEY}={path} is not text in UTF-8 (byte {e.start}): give a text file") from None
    if "\0" in text:
        raise InputError(f"{KEY}={path} is binary, with a zero at byte {data.index(0)}: give a text file")
    if not text.strip():
        raise InputError(f"{KEY}={path} is empty: give a file with text")
    opening, closing = (tuple(tokenizer.encode(words)) for words in (opens, closes))
    if not opening or not closing:
        raise InputError(f"config.text: opens={opens!r} and closes={closes!r} of a thought: give both some text")
    ids = np.array(tokenizer.encode(tokenizer.unmarked(text)), np.int32)
    if len(ids) < window:
        raise InputError(f"{KEY}={path} has {len(ids)} tokens and text.window is {window}: lower it, or give more text")
    windows = ids[: len(ids) // window * window].reshape(-1, window)
    own = [split_of(" ".join(map(str, row))) == split for row in windows.tolist()]
    if not any(own):
        raise InputError(
            f"{KEY}={path} has {len(windows)} windows of {window} tokens, none of them in the split {split}: give more "
            "text, or lower text.window"
        )
    ends = tuple(dict.fromkeys((*(closing if len(closing) == 1 else ()), *tokenizer.eos_ids)))
    bos = tuple(tokenizer.encode(tokenizer.bos)) if tokenizer.bos else ()
    return Documents(windows[own], bos, (opening, closing, ends), thought, seed, tokenizer)
