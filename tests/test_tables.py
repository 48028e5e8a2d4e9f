"""Tables and intervals, letter by letter."""

import dataclasses
import math

import numpy as np
import pytest

from entropy_rl import tables
from entropy_rl.laws import paired


def test_a_table_of_markdown():
    """Pipes are escaped, a newline is a space, an empty cell keeps its place; what is no text becomes text."""
    assert tables.table(["", "a|b", "c"], [["x\ny", 1, None], ("|", 0.5, "")], "lr").splitlines() == [
        "| | a\\|b | c |",
        "|---|---:|---:|",
        "| x y | 1 | None |",
        "| \\| | 0.5 |  |",
    ]
    assert tables.table(iter("ab"), iter([])).splitlines() == ["| a | b |", "|---|---|"]


def test_a_table_of_plain_text():
    """The last width and the last side hold for all later columns. Mutation: `<` for `>`, or no rstrip."""
    assert tables.table(["", "n", "seconds"], [["ab", 1, "2.5"], ["cd", 10, ""], ["e"]], "lr", [4, 5]).split("\n") == [
        "        nseconds",  # wider than its column
        "ab      1  2.5",
        "cd     10",
        "e",
    ]
    assert tables.text_line(["a", "b", "c"], [3], "lrl") == "a    bc"
    assert tables.text_line(["a|b"], [5]) == "a|b"


def test_the_sign_of_nothing():
    assert [tables.signed(x) for x in (0.0, -0.0004, -0.0006, 0.01)] == ["+0.000", "+0.000", "-0.001", "+0.010"]
    assert tables.signed(-0.04, 1) == "+0.0" and tables.signed(-0.06, 1) == "-0.1"


@pytest.mark.parametrize(
    ("given", "how", "text"),
    [
        ((0.0123, -0.00004, 0.5), {}, "+0.012 [+0.000, +0.500]"),
        ([0.0123, 0.0, 0.5], {"sign": False}, "0.012 [0.000, 0.500]"),
        ((12.34, 5.0, 20.0), {"digits": 1, "sign": False}, "12.3 [5.0, 20.0]"),
        (None, {}, "–"),
        (None, {"missing": ""}, ""),
        ((None, None, None), {"missing": "-"}, "-"),
        ((math.nan, 0.1, 0.2), {}, "–"),
        ((0.1, -math.inf, math.inf), {"missing": "-"}, "+0.100 [-]"),
        ((0.1, None, None), {}, "+0.100 [–]"),
        ({"value": 0.1, "low": 0.0, "high": 0.2, "seeds": 3}, {}, "+0.100 [+0.000, +0.200]"),
    ],
)
def test_intervals(given, how, text):
    """Mutation: `missing` for an interval alone that is not known, which would hide the number."""
    assert tables.span(given, **how) == text


def test_a_paired_difference():
    d = paired.difference(np.ones((3, 4)), np.zeros((3, 4)), np.random.default_rng(0), draws=100)
    assert tables.span(dataclasses.asdict(d)) == "+1.000 [+1.000, +1.000]"
