r"""LaTeX's and Unicode's many ways to write one thing, made one. Each step is one pass over at most 1000 characters."""

from __future__ import annotations

import re

MAX_CHARACTERS = 1000  # longer text is not looked into
SEPARATOR = "\x01"  # of thousands, where LaTeX says so
OPEN, CLOSE = "\x02", "\x03"  # \{ and \}
BREAK = "\x04"  # \\, a line break
LETTERS = {"m": "meters", "s": "seconds", "g": "grams", "h": "hours", "L": "liters", "l": "liters"}

_ALLOWED = re.compile(r"[ -~]*")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mbox|operatorname|bf|rm)\s?\{([^{}]*)\}"
)
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])")
_BLANK = re.compile(r"\\(?:[,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|(?<!\\)~|\s+")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,|\\ )(?=[0-9]{3}(?![0-9]))")
_CIRCLE = re.compile(r"\s?\^\s?(?:\\circ(?![A-Za-z])|\{\s?\\circ\s?\})|\\degree(?![A-Za-z])")
# \sqrt2 and \sqrt 2, x_{1} and x^{2}: one digit or letter needs no braces, and \sqrt gets them.
_ROOT = re.compile(r"\\sqrt(?:\s(?=[A-Za-z])|\s?(?=[0-9]))([0-9A-Za-z])")
_SCRIPT = re.compile(r"([_^])\s?\{\s?([0-9A-Za-z])\s?\}")
# A command ends at a space, which only a letter behind it needs.
_COMMAND = re.compile(r"(?<=[0-9A-Za-z)}]) (?=\\[A-Za-z])|(?<=\\pm) (?=[0-9\\])|(?<=\\pi) (?=[0-9\\])")
_WORD = re.compile(r"[A-Za-z ]{4,}")
# Space beside a sign, but for a point, and a comma that could group thousands without it.
_TIGHT = re.compile(r" ?([^\w\\ .,]) ?| ?(,) ?(?![0-9]{3}(?![0-9]))|(?<![0-9]) ?(,) ?")
_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-"}
    | {"\u221e": "\\infty ", "\u00d7": "\\times ", "\u00b0": "^\\circ ", "\u2205": "\\emptyset ", "\u2208": "\\in "}
)


def normal(text: str) -> str:
    r"""Text without what never changes its meaning: outer `$`, space, `\left`, `\,`, `\text`, kinds of fraction, braces
    around one letter or digit, and the case of words of four letters or more.

    Text over 1000 characters is only stripped. Space between letters and digits stays, 1 2 is not 12, and in 1. 2.
    """
    if not isinstance(text, str):
        return ""
    if len(text) > MAX_CHARACTERS or _marked(text):
        return text.strip()
    plain = clean(text, strict=False) or ""
    plain = _COMMAND.sub("", _SCRIPT.sub(r"\1\2", _ROOT.sub(r"\\sqrt{\1}", plain)))
    plain = _TIGHT.sub(r"\1\2\3", plain).replace(OPEN, "\\{").replace(CLOSE, "\\}").replace(SEPARATOR, ",")
    plain = plain.replace(BREAK, "\\\\")
    plain = (plain[:-1] if plain.endswith(".") else plain).strip()
    return plain.casefold() if _WORD.fullmatch(plain) and re.search("[aeiouy]", plain) else plain


def clean(text: str, strict: bool = True) -> str | None:
    """Text with LaTeX's many ways to write one thing made one, for `exact` to parse.

    Args:
      text: an answer.
      strict: whether anything but ASCII and the signs that are known here gives None; this module's own marks do.
    """
    if _marked(text):
        return None
    text = " ".join(text.translate(_SIGNS).split())  # any space of Unicode
    if strict and not _ALLOWED.fullmatch(text):
        return None
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        text = text[2:-2].strip()
    text = _unwrapped(text)
    if "\\" in text or "~" in text:
        text = text.replace("\\\\", BREAK)  # first: what follows it is no command
        text = _THOUSANDS.sub(SEPARATOR, text)
        text = _SIZE.sub("", text)
        for name in ("\\dfrac", "\\tfrac", "\\cfrac"):
            text = text.replace(name, "\\frac")
        text = text.replace("\\!", "").replace("\\%", "%").replace("\\$", "$")
        text = text.replace("\\{", OPEN).replace("\\}", CLOSE)
        text = text.replace("\\lbrace", OPEN).replace("\\rbrace", CLOSE)
        for _ in range(4):  # one in another
            text = _TEXT.sub(_plain, text)
        text = _CIRCLE.sub(" deg ", text)
    elif "{,}" in text:
        text = _THOUSANDS.sub(SEPARATOR, text)
    return _BLANK.sub(" ", text).replace("  ", " ").replace("  ", " ").strip()


def _marked(text: str) -> bool:
    return any(mark in text for mark in (SEPARATOR, OPEN, CLOSE, BREAK))


def _unwrapped(text: str) -> str:
    for _ in range(4):
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\boxed{", "}")):
            n = len(left)
            if len(text) > n + len(right) and text.startswith(left) and text.endswith(right):
                inner = text[n : -len(right)]
                if right == "}" and not _closed(inner) or right[-1] == "$" and "$" in inner.replace("\\$", ""):
                    continue
                if inner.endswith("\\") or left[0] == "\\" and right != "}" and right in inner:
                    continue
                text = inner.strip()
                break
        else:
            return text
    return text


def _closed(text: str) -> bool:
    depth = 0
    for c in text:
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return False
    return depth == 0


def _plain(match: re.Match) -> str:
    inner = match[1].strip()
    return f" {LETTERS.get(inner, inner)} "  # spaces, so that nothing is glued to a digit
