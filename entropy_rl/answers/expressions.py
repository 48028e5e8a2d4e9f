r"""Text to algebra.Expression. Total: an expression or None, in bounded time.

Read: + - * / \cdot \times \div \frac \sqrt \sqrt[n] ^ ! \binom ( ) [ ] { }, decimals, letters with subscripts, Greek
letters. Not read, so None: functions (sin, ln), exponents with letters in them, absolute values, two numbers side by
side, words, what nobody can tell (1/2x, x2) and what is too large.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from entropy_rl.answers.algebra import Expression, Unread, constant, memory, power, symbol

MAX_CHARACTERS = 300
_GREEK = "alpha beta gamma delta epsilon theta lambda mu nu rho sigma tau phi varphi psi omega pi Delta Omega"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)"
    rf"|(?P<name>(?:[A-Za-z]|\\(?:{_GREEK.replace(' ', '|')})(?![A-Za-z]))(?:_(?:[A-Za-z0-9]|\{{[A-Za-z0-9]+\}}))?)"
    r"|(?P<command>\\(?:frac|sqrt|binom|cdot|times|div)(?![A-Za-z]))|(?P<sign>[-+*/^!(){}\[\]]))"
)
_CLOSES = {"(": ")", "{": "}", "[": "]"}
_WORDS = set(
    "and or not no to of in on at by if is as the for per was are but so cm mm km kg mg ml ft in deg am pm".split()
)
_APART = re.compile(r"[0-9A-Za-z)}]\s+[A-Za-z]{2,}")  # 5 men
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


def expression(text: str) -> Expression | None:
    """The expression that clean text (`latex.clean`) writes, or None; from the work that algebra.budget leaves."""
    if len(text) > MAX_CHARACTERS or not re.search("[0-9A-Za-z]", text):
        return None
    # a word is no product: even, Evelyn; and an order of letters (ACB) is none either
    runs = _LETTERS.findall(text)
    if (
        _APART.search(text)
        or any(len(run) > 3 or run.casefold() in _WORDS for run in runs)
        or (runs and not re.search(r"[0-9^+*/\\-]", text))
    ):
        return None
    read = memory()
    if text not in read:
        try:
            read[text] = _Parser(text).whole()
        except (Unread, RecursionError):
            read[text] = None
    return read[text]


class _Parser:
    def __init__(self, text: str):
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise Unread
            kind, token = match.lastgroup, match[match.lastgroup]
            if kind == "name" and not token.startswith("\\") and match.end() < len(text) and token in "fghPF":
                if text[match.end()] == "(":  # f(2) is no product
                    raise Unread
            if kind == "number" and text[match.end() : match.end() + 1] == "_":  # of another base
                raise Unread
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
            raise Unread
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
            raise Unread
        negative = self.take("-") or (self.take("+") and False)
        total = self.product()
        if negative:
            total = -total
        while True:
            if self.take("+"):
                total = total + self.product()
            elif self.take("-"):
                total = total - self.product()
            else:
                self.depth -= 1
                return total

    def product(self) -> Expression:
        total, number = self.factor()
        while True:
            kind, token = self.peek()
            if self.take("*"):
                factor, number = self.signed()
                total = total * factor
            elif self.take("/"):
                factor, number = self.signed()
                if self.peek()[0] == "name" or self.peek()[1] in ("(", "{", "\\frac", "\\sqrt"):
                    raise Unread  # 1/2x: nobody knows
                total = total / factor
            elif kind == "number" and self.tokens[self.at - 1][0] == "name":
                raise Unread  # x2 may be a power, an index or a product
            elif kind in ("number", "name", "command") or token in ("(", "{", "["):
                if number and (kind == "number" or token == "\\frac"):
                    raise Unread  # 1 2, and the mixed number 1 \frac{1}{2}
                factor, number = self.factor()
                total = total * factor
            else:
                return total

    def signed(self) -> tuple[Expression, bool]:
        if self.take("-"):
            factor, number = self.factor()
            return -factor, number
        return self.factor()

    def factor(self) -> tuple[Expression, bool]:
        """A base with its power; and whether it is a number as digits write it."""
        base, number = self.base()
        while self.take("!"):
            n = base.rational()
            if not isinstance(n, int) or not 0 <= n <= 2500:
                raise Unread
            base, number = constant(math.factorial(n)), False
        if self.take("^"):
            return power(base, self.argument(signed=True)), False
        return base, number

    def base(self) -> tuple[Expression, bool]:
        kind, token = self.peek()
        self.at += 1
        if kind == "number":
            if len(token) > 400:
                raise Unread
            return constant(Fraction("0" + token if token[0] == "." else token.rstrip("."))), True
        if kind == "name":
            return symbol(token), False
        if token in _CLOSES:
            return self.group(token), False
        if token == "\\frac":
            top, bottom = self.argument(), self.argument()
            return top / bottom, False
        if token == "\\binom":
            n, k = self.argument().rational(), self.argument().rational()
            if not (isinstance(n, int) and isinstance(k, int) and 0 <= n <= 2500 and 0 <= k):
                raise Unread
            return constant(math.comb(n, k)), False
        if token == "\\sqrt":
            degree: int | Fraction | None = 2
            if self.take("["):
                degree = self.group("[").rational()
            if not isinstance(degree, int) or not 2 <= degree <= 12:
                raise Unread
            return power(self.argument(), constant(Fraction(1, degree))), False
        raise Unread

    def group(self, opened: str) -> Expression:
        found = self.sum()
        if not self.take(_CLOSES[opened]):
            raise Unread
        return found

    def argument(self, signed: bool = False) -> Expression:
        """What a command or ^ takes: a group, or one digit or letter, as TeX does; of bare digits all (3^10)."""
        kind, token = self.peek()
        if self.take("{"):
            return self.group("{")
        if self.take("("):
            return self.group("(")
        if signed and self.take("-"):
            return -self.argument()
        if kind == "number" and not signed and len(token) > 1:  # \frac12, \sqrt12
            self.tokens[self.at] = (kind, token[1:])
            if token[0] != ".":
                return constant(int(token[0]))
        elif kind in ("number", "name"):
            return self.base()[0]
        raise Unread
