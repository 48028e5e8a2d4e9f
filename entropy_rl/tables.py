"""Tables in Markdown and in plain text, and numbers with their intervals, in one spelling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any


def table(head: Iterable[Any], rows: Iterable[Iterable[Any]], align: str = "l", widths: Sequence[int] = ()) -> str:
    """A table of Markdown; with `widths`, in characters, one of plain text. No newline at the end.

    Args:
      head, rows: cells, which become text by `str`. Markdown gets `|` escaped and newlines as spaces.
      align: l or r for each column, as in `text_line`.
      widths: of the columns, as in `text_line`.
    """
    if widths:
        return "\n".join(text_line(cells, widths, align) for cells in chain([head], rows))
    head = list(head)
    rule = "|".join("---:" if side == "r" else "---" for side, _ in zip(_padded(align), head))
    return "\n".join([_row(head).replace("|  |", "| |"), f"|{rule}|", *map(_row, rows)])


def text_line(cells: Iterable[Any], widths: Sequence[int], align: str = "l") -> str:
    """A row of plain text. The last of `widths` and of `align` holds for all later columns; a row may be short."""
    places = zip(cells, _padded(widths), _padded(align))
    return "".join(f"{cell!s:{'>' if side == 'r' else '<'}{width}}" for cell, width, side in places).rstrip()


def signed(value: float, digits: int = 3) -> str:
    """`+0.012`, and no -0.000."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def span(
    d: Mapping[str, float] | Sequence[float | None] | None, *, digits: int = 3, sign: bool = True, missing: str = "–"
) -> str:
    """`+0.012 [-0.003, +0.027]` of (value, low, high), or of a dict of these such as a laws/paired.Difference.

    Args:
      d: the number and its interval. `missing` stands for a number that is None or not finite, or for None as a whole,
        and once for both ends of an interval of which one is missing: `+0.012 [–]`.
      digits: after the point.
      sign: whether positive numbers get a plus, as differences do.
    """
    one = (lambda x: signed(x, digits)) if sign else f"{{:.{digits}f}}".format
    known = lambda x: x is not None and math.isfinite(x)  # noqa: E731
    value, *ends = (d[k] for k in ("value", "low", "high")) if isinstance(d, Mapping) else d or [None]
    if not known(value):
        return missing
    return f"{one(value)} [{', '.join(map(one, ends)) if all(map(known, ends)) else missing}]"


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _padded(values: Sequence[Any]) -> Iterable[Any]:
    return chain(values, repeat(values[-1]))
