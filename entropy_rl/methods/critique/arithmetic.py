"""False equations in any text: the first line with an `a op b = c` that does not hold, and what is right.

Read: + - * / and their signs (also \\times, \\cdot, \\div, a spaced x), brackets, \\frac, decimals, separators of
thousands, $, %, a unit after a number, chains (3 + 4 = 7 = ...). Exact, in rationals. An equation is called false only
where every way to read it is false, and where nothing hints at another meaning. Ways: a dash at its beginning as a
sign and as a bullet; 2,500 and 2.500 by either convention; a / b * c from the left and as a / (b c); % as hundredths
and as a unit; a number that is rounded or cut off; 3 + 4 = 7 * 2 = 14 as 3 + 4 = 7. Hints, and then nothing is said:
two units, words for collections (dozen, packs), a quotient that is a factor between units (60, 1000), powers, letters,
factorials, clocks, dates, ranges (3-5), a difference named by its size (20 - 25 = 5 short), moduli, words such as
about, not, wrong or suppose in the line.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from fractions import Fraction

MAX_LINES, MAX_LINE = 1000, 1000  # lines that are read, and characters of one that is; a longer one is not looked at
MAX_TOKENS, MAX_DIGITS = 64, 30  # of a side; of a number
EXACT = 60  # decimals
FLOAT = 12  # decimals after which a computer's 0.1 + 0.2 = 0.30000000000000004 may differ

_OPS = {"+": "+", "-": "-", "*": "*", "/": "/", "\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u00b7": "*"}
_OPS |= {"\u00f7": "/", "\\times": "*", "\\cdot": "*", "\\div": "/"}
_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)*|\.[0-9]+"
_TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<number>{_NUMBER})|(?P<word>[A-Za-z]+)"
    r"|(?P<frac>\\frac\{\s*-?[0-9]+\s*\}\{\s*[0-9]+\s*\})|(?P<op>\\(?:times|cdot|div)(?![A-Za-z])|[-+*/\u2212\u2013"
    r"\u00d7\u00b7\u00f7])|(?P<open>\()|(?P<close>\))|(?P<percent>%)|(?P<dollar>\$)|(?P<other>.)",
    re.DOTALL,
)
_EQUALS = re.compile(r"(?P<no>[!<>:=~\u2248]=+>?|=[=>]+)|=")
_MARK = re.compile(r"\s*(?:[-*\u2022]\s+)?(?:\(?(?:[Ss]tep\s+)?[0-9]{1,3}[.):]\s+)?")  # of a list
_REPLACED = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:boxed|text|mathrm|mathbf)\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:left|right)(?=[()])|\\[!,;]|&"), ""),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9]{3})"), ","),
    (re.compile(r"\\\(|\\\)|\\\[|\\\]|\\\\|\$\$|<<|>>|\\quad"), " ; "),
    (re.compile(r"(?<!\\)\$(?=[^$]*=)([^$]+)(?<!\\)\$(?![0-9])"), r" ; \1 ; "),  # a formula, not money
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"(?<![0-9)])\*\*|\*\*(?!\s*[0-9(.])|`"), " "),  # bold; 2**3 stays, and is not read
)
# A line with one of these says something else than that its equations hold.
_HINTS = set(
    "mod pmod modulo base binary octal hex am pm clock carry borrow digit digits vector matrix xor define defined "
    "operation operator about approximately approx roughly around nearly almost round rounded rounding nearest "
    "estimate estimated not isn aren doesn cannot can wrong incorrect false mistake error suppose assume assuming "
    "if would should could might may instead wait try trying guess maybe hmm versus vs ratio odds score bits bytes log "
    "sqrt remainder no fails impossible contradiction claim claims goal target want earlier previously originally "
    "inclusive tens ones january february march april june july august september october november december".split()
)
_BEFORE = set(
    "is are was were be has have had so then thus therefore hence gives give get gets got we i he she they it you "
    "equals total answer result sum product difference makes make made calculate compute calculating computing that "
    "first next now because since find finally add subtract multiply divide spends spent earns earned paid pays costs "
    "cost sold sells bought buys needs used uses there left also means calculation".split()
)
_COLLECTIONS = set(
    "dozen pair couple set pack packet box group bag case half third quarter fifth tenth hundred thousand million "
    "billion trillion ten k m b bn mn score gross trio team stack row column bundle batch carton crate roll deck "
    "times plus minus over divided multiplied squared cubed choose factorial to point and or x e pi r of by".split()
)
_CONVERTED = set(
    "second sec minute min hour hr day week month year inch foot feet ft yard mile meter metre centimeter cm "
    "millimeter mm kilometer km gram kilogram kg milligram mg ounce oz pound lb ton liter litre milliliter ml gallon "
    "quart pint cup cent penny nickel dime dollar euro degree $".split()
)
_RANGE = re.compile(r"([0-9]+)[-\u2013]([0-9]+)")  # pages 3-5
_DATE = re.compile(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}")
_FACTORS = {2, 3, 4, 5, 7, 8, 10, 12, 14, 16, 20, 24, 25, 28, 30, 31, 36, 50, 52, 60, 100, 128, 144, 168, 360, 365, 366}
_FACTORS |= {1000, 1440, 1760, 2000, 3600, 5280, 10000, 86400, 100000, 1000000}


@dataclasses.dataclass(frozen=True)
class Found:
    """A false equation: the number of its line among those given, the side with the operation, and its value."""

    line: int
    text: str
    value: str


def first_false(lines: list[str]) -> tuple[Found | None, int]:
    """(the first false equation in lines, None where none is found; how many that hold stand before it).

    Total, in time linear in the text.
    """
    true = 0
    for i, line in enumerate(lines[:MAX_LINES]):
        for text, value, holds in equations(line):
            if not holds:
                return Found(i, text, value), true
            true += 1
    return None, true


def equations(line: str) -> Iterator[tuple[str, str, bool]]:
    """(the side with the operation, its value, whether it holds) of those equations in a line that can be judged."""
    if len(line) > MAX_LINE or "=" not in line or "?" in line or "\u2248" in line or "\u2261" in line:
        return
    for pattern, new in _REPLACED:
        line = pattern.sub(new, line)
    mark = _MARK.match(line)[0]
    line = line[len(mark) :]
    if _HINTS & {w.lower() for w in re.findall(r"[A-Za-z]+", line)}:
        return
    at, parts = 0, []  # text before an equals sign, and whether that sign is one
    for sign in _EQUALS.finditer(line):
        parts.append((line[at : sign.start()], sign["no"] is None))
        at = sign.end()
    parts.append((line[at:], False))
    tokens = [_tokens(text) for text, _ in parts]
    for i, (_, equals) in enumerate(parts[:-1]):
        left, right = _last(tokens[i]), _first(tokens[i + 1])
        if not equals or not (judged := _judge(left, *right)):
            continue
        if not judged[2] and i == 0 and mark.strip() == "-" and left == tokens[0]:  # the mark of a list can be a sign
            signed = _judge([("op", "-", True), *left], *right)
            judged = signed if signed is None or signed[2] else judged
        if judged:
            yield judged


def plant(line: str, off: int) -> str | None:
    """A line with its last result wrong by `off`, where all its equations hold and that one's falsity is plain."""
    results = list(re.finditer(r"(?<==)(\s*)([0-9]{1,9})(?![0-9.,]*[0-9])", line))
    if not results or not all(holds for _, _, holds in equations(line)):
        return None
    at = results[-1]
    new = f"{line[: at.start(2)]}{int(at[2]) + off}{line[at.end() :]}"
    return new if int(at[2]) + off >= 0 and first_false([new])[0] else None


