"""The tokenizer of a Hugging Face folder: tokenizer.json through `tokenizers`, chat templates by chat_template.py.

Files: tokenizer.json; special tokens from tokenizer_config.json and special_tokens_map.json; ids that end a response
also from generation_config.json and config.json, which may list several; the chat template from tokenizer_config.json
or chat_template.jinja. No code of the folder is run, and nothing is fetched.

What begins a text is what tokenizer.json puts there. Classes of transformers 4 did so themselves (ADDING): where
tokenizer_config.json names one of them and has `add_bos_token`, that decides, as the model was trained with it
(DeepSeek-R1-Distill-Qwen: true, and nothing in tokenizer.json). transformers 5 writes no such key, and reads none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from entropy_rl.data import chat_template
from entropy_rl.errors import InputError
from entropy_rl.files import contained, read_json

Messages = Sequence[Mapping[str, str]]

# Classes of transformers 4 that add a token before any text, or do not, as their `add_bos_token` says.
ADDING = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer", "GPTNeoXTokenizer")
SAID = "\ue000"  # a reply that no template has in it, of one character that none is cut or trimmed from


class FolderTokenizer:
    """A tokenizers.Tokenizer with what the sampler and prompts need beside it; see `tokenizers.Tokenizer`.

    Attributes:
      path: its folder.
      vocab_size: 1 + the largest id.
      eos_id: the end-of-sequence token of tokenizer_config.json, with which demonstrations end.
      eos_ids: all that end a response: that one, and those of generation_config.json and config.json.
      pad_id: fills rows on the right; the end-of-sequence token where the folder names no other.
      bos: text of what the tokenizer puts before any text, such as "<|begin_of_text|>"; "" for nothing. See `begun`.

    Args:
      path: folder of a Hugging Face model or tokenizer.

    Raises:
      InputError: no tokenizer.json or one that is damaged; no end-of-sequence token, or one that is not in it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._tokenizer = _read_tokenizer(self.path / "tokenizer.json")
        config = _json(self.path / "tokenizer_config.json")
        named = _json(self.path / "special_tokens_map.json") | config
        self._special = {k: _content(named.get(k)) for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        self._name_special()
        self.eos_ids = self._end_ids()
        self.eos_id = self.eos_ids[0]
        pad = self._special["pad_token"] and self._tokenizer.token_to_id(self._special["pad_token"])
        self.pad_id = self.eos_id if pad in (None, "") else pad
        self.bos = self._begin(config)
        self._drop = {self.pad_id, *self.eos_ids}
        self._templates = _templates(self.path, config)
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._marks = [token.content for token in added if token.special and token.content]

    @property
    def has_template(self) -> bool:
        """Whether the folder has a chat template."""
        return "default" in self._templates

    def unmarked(self, text: str) -> str:
        """`text` without what special tokens are written as, which would be read as those."""
        while any(mark in text for mark in self._marks):  # taking one out can make another
            for mark in self._marks:
                text = text.replace(mark, "")
        return text

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; special tokens that stand in it as text are themselves, and none are added."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def begun(self, text: str) -> str:
        """`text` behind `bos`, so that `encode` gives the ids of `bos` and then those that `text` has by itself.

        Where SentencePiece begins a text with the boundary of a word, "\u2581Yes", it may not after a token, as in
        "<s>Yes" (tokenizers' prepend_scheme "first", or a token that is matched after normalising: old files of
        Llama 2). A space in between is that boundary.

        Raises:
          InputError: neither is read so.
        """
        if not self.bos:
            return text
        want = self.encode(self.bos) + self.encode(text)
        for between in ("", " "):
            if self.encode(joined := self.bos + between + text) == want:
                return joined
        raise InputError(
            f"{self.path}: its tokenizer does not read {self.bos!r} before {text[:40]!r} as it puts it there itself: "
            "correct the token in tokenizer.json, or give prompt.style=chat"
        )

    def turn_end(self) -> str:
        """What the chat template writes behind an assistant's reply, up to white space; "" for nothing.

        The template is given a turn of the user and one of the assistant; where it refuses these, "".
        """
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": SAID}]
        try:
            text = self.chat(turns, add_generation_prompt=False)
        except InputError:
            return ""
        _, found, after = text.rpartition(SAID)
        return (after.split() or [""])[0] if found else ""

    def for_chat(self) -> tuple[FolderTokenizer, str]:
        """A tokenizer for which the token that ends a turn of the chat ends a response, and a line where that is news.

        Base models have the template of a chat and the end of a document as their end-of-sequence token: without this
        a response would go on with the user's next turn. Demonstrations end with the turn's token too.
        """
        end = self.turn_end()
        tokens = self._tokenizer.get_added_tokens_decoder()
        ids = self.encode(end)
        if not ids or ids[0] == self.eos_id:
            return self, ""
        what = f"chat template of {self.path} ends a turn with"
        if ids[0] not in tokens:
            said = (
                f"{what} {end!r}, which is no token of its tokenizer: a response ends with {self._names(self.eos_ids)} "
                "alone; give a template that ends with one of them"
            )
            return self, said
        made = copy.copy(self)
        made.eos_id = ids[0]
        made.eos_ids = tuple(dict.fromkeys((ids[0], *self.eos_ids)))
        made._drop = {self.pad_id, *made.eos_ids}
        if ids[0] in self.eos_ids:
            return made, ""
        return made, f"{what} {self._names(ids[:1])}, which ends a response besides {self._names(self.eos_ids)}"

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids` without special tokens. Total: ids of the model that the tokenizer has not are left out."""
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        kept = [i for i in ids if i not in self._drop and 0 <= i < self.vocab_size]
        return self._tokenizer.decode(kept, skip_special_tokens=True)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The text that each of `ids` adds to that of those before it; together they are `decode(ids)`.

        One pass over the text: a token is decoded with those back to the last whole character before it. Of a character
        in several tokens all is the last one's.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        out, start, whole = [], 0, 0  # ids[start:whole] came out whole, and are what a piece stands after
        for i in range(len(ids)):
            before, now = self.decode(ids[start:whole]), self.decode(ids[start : i + 1])
            if now.endswith("\ufffd") and i + 1 < len(ids):
                out.append("")
                continue
            out.append(now[len(before) :])
            if ids[i] not in self._drop:
                start, whole = whole, i + 1
        return out

    def chat(self, messages: Messages, **variables: Any) -> str:
        """The conversation by the folder's chat template, up to where the assistant's reply begins.

        Args:
          messages: of `role` and `content`.
          **variables: more that the template reads, such as enable_thinking=False (Qwen3).

        Raises:
          InputError: there is no template, or it refuses the conversation.
        """
        if "default" not in self._templates:
            raise InputError(
                f"{self.path} has no chat template: give prompt.style boxed or plain, or add chat_template.jinja"
            )
        special = {k: v for k, v in self._special.items() if v}
        return chat_template.render(self._templates["default"], messages, special | variables, str(self.path))

    def _names(self, ids: Iterable[int]) -> str:
        return ", ".join(str(self._tokenizer.id_to_token(i)) for i in ids)

    def _name_special(self) -> None:
        """Special tokens that are named and that tokenizer.json has as words alone are tokens wherever they stand.

        Not the padding: where it is an ordinary word, text that has it stays as it is (transformers splits it).
        """
        known = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        named = [x for name, x in self._special.items() if x and name != "pad_token"]
        new = [x for x in named if x not in known and self._tokenizer.token_to_id(x) is not None]
        self._tokenizer.add_special_tokens(new)

    def _begin(self, config: Mapping[str, Any]) -> str:
        """What stands before any text: by tokenizer.json, or by the class that tokenizer_config.json names."""
        asked = config.get("add_bos_token")
        if isinstance(asked, bool) and str(config.get("tokenizer_class")).removesuffix("Fast") in ADDING:
            bos = self._special["bos_token"]
            if asked and (bos is None or self._tokenizer.token_to_id(bos) is None):
                raise InputError(
                    f"{self.path}: add_bos_token is true and bos_token {bos!r} is not in tokenizer.json: correct "
                    "tokenizer_config.json"
                )
            return bos if asked else ""
        plain, whole = (self._tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        if len(whole) <= len(plain):
            return ""
        before = whole[: len(whole) - len(plain)] if whole[len(whole) - len(plain) :] == plain else whole[:1]
        return self._tokenizer.decode(before, skip_special_tokens=False)

    def _end_ids(self) -> tuple[int, ...]:
        ids = []
        if token := self._special["eos_token"]:
            ids.append(self._tokenizer.token_to_id(token))
            if ids[0] is None:
                raise InputError(
                    f"{self.path}: eos_token {token!r} is not in tokenizer.json: correct tokenizer_config.json"
                )
        for name in ("generation_config.json", "config.json"):
            given = _json(self.path / name).get("eos_token_id")
            ids += given if isinstance(given, list) else [] if given is None else [given]
        ids = list(dict.fromkeys(ids))
        if not ids:
            raise InputError(
                f"{self.path}: the tokenizer has no end-of-sequence token, and no response would end: name it as "
                "eos_token in tokenizer_config.json"
            )
        for i in ids:
            if not isinstance(i, int) or not 0 <= i < self.vocab_size:
                raise InputError(
                    f"{self.path}: eos_token_id {i!r} is no id of its tokenizer: correct generation_config.json"
                )
        return tuple(ids)


def _read_tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError("reading a tokenizer.json needs tokenizers: pip install 'entropy_rl[hf]'") from None
    if not path.is_file():
        raise InputError(
            f"{path} is missing: give the folder of a model whose tokenizer transformers saved as a fast one"
        )
    contained(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as e:  # tokenizers raises plain Exception
        raise InputError(f"{path} is damaged ({e}): copy it again") from e
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _templates(path: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name; `default` is the one that is used."""
    if (path / "chat_template.jinja").is_file():
        contained(path / "chat_template.jinja")
        return {"default": (path / "chat_template.jinja").read_text()}
    given = config.get("chat_template") or _json(path / "chat_template.json").get("chat_template")
    if isinstance(given, list):
        return {t["name"]: t["template"] for t in given}
    return {"default": given} if given else {}


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, Mapping) else token


def _json(path: Path) -> dict[str, Any]:
    value = read_json(path)
    return value if isinstance(value, dict) else {}
