r"""Exact values of expressions: roots, pi, e, i, variables, factorials. Total: an expression or None, in bounded time.

An expression is a quotient of two sums of monomials. A monomial is a rational coefficient times powers of primes with
exponents in (0, 1) (2^{1/2} for sqrt 2), of letters and of pi, e and i with rational exponents. Powers of different
primes below 1 are linearly independent over the rationals, so two sums are equal exactly where their monomials are,
and two quotients where the cross products are. Nothing is a float: 1/2004! is not 1/2006!.

Read: + - * / \cdot \times \div \frac \dfrac \sqrt \sqrt[n] ^ ! \binom ( ) [ ] { }, decimals, letters with subscripts,
Greek letters. Not read, so None: functions (sin, ln), exponents with letters in them, absolute values, two numbers
side by side, words. sqrt(x^2) is not read, as it is not x. Powers of letters are those of positive numbers.
"""

from __future__ import annotations

import functools
import math
import re
import threading
from fractions import Fraction
from typing import Any

MAX_CHARACTERS = 300
MAX_TERMS = 60  # of a sum
MAX_BITS = 30_000  # of a coefficient: 2500! has 25,000
MAX_WORK = 4000  # products of two monomials in one expression, long numbers counted more
MAX_POWER = 24  # of a sum; of a number it is MAX_BITS that counts
MAX_ROOT = 10**12  # what is under a root is factored by trial

Monomial = tuple[tuple[Any, Fraction], ...]  # (prime or name, exponent), sorted
Sum = dict[Monomial, Fraction]

_GREEK = "alpha beta gamma delta epsilon theta lambda mu nu rho sigma tau phi varphi psi omega pi Delta Omega"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)"
    rf"|(?P<name>(?:[A-Za-z]|\\(?:{_GREEK.replace(' ', '|')})(?![A-Za-z]))(?:_(?:[A-Za-z0-9]|\{{[A-Za-z0-9]+\}}))?)"
    r"|(?P<command>\\(?:frac|sqrt|binom|cdot|times|div)(?![A-Za-z]))|(?P<sign>[-+*/^!(){}\[\]\u221a\u03c0\u00b7\u00f7]))"
)
_SPELLED = {"\u221a": "\\sqrt", "\u03c0": "\\pi", "\u00b7": "*", "\u00f7": "/"}
_CLOSES = {"(": ")", "{": "}", "[": "]"}
_WORDS = set(
    "and or not no to of in on at by if is as the for per was are but so cm mm km kg mg ml ft in deg am pm".split()
)
_APART = re.compile(r"[0-9A-Za-z)}]\s+[A-Za-z]{2,}")  # 5 men
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


_work = threading.local()


class _Unread(Exception):
    """The text is no expression that this module reads, or too large a one."""


class Expression:
    """A quotient of two sums. Equal ones compare equal, however they are written; all have one hash, for small sets."""

    __slots__ = ("bottom", "top")

    def __init__(self, top: Sum, bottom: Sum):
        if not bottom:
            raise _Unread
        if len(bottom) == 1:  # a monomial divides
            ((monomial, factor),) = bottom.items()
            top = _times(top, {tuple((a, -e) for a, e in monomial): 1 / factor})
            bottom = {(): Fraction(1)}
        lead = bottom[min(bottom, key=_order)]
        self.top = {m: c / lead for m, c in top.items()}
        self.bottom = {m: c / lead for m, c in bottom.items()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expression):
            return NotImplemented
        try:
            _work.left = MAX_WORK
            return _times(self.top, other.bottom) == _times(other.top, self.bottom)
        except _Unread:
            return False

    def __hash__(self) -> int:
        return 0

    @property
    def names(self) -> frozenset[str]:
        """The letters in it, without pi, e and i."""
        atoms = {a for part in (self.top, self.bottom) for m in part for a, _ in m if isinstance(a, str)}
        return frozenset(atoms - {"\\pi", "e", "i"})

    def minus(self, other: Expression) -> Expression | None:
        """The difference; None where it has too many terms."""
        try:
            _work.left = MAX_WORK
            return _add(self, _minus(other))
        except _Unread:
            return None

    def rational(self) -> int | Fraction | None:
        """Its value where that is a rational number."""
        if not self.top:
            return 0
        monomial = next(iter(self.top))
        ratio = self.top[monomial] / self.bottom[monomial] if monomial in self.bottom else None
        if ratio is None or {m: c * ratio for m, c in self.bottom.items()} != self.top:
            return None
        return ratio.numerator if ratio.denominator == 1 else ratio

    def __str__(self) -> str:
        top = _show(self.top)
        return top if self.bottom == {(): 1} else f"({top})/({_show(self.bottom)})"

    __repr__ = __str__


