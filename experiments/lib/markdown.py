"""Tables of numbers with intervals, as the comparisons of runs write them."""

from __future__ import annotations

from typing import Any


def line(*cells: str) -> str:
    """A row."""
    return f"| {' | '.join(cells)} |"


def rule(columns: int) -> str:
    """What stands below a head of so many columns: names on the left, numbers on the right."""
    return f"|---|{'---:|' * (columns - 1)}"


def signed(value: float) -> str:
    """`+0.012`, and no -0.000."""
    return f"{round(value, 3) + 0.0:+.3f}"


def span(d: dict[str, Any] | None) -> str:
    """`+0.012 [-0.003, +0.027]` of a laws/paired.Difference as a dict; a dash without one."""
    return "–" if d is None else f"{signed(d['value'])} [{signed(d['low'])}, {signed(d['high'])}]"
