r"""Exact values of expressions: roots, pi, e, i, variables, factorials. Total: an expression or None, in bounded time.

An expression is a quotient of two sums of monomials. A monomial is a rational coefficient times powers of primes with
exponents in (0, 1) (2^{1/2} for sqrt 2), of letters and of pi, e and i with rational exponents. Powers of different
primes below 1 are linearly independent over the rationals, so two sums are equal exactly where their monomials are,
and two quotients where the cross products are. Nothing is a float: 1/2004! is not 1/2006!.

Powers of letters are those of positive numbers; the square root of a letter's even power is not taken (it is |x|).
"""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from typing import Any

MAX_TERMS = 60  # of a sum
MAX_BITS = 30_000  # of a coefficient: 2500! has 25,000
MAX_WORK = 1000  # products of two monomials in one answer or comparison, long numbers counted more
MAX_POWER = 24  # of a sum; of a number it is MAX_BITS that counts
MAX_ROOT = 10**12  # what is under a root is factored by trial

Monomial = tuple[tuple[Any, Fraction], ...]  # (prime or name, exponent), sorted
Sum = dict[Monomial, Fraction]


class _Work(threading.local):
    left = MAX_WORK

    def __init__(self):
        self.read: dict[str, Expression | None] = {}


_work = _Work()


def budget() -> dict[str, Expression | None]:
    """A new answer, or comparison, begins: MAX_WORK is left for it, in this thread, and nothing is read yet."""
    _work.left, _work.read = MAX_WORK, {}
    return _work.read


def memory() -> dict[str, Expression | None]:
    """What was read since `budget`, by text: an answer is often tried in several ways."""
    return _work.read


class Unread(Exception):
    """An expression that is not read, too large, or divided by 0."""


class Expression:
    """A quotient of two sums. Equal ones compare equal, however they are written; all have one hash, for small sets."""

    __slots__ = ("bottom", "top")

    def __init__(self, top: Sum, bottom: Sum):
        if not bottom:
            raise Unread
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
        if self.bottom == other.bottom:
            return self.top == other.top
        return _times(self.top, other.bottom) == _times(other.top, self.bottom)  # Unread, where that is too much

    def __hash__(self) -> int:
        return 0

    @property
    def names(self) -> frozenset[str]:
        """The letters in it, without pi, e and i."""
        atoms = {a for part in (self.top, self.bottom) for m in part for a, _ in m if isinstance(a, str)}
        return frozenset(atoms - {"\\pi", "e", "i"})

    def __neg__(self) -> Expression:
        return Expression({m: -c for m, c in self.top.items()}, self.bottom)

    def __add__(self, other: Expression) -> Expression:
        if self.bottom == other.bottom:
            return Expression(_plus(self.top, other.top), self.bottom)
        top = _plus(_times(self.top, other.bottom), _times(other.top, self.bottom))
        return Expression(top, _times(self.bottom, other.bottom))

    def __sub__(self, other: Expression) -> Expression:
        return self + -other

    def __mul__(self, other: Expression) -> Expression:
        return Expression(_times(self.top, other.top), _times(self.bottom, other.bottom))

    def __truediv__(self, other: Expression) -> Expression:
        return self * Expression(other.bottom, other.top)

    def rational(self) -> int | Fraction | None:
        """Its value where that is a rational number."""
        if not self.top:
            return 0
        monomial = next(iter(self.top))
        ratio = self.top[monomial] / self.bottom[monomial] if monomial in self.bottom else None
        if ratio is None or {m: c * ratio for m, c in self.bottom.items()} != self.top:
            return None
        return ratio.numerator if ratio.denominator == 1 else ratio

    def near(self, decimal: str) -> bool:
        """Whether a decimal such as 1.414 is its value but for two units of the last digit, by floats."""
        known = {"\\pi": math.pi, "e": math.e}
        try:
            top, bottom = (
                sum(float(c) * math.prod(float(known.get(a, a)) ** float(e) for a, e in m) for m, c in part.items())
                for part in (self.top, self.bottom)
            )
            return abs(top / bottom - float(decimal)) <= 2 * 0.1 ** len(decimal.partition(".")[2])
        except (ValueError, ArithmeticError):  # a letter; too large
            return False

    def __str__(self) -> str:
        top = _show(self.top)
        return top if self.bottom == {(): 1} else f"({top})/({_show(self.bottom)})"

    __repr__ = __str__


def constant(value: int | Fraction) -> Expression:
    """A rational number as an expression.

    Raises:
      Unread: it has more than MAX_BITS.
    """
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    _work.left -= bits // 500
    if bits > MAX_BITS or _work.left < 0:
        raise Unread
    return Expression({(): Fraction(value)} if value else {}, {(): Fraction(1)})