def constant(value: int | Fraction) -> Expression:
    """A rational number as an expression."""
    return Expression({(): Fraction(value)} if value else {}, {(): Fraction(1)})


def digits(value: int | Fraction) -> str:
    """A rational number in decimal; hexadecimal beyond the length to which Python writes numbers (4300 digits)."""
    try:
        return str(value)
    except ValueError:
        return f"{hex(value.numerator)}/{hex(value.denominator)}"


def expression(text: str) -> Expression | None:
    """The expression that clean text (`latex.clean`) writes, or None."""
    if len(text) > MAX_CHARACTERS or not re.search(r"[0-9A-Za-z\u03c0]", text):
        return None
    # a word is no product: even, Evelyn; and an order of letters (ACB) is none either
    runs = _LETTERS.findall(text)
    if (
        _APART.search(text)
        or any(len(run) > 3 or run.casefold() in _WORDS for run in runs)
        or (runs and not re.search(r"[0-9^+*/\\-]", text))
    ):
        return None
    return _read(text)


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> Expression | None:
    try:
        _work.left = MAX_WORK
        return _Parser(text).whole()
    except (_Unread, RecursionError):
        return None


def same_equation(a: Expression, b: Expression) -> bool:
    """Whether a = 0 and b = 0 are the same equation: sums that differ by a rational factor. Quotients never are."""
    if len(a.bottom) > 1 or len(b.bottom) > 1 or not a.top or not b.top or a.top.keys() != b.top.keys():
        return False
    monomial = next(iter(a.top))
    ratio = a.top[monomial] / b.top[monomial]
    return all(c == ratio * b.top[m] for m, c in a.top.items())


