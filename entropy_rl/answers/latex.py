r"""LaTeX's and Unicode's many ways to write one thing, made one. Each step is one pass over at most 1000 characters."""

from __future__ import annotations

import re

MAX_CHARACTERS = 1000  # longer text is not looked into
SEPARATOR = "\x01"  # of thousands, where LaTeX says so
OPEN, CLOSE = "\x02", "\x03"  # \{ and \}
BREAK = "\x04"  # \\, a line break
LETTERS = {"m": "meters", "s": "seconds", "g": "grams", "h": "hours", "L": "liters", "l": "liters"}

_ALLOWED = re.compile(r"[ -~\u00a2\u00a3\u00a5\u20ac\u20b9]*")  # and currencies
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mbox|operatorname|underline|bf|rm)\s?\{([^{}]*)\}"
)
_COLOR = re.compile(r"\\(?:text)?color ?\{[a-z]+\}(?: ?\{([^{}]*)\})?")
_MINUS = re.compile(r"(?:minus|negative) (?=[0-9.$\\(])", re.IGNORECASE)
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if not 0xFF10 <= code <= 0xFF19}  # but digits
_SIZE = re.compile(r"\\(?:left|right|bf|rm|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])")
_BLANK = re.compile(r"\\(?:[,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|(?<!\\)~|\s+")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|\\text\{,\}|,\\! ?|\\,|\\ )(?=[0-9]{3}(?![0-9]))")
_CIRCLE = re.compile(r"\s?\^\s?(?:\\circ(?![A-Za-z])|\{\s?\\circ\s?\})|\\degree(?![A-Za-z])")
# \sqrt2 and \sqrt 2, x_{1} and x^{2}: one digit or letter needs no braces, and \sqrt gets them.
_ROOT = re.compile(r"\\sqrt(?:\s(?=[A-Za-z])|\s?(?=[0-9]))([0-9A-Za-z])")
_SCRIPT = re.compile(r"([_^])\s?\{\s?([0-9A-Za-z])\s?\}")
# A command ends at a space, which only a letter behind it needs.
_COMMAND = re.compile(r"(?<=[0-9A-Za-z)}]) (?=\\[A-Za-z])|(?<=\\pm) (?=[0-9\\])|(?<=\\pi) (?=[0-9\\])")
# \sin{x}, (2516)_8, 10:30 a.m.
_FUNCTION = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc|ln|[pb]mod|log(?:_[0-9a-z])?)) ?\{ ?([0-9A-Za-z]+) ?\}")
_BASE = re.compile(r"(?<![A-Za-z0-9)])\(([0-9]+)\) ?(?=_)|(?<=[0-9]) (?=_)")
_CLOCK = re.compile(r"(?<=[0-9]) ?([AaPp])\.? ?[Mm](?![A-Za-z])\.?")
_WORD = re.compile(r"[A-Za-z ]{4,}|[A-Z]?[a-z]{2,3}")
_OVERS = re.compile(r"\\over(?![A-Za-z])")
_NAMES = re.compile(r"(?<![A-Za-z\\])(?:pi(?![A-Za-z])|sqrt(?=[({]))")
_TIMES = re.compile(r"(?<=[0-9]) ?x ?(?=10 ?\^)")
_NEW = dict.fromkeys(("dfrac", "tfrac", "cfrac"), "\\frac") | dict.fromkeys(("dbinom", "tbinom"), "\\binom")
_NEW |= {"geqslant": "\\ge", "geq": "\\ge", "leqslant": "\\le", "leq": "\\le", "neq": "\\ne"}
_NEW |= {"lvert": "|", "rvert": "|", "gt": ">", "lt": "<", "colon": ":"}
_RENAMED = re.compile(rf"\\({'|'.join(_NEW)})(?![A-Za-z])")
_RAISED = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_POWER = re.compile(r"(?<=[0-9A-Za-z)}\u03c0]) ?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+(?![0-9])")
_RADICAL = re.compile(r"\u221a ?([0-9]+(?:\.[0-9]+)?|[A-Za-z])|\u221a(?=[({])")
_ROUND_ROOT = re.compile(r"\\sqrt ?\(([^()]*)\)")
_VULGAR = re.compile(r"([\u00bc-\u00be])(?![0-9])")
_SHARES = {"\u00bc": "\\frac{1}{4}", "\u00bd": "\\frac{1}{2}", "\u00be": "\\frac{3}{4}"}
# Space beside a sign, but for a point, and a comma that could group thousands without it.
_TIGHT = re.compile(r" ?([^\w\\ .,]) ?| ?(,) ?(?![0-9]{3}(?![0-9]))|(?<![0-9]) ?(,) ?")
_BETWEEN = re.compile(r" ?(?:,|;|\.|,? ?and|,? ?or)? ?")
_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-"}
    | {"\u2044": "/", "\u03c0": "\\pi ", "\u00b1": "\\pm ", "\u222a": "\\cup ", "\u03b8": "\\theta "}
    | {"\u2264": "\\le ", "\u2265": "\\ge ", "\u2260": "\\ne ", "\u00b7": "\\cdot ", "\u00f7": "\\div "}
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
    plain = plain.replace("{:}", ":")
    plain = _CLOCK.sub(lambda m: m[1].lower() + "m", _BASE.sub(r"\1", plain))
    plain = _COMMAND.sub("", _SCRIPT.sub(r"\1\2", _ROOT.sub(r"\\sqrt{\1}", plain)))
    plain = _FUNCTION.sub(r"\1 \2", plain)
    plain = _TIGHT.sub(r"\1\2\3", plain).replace(OPEN, "\\{").replace(CLOSE, "\\}").replace(SEPARATOR, ",")
    plain = plain.replace(BREAK, "\\\\")
    plain = (plain[:-1] if plain.endswith(".") else plain).strip()
    if not _WORD.fullmatch(plain) or not re.search("[aeiouy]", plain.lower() if plain.istitle() else plain):
        return plain
    return re.sub("^(?:an?|the) (?=[a-z]{3})", "", plain.casefold())


