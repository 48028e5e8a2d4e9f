"""When two answers are the same, exactly; values.py has what is read and the rules."""

from __future__ import annotations

from typing import Any

from entropy_rl.answers.algebra import Expression, Unread, budget, constant, difference, same_equation
from entropy_rl.answers.expressions import expression
from entropy_rl.answers.latex import normal
from entropy_rl.answers.values import Value, value


def equal(gold: str, answer: str) -> bool | None:
    """Whether two answers are the same: True or False where that is certain, None where exactness cannot decide.

    True where both have a value (values.py) and the values agree, or where the texts are the same up to space and
    ways of writing LaTeX. False only between values. None is neither: functions such as sin, expressions in different
    letters, equations that differ (x = 1 and 2^x = 2), prose, units that differ.

    Departs from math-verify: nothing is rounded (its 6 digits), (1, 2) and [1, 2] are no sets, 12 or 13 is not 13,
    50% is not 0.5, and a word is a word, not a product of letters.
    """
    a, b = value(gold), value(answer)
    if a is not None and b is not None:
        budget()
        try:
            return _same(a, b)
        except Unread:  # too much to compare
            return None
    same = normal(gold)
    return True if same and same == normal(answer) else None


def _same(a: Value, b: Value) -> bool | None:
    if a.name and b.name and a.name != b.name:
        return None
    if "equation" in (a.kind, b.kind):
        a, b = _as_equation(a), _as_equation(b)
        return True if a and b and same_equation(a, b) else None
    if a.kind != b.kind:
        kinds = {a.kind, b.kind}
        if "expression" in kinds:
            return False if kinds == {"expression", "number"} and not (a.unit or b.unit) else None
        if kinds & {"union", "matrix"}:
            return None
        if "word" in kinds or kinds == {"number", "infinity"}:
            return False
        # a number is no pair; but 1,200 may be a list, and {5} may stand for 5
        pair = a if a.kind == "sequence" else b
        return False if kinds == {"number", "sequence"} and len(pair.data[1]) > 1 else None
    if a.kind == "expression":
        if a.data == b.data:
            return True if a.unit == b.unit or "" in (a.unit, b.unit) else None
        return False if a.data.names == b.data.names and not (a.unit or b.unit) else None
    if a.kind != "number" or a.unit == b.unit:
        return a.data == b.data or (None if a.kind == "union" or _has_expression(a, b) else False)
    if a.unit and b.unit:
        return None
    if "%" not in (a.unit, b.unit):
        return a.data == b.data
    percent, other = (a, b) if a.unit == "%" else (b, a)
    if percent.data == other.data:
        return True if abs(other.data) > 1 else None  # 0.5 and 0.5%: a share, or a sign left out
    return None if percent.data == other.data * 100 else False


def _as_equation(a: Value) -> Expression | None:
    if a.kind == "equation":
        return a.data
    right = a.data if a.kind == "expression" else constant(a.data) if a.kind == "number" else None
    left = expression(a.name) if right and a.name else None
    return left and difference(left, right)


def _has_expression(*values: Any) -> bool:
    """Whether there is an expression somewhere inside."""
    return any(
        v.kind == "expression" or isinstance(v.data, frozenset | tuple) and _has_expression(*v.data)
        if isinstance(v, Value)
        else isinstance(v, tuple) and _has_expression(*v)
        for v in values
    )
