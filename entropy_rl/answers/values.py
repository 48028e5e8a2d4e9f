r"""Exact values of answers. Total: any text gives a value or None, in bounded time.

What is read (everything else is None):

  numbers     72, +72, -72, 1,000, 1\,000, 72.0, .5, 1e3, 3 \times 10^{3}, 3/4, \frac{3}{4}, \frac34, 1 1/2, 1\frac12
  marks       \$5, 50%, 90^\circ, 5 cm, 5 \text{ cm}, $...$, \(...\), \boxed{...}, \text{...}, \left ( ... \right )
  sets        {1, 2}, \{1, 2\}, 1, 2, "1 and 2", "x = 1 or x = 2": order does not count; \emptyset
  sequences   (1, 2), [1, 2), (-\infty, 3]: order and brackets count, a pair is written as an open interval is
  expressions \sqrt{2}, 2x + 3, \frac{\pi}{2}, 5!, 14 - i: see algebra
  unions      (-\infty, 2) \cup (2, \infty); matrices; equations, up to a rational factor; 3 \pm \sqrt{2}: a set
  orders      x \ge 2, 1 < x \le 2, x < 1 or x > 2: the interval or union of one letter
  words       yes, no, true, false, and a choice A to J, also (B) and \text{(b)}
  of one name x = 5, x \in (1, 2), f(2) = 3, AB = 3, Area = 3: its value; (x, y) = (1, 2) and x = 1, y = 2: the pair, if
              the letters stand in the order of the alphabet; 2 + 3 = 5, x = 6/2 = 3: the number, if all sides are it

Rules that a reader might expect otherwise:

- Nothing is rounded: 0.333 is not 1/3. A tolerance makes near misses right, and a policy that is rewarded finds them.
- A percent sign is a unit, and a unit that one side leaves out does not count, since a question often fixes it: 50% is
  50, 5 cm is 5. 50% is not 0.5, as it would then be both: that is undecided, and so are 0.5% and 0.5 (up to 1 a number
  may be a share) and two different units.
- Only ASCII digits are digits, and only decimal: no 0x10, 1_000 or Arabic-Indic digits, which `int` would take; x² and
  ½ are read, ² alone is not.
- A comma or a space before three digits groups thousands in a number that stands alone; in brackets a comma separates.
- 5m is a product; metres need two letters or \text{m}.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from entropy_rl.answers.algebra import Unread, budget, difference, digits
from entropy_rl.answers.expressions import expression
from entropy_rl.answers.latex import BREAK, CLOSE, MAX_CHARACTERS, OPEN, clean
from entropy_rl.answers.numbers import number
from entropy_rl.answers.units import UNITS

MAX_DEPTH = 6  # of brackets and fractions in each other


class Value(NamedTuple):
    """An exact value; equal values have equal fields but for `unit` and `name` (see exact.equal).

    Attributes:
      kind: number, infinity, word, set, list (a set with repetitions), sequence, expression, union, matrix, equation.
      data: an int, or a Fraction that is none; a sign; a string; a frozenset; a sorted tuple; (open, items, close); an
        algebra.Expression; a frozenset of sequences; a tuple of rows; the Expression that is 0.
      unit: canonical name of a unit, or "".
      name: the variable that was given this value, or "".
    """

    kind: str
    data: Any
    unit: str = ""
    name: str = ""


WORDS = {"yes", "no", "true", "false"}
CHOICES = set("ABCDEFGHIJabcdfghj")  # a bare e or i is a number

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_LETTER = r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|rho|sigma|omega))"
_NAMED = re.compile(
    rf"(?P<name>{_LETTER}"
    r"(?:_[A-Za-z0-9]|_\{[A-Za-z0-9]+\})?"
    r"|[A-Za-z]\([A-Za-z0-9]+\)|[A-Z]{2,3}|\\angle ?[A-Z]{1,3}|[A-Za-z]?[a-z]{3,})"
    r"\s?(?:=|\\in(?![A-Za-z]))\s?(?P<rest>[^=]+)"
)
_UNIT = re.compile(r"(?<![\\A-Za-z])[A-Za-z%$\u00a2\u00a3\u00a5\u20ac\u20b9]")
_MONEY = re.compile(r"([-+]?) ?(US\$|USD|Rs\.?|[$\u00a3\u00a5\u20ac\u20b9])")
_AND = re.compile(r"\s*,?\s(?:and|or)\s(?![^({\[\x02]*[)}\]\x03])\s*")  # between items of a list, not in a bracket
_MATRIX = re.compile(r"\\begin\{([pb]?)matrix\}(?P<rows>.*)\\end\{\1matrix\}")
_ARRAY = re.compile(r"\\begin\{array\} ?\{[clr| ]+\}(?P<rows>.*)\\end\{array\}")
_SKIP = re.compile(rf"{BREAK} ?\[[0-9.]+ ?(?:pt|ex|em|mm)\]")
_TUPLE = re.compile(r"\( ?([A-Za-z](?: ?, ?[A-Za-z])+|r ?, ?\\theta) ?\) ?= ?([(\[].*[)\]])")
_NAME = re.compile(_LETTER)
_ORDER = re.compile(r"(\\[lg]e(?![A-Za-z])|[<>](?!=))")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_FUNCTION = re.compile(r"[A-Za-z]\([A-Za-z]\)")


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
    plain = clean(text)
    if plain is None:
        return None
    budget()
    try:
        found = _answer(plain, MAX_DEPTH, top=True)
        if found is None and plain[-1:] in ".,;":
            found = _answer(plain[:-1].rstrip(), MAX_DEPTH, top=True)
    except Unread:  # too much to compare
        return None
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
    if kind == "union":
        return "\\cup".join(sorted(map(show, data)))
    if kind == "matrix":
        return "\\begin{matrix}" + "\\\\".join("&".join(map(show, row)) for row in data) + "\\end{matrix}"
    if kind == "equation":
        return f"{data}=0"
    if kind == "expression" and str(data) in CHOICES:
        return f"1{data}"  # B alone is a choice
    return digits(data) if kind == "number" else str(data)


def _answer(text: str, depth: int, top: bool = False) -> Value | None:
    named = _NAMED.fullmatch(text)
    if named:
        found = _answer(named["rest"].strip(), 0 if depth == 0 else depth - 1)
        ok = found and found.kind not in ("word",) and not found.name
        name = "y" if _FUNCTION.fullmatch(named["name"]) else named["name"].replace("{", "").replace("}", "")
        if name != "not":
            return found._replace(name=name) if ok else None
    if top and (match := _TUPLE.fullmatch(text)):
        names = [name.strip() for name in match[1].split(",")]
        found = _item(match[2], depth)
        if found and found.kind == "sequence" and names == sorted(set(names)) or names == ["r", "\\theta"]:
            same = found and found.kind == "sequence" and len(found.data[1]) == len(names)
            return found._replace(name=f"({','.join(names)})") if same else None
        return None
    found = _item(text, depth)
    if found is not None or depth <= 0:
        return found
    if top and _ORDER.search(text):
        return _inequalities(text)
    either = " or " in text
    if top and (" and " in text or " or " in text):
        text = _AND.sub(",", text)
    if "," in text or ";" in text:
        parts = _split(text)
        found = _collection("list", parts, depth) if parts and len(parts) > 1 else None
        return None if found and either and found.kind == "sequence" else found  # x = 2 or y = 3 is no pair
    return _equation(text) if top and "=" in text else None


def _item(text: str, depth: int) -> Value | None:
    if not text or depth <= 0:
        return None
    first, last = text[0], text[-1]
    if first in "([" and text[1:].startswith("\\begin{") and (first, last) in (("(", ")"), ("[", "]")):
        return _matrix(text[1:-1].strip(), depth)
    if first in "([{" + OPEN and last in ")]}" + CLOSE:
        bracketed = _bracketed(text, depth)
        if bracketed is not None:
            return bracketed
    exact = number(text, depth)
    if exact is not None:
        return Value("number", exact)
    if "infty" in text or "infinity" in text:
        sign = -1 if first == "-" else 1
        name = (text[1:] if first in "+-" else text).strip()
        if name in ("\\infty", "infinity"):
            return Value("infinity", sign)
        return _union(text, depth) if "\\cup" in text else None
    if text.casefold() in WORDS:
        return Value("word", text.casefold())
    if text in CHOICES:
        return Value("word", text.upper())
    if text in ("\\emptyset", "\\varnothing"):
        return Value("set", frozenset())
    if "\\cup" in text:
        return _union(text, depth)
    if text.startswith("\\begin"):
        return _matrix(text, depth)
    if "\\pm" in text:
        return _plus_minus(text)
    return _measured(text, depth) or _expressed(text)


def _inequalities(text: str) -> Value | None:
    r"""x \ge 2, 1 < x \le 2, "x < 1 or x > 2": what they hold for, as an interval or a union."""
    found = [_inequality(part.strip()) for part in text.split(" or ")]
    if not all(found) or len({one.name for one in found}) > 1:
        return None
    if len(found) == 1:
        return found[0]
    return Value("union", frozenset(one._replace(name="") for one in found), name=found[0].name)


def _inequality(text: str) -> Value | None:
    parts = [part.strip() for part in _ORDER.split(text)]
    if len(parts) == 3 and not _NAME.fullmatch(parts[0]):
        parts = [parts[2], _FLIPPED[parts[1]], parts[0]]
    if len(parts) == 3:
        name, sign, bound = parts
        low, high = (None, (bound, sign)) if sign in ("<", "\\le") else ((bound, sign), None)
    elif len(parts) == 5:
        a, first, name, second, b = parts
        up = first in ("<", "\\le")
        if up != (second in ("<", "\\le")):
            return None
        low, high = ((a, first), (b, second)) if up else ((b, second), (a, first))
    else:
        return None
    if not _NAME.fullmatch(name):
        return None
    ends = []
    for end, sign in ((low, -1), (high, 1)):
        one = _item(end[0], 2) if end else Value("infinity", sign)
        if (
            not one
            or one.kind == "expression"
            and one.data.names
            or one.kind not in ("number", "expression", "infinity")
        ):
            return None
        ends.append(one._replace(unit=""))
    if ends[0].kind == ends[1].kind == "number" and ends[0].data >= ends[1].data:
        return None
    left = "[" if low and low[1] in ("\\le", "\\ge") else "("
    right = "]" if high and high[1] in ("\\le", "\\ge") else ")"
    return Value("sequence", (left, tuple(ends), right), name=name)


def _expressed(text: str, unit: str = "") -> Value | None:
    found = expression(text)
    if found is None:
        return None
    exact = found.rational()
    return Value("expression", found, unit) if exact is None else Value("number", exact, unit)


def _union(text: str, depth: int) -> Value | None:
    parts = [_item(part.strip(), depth - 1) for part in text.split("\\cup")]
    return Value("union", frozenset(parts)) if all(p and p.kind in ("sequence", "set") for p in parts) else None


def _matrix(text: str, depth: int) -> Value | None:
    match = _MATRIX.fullmatch(text) or _ARRAY.fullmatch(text)
    if not match:
        return None
    rows = _SKIP.sub(BREAK, match["rows"]).strip().removesuffix(BREAK).split(BREAK)
    cells = tuple(tuple(_item(cell.strip(), depth - 1) for cell in row.split("&")) for row in rows)
    return Value("matrix", cells) if all(cell and not cell.unit for row in cells for cell in row) else None


def _plus_minus(text: str) -> Value | None:
    parts = re.split(r"\\pm(?![A-Za-z])", text)
    if len(parts) != 2 or parts[0] and "," in parts[0]:
        return None
    both = [_expressed(parts[0] + sign + parts[1]) for sign in "+-"]
    return Value("set", frozenset(both)) if all(both) else None


def _chain(sides: list[str]) -> Value | None:
    """2 + 3 = 5, x = 6/2 = 3: the number, where every side is it."""
    name = sides[0].strip() if _NAME.fullmatch(sides[0].strip()) else ""
    if not name and len(sides) > 2 and (first := expression(sides[0].strip())) and first.names:
        name = " "  # a + b = 1 + 2 = 3
    found = [expression(side.strip()) for side in sides[bool(name) :]]
    if None in found or len(found) < 2:
        return None
    numbers = [one.rational() for one in found]
    return Value("number", numbers[0], name=name.strip()) if None not in numbers and len(set(numbers)) == 1 else None


def _equation(text: str) -> Value | None:
    if value := _chain(text.split("=")):
        return value
    left, _, right = text.rpartition("=")
    if "=" not in left and _NAME.fullmatch(right.strip()) and (side := expression(left.strip())) and not side.names:
        return _answer(f"{right}={left}".strip(), 2)  # 5 = k
    sides = [expression("y" if _FUNCTION.fullmatch(side.strip()) else side) for side in text.split("=")]
    zero = difference(*sides) if len(sides) == 2 and None not in sides else None
    return zero and Value("equation", zero)


def _bracketed(text: str, depth: int) -> Value | None:
    left, right, inner = text[0], text[-1], text[1:-1].strip()
    if left in "{" + OPEN:
        if (left, right) not in (("{", "}"), (OPEN, CLOSE)):
            return None
        if not inner:
            return Value("set", frozenset()) if left == OPEN else None
        if left == "{" and "," not in inner and ";" not in inner:  # a group of TeX
            return _item(inner, depth - 1)
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
    names = [item.name for item in items]
    if len({name.partition("_")[0] for name in names}) == 1 < len(set(names)) == len(names):  # x_1 = 1, x_2 = 2
        names = [names[0].partition("_")[0]] * len(names)
    if kind == "list" and len(set(names)) == len(names) and all(len(name) == 1 for name in names):
        items = [item._replace(name="") for _, item in sorted(zip(names, items), key=lambda pair: pair[0])]
        return Value("sequence", ("(", tuple(items), ")"), name=f"({','.join(sorted(names))})")
    if not items or len(set(names)) > 1:
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
    comma = "," if "," in text else ";"
    for i, c in enumerate(text):
        if c in "([{" + OPEN:
            depth += 1
        elif c in ")]}" + CLOSE:
            depth -= 1
            if depth < 0:
                return None
        elif c == comma and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    parts.append(text[start:].strip())
    return parts if depth == 0 else None


def _measured(text: str, depth: int) -> Value | None:
    """A number with a unit: a currency sign before it, or one of UNITS after it."""
    if money := _MONEY.match(text):
        found = number(money[1] + text[money.end() :].strip(), depth)
        return None if found is None else Value("number", found, UNITS[money[2].rstrip(".").casefold()])
    start = _UNIT.search(text)
    if not start:
        return None
    unit = UNITS.get(text[start.start() :].rstrip(".").casefold())
    if not unit:
        return None
    found = number(text[: start.start()].strip(), depth)
    return _expressed(text[: start.start()].strip(), unit) if found is None else Value("number", found, unit)
