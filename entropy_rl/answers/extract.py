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

# What follows an answer and takes it back, and what confirms it again.
_DOUBT = re.compile(
    r"\b(?:wait|hmm+|hold on|let me (?:re-?|double[- ]?)?(?:check|verify|think|consider|examine|calculate|compute))\b",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"(?<!not )(?<!n't )\b(?:yes|correct|right|confirm(?:s|ed)?|holds|indeed|match(?:es)?|consistent|verified)\b",
    re.IGNORECASE,
)
# A base model goes on with a question of its own.
_NEXT = re.compile(r"\n[ \t]*(?:\*\*)?(?:Question|Problem|Q|Human|User)(?:\*\*)?\s?[0-9]*:", re.IGNORECASE)
_MARK = re.compile(r"####|\\boxed|</answer>|[Aa]nswer is")
_END = re.compile(r"(?:<\|[a-z_]+\|>|</s>|<eos>|<end_of_turn>)$")
# A box opens, an escaped character, a brace. The second way steps over one backslash of `\\boxed`, as JSON writes it.
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?=\\(?:boxed|fbox))|\\.|[{}]", re.DOTALL)
_SENTENCE = re.compile(r"\banswer(?:[ \t*]*(?:[:=]|\bis\b[ \t]*:?)[ \t*]*)", re.IGNORECASE)
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z{])[ \t]*(?![\s{])([^\n]{1,200})")
_ANSWER_IS = re.compile(r"\b(?:answer|result) is\b:?", re.IGNORECASE)
_MATH = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$(?!\s)([^$]+?)(?<![\s\\])\$(?![0-9])|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL
)
_ASSIGNED = re.compile(r"(?<![A-Za-z0-9\\])([A-Za-z])\s?=(?!=)")
# Words of a line: letters that are not ASCII end one, but for signs.
_PIECE = re.compile(r"[!-~\u2212\u00d7\u00f7\u00b7\u221a\u03c0\u221e\u00b0\u00b2\u00b3\u00bd\u2264\u2265\u2260\u2248]+")
_OPERATOR = re.compile(
    r"[-+*/^=<>x\u2212\u00d7\u00f7\u00b7\u2264\u2265\u2260]|\\(?:times|cdot|div|le|ge|leq|geq|neq|ne|pm)"
)
_WORDY = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|^[aAI]$")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NUMBER = re.compile(r"(?<![0-9A-Za-z_.])[-+\u2212]?\$?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?%?")
_BARE = re.compile(r"[-+\u2212$\\(\[{0-9.]|[A-Za-z](?![A-Za-z])")
_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")


def final_answer(response: str, form: str = "any") -> str:
    r"""The answer that a response commits to, without space around it; "" when there is none. Never raises on text.

    Where there is a `</think>`, only what follows the last one counts, and after an open `<think>` nothing does. Where
    a base model goes on with a question of its own ("Question:" on a new line), what follows does not count. "The
    answer is 5" in a box or a tag is 5. A box that is taken back ("Wait, let me check") without being confirmed
    or followed by an answer is none.

    Args:
      response: any text. Only its last 100,000 characters are read.
      form: where the answer stands.
        boxed: the `\boxed{...}` or `\fbox{...}` that closes last; a box in a box is its content, and one that does not
          close is none. `\boxed 5` and `\boxed\frac12` are read up to the end of the formula, or, outside one, to the
          next space.
        hash: the rest of the line after the last `####` (GSM8K).
        tag: between the last `<answer>` and `</answer>`.
        any: the first of these that there is: boxed, tag, hash (a line that starts with words and has text below it
          is a heading of Markdown, not an answer), the last sentence "the answer is X" or "Answer: X", the response
          itself where it is one short line without words, the last number in it. A number in a formula ($\frac{1}{3}$,
          2^{10}, (3, 5), 12:00, 3 + 5) is read with all of it, behind its last "="; one of several variables
          (x = 3 and y = 5), a range (3-5) and a text whose box does not close hold none.

    Raises:
      InputError: a `form` that is none of these.
    """
    rule = lookup(FORMS, form, "answer form")
    if not isinstance(response, str):
        return ""
    text = committed(response)
    answered = _MARK.search(text)
    if answered and (following := _NEXT.search(text, answered.end())):
        text = text[: following.start()]
    return rule(_END.sub("", text.rstrip()) if text.rstrip().endswith(">") else text)


def committed(response: str) -> str:
    """What stands behind the last `</think>`, or all of it; "" after an open `<think>`. The last 100,000 characters."""
    if "think>" in response:
        response = response[response.rfind("</think>") + 8 :] if "</think>" in response else response
        if "<think>" in response:
            return ""
    return response[-MAX_CHARACTERS:]


def _boxed(text: str) -> str:
    if "\\boxed" not in text and "\\fbox" not in text:
        return ""
    found, end = _last_box(text)
    return "" if _taken_back(text[end:]) else _said(found)


def _last_box(text: str) -> tuple[str, int]:
    """What is in the last box, and where it ends."""
    first = text.find("\\boxed{")
    end = text.find("}", first)
    inner = text[first + 7 : end]
    # the plain case: one box, no braces in it
    if 0 <= first < end and "{" not in inner and "\\" not in inner and text.find("box", end) < 0:
        return inner.strip(), end
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
    bare = None
    for bare in _BARE_BOX.finditer(text, found[1]):  # noqa: B007
        pass
    if bare is None:
        return inner, found[1]
    formula = re.match(r"(.*?)(?:\$|\\\)|\\\])", bare[1])
    inner = formula[1] if formula else bare[1].split(maxsplit=1)[0].rstrip(".,;:!?")
    return inner.strip(), bare.start(1) + len(inner)