Token = tuple[str, str, bool]  # kind, text, whether space stands before it


def _tokens(text: str) -> list[Token]:
    out: list[Token] = []
    space = True
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            out.append((match.lastgroup, match[0], space))
        space = match.lastgroup == "space"
    return out


def _last(tokens: list[Token]) -> list[Token]:
    """The expression that a text ends with; [] where it cannot be told from what stands before it."""
    i, depth = len(tokens), 0
    while i and len(tokens) - i <= MAX_TOKENS:
        kind, text, _ = tokens[i - 1]
        after = tokens[i][0] if i < len(tokens) else "end"
        if kind == "word" and text == "x" and after in ("number", "open", "dollar") and tokens[i][2]:
            pass
        elif kind == "word":  # a unit: after a number, before an operation
            if not (after in ("op", "close", "end") and i > 1 and tokens[i - 2][0] == "number" and tokens[i - 1][2]):
                break
        elif kind == "close":
            depth += 1
        elif kind == "open":
            if not depth:
                break
            depth -= 1
        elif kind == "other":
            break
        i -= 1
    found = tokens[i:]
    if not i:
        return found
    kind, text, space = tokens[i - 1]
    if text == "." and found and found[0][0] == "op":  # 10 - 9 - ... - 2 - 1
        return []
    apart = not found or found[0][2]
    safe = kind == "word" and text.lower() in _BEFORE or kind == "open" and space or kind == "other" and text in ":;,.!"
    return found if safe and (apart or kind == "open") else []


