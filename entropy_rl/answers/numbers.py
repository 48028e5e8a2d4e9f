"""Rational numbers in text: decimals, fractions, mixed numbers. ASCII digits only, and bounded sizes."""

from __future__ import annotations

import re
from fractions import Fraction

from entropy_rl.answers.latex import SEPARATOR

MAX_EXPONENT = 400  # of 10
MAX_BITS = 3322  # of numerator and denominator together, 1000 digits: what is printed can be read again (latex)

_DIGITS = rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:(?:,[0-9]{{3}})+|(?: [0-9]{{3}})+|(?:{SEPARATOR}[0-9]{{3}})+))"
_DECIMAL = re.compile(
    rf"(?P<sign>[-+]?)\s?(?P<whole>{_DIGITS})?(?:\.(?P<part>[0-9]*))?(?:[eE](?P<e>[-+]?[0-9]{{1,4}}))?"
    r"(?:\s?(?:\\times|\\cdot|\*)\s?10\s?\^\s?(?:\{\s?(?P<p>[-+]?[0-9]{1,4})\s?\}|(?P<q>[0-9]{1,4})))?"
)
_REPEATED = re.compile(
    r"(?P<sign>[-+]?)(?P<whole>[0-9]*)\.(?P<part>[0-9]*) ?\\(?:overline|bar|dot) ?\{ ?(?P<over>[0-9]+) ?\}"
)
_FRACTION = re.compile(r"(?P<sign>[-+]?)\s?(?P<whole>[0-9]+)?\s?\\frac\s?")
_MIXED = re.compile(r"(?P<sign>[-+]?)\s?(?P<whole>[0-9]+) (?P<top>[0-9]+)\s?/\s?(?P<bottom>[0-9]+)")


def number(text: str, depth: int) -> int | Fraction | None:
    """The rational number that clean text (`latex.clean`) writes, or None. An int where it is whole.

    Args:
      text: text without space around it.
      depth: fractions and brackets in each other that may still come.
    """
    match = _DECIMAL.fullmatch(text)
    if match:
        return _decimal(match)
    if depth <= 0:
        return None
    if match := _REPEATED.fullmatch(text):
        sign, whole, part, over = match.groups()
        n = int(f"{whole}{part}{over}") - int(f"{whole}{part}" or 0)
        return _ratio(-n if sign == "-" else n, 10 ** len(part) * (10 ** len(over) - 1))
    if "\\frac" in text:
        return _latex_fraction(text, depth)
    if "/" in text:
        if match := _MIXED.fullmatch(text):
            return _mixed(match["sign"], match["whole"], _ratio(int(match["top"]), int(match["bottom"])))
        top, _, bottom = text.partition("/")
        return _ratio(_part(top, depth), _part(bottom, depth))
    return None


def _part(text: str, depth: int) -> int | Fraction | None:
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        return number(text[1:-1].strip(), depth - 1)
    match = _DECIMAL.fullmatch(text)
    return _decimal(match) if match else None


def _decimal(match: re.Match) -> int | Fraction | None:
    sign, whole, part, e, p, q = match.groups()
    if whole is None and not part:
        return None
    e = int(e or 0) + int(p or q or 0)
    if abs(e) > MAX_EXPONENT:
        return None
    digits = (whole or "").replace(",", "").replace(" ", "").replace(SEPARATOR, "") + (part or "")
    scaled = int(digits) if sign != "-" else -int(digits)
    e -= len(part or "")
    if e >= 0:
        return _bounded(scaled * 10**e)
    return _bounded(Fraction(scaled, 10**-e))


def _latex_fraction(text: str, depth: int) -> int | Fraction | None:
    match = _FRACTION.match(text)
    if not match:
        return None
    top, i = _argument(text, match.end())
    bottom, i = _argument(text, i)
    if top is None or bottom is None or i != len(text):
        return None
    ratio = _ratio(number(top, depth - 1), number(bottom, depth - 1))
    if match["whole"]:
        return _mixed(match["sign"], match["whole"], ratio)
    return ratio if ratio is None or match["sign"] != "-" else -ratio


def _argument(text: str, i: int) -> tuple[str | None, int]:
    r"""What \frac takes at `i`: a group or one digit; and where it ends."""
    while text[i : i + 1] == " ":
        i += 1
    if "0" <= text[i : i + 1] <= "9":
        return text[i], i + 1
    if text[i : i + 1] != "{":
        return None, i
    depth = 0
    for j in range(i, len(text)):
        depth += (text[j] == "{") - (text[j] == "}")
        if depth == 0:
            return text[i + 1 : j].strip(), j + 1
    return None, i


def _mixed(sign: str, whole: str, ratio: int | Fraction | None) -> int | Fraction | None:
    # 2 5/3 is a product or a slip
    if ratio is None or not 0 < ratio < 1:
        return None
    return _bounded(-(int(whole) + ratio) if sign == "-" else int(whole) + ratio)


def _ratio(top: int | Fraction | None, bottom: int | Fraction | None) -> int | Fraction | None:
    return _bounded(Fraction(top) / bottom) if top is not None and bottom else None


def _bounded(x: int | Fraction) -> int | Fraction | None:
    if x.numerator.bit_length() + x.denominator.bit_length() > MAX_BITS + 1:
        return None
    return x.numerator if x.denominator == 1 else x