class _Parser:
    def __init__(self, text: str):
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise _Unread
            kind, token = match.lastgroup, match[match.lastgroup]
            if kind == "sign" and token in _SPELLED:
                token = _SPELLED[token]
                kind = {"\\sqrt": "command", "\\pi": "name"}.get(token, "sign")
            if kind == "name" and not token.startswith("\\") and match.end() < len(text) and token in "fghPF":
                if text[match.end()] == "(":  # f(2) is no product
                    raise _Unread
            if kind == "number" and text[match.end() : match.end() + 1] == "_":  # of another base
                raise _Unread
            if token in ("\\cdot", "\\times"):
                kind, token = "sign", "*"
            elif token == "\\div":
                kind, token = "sign", "/"
            self.tokens.append((kind, token.replace("{", "").replace("}", "") if kind == "name" else token))
            at = match.end()
        self.at = self.depth = 0

    def whole(self) -> Expression:
        found = self.sum()
        if self.at < len(self.tokens):
            raise _Unread
        return found

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, sign: str) -> bool:
        if self.peek() == ("sign", sign):
            self.at += 1
            return True
        return False

    def sum(self) -> Expression:
        self.depth += 1
        if self.depth > 20:
            raise _Unread
        negative = self.take("-") or (self.take("+") and False)
        total = self.product()
        if negative:
            total = _minus(total)
        while True:
            if self.take("+"):
                total = _add(total, self.product())
            elif self.take("-"):
                total = _add(total, _minus(self.product()))
            else:
                self.depth -= 1
                return total

    def product(self) -> Expression:
        total, number = self.factor()
        while True:
            kind, token = self.peek()
            if self.take("*"):
                factor, number = self.signed()
                total = _multiply(total, factor)
            elif self.take("/"):
                factor, number = self.signed()
                if self.peek()[0] == "name" or self.peek()[1] in ("(", "{", "\\frac", "\\sqrt"):
                    raise _Unread  # 1/2x: nobody knows
                total = _multiply(total, Expression(factor.bottom, factor.top))
            elif kind == "number" and self.tokens[self.at - 1][0] == "name":
                raise _Unread  # x2 may be a power, an index or a product
            elif kind in ("number", "name", "command") or token in ("(", "{", "["):
                if number and (kind == "number" or token == "\\frac"):
                    raise _Unread  # 1 2, and the mixed number 1 \frac{1}{2}
                factor, number = self.factor()
                total = _multiply(total, factor)
            else:
                return total

    def signed(self) -> tuple[Expression, bool]:
        if self.take("-"):
            factor, number = self.factor()
            return _minus(factor), number
        return self.factor()

    def factor(self) -> tuple[Expression, bool]:
        """A base with its power; and whether it is a number as digits write it."""
        base, number = self.base()
        while self.take("!"):
            n = base.rational()
            if not isinstance(n, int) or not 0 <= n <= 2500:
                raise _Unread
            base, number = _constant(math.factorial(n)), False
        if self.take("^"):
            return _power(base, self.argument(signed=True)), False
        return base, number

    def base(self) -> tuple[Expression, bool]:
        kind, token = self.peek()
        self.at += 1
        if kind == "number":
            if len(token) > 400:
                raise _Unread
            return _constant(Fraction("0" + token if token[0] == "." else token.rstrip("."))), True
        if kind == "name":
            return Expression(
                _times({((token, Fraction(1)),): Fraction(1)}, {(): Fraction(1)}), {(): Fraction(1)}
            ), False
        if token in _CLOSES:
            return self.group(token), False
        if token == "\\frac":
            top, bottom = self.argument(), self.argument()
            return _multiply(top, Expression(bottom.bottom, bottom.top)), False
        if token == "\\binom":
            n, k = self.argument().rational(), self.argument().rational()
            if not (isinstance(n, int) and isinstance(k, int) and 0 <= n <= 2500 and 0 <= k):
                raise _Unread
            return _constant(math.comb(n, k)), False
        if token == "\\sqrt":
            degree: int | Fraction | None = 2
            if self.take("["):
                degree = self.group("[").rational()
            if not isinstance(degree, int) or not 2 <= degree <= 12:
                raise _Unread
            return _power(self.argument(), _constant(Fraction(1, degree))), False
        raise _Unread

    def group(self, opened: str) -> Expression:
        found = self.sum()
        if not self.take(_CLOSES[opened]):
            raise _Unread
        return found

    def argument(self, signed: bool = False) -> Expression:
        """What a command or ^ takes: a group, or one digit or letter, as TeX does; of bare digits all (3^10)."""
        kind, token = self.peek()
        if self.take("{"):
            return self.group("{")
        if self.take("("):
            return self.group("(")
        if signed and self.take("-"):
            return _minus(self.argument())
        if kind == "number" and not signed and len(token) > 1:  # \frac12, \sqrt12
            self.tokens[self.at] = (kind, token[1:])
            return _constant(int(token[0])) if token[0] != "." else self._refuse()
        if kind in ("number", "name"):
            return self.base()[0]
        return self._refuse()

    def _refuse(self) -> Expression:
        raise _Unread


def _constant(value: int | Fraction) -> Expression:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _Unread
    return constant(value)


def _minus(a: Expression) -> Expression:
    return Expression({m: -c for m, c in a.top.items()}, a.bottom)


def _add(a: Expression, b: Expression) -> Expression:
    if a.bottom == b.bottom:
        return Expression(_plus(a.top, b.top), a.bottom)
    return Expression(_plus(_times(a.top, b.bottom), _times(b.top, a.bottom)), _times(a.bottom, b.bottom))


def _multiply(a: Expression, b: Expression) -> Expression:
    return Expression(_times(a.top, b.top), _times(a.bottom, b.bottom))


def _plus(a: Sum, b: Sum) -> Sum:
    total = dict(a)
    for monomial, c in b.items():
        total[monomial] = total.get(monomial, Fraction(0)) + c
    return {m: c for m, c in total.items() if c}


def _times(a: Sum, b: Sum) -> Sum:
    _work.left -= len(a) * len(b)
    if _work.left < 0:
        raise _Unread
    total: Sum = {}
    for m, c in a.items():
        for n, d in b.items():
            monomial, factor = _reduced(m, n)
            product = c * d * factor
            _work.left -= (product.numerator.bit_length() + product.denominator.bit_length()) // 1000
            total[monomial] = total.get(monomial, Fraction(0)) + product
    total = {m: c for m, c in total.items() if c}
    if len(total) > MAX_TERMS:
        raise _Unread
    for c in total.values():
        if max(c.numerator.bit_length(), c.denominator.bit_length()) > MAX_BITS:
            raise _Unread
    return total