def _first(tokens: list[Token]) -> tuple[list[Token], list[Token]]:
    """(the number that a text begins with, the whole expression); ([], []) where what follows makes another of it."""
    i, depth, number = 0, 0, None
    while i < len(tokens) and i <= MAX_TOKENS:
        kind, text, space = tokens[i]
        before = tokens[i - 1][0] if i else "op"
        if kind == "word" and not (text == "x" and before in ("number", "close") and space):
            if before != "number" or not space:
                break
            i += 1  # the unit, or any word: no operation goes on behind it but in a sum of things
            if i < len(tokens) and tokens[i][0] == "op":
                continue
            break
        if kind == "other" or kind == "close" and not depth:
            break
        depth += (kind == "open") - (kind == "close")
        if number is None and before in ("number", "frac", "close") and kind in ("op", "word"):
            number = tokens[:i]
        i += 1
    found, after = tokens[:i], tokens[i : i + 2]
    if after:
        kind, text, space = after[0]
        ends = kind == "other" and text in ".,;:" and (len(after) == 1 or after[1][2])
        if not (ends or kind == "close" or kind == "word" and space):
            return [], []
    return number or found, found


def _judge(left: list[Token], number: list[Token], right: list[Token]) -> tuple[str, str, bool] | None:
    """What `equations` gives of one; None where it cannot be judged."""
    if not any(kind == "op" or kind == "frac" or text == "x" for kind, text, _ in left[1:]) or not right:
        return None
    between = _RANGE.fullmatch(_text(left))
    if between and int(between[1]) < int(between[2]) or _DATE.fullmatch(_text(left)):
        return None
    words = [_singular(text) for kind, text, _ in (*left, *right) if kind == "word" and text != "x"]
    units = {*words, *("$" for kind, _, _ in (*left, *right) if kind == "dollar")}
    if units & _COLLECTIONS or any(len(w) == 1 for w in words) or len(units) > 1:
        return None
    value = None
    starts = [left] + ([left[1:]] if left[0][1] in "-\u2212\u2013" else [])
    percent = any(kind == "percent" for kind, _, _ in (*left, *right))
    sums = any(_OPS.get(text) in ("+", "-") for kind, text, _ in left if kind == "op")
    if percent and sums and not all(_has_percent(left, i) for i, t in enumerate(left) if t[0] == "number"):
        return None  # 100 - 20 %
    conventions = (False, True) if any(_by_comma(text) for _, text, _ in (*left, *right)) else (False,)
    ways = itertools.product(conventions, (False, True), (True, False) if percent else (True,))
    for comma, late, hundredths in ways:
        how = {"comma": comma, "late": late}
        for start in starts:
            a = _value(start, **how, hundredths=hundredths)
            if a is None:
                continue
            value = a if value is None else value
            for side in (number, right):
                for of_right in {hundredths, not hundredths} if percent else {hundredths}:
                    b = _value(side, **how, hundredths=of_right)
                    if b is None:
                        return None
                    places = _decimals(side, comma) + 2 * (of_right and any(t[0] == "percent" for t in side))
                    if abs(a - b) < Fraction(1, 10**places):
                        return _text(left), _say(value), True
                    if a == -b and len(right) > 1:  # 20 - 25 = 5 short, 10 - 12 = (2)
                        return None
                    if units and (b and a and {abs(a / b), abs(b / a)} & _FACTORS):
                        return None
    counted = sum(kind in ("word", "dollar") and text != "x" for kind, text, _ in (*left, *right))
    numbers = sum(kind in ("number", "frac") for kind, _, _ in (*left, *right))
    if value is None or units & _CONVERTED and sums and counted < numbers:
        return None
    if not sums and units & _CONVERTED and units != {"$"}:
        return None  # 5 hours * 12 = 60 dollars, left unsaid
    return _text(left), _say(value), False


