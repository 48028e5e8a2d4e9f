r"""Exact values of answers, and when two answers are the same. Total: any text gives a value or None, in bounded time.

What is read (everything else is None):

  numbers     72, +72, -72, 1,000, 1\,000, 72.0, .5, 1e3, 3 \times 10^{3}, 3/4, \frac{3}{4}, \frac34, 1 1/2, 1\frac12
  marks       \$5, 50%, 90^\circ, 5 cm, 5 \text{ cm}, $...$, \(...\), \boxed{...}, \text{...}, \left ( ... \right )
  sets        {1, 2}, \{1, 2\}, 1, 2: order does not count; \emptyset
  sequences   (1, 2), [1, 2), (-\infty, 3]: order and brackets count, a pair is written as an open interval is
  words       yes, no, true, false, and a choice A to J, also (B) and \text{(b)}
  of one name x = 5, x \in (1, 2): its value

Rules that a reader might expect otherwise:

- Nothing is rounded: 0.333 is not 1/3. A tolerance makes near misses right, and a policy that is rewarded finds them.
- A percent sign is a unit, and a unit that one side leaves out does not count, since a question often fixes it: 50% is
  50, 5 cm is 5. 50% is not 0.5: with the other rule it would have to be both. Two different units are left undecided.
- Only ASCII digits are digits, and only decimal: no 0x10, 1_000, ² or Arabic-Indic digits, which `int` would take.
- A comma before three digits groups thousands in a number that stands alone, and separates in brackets.
- 5m is a product; metres need two letters or \text{m}.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any, NamedTuple

MAX_CHARACTERS = 1000  # longer text has no value
MAX_EXPONENT = 1000  # of 10
MAX_BITS = 12_000  # of numerator and denominator: printing more than 4300 digits raises
MAX_DEPTH = 6  # of brackets and fractions in each other


class Value(NamedTuple):
    """An exact value; equal values have equal fields but for `unit` and `name` (see `equal`).

    Attributes:
      kind: number, infinity, word, set, list (a set with repetitions), sequence.
      data: an int, or a Fraction that is none; a sign; a string; a frozenset; a sorted tuple; (open, items, close).
      unit: canonical name of a unit, or "".
      name: the variable that was given this value, or "".
    """

    kind: str
    data: Any
    unit: str = ""
    name: str = ""


def _units() -> dict[str, str]:
    names = {
        "%": "percent",
        "deg": "degrees degree",
        "$": "dollars dollar usd",
        "cent": "cents",
        "euro": "euros",
        "mm": "millimeters millimeter",
        "cm": "centimeters centimeter centimetres",
        "km": "kilometers kilometer kilometres",
        "meter": "meters metre metres",
        "inch": "inches",
        "ft": "foot feet",
        "yard": "yards yd",
        "mile": "miles mi",
        "gram": "grams",
        "kg": "kilograms kilogram",
        "mg": "milligrams",
        "pound": "pounds lbs lb",
        "ounce": "ounces oz",
        "second": "seconds sec",
        "minute": "minutes min mins",
        "hour": "hours hr hrs",
        "day": "days",
        "week": "weeks",
        "month": "months",
        "year": "years",
        "liter": "liters litre litres",
        "ml": "milliliters",
        "mph": "",
        "km/h": "kph",
        "unit": "units",
        "point": "points",
        "people": "person persons",
        "apple": "apples",
        "book": "books",
        "ticket": "tickets",
        "square": "squares",
        "way": "ways",
        "time": "times",
    }
    table = {form: name for name, forms in names.items() for form in (name, *forms.split())}
    for name in ("mm", "cm", "meter", "km", "inch", "ft", "yard", "mile", "unit"):
        for form in (name, *names[name].split()):
            for power, words in (("2", ("square", "sq")), ("3", ("cubic", "cu"))):
                forms = (f"{form}^{power}", f"{form}^{{{power}}}", f"{form} ^{power}", f"{form} ^{{{power}}}")
                table |= dict.fromkeys((*forms, *(f"{w} {form}" for w in words)), f"{name}^{power}")
    table["per cent"] = "%"
    return table


UNITS = _units()
WORDS = {"yes", "no", "true", "false"}
CHOICES = set("ABCDEFGHIJabcdfghj")  # a bare e or i is a number
LETTERS = {"m": "meters", "s": "seconds", "g": "grams", "h": "hours", "L": "liters", "l": "liters"}

_SEP = "\x01"  # of thousands, where LaTeX says so
_OPEN, _CLOSE = "\x02", "\x03"  # \{ and \}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_ALLOWED = re.compile(r"[ -~]*")
_DIGITS = rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+|[1-9][0-9]{{0,2}}(?:{_SEP}[0-9]{{3}})+)"
_DECIMAL = re.compile(
    rf"(?P<sign>[-+]?)\s?(?P<whole>{_DIGITS})?(?:\.(?P<part>[0-9]*))?(?:[eE](?P<e>[-+]?[0-9]{{1,4}}))?"
    r"(?:\s?(?:\\times|\\cdot|\*)\s?10\s?\^\s?(?:\{\s?(?P<p>[-+]?[0-9]{1,4})\s?\}|(?P<q>[0-9]{1,4})))?"
)
_FRACTION = re.compile(r"(?P<sign>[-+]?)\s?(?P<whole>[0-9]+)?\s?\\frac\s?")
_MIXED = re.compile(r"(?P<sign>[-+]?)\s?(?P<whole>[0-9]+) (?P<top>[0-9]+)\s?/\s?(?P<bottom>[0-9]+)")
_NAMED = re.compile(
    r"(?P<name>(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|rho|sigma|omega))(?:_[A-Za-z0-9]|_\{[A-Za-z0-9]+\})?)"
    r"\s?(?:=|\\in(?![A-Za-z]))\s?(?P<rest>[^=]+)"
)
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mbox|operatorname|bf|rm)\s?\{([^{}]*)\}"
)
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])")
_BLANK = re.compile(r"\\(?:[,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|~|\s+")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,|\\ )(?=[0-9]{3}(?![0-9]))")
_CIRCLE = re.compile(r"\s?\^\s?(?:\\circ(?![A-Za-z])|\{\s?\\circ\s?\})|\\degree(?![A-Za-z])")
_UNIT = re.compile(r"(?<![\\A-Za-z])[A-Za-z%]")
_TIGHT = re.compile(r" ?([^A-Za-z0-9\\ ]) ?")
_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\n": " ", "\t": " ", "\r": " "}
    | {"\u221e": "\\infty ", "\u00d7": "\\times ", "\u00b0": "^\\circ ", "\u2205": "\\emptyset ", "\u2208": "\\in "}
)


def equal(gold: str, answer: str) -> bool | None:
    """Whether two answers are the same: True or False where that is certain, None where exactness cannot decide.

    True where both have a value (see the module) and the values agree, or where the texts are the same up to space and
    ways of writing LaTeX. False only between values. None is neither: sqrt(2), polynomials, prose, units that differ.

    Departs from math-verify: nothing is rounded (its 6 digits), (1, 2) and [1, 2] are no sets, 12 or 13 is not 13,
    50% is not 0.5, and a word is a word, not a product of letters.
    """
    a, b = value(gold), value(answer)
    if a is not None and b is not None:
        return _same(a, b)
    same = normal(gold)
    return True if same and same == normal(answer) else None


def value(text: str) -> Value | None:
    """The exact value of an answer, or None. Never raises; text over 1000 characters has none.

    Source: the forms that GSM8K, MATH and their like use, as math-verify 0.9 reads them; see the module for the rules.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return None
    if _INTEGER.fullmatch(text):
        return Value("number", int(text))
    return _value(text)