def _taken_back(text: str) -> bool:
    doubt = _DOUBT.search(text)
    return bool(doubt) and not _CONFIRMED.search(text, doubt.end())


def _said(found: str) -> str:
    """What is behind "the answer is" in `found`, or all of it."""
    match = _ANSWER_IS.search(found)
    return found[match.end() :].lstrip(" }").strip() or found if match else found


def _tag(text: str) -> str:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return _said(text[start + 8 : end].strip()) if 0 <= start < end else ""


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
    if "box" in text:
        found, end = _last_box(text)
        if found and _taken_back(text[end:]):
            return _sentence(text[end:])
        if found:
            return _said(found)
        if "\\boxed{" in text or "\\fbox{" in text:
            return ""
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
    return _whole(text, *last.span()) if last else ""


def _whole(text: str, start: int, end: int) -> str:
    """The formula around the number text[start:end], which is the last one; "" where it cannot be told apart."""
    left = max(text.rfind("\n", max(start - 400, 0), start) + 1, start - 400, 0)
    right = text.find("\n", end, end + 400)
    right = min(len(text), end + 400) if right < 0 else right
    line, start, end = text[left:right], start - left, end - left
    for span in _MATH.finditer(line):
        if span.start() < start and end <= span.end():
            found = span[span.lastindex]
            break
    else:
        found = _run(line, start, end)
    found = found.rsplit("=", 1)[-1].strip()
    sentence = re.split(r"[.!?]\s", line[:start])[-1]
    if len(set(_ASSIGNED.findall(sentence))) > 1 or re.fullmatch(r"[0-9]+(?:[-\u2013][0-9]+)+", found):
        return ""
    return found


def _run(line: str, start: int, end: int) -> str:
    """The words of `line` around the number at start:end that make one formula with it."""
    words = [(m.start(), m.end()) for m in _PIECE.finditer(line)]
    at = next((i for i, (a, b) in enumerate(words) if a <= start < b), None)
    if at is None:
        return line[start:end]
    a, b = words[at][0], max(words[at][1], end)
    word = line[a:b]
    # a bracket that this word closes
    opened = max((line.rfind(c, 0, start) for c in "(["), default=-1)
    closed = re.search(r"[)\]]", line[end:])
    if opened >= 0 and not re.search(r"[)\]]", line[opened:start]):
        until = end + closed.end() if closed else -1
        inside = line[opened:until] if closed else ""
        if closed and not _PROSE.search(inside) and "," in inside:
            return inside
        if not closed or _PROSE.search(inside):
            a = max(a, opened + 1)
            b = min(b, until - 1) if closed else b
    # operators and what they join, to both sides
    i = at
    while i > 0 and _joined(line[words[i - 1][0] : words[i - 1][1]], line[words[i][0] : words[i][1]]):
        i -= 1
    while i < at and line[slice(*words[i])] in "-+*/=\u2212\u00d7\u00f7\u00b7":  # "Total - 5"
        i += 1
    j = at
    while j + 1 < len(words) and _joined(line[words[j][0] : words[j][1]], line[words[j + 1][0] : words[j + 1][1]]):
        j += 1
    while j > at and _OPERATOR.fullmatch(line[slice(*words[j])]):
        j -= 1
    if i < at or j > at:
        a, b = words[i][0], words[j][1]
    listed = re.search(r"(?<![^\s$])[-+]?\$?[0-9][0-9.,/]*,? (?:and|or|to) $", line[:a])
    if listed:
        a = listed.start()
    found = line[a:b]
    if _WORDY.search(found) and i == j == at and not listed and not re.search(r"[\\^_=<>]", found):
        # "pens:5", "(5", a number in quotes: nothing but punctuation around it; else all of the word
        found = word
    found = found.strip("*`\"'~\u2248\u201c\u201d#|").rstrip(".,;:!?*`").lstrip(":,;")
    if found.startswith("(") and ")" not in found:
        found = found[1:]
    if found.endswith(")") and "(" not in found:
        found = found[:-1]
    return found.strip()


def _joined(left: str, right: str) -> bool:
    """Whether two words next to each other belong to one formula: an operator, or a command of LaTeX, between them."""
    if left[-1:] in ",;:.!?" or _WORDY.search(left) or _WORDY.search(right):
        return False
    return (
        bool(_OPERATOR.fullmatch(left) or _OPERATOR.fullmatch(right))
        or right[0] in "^*/+=<>\\"
        or left[-1] in "^*/+=<>"
    )


def _is_heading(text: str, found: str) -> bool:
    below = text[text.rfind("####") + 4 :].strip()[len(found) :]
    return bool(below.strip()) and found[:1].isalpha()


def _is_bare(line: str) -> bool:
    # Names of functions and units stand in answers; two other words make it prose.
    return bool(_BARE.match(line)) and len(_WORDS.findall(line)) < 2 or line.isalpha()


FORMS = {"boxed": _boxed, "hash": _hash, "tag": _tag, "any": _any}
