r"""Answers to Countdown in words: lines `a op b = c`, or one expression in <answer> or a box. Nothing is evaluated.

    19 + 36 = 55                    <answer>(19 + 36) * 7 / 5</answer>        \boxed{\frac{(19 + 36) \times 7}{5} = 77}
    55 * 7 = 385
    385 / 5 = 77

Values are exact rationals. A line takes values that are there, the given numbers and results of the lines before, and
puts its result back; one with several operations (`19 + 36 + 7 = 62`) is a step as well. Lines without `=` are prose
and are not read. An expression takes the given numbers. Read are + - * / ( ), Unicode's and LaTeX's signs for them,
`x` for times, \frac, \left, \right, $, a sign before a number or bracket, results such as 7/2 and 3.5, and words in
front of a line ("Step 1:", "2.", "-"). All functions are total, and their time is linear in the text, of which
`MAX_CHARACTERS` are read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import NamedTuple

from entropy_rl.answers.algebra import Unread
from entropy_rl.answers.trees import MAX_DIGITS, Tree, combine, number, parse, value

MAX_CHARACTERS = 10_000

Pool = tuple[Tree, ...]

_SIGNS = str.maketrans({**dict.fromkeys("×✕✖⋅·∙∗✱x", "*"), **dict.fromkeys("÷⁄∕", "/")})
_SIGNS |= str.maketrans(dict.fromkeys("−–—﹣－", "-"))
_SIGNS |= str.maketrans({"＋": "+", "＝": "=", "（": "(", "）": ")", "\u00a0": " ", "\u2009": " ", "\u202f": " "})
_LATEX = {"\\times": "*", "\\cdot": "*", "\\div": "/", "\\left": "", "\\right": "", "\\,": " ", "\\(": "", "\\)": ""}
_LATEX |= {"\\[": "", "\\]": "", "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\;": " ", "\\ ": " "}
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|[^A-Za-z])")
_FRONT = re.compile(r"^[\s>#*_`]*(?:(?:step|schritt)\s*[0-9]{1,2}\s*[:.)-]|[0-9]{1,2}[.):]\s|[-•*]\s)?[\s*_`]*", re.I)
_FRACTION = re.compile(rf"(?<![0-9./])[0-9]{{1,{MAX_DIGITS}}}/[0-9]{{1,{MAX_DIGITS}}}(?![0-9./])")
_EDGE = " \t\r*_`.,;"


@dataclasses.dataclass(frozen=True)
class Step:
    """An equation of a response.

    Attributes:
      left: what stands on the left of its `=`.
      result: the value on its right.
      whole: `left` where a fraction without spaces (55 * 7/5) is one number; `left` where there is none.
      fractions: the values of these.
    """

    left: Tree
    result: Fraction
    whole: Tree
    fractions: frozenset[Fraction] = frozenset()

    def over(self, values: Iterable[Fraction | None]) -> Tree:
        """`whole` where one of its fractions is among the values that are there, else `left`."""
        return self.left if self.fractions.isdisjoint(values) else self.whole


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What a response says.

    Attributes:
      lines: its lines, as `steps_of` of methods/critique/chat.py counts them.
      steps: for each line its Step; "" for prose; "=" for a line that has the sign and is no step.
      final: the tree in its last tag or box, None where there is neither; "=" for one that is no expression.
      stated: the value behind the `=` of that expression, or all that the tag or box holds; None: not said.
      cut: whether there is more of it than is read.
    """

    lines: tuple[str, ...]
    steps: tuple[Step | str, ...]
    final: Tree | str | None
    stated: Fraction | None
    cut: bool


def read(response: str) -> Attempt:
    """What a response says; never raises."""
    text = response[:MAX_CHARACTERS]
    lines = tuple(line.strip() for line in text.splitlines() if any(map(str.isalnum, line)))
    held = _held(text)
    final, stated = None, None
    if held is not None:
        final, stated = _expression(held)
    bare = final is not None and not isinstance(final, str) and not final.op
    if bare:  # a value alone, to which the lines lead
        final, stated = None, final.value
    return Attempt(lines, tuple(map(_step, lines)), final, stated, len(response) > MAX_CHARACTERS)