def clean(text: str, strict: bool = True) -> str | None:
    """Text with LaTeX's many ways to write one thing made one, for `exact` to parse.

    Args:
      text: an answer.
      strict: whether anything but ASCII and the signs that are known here gives None; this module's own marks do.
    """
    if _marked(text):
        return None
    if not text.isascii():
        text = text.translate(FULL_WIDTH).strip("\u201c\u201d\u2018\u2019\u2713\u2714\u2705\ufe0f\U0001f389\U0001f60a ")
        text = _VULGAR.sub(lambda m: _SHARES[m[1]], text)
        text = _POWER.sub(lambda m: f"^{{{m[0].strip().translate(_RAISED)}}}", text)
        text = _RADICAL.sub(lambda m: f"\\sqrt{{{m[1]}}}" if m[1] else "\\sqrt", text)
        text = text.translate(_SIGNS)
    text = " ".join(text.split())  # any space of Unicode
    if strict and not _ALLOWED.fullmatch(text):
        return None
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        text = text[2:-2].strip()
    text = _unwrapped(text)
    if "$" in text:
        text = _formulas(text)
    text = _NAMES.sub(r"\\\g<0>", _TIMES.sub(r"\\times ", text))
    if "\\" in text or "~" in text:
        text = text.replace("\\\\", BREAK)  # first: what follows it is no command
        text = _THOUSANDS.sub(SEPARATOR, text)
        text = _SIZE.sub("", text)
        text = _ROUND_ROOT.sub(r"\\sqrt{\1}", text)
        text = _RENAMED.sub(lambda m: _NEW[m[1]], text)
        if "\\over" in text:
            text = _over(text)
        text = text.replace("\\!", "").replace("\\%", "%").replace("\\$", "$")
        text = text.replace("\\{", OPEN).replace("\\}", CLOSE)
        text = text.replace("\\lbrace", OPEN).replace("\\rbrace", CLOSE)
        text = _COLOR.sub(lambda m: f" {m[1] or ''} ", text)
        for _ in range(4):  # one in another
            text = _TEXT.sub(_plain, text)
        text = _CIRCLE.sub(" deg ", text)
    elif "{,}" in text:
        text = _THOUSANDS.sub(SEPARATOR, text)
    text = _BLANK.sub(" ", text).replace("  ", " ").replace("  ", " ").strip()
    return _MINUS.sub("-", text, count=1) if _MINUS.match(text) else text


def _over(text: str) -> str:
    r"""\frac{1}{2} for {1 \over 2}, in braces or alone."""
    found = _OVERS.findall(text)
    if len(found) != 1:
        return text
    i, n = _OVERS.search(text).start(), len("\\over")
    left = max(text.rfind("{", 0, i), text.rfind("}", 0, i))
    right = min((at for at in (text.find("{", i), text.find("}", i)) if at >= 0), default=len(text))
    braces = left >= 0 and text[left] == "{" and text[right : right + 1] == "}"
    if not braces and (left >= 0 or right < len(text)):
        return text
    fraction = f"\\frac{{{text[left + 1 : i].strip()}}}{{{text[i + n : right].strip()}}}"
    return text[: max(left, 0)] + fraction + text[right + 1 :]


def _formulas(text: str) -> str:
    """Without the dollars of "$1$ and $2$" and "$5$ cm"; those of money stay."""
    parts = text.replace("\\$", SEPARATOR).split("$")
    if len(parts) % 2 == 0 or len(parts) == 1 or not all(part and part == part.strip() for part in parts[1::2]):
        return text
    one = len(parts) == 3 and not parts[0] and parts[2][:1] in " .,"
    if one or all(_BETWEEN.fullmatch(part) for part in parts[::2]) and all(map(str.strip, parts[2:-1:2])):
        return "".join(parts).replace(SEPARATOR, "\\$")
    return text


def _marked(text: str) -> bool:
    return any(mark in text for mark in (SEPARATOR, OPEN, CLOSE, BREAK))


def _unwrapped(text: str) -> str:
    for _ in range(4):
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\boxed{", "}"), ("`", "`")):
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