def symbol(name: str) -> Expression:
    """A letter; "i", "e" and "\\pi" are those numbers."""
    return Expression({((name, Fraction(1)),): Fraction(1)}, {(): Fraction(1)})


def digits(value: int | Fraction) -> str:
    """A rational number in decimal; hexadecimal beyond the length to which Python writes numbers (4300 digits)."""
    try:
        return str(value)
    except ValueError:
        return f"{hex(value.numerator)}/{hex(value.denominator)}"


def difference(a: Expression, b: Expression) -> Expression | None:
    """a - b; None where it has too many terms."""
    try:
        return a - b
    except Unread:
        return None


def same_equation(a: Expression, b: Expression) -> bool:
    """Whether a = 0 and b = 0 are the same equation: sums that differ by a rational factor. Quotients never are."""
    if len(a.bottom) > 1 or len(b.bottom) > 1 or not a.top or not b.top or a.top.keys() != b.top.keys():
        return False
    monomial = next(iter(a.top))
    ratio = a.top[monomial] / b.top[monomial]
    return all(c == ratio * b.top[m] for m, c in a.top.items())


def _plus(a: Sum, b: Sum) -> Sum:
    total = dict(a)
    for monomial, c in b.items():
        total[monomial] = total.get(monomial, Fraction(0)) + c
    return {m: c for m, c in total.items() if c}


def _times(a: Sum, b: Sum) -> Sum:
    _work.left -= len(a) * len(b)
    if _work.left < 0:
        raise Unread
    total: Sum = {}
    for m, c in a.items():
        for n, d in b.items():
            monomial, factor = _reduced(m, n)
            product = c * d * factor
            _work.left -= (product.numerator.bit_length() + product.denominator.bit_length()) // 1000
            total[monomial] = total.get(monomial, Fraction(0)) + product
    total = {m: c for m, c in total.items() if c}
    if len(total) > MAX_TERMS:
        raise Unread
    for c in total.values():
        if max(c.numerator.bit_length(), c.denominator.bit_length()) > MAX_BITS:
            raise Unread
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
                raise Unread
            factor *= -1 if exponent % 4 in (2, 3) else 1
            powers[atom] = exponent % 2
    return tuple(sorted(((a, e) for a, e in powers.items() if e), key=_name)), factor


def power(base: Expression, exponent: Expression) -> Expression:
    """base ** exponent, for a rational exponent.

    Raises:
      Unread: an exponent with letters in it; a root of a sum, or of a letter's even power; it is too large.
    """
    n = exponent.rational()
    if n is None:
        raise Unread
    if isinstance(n, Fraction):
        return _root(base, n)
    if n < 0:
        base, n = Expression(base.bottom, base.top), -n
    value = base.rational()
    if value is not None:
        if n * max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise Unread
        return constant(Fraction(value) ** n)
    if len(base.top) == 1 and base.bottom == {(): 1}:
        if n > 10_000:
            raise Unread
    elif n > MAX_POWER:
        raise Unread
    total, square = constant(1), base
    while n:  # by squares
        if n & 1:
            total = total * square
        n >>= 1
        if n:
            square = square * square
    return total


def _root(base: Expression, n: Fraction) -> Expression:
    """A monomial to the power of a fraction: of its letters, and of the primes of its coefficient."""
    if len(base.top) != 1 or base.bottom != {(): 1} or abs(n) > 12 or n.denominator > 12:
        raise Unread
    ((monomial, c),) = base.top.items()
    out: dict[Any, Fraction] = {}
    if c < 0:
        if n != Fraction(1, 2):
            raise Unread
        out["i"] = Fraction(1)
    for part, sign in ((abs(c.numerator), 1), (c.denominator, -1)):
        for prime, count in _primes(part).items():
            out[prime] = out.get(prime, Fraction(0)) + sign * count * n
    for atom, exponent in monomial:
        if atom == "i" or isinstance(atom, str) and atom not in ("\\pi", "e") and exponent.numerator % 2 == 0:
            raise Unread  # sqrt(x^2) is |x|
        out[atom] = out.get(atom, Fraction(0)) + exponent * n
    return Expression(_times({tuple(out.items()): Fraction(1)}, {(): Fraction(1)}), {(): Fraction(1)})


def _primes(n: int) -> dict[int, int]:
    if not 0 < n <= MAX_ROOT:
        raise Unread
    found: dict[int, int] = {}
    p = 2
    while p * p <= n and p < 10_000:
        while n % p == 0:
            found[p] = found.get(p, 0) + 1
            n //= p
        p += 1 if p == 2 else 2
    if n > 1:
        if n > 10**8:  # it may have factors above 10,000
            raise Unread
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