def use(pool: Pool, step: Step) -> tuple[Tree, Pool] | Fraction:
    """`take` of the left side of a line."""
    return take(pool, step.over(tree.value for tree in pool))


def take(pool: Pool, tree: Tree) -> tuple[Tree, Pool] | Fraction:
    """An expression's numbers out of a pool.

    Args:
      pool: the values that are there, each with the tree that it came from.
      tree: whose numbers are those of the pool; 7/2 can be one of them as well.

    Returns:
      (the tree with those of the pool in their places, what is left), or the first number that is not there.
    """
    left = list(pool)

    def out(value: Fraction) -> Tree | None:
        for i in reversed(range(len(left))):  # results before the numbers that were given
            if left[i].value == value:
                return left.pop(i)
        return None

    def walk(t: Tree) -> Tree:
        if not t.op:
            found = out(t.value)
            if found is None:
                raise KeyError(t.value)
            return found
        if t.op == "neg":
            if not t.left.op and (found := out(-t.left.value)):
                return found
            inner = walk(t.left)
            return Tree(None if inner.value is None else -inner.value, "neg", inner)
        if t.op == "/" and not t.left.op and not t.right.op and t.value is not None:
            if t.value.denominator > 1 and (found := out(t.value)):  # a fraction that is there is one number
                return found
        a = walk(t.left)
        return combine(t.op, a, walk(t.right))

    try:
        return walk(tree), tuple(left)
    except KeyError as missing:
        return missing.args[0]


def reached(numbers: Iterable[int], attempt: Attempt) -> tuple[Tree | None, Pool]:
    """(the tree that an attempt ends at, what it leaves unused); (None, ()) where anything in it is wrong."""
    pool: Pool = tuple(map(number, numbers))
    last = None
    if attempt.cut or isinstance(attempt.final, str):
        return None, ()
    if attempt.final is not None:
        taken = take(pool, attempt.final)
        return (None, ()) if isinstance(taken, Fraction) else taken
    for step in attempt.steps:
        if step == "":
            continue
        taken = step if isinstance(step, str) else use(pool, step)
        if isinstance(taken, str | Fraction) or taken[0].value != step.result:
            return None, ()
        last, pool = taken[0], (*taken[1], taken[0])
    return last, pool[:-1]


def verify(numbers: Iterable[int], target: int, response: str) -> float:
    """1.0 where a response makes `target` of all the numbers, each once, else 0.0. Never raises."""
    if not isinstance(response, str):
        return 0.0
    attempt = read(response)
    tree, unused = reached(numbers, attempt)
    right = tree is not None and bool(tree.op) and tree.value == target and not unused
    return float(right and attempt.stated in (None, target))


def final_answer(response: str) -> str:
    """The value that a response says it ends at: of its expression, or of its last equation; "" for none."""
    attempt = read(response)
    if isinstance(attempt.final, Tree):
        return "" if attempt.final.value is None else str(attempt.final.value)
    if attempt.stated is not None:
        return str(attempt.stated)
    results = [step.result for step in attempt.steps if isinstance(step, Step)]
    return str(results[-1]) if results else ""


