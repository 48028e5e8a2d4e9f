r"""Arithmetic expressions as trees: read from text with + - * / ( ) \frac, written with no bracket too many.

    (19 + 36) * 7 / 5    ->    Tree(77, "/", Tree(385, "*", ...), Tree(5))

Values are exact rationals; nothing is evaluated as code. A tree keeps the order in which numbers are used, which a step
of Countdown is judged by and the canonical forms of algebra.py forget.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

from entropy_rl.answers.algebra import Unread

MAX_TOKENS = 80  # of an expression
MAX_DEPTH = 12  # of brackets
MAX_DIGITS = 12  # of a number

_TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]+)?)|(\\frac(?=\s*\{))|([-+*/(){}]))")


@dataclasses.dataclass(frozen=True)
class Tree:
    """An expression: a number (`op` ""), the negative of `left` ("neg"), or `left` op `right`.

    Attributes:
      value: its exact value; None where something is divided by 0.
      op: "", "neg", "+", "-", "*" or "/".
      left, right: operands; None where there are none.
    """

    value: Fraction | None
    op: str = ""
    left: Tree | None = None
    right: Tree | None = None

    def __str__(self) -> str:
        """With the brackets that it takes to read this very tree."""
        return _show(self, 0)


def combine(op: str, a: Tree, b: Tree) -> Tree:
    """The tree `a op b`."""
    x, y = a.value, b.value
    if x is None or y is None or op == "/" and y == 0:
        return Tree(None, op, a, b)
    return Tree(x + y if op == "+" else x - y if op == "-" else x * y if op == "*" else x / y, op, a, b)


def number(value: int | Fraction) -> Tree:
    """The tree of a number."""
    return Tree(Fraction(value))


def steps(tree: Tree) -> list[str]:
    """The lines `a op b = c` of an expression without signs, operands before what uses them."""
    if not tree.op:
        return []
    shown = [_operand(x.value) for x in (tree.left, tree.right)]
    return [*steps(tree.left), *steps(tree.right), f"{shown[0]} {tree.op} {shown[1]} = {tree.value}"]


def _operand(value: Fraction) -> str:
    return str(value) if value >= 0 and value.denominator == 1 else f"({value})"


def _show(tree: Tree, above: int) -> str:
    if not tree.op:
        return str(tree.value)
    if tree.op == "neg":
        return f"(-{_show(tree.left, 3)})"
    rank = 1 if tree.op in "+-" else 2
    text = f"{_show(tree.left, rank)} {tree.op} {_show(tree.right, rank + 1)}"
    return f"({text})" if rank < above else text


def value(text: str) -> Fraction:
    """A number such as 7, -3, 7/2, (-7/2), 3.5."""
    tree = parse(text)
    inner = tree.left if tree.op == "neg" else tree
    if tree.value is None or inner.op and not (inner.op == "/" and not inner.left.op and not inner.right.op):
        raise Unread
    return tree.value


def parse(text: str) -> Tree:
    """The tree of an expression; Unread for any other text."""
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or len(tokens) >= MAX_TOKENS or len(match[0].strip()) > MAX_DIGITS:
            raise Unread
        tokens.append(match[0].strip())
        at = match.end()
    tokens.reverse()  # the next one is the last
    tree = _sum(tokens, 0)
    if tokens:
        raise Unread
    return tree


def _sum(tokens: list[str], depth: int) -> Tree:
    if depth > MAX_DEPTH:
        raise Unread
    tree = _product(tokens, depth)
    while tokens and tokens[-1] in "+-":
        tree = combine(tokens.pop(), tree, _product(tokens, depth))
    return tree


def _product(tokens: list[str], depth: int) -> Tree:
    tree = _factor(tokens, depth)
    while tokens and tokens[-1] in "*/":
        tree = combine(tokens.pop(), tree, _factor(tokens, depth))
    return tree


def _factor(tokens: list[str], depth: int) -> Tree:
    token = tokens.pop() if tokens else ""
    if token == "-":
        inner = _factor(tokens, depth + 1) if depth < MAX_DEPTH else None
        if inner is None or inner.op == "neg":
            raise Unread
        return Tree(None if inner.value is None else -inner.value, "neg", inner)
    if token == "\\frac":
        return combine("/", _group(tokens, "{", depth), _group(tokens, "{", depth))
    if token == "(":
        tokens.append(token)
        return _group(tokens, "(", depth)
    if not token[:1].isdigit():
        raise Unread
    return Tree(Fraction(token))


def _group(tokens: list[str], opens: str, depth: int) -> Tree:
    if not tokens or tokens.pop() != opens:
        raise Unread
    tree = _sum(tokens, depth + 1)
    if not tokens or tokens.pop() != {"(": ")", "{": "}"}[opens]:
        raise Unread
    return tree
