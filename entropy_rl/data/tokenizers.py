"""Text to token ids and back. Strings only: no jax, no downloads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from entropy_rl.errors import InputError, nearest

PAD, EOS = "<pad>", "<eos>"


@runtime_checkable
class Tokenizer(Protocol):
    """What tasks, the sampler and evaluation ask of a tokenizer.

    Attributes:
      vocab_size: number of ids; ids are 0..vocab_size-1.
      pad_id: id that fills rows on the right.
      eos_id: id that ends a response, in demonstrations.
      eos_ids: all that end one when it is sampled, `eos_id` among them.
    """

    vocab_size: int
    pad_id: int
    eos_id: int
    eos_ids: tuple[int, ...]

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; adds neither `pad_id` nor `eos_id`."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, with every `pad_id` and `eos_id` dropped. An array of ids will do."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The text that each of `ids` adds to that of those before it; together they are `decode(ids)`."""


class WordTokenizer:
    """Words separated by whitespace, over a closed vocabulary.

    Ids: 0 is `<pad>`, 1 is `<eos>`, and 2.. are `words` in the order given, so
    `decode(encode(text)) == " ".join(text.split())` for text without those two.

    Attributes:
      words: tuple of all words; the id of a word is its place.

    Args:
      words: the vocabulary without `<pad>` and `<eos>`; distinct, non-empty, no whitespace inside.

    Raises:
      InputError: from the constructor for a repeated word or one with whitespace; from `encode` for a
        word, and from `decode` for an id, that the vocabulary does not have.
    """

    def __init__(self, words: Iterable[str]):
        self.words = (PAD, EOS, *words)
        self.pad_id, self.eos_id, self.eos_ids = 0, 1, (1,)
        self.vocab_size = len(self.words)
        self._id = {word: i for i, word in enumerate(self.words)}
        if len(self._id) < self.vocab_size:
            repeated = next(word for i, word in enumerate(self.words) if self._id[word] != i)
            raise InputError(f"vocabulary word {repeated!r} is given twice (<pad> and <eos> are added here)")
        for word in self.words:
            if word.split() != [word]:
                raise InputError(f"vocabulary word {word!r} is empty or has whitespace in it: split it up")
        # A dict, not a list: a negative id must be an error, not the word at that place from the end.
        self._word = dict(enumerate(self.words)) | {self.pad_id: "", self.eos_id: ""}

    def encode(self, text: str) -> list[int]:
        """Ids of the words of `text`; InputError names the first unknown word."""
        try:
            return [self._id[word] for word in text.split()]
        except KeyError as error:
            word = error.args[0][:40]
            hint = nearest(word, self.words) or f": its {self.vocab_size} words are in `words`"
            raise InputError(f"word {word!r} is not in the vocabulary{hint}") from None

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The text that each of `ids` adds to that of those before it; together they are `decode(ids)`."""
        out: list[str] = []
        for word in map(self._word.__getitem__, ids.tolist() if hasattr(ids, "tolist") else ids):
            out.append(f" {word}" if word and any(out) else word)
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """Words of `ids`, without `<pad>` and `<eos>`, joined by spaces; InputError for an unknown id."""
        # Plain integers look up several times faster than array scalars.
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        try:
            return " ".join(filter(None, map(self._word.__getitem__, ids)))
        except KeyError as error:
            raise InputError(f"token id {error.args[0]!r} is outside 0..{self.vocab_size - 1}") from None