def graph(response: str) -> str:
    """Canonical text of the steps behind a response; two responses are the same solution where these are equal.

        3 + 5 = 8 ; 9 - 7 = 2 ; 8 * 2 = 16,  9 - 7 = 2 ; 5 + 3 = 8 ; 2 * 8 = 16  and  (3 + 5) * (9 - 7)  are the same

    As in tasks/countdown.py: the order of steps and that of operands of + and * are forgotten, and steps that do not
    lead to the last one are left out; (1 + 2) + 3 and 1 + (2 + 3) are two. A result is known by its value, so that
    nothing tells 8 from 3 + 5 where an 8 was given too. Steps need not be right. A response that says nothing which can
    be read comes back with single spaces, which no graph is equal to.
    """
    attempt = read(response)
    found: list[_Operation] = []
    if isinstance(attempt.final, Tree):
        found = _operations(attempt.final)
    else:
        for step in attempt.steps:
            if isinstance(step, Step):
                there = {x.result for x in found}
                *parts, last = _operations(step.over(there), there)
                found += [*parts, last._replace(result=step.result)]
    if not found:
        return " ".join(response.split())
    *others, last = found
    kept, wanted = [], {last.a, last.b}
    while led := [x for x in others if x.result in wanted]:
        kept += led
        others = [x for x in others if x.result not in wanted]
        wanted |= {operand for x in led for operand in (x.a, x.b)}
    return " ; ".join([*sorted(map(_line, kept)), _line(last)])


class _Operation(NamedTuple):
    """`a` op `b` = `result`; None for what is divided by 0, and for the b of a sign before brackets."""

    a: Fraction | None
    op: str
    b: Fraction | None
    result: Fraction | None


def _operations(tree: Tree, there: Collection[Fraction | None] = (), top: bool = True) -> list[_Operation]:
    """Those of a tree, operands before what uses them.

    A sign before a number belongs to it, and a fraction within a tree is a number where one such is `there`.
    """
    if not tree.op or tree.op == "neg" and not tree.left.op:
        return []
    if not top and tree.op == "/" and not tree.left.op and not tree.right.op and tree.value in there:
        return []
    before = [x for side in (tree.left, tree.right) if side for x in _operations(side, there, False)]
    return [*before, _Operation(tree.left.value, tree.op, tree.right.value if tree.right else None, tree.value)]


def _line(x: _Operation) -> str:
    a, b = x.a, x.b
    if x.op in ("+", "*") and None not in (a, b) and a > b:
        a, b = b, a
    return f"{a} {x.op} {b} = {x.result}"


def _held(text: str) -> str | None:
    """What is in the last tag or box that closes, whichever closes last; None: there is none."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    tag = (end, text[start + 8 : end]) if 0 <= start else (-1, "")
    opened, box = text.rfind("\\boxed{"), (-1, "")
    if opened >= 0:
        depth = 0
        for i in range(opened + 6, len(text)):
            depth += (text[i] == "{") - (text[i] == "}")
            if depth == 0:
                box = (i, text[opened + 7 : i])
                break
    last = max(tag, box)
    return last[1] if last[0] >= 0 else None


def _clean(text: str) -> str:
    text = text.translate(_SIGNS)
    if "\\" in text:
        text = _COMMAND.sub(lambda m: _LATEX.get(m[0], m[0]), text)
    return text.replace("$", " ").strip(_EDGE)


def _expression(text: str) -> tuple[Tree | str, Fraction | None]:
    """(the expression, the value behind its `=`) of a tag or box."""
    left, equals, right = _clean(text).partition("=")
    try:
        tree = parse(left)
        return tree, value(right) if equals else None
    except Unread:
        return "=", None


def _step(line: str) -> Step | str:
    if "=" not in line and "＝" not in line or "</answer>" in line or "\\boxed{" in line:
        return ""
    line = _clean(line)
    left, _, right = line.partition("=")
    try:
        left = _FRONT.sub("", left, count=1)
        tree, result = parse(left), value(right)
        if not tree.right:
            return "="
        written = [match[0] for match in _FRACTION.finditer(left)]
        if not written:
            return Step(tree, result, tree)
        values = (combine("/", *(Tree(Fraction(x)) for x in text.split("/"))).value for text in written)
        return Step(tree, result, parse(_FRACTION.sub(r"(\g<0>)", left)), frozenset(values) - {None})
    except Unread:
        return "="