@functools.lru_cache(maxsize=4096)
def _value(text: str) -> Value | None:
    clean = _clean(text)
    if clean is None:
        return None
    found = _answer(clean, MAX_DEPTH)
    if found is None and clean[-1:] in ".,;":
        found = _answer(clean[:-1].rstrip(), MAX_DEPTH)
    return found


def show(found: Value) -> str:
    """The one way to write a value, without unit and name: `value(show(v))` is `v` up to these."""
    kind, data = found.kind, found.data
    if kind == "infinity":
        return "\\infty" if data > 0 else "-\\infty"
    if kind == "set":
        return "\\{" + ", ".join(sorted(map(show, data))) + "\\}"
    if kind == "list":
        return ", ".join(sorted(map(show, data)))
    if kind == "sequence":
        return data[0] + ", ".join(map(show, data[1])) + data[2]
    return str(data)


def normal(text: str) -> str:
    r"""Text without what never changes its meaning: outer `$`, space, `\left`, `\,`, `\text`, kinds of fraction.

    Text over 1000 characters is only stripped. Space between letters and digits stays: 1 2 is not 12.
    """
    if not isinstance(text, str):
        return ""
    if len(text) > MAX_CHARACTERS:
        return text.strip()
    clean = _clean(text, strict=False)
    clean = _TIGHT.sub(r"\1", clean).replace(_OPEN, "\\{").replace(_CLOSE, "\\}").replace(_SEP, ",")
    return (clean[:-1] if clean.endswith(".") else clean).strip()