def _singular(word: str) -> str:
    word = word.lower()
    if word.endswith("xes"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 2 else word


def _has_percent(tokens: list[Token], i: int) -> bool:
    return i + 1 < len(tokens) and tokens[i + 1][0] == "percent"


def _by_comma(text: str) -> bool:
    """Whether a number is another one where the comma is the decimal point."""
    return bool(re.fullmatch(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[1-9][0-9]{0,2},[0-9]{3}", text))


def _decimals(tokens: list[Token], comma: bool) -> int:
    """Fewest decimals of the numbers in a side, which it may be rounded to; EXACT where it is a fraction."""
    kinds = [kind for kind, _, _ in tokens if kind not in ("word", "dollar", "percent")]
    if "frac" in kinds or kinds == ["number", "op", "number"] and any(_OPS.get(text) == "/" for _, text, _ in tokens):
        return EXACT
    return min((_places(text, comma) for kind, text, _ in tokens if kind == "number"), default=EXACT)


def _places(text: str, comma: bool) -> int:
    point = ("," if "," in text else "") if comma and _by_comma(text) else "."
    return min(len(text.partition(point)[2]), FLOAT) if point else 0


def _number(text: str, comma: bool) -> Fraction | None:
    if len(text) > MAX_DIGITS or re.match(r"0[0-9,]", text):
        return None
    if comma and _by_comma(text):  # 2,500 is 2.5, and 2.500 is 2500
        return Fraction(text.replace(".", "").replace(",", "."))
    text = text.replace(",", "")
    return Fraction(f"0{text}") if text.count(".") < 2 else None


def _value(tokens: list[Token], *, comma: bool, late: bool, hundredths: bool) -> Fraction | None:
    """The value of an expression; None for what is none."""
    at = 0

    def peek() -> tuple[str, str]:
        if at >= len(tokens):
            return "end", ""
        kind, text, _ = tokens[at]
        if kind == "word" and text == "x":
            return "op", "*"
        return kind, _OPS.get(text, text) if kind == "op" else text

    def total(depth: int) -> Fraction:
        nonlocal at
        x = product(depth)
        while (sign := peek()) in (("op", "+"), ("op", "-")):
            at += 1
            y = product(depth)
            x = x + y if sign[1] == "+" else x - y
        return x

    def product(depth: int) -> Fraction:
        nonlocal at
        x = factor(depth)
        while (sign := peek()) in (("op", "*"), ("op", "/")):
            at += 1
            if late and sign[1] == "/":
                return x / product(depth)
            y = factor(depth)
            x = x * y if sign[1] == "*" else x / y
        return x

    def factor(depth: int) -> Fraction:
        nonlocal at
        if peek() == ("op", "-"):
            at += 1
            if peek()[0] == "op":
                raise ValueError
            return -factor(depth)
        if peek()[0] == "dollar":
            at += 1
        kind, text = peek()
        at += 1
        if kind == "open" and depth < 10:
            x = total(depth + 1)
            if peek()[0] != "close":
                raise ValueError
            at += 1
        elif kind == "frac":
            x = Fraction(*map(int, re.findall("-?[0-9]+", text))) if len(text) < 2 * MAX_DIGITS else None
        elif kind == "number":
            x = _number(text, comma)
        else:
            raise ValueError
        if x is None:
            raise ValueError
        if peek()[0] == "percent":
            at += 1
            x = x / 100 if hundredths else x
        if peek()[0] in ("dollar", "word"):
            at += 1
        return x

    try:
        x = total(0)
    except (ValueError, ZeroDivisionError):
        return None
    return x if at == len(tokens) else None


def _text(tokens: list[Token]) -> str:
    return "".join(f" {text}" if space else text for _, text, space in tokens).strip()


def _say(x: Fraction) -> str:
    """A whole number, a decimal that ends, or a fraction."""
    places = next((n for n in range(13) if 10**n % x.denominator == 0), None)
    if places is None:
        return f"{x.numerator}/{x.denominator}"
    digits = f"{abs(x.numerator) * 10**places // x.denominator:0{places + 1}d}"
    whole = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{whole}" if x < 0 else whole