def _reduced(m: Monomial, n: Monomial) -> tuple[Monomial, Fraction]:
    """The product of two monomials, and the rational factor that whole powers of primes and of i leave."""
    powers = dict(m)
    for atom, exponent in n:
        powers[atom] = powers.get(atom, Fraction(0)) + exponent
    factor = Fraction(1)
    for atom, exponent in list(powers.items()):
        if isinstance(atom, int) and not 0 <= exponent < 1:
            whole = math.floor(exponent)
            factor *= Fraction(atom) ** whole
            powers[atom] = exponent - whole
        elif atom == "i":
            if exponent.denominator != 1:
                raise _Unread
            factor *= -1 if exponent % 4 in (2, 3) else 1
            powers[atom] = exponent % 2
    return tuple(sorted(((a, e) for a, e in powers.items() if e), key=_name)), factor


def _power(base: Expression, exponent: Expression) -> Expression:
    n = exponent.rational()
    if n is None:
        raise _Unread
    if isinstance(n, Fraction):
        return _root(base, n)
    if n < 0:
        base, n = Expression(base.bottom, base.top), -n
    value = base.rational()
    if value is not None:
        if n * max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise _Unread
        return _constant(Fraction(value) ** n)
    if len(base.top) == 1 and base.bottom == {(): 1}:
        if n > 10_000:
            raise _Unread
    elif n > MAX_POWER:
        raise _Unread
    total, square = _constant(1), base
    while n:  # by squares
        if n & 1:
            total = _multiply(total, square)
        n >>= 1
        if n:
            square = _multiply(square, square)
    return total


def _root(base: Expression, n: Fraction) -> Expression:
    """A monomial to the power of a fraction: of its letters, and of the primes of its coefficient."""
    if len(base.top) != 1 or base.bottom != {(): 1} or abs(n) > 12 or n.denominator > 12:
        raise _Unread
    ((monomial, c),) = base.top.items()
    out: dict[Any, Fraction] = {}
    if c < 0:
        if n != Fraction(1, 2):
            raise _Unread
        out["i"] = Fraction(1)
    for part, sign in ((abs(c.numerator), 1), (c.denominator, -1)):
        for prime, count in _primes(part).items():
            out[prime] = out.get(prime, Fraction(0)) + sign * count * n
    for atom, exponent in monomial:
        if atom == "i" or isinstance(atom, str) and atom not in ("\\pi", "e") and exponent.numerator % 2 == 0:
            raise _Unread  # sqrt(x^2) is |x|
        out[atom] = out.get(atom, Fraction(0)) + exponent * n
    return Expression(_times({tuple(out.items()): Fraction(1)}, {(): Fraction(1)}), {(): Fraction(1)})


def _primes(n: int) -> dict[int, int]:
    if not 0 < n <= MAX_ROOT:
        raise _Unread
    found: dict[int, int] = {}
    p = 2
    while p * p <= n and p < 10_000:
        while n % p == 0:
            found[p] = found.get(p, 0) + 1
            n //= p
        p += 1 if p == 2 else 2
    if n > 1:
        if n > 10**8:  # it may have factors above 10,000
            raise _Unread
        found[n] = found.get(n, 0) + 1
    return found


def _name(power: tuple[Any, Fraction]) -> tuple[bool, Any]:
    return isinstance(power[0], str), power[0]


def _order(monomial: Monomial) -> list:
    return [(isinstance(a, str), str(a), e) for a, e in monomial]


def _show(terms: Sum) -> str:
    out = []
    for monomial in sorted(terms, key=_order, reverse=True):
        c = terms[monomial]
        parts = [f"({a})^{{{e}}}" if isinstance(a, int) else f"{a}" if e == 1 else f"{a}^{{{e}}}" for a, e in monomial]
        if abs(c) != 1 or not parts:
            parts.insert(0, f"({digits(abs(c))})" if c.denominator > 1 else digits(abs(c)))
        out.append(("-" if c < 0 else "+" if out else "") + " * ".join(parts))
    return "".join(out) or "0"