def _clean(text: str, strict: bool = True) -> str | None:
    if any(c in text for c in (_SEP, _OPEN, _CLOSE)):
        return None if strict else text.strip()
    text = text.translate(_SIGNS).strip()
    if strict and not _ALLOWED.fullmatch(text):
        return None
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        text = text[2:-2].strip()
    text = _unwrapped(text)
    if "\\" in text or "~" in text:
        text = text.replace("\\\\", "\\\\ ")  # a line break; what follows is no command
        text = _THOUSANDS.sub(_SEP, text)
        text = _SIZE.sub("", text)
        for name in ("\\dfrac", "\\tfrac", "\\cfrac"):
            text = text.replace(name, "\\frac")
        text = text.replace("\\!", "").replace("\\%", "%").replace("\\$", "$")
        text = text.replace("\\{", _OPEN).replace("\\}", _CLOSE)
        text = text.replace("\\lbrace", _OPEN).replace("\\rbrace", _CLOSE)
        text = _TEXT.sub(_plain, text)
        text = _CIRCLE.sub(" deg ", text)
    elif "{,}" in text:
        text = _THOUSANDS.sub(_SEP, text)
    return _BLANK.sub(" ", text).replace("  ", " ").replace("  ", " ").strip()


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


def _answer(text: str, depth: int) -> Value | None:
    named = _NAMED.fullmatch(text)
    if named:
        found = _answer(named["rest"].strip(), 0 if depth == 0 else depth - 1)
        ok = found and found.kind not in ("word",) and not found.name
        return found._replace(name=named["name"].replace("{", "").replace("}", "")) if ok else None
    found = _item(text, depth)
    if found is not None or "," not in text or depth <= 0:
        return found
    parts = _split(text)
    return _collection("list", parts, depth) if parts and len(parts) > 1 else None


def _item(text: str, depth: int) -> Value | None:
    if not text or depth <= 0:
        return None
    first, last = text[0], text[-1]
    if first in "([{" + _OPEN and last in ")]}" + _CLOSE:
        bracketed = _bracketed(text, depth)
        if bracketed is not None:
            return bracketed
    number = _number(text, depth)
    if number is not None:
        return Value("number", number)
    if "infty" in text or "infinity" in text:
        sign = -1 if first == "-" else 1
        name = (text[1:] if first in "+-" else text).strip()
        return Value("infinity", sign) if name in ("\\infty", "infinity") else None
    if text.casefold() in WORDS:
        return Value("word", text.casefold())
    if text in CHOICES:
        return Value("word", text.upper())
    if text in ("\\emptyset", "\\varnothing"):
        return Value("set", frozenset())
    return _measured(text, depth)


def _bracketed(text: str, depth: int) -> Value | None:
    left, right, inner = text[0], text[-1], text[1:-1].strip()
    if left in "{" + _OPEN:
        if (left, right) not in (("{", "}"), (_OPEN, _CLOSE)):
            return None
        if not inner:
            return Value("set", frozenset()) if left == _OPEN else None
        return _collection("set", _split(inner), depth)
    if right not in ")]" or not inner:
        return None
    parts = _split(inner)
    if parts is None:
        return None
    if len(parts) == 1 and (left, right) == ("(", ")"):
        if len(inner) == 1 and inner.isalpha():
            return Value("word", inner.upper()) if "A" <= inner.upper() <= "J" else None
        return _item(inner, depth - 1)
    found = _collection("sequence", parts, depth)
    return found and Value("sequence", (left, found.data, right))


