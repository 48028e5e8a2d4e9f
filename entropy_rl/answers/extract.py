r"""What a response commits to: the last box, tag, `####`, answer sentence or number.

Every rule takes the last of its kind, because models correct themselves downwards. Only the last MAX_CHARACTERS of a
response are looked at, in one pass each, so that a response of any length costs milliseconds.

Departs from math-verify, which collects all candidates and takes the first that parses: what a response commits to
does not depend on whether it can be read. A box that cannot be read is still the answer, and scores 0.
"""

from __future__ import annotations

import re

from entropy_rl.errors import lookup

MAX_CHARACTERS = 100_000
SHORT = 100  # characters of a response that may be nothing but an answer

# A box opens, an escaped character, a brace. The second way steps over one backslash of `\\boxed`, as JSON writes it.
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?=\\(?:boxed|fbox))|\\.|[{}]", re.DOTALL)
_SENTENCE = re.compile(r"\banswer(?:[ \t*]*(?:[:=]|\bis\b[ \t]*:?)[ \t*]*)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![0-9A-Za-z_.])[-+\u2212]?\$?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?%?")
_BARE = re.compile(r"[-+\u2212$\\(\[{0-9.]|[A-Za-z](?![A-Za-z])")
_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")


def final_answer(response: str, form: str = "any") -> str:
    r"""The answer that a response commits to, without space around it; "" when there is none. Never raises on text.

    Where there is a `</think>`, only what follows the last one counts, and after an open `<think>` nothing does.

    Args:
      response: any text. Only its last 100,000 characters are read.
      form: where the answer stands.
        boxed: the `\boxed{...}` or `\fbox{...}` that closes last; a box in a box is its content, and one that does not
          close is none.
        hash: the rest of the line after the last `####` (GSM8K).
        tag: between the last `<answer>` and `</answer>`.
        any: the first of these that there is: boxed, tag, hash (a line that starts with words and has text below it
          is a heading of Markdown, not an answer), the last sentence "the answer is X" or "Answer: X", the response
          itself where it is one short line without words, the last number in it.

    Raises:
      InputError: a `form` that is none of these.
    """
    rule = lookup(FORMS, form, "answer form")
    if not isinstance(response, str):
        return ""
    return rule(committed(response))


def committed(response: str) -> str:
    """What stands behind the last `</think>`, or all of it; "" after an open `<think>`. The last 100,000 characters."""
    if "think>" in response:
        response = response[response.rfind("</think>") + 8 :] if "</think>" in response else response
        if "<think>" in response:
            return ""
    return response[-MAX_CHARACTERS:]


def _boxed(text: str) -> str:
    first = text.find("\\boxed{")
    if first < 0 and "\\boxed" not in text and "\\fbox" not in text:
        return ""
    end = text.find("}", first)
    inner = text[first + 7 : end]
    # the plain case: one box, no braces in it
    if 0 <= first < end and "{" not in inner and "\\" not in inner and text.find("box", end) < 0:
        return inner.strip()
    return _last_box(text)


def _last_box(text: str) -> str:
    # One pass with a stack: looking for the partner of each of n open boxes would take n passes.
    stack: list[int] = []  # where the content of an open box starts; -1 for any other brace
    found = (0, 0)
    for match in _BRACE.finditer(text):
        token = match[0]
        if token == "}":
            if stack and (start := stack.pop()) >= 0:
                found = (start, match.start())
        elif token == "{":
            stack.append(-1)
        elif token[-1] == "{" and len(token) > 2:
            stack.append(match.end())
    inner = text[slice(*found)].strip()
    for _ in range(10):  # \boxed{\boxed{3}}
        outer = re.match(r"\\(?:boxed|fbox)\s*\{", inner)
        if not outer or not inner.endswith("}") or "{" in inner[outer.end() :]:
            break
        inner = inner[outer.end() : -1].strip()
    return inner


def _tag(text: str) -> str:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return text[start + 8 : end].strip() if 0 <= start < end else ""


def _hash(text: str) -> str:
    start = text.rfind("####")
    return text[start + 4 :].lstrip().partition("\n")[0].strip() if start >= 0 else ""


def _sentence(text: str) -> str:
    last = None
    for last in _SENTENCE.finditer(text):  # noqa: B007
        pass
    if last is None:
        return ""
    rest = text[last.end() :].lstrip().partition("\n")[0]
    return re.split(r"[.!?]\s", rest, maxsplit=1)[0].strip(" \t\r*.")


def _any(text: str) -> str:
    if "box" in text and (found := _boxed(text)):
        return found
    if "</answer>" in text and (found := _tag(text)):
        return found
    if "####" in text and (found := _hash(text)) and not _is_heading(text, found):
        return found
    if found := _sentence(text):
        return found
    bare = text.strip()
    if len(bare) <= SHORT and "\n" not in bare and _is_bare(bare):
        return bare
    last = None
    for last in _NUMBER.finditer(text):  # noqa: B007
        pass
    return last[0] if last else ""


def _is_heading(text: str, found: str) -> bool:
    below = text[text.rfind("####") + 4 :].strip()[len(found) :]
    return bool(below.strip()) and found[:1].isalpha()


def _is_bare(line: str) -> bool:
    # Names of functions and units stand in answers; two other words make it prose.
    return bool(_BARE.match(line)) and len(_WORDS.findall(line)) < 2 or line.isalpha()


FORMS = {"boxed": _boxed, "hash": _hash, "tag": _tag, "any": _any}