def _collection(kind: str, parts: list[str] | None, depth: int) -> Value | None:
    items = []
    for part in parts or ():
        # "1,000" in brackets is no thousand, and 000 is no number that anybody writes
        grouped = re.match(r"[-+]?0[0-9]", part)
        item = None if grouped else _answer(part, depth - 1)
        if item is None or item.unit or item.kind in ("list",) or "," in part and item.kind == "number":
            return None
        items.append(item)
    if not items or len({item.name for item in items}) > 1:
        return None
    items = [item._replace(name="") for item in items]
    if kind == "sequence":
        return Value(kind, tuple(items))
    if kind == "list" and len(items) == 1:
        return None
    distinct = frozenset(items)
    if kind == "set" or len(distinct) == len(items):
        return Value("set", distinct)
    return Value("list", tuple(sorted(items, key=show)))


def _split(text: str) -> list[str] | None:
    """Parts between the commas that stand in no bracket; None where brackets do not close."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "([{" + _OPEN:
            depth += 1
        elif c in ")]}" + _CLOSE:
            depth -= 1
            if depth < 0:
                return None
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    parts.append(text[start:].strip())
    return parts if depth == 0 else None


def _number(text: str, depth: int) -> int | Fraction | None:
    match = _DECIMAL.fullmatch(text)
    if match:
        return _decimal(match)
    if depth <= 0:
        return None
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
        return _number(text[1:-1].strip(), depth - 1)
    match = _DECIMAL.fullmatch(text)
    return _decimal(match) if match else None


def _decimal(match: re.Match) -> int | Fraction | None:
    sign, whole, part, e, p, q = match.groups()
    if whole is None and not part:
        return None
    e = int(e or 0) + int(p or q or 0)
    if abs(e) > MAX_EXPONENT:
        return None
    digits = (whole or "").replace(",", "").replace(_SEP, "") + (part or "")
    number = int(digits) if sign != "-" else -int(digits)
    e -= len(part or "")
    if e >= 0:
        return _bounded(number * 10**e)
    return _bounded(Fraction(number, 10**-e))


def _latex_fraction(text: str, depth: int) -> int | Fraction | None:
    match = _FRACTION.match(text)
    if not match:
        return None
    top, i = _argument(text, match.end())
    bottom, i = _argument(text, i)
    if top is None or bottom is None or i != len(text):
        return None
    ratio = _ratio(_number(top, depth - 1), _number(bottom, depth - 1))
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


def _bounded(number: int | Fraction) -> int | Fraction | None:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
        return None
    return number.numerator if number.denominator == 1 else number


def _measured(text: str, depth: int) -> Value | None:
    """A number with a unit: a currency sign before it, or one of UNITS after it."""
    if "$" in text[:2]:
        sign, _, rest = text.partition("$")
        number = _number((sign + rest.strip()).strip(), depth) if sign.strip() in ("", "-", "+") else None
        return None if number is None else Value("number", number, "$")
    start = _UNIT.search(text)
    if not start:
        return None
    unit = UNITS.get(text[start.start() :].rstrip(".").casefold())
    number = _number(text[: start.start()].strip(), depth) if unit else None
    return None if number is None else Value("number", number, unit)


def _same(a: Value, b: Value) -> bool | None:
    if a.name and b.name and a.name != b.name:
        return None
    if a.kind != b.kind:
        kinds = {a.kind, b.kind}
        if "word" in kinds or kinds == {"number", "infinity"}:
            return False
        # a number is no pair; but 1,200 may be a list, and {5} may stand for 5
        pair = a if a.kind == "sequence" else b
        return False if kinds == {"number", "sequence"} and len(pair.data[1]) > 1 else None
    if a.kind != "number" or a.unit == b.unit:
        return a.data == b.data
    if a.unit and b.unit:
        return None
    if a.data == b.data:
        return True
    percent, other = (a, b) if a.unit == "%" else (b, a)
    return None if percent.unit == "%" and percent.data == other.data * 100 else False
