"""False equations are found, and nothing is said of an equation that can be read as a true one."""

import random
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_rl.methods.critique.arithmetic import equations, first_false, plant

FALSE = {
    "3 + 4 = 8": "7",
    "She has 3 + 4 = 8 apples.": "7",
    "5 apples + 3 apples = 9 apples": "8",
    "$5 * 3 = $16": "15",
    "10 / 3 = 4.5": "10/3",
    "3 + 4 = 7 * 2 = 15": "14",
    "2,500 * 2 = 5,001": "5000",
    "- 3 + 5 = 9": "8",
    "2. 3 + 5 = 9": "8",
    "Step 2: 3 + 5 = 9": "8",
    "6 / 2 * 3 = 8": "9",
    "20% * 50 = 11": "10",
    "48/2 = <<48/2=25>>25": "24",
    "so $3 + 4 = 8$": "7",
    "\\(3 + 4 = 8\\)": "7",
    "\\frac{1}{2} + \\frac{1}{4} = \\frac{2}{6}": "0.75",
    "3 \\times 4 = \\boxed{13}": "12",
    "**3 + 4 = 8**": "7",
    "(3 + 4) \u00d7 2 = 15": "14",
    "3 x 4 = 13": "12",
    "-3 - -4 = 2": "1",
    "0.1 + 0.2 = 0.4": "0.3",
    "9 \u2212 12 = -4": "-3",
    "Total: 20 + 5 - 3 = 21.": "22",
    "1/3 + 1/3 = 2/5": "2/3",
    "8-5 = 4": "3",
    "15 - 20 = 5": "-5",
    "12/3/2 = 3": "2",
    "20% + 30% = 60%": "0.5",
    "100% - 20.5% = 79.4%": "0.795",
    "- 3 + 4 = 2": "7",
    "Total: - 3 + 4 = 2": "1",
}
UNSAID = (
    """
2 hours + 30 minutes = 150 minutes|60 + 60 = 2 hours|50 * 3 = $1.50|12 + 12 = 2 dozen|6 + 6 = 2 packs
2 hours + 30 = 150|1 1/2 + 2 = 3.5|2^3 + 1 = 9|2**3 + 1 = 9|3\u00b2 + 4\u00b2 = 25|3\u00b2 - 4 = 5|x + 3 + 4 = 10
5! + 3 = 123|100 - 20% = 80|3 + 4 = 2 (mod 5)|3 + 4 != 8|3 + 4 <= 8|3 + 4 \u2248 8
twice 3 + 4 = 10|the square of 3 + 1 = 10
2(3+4) = 14|half of 3 + 4 = 5.5|10:30 + 2 = 12:30|9 + 5 = 2 pm|3 + 4 = 7x|3 + 4 = 8 + y|1/0 = 3
3 + 4 = 8 is wrong|Is 3 + 4 = 8?
3 + 4 = about 8|7 + 8 = 5, carry 1|10 / 4 = 2 remainder 2|f(2, 3 + 5) = 10|sin 30 + 2 = 2.5|5 // 2 = 2
= 3|3 + =|7 * 3 = 21 hundred|101_2 + 1 = 110_2|3 + 4 = 7e1|3 + 4 = 1 000|007 + 1 = 9|2 3 + 4 = 27
a = 3 = 4|3 + 4 = 7 choose 2|4 + 2 = 3!|30 + 5 = 4 February|2/3/2024 = 2 March|3-5 = 3 pages|1\u201310 = 10 numbers
10 - 4 = 7 inclusive|10 - 9 - ... - 2 - 1 = -35|100 - 1 - ... - 8 - 9 = 55
20 - 25 = 5 short|$10 - $12 = ($2)|2 + 2 = 5 is impossible|Goal: 19 + 36 = 77
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
TRUE = (
    """
3 + 4 = 7|10 / 3 = 3.33|10 / 3 = 3|17 / 4 = 5|3 + 4 = 7 * 2 = 14|2,500 * 2 = 5|1.000 + 500 = 1.500|- 3 + 5 = 8
-3 + 5 = 2|5 -- 3 = 8|0.1 + 0.2 = 0.30000000000000004|6 / 2 * 3 = 1|6 / 2 * 3 = 9|20% * 50 = 10|0.2 * 100 = 20%
50% + 10% = 60%|1/3 = 33%|- 3 + 4 = 1|- 3 - 4 = -7|\\frac{1}{2} + \\frac{1}{4} = \\frac{3}{4}
1/3 + 1/3 = 2/3|3 \u00d7 4 = 12 apples|$5 + $3 = $8|8 - 3 - 2 = 3|2 * (3 + 4) = 14
1,000,000 / 4 = 250,000|3{,}000 + 1 = 3{,}001
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.mark.parametrize("line", FALSE)
def test_a_false_equation_is_found(line):
    found, _ = first_false(["no equation here", line])
    assert found is not None and found.line == 1 and found.value == FALSE[line]


@pytest.mark.parametrize("line", UNSAID + TRUE)
def test_what_may_be_true_is_not_called_false(line):
    assert first_false([line])[0] is None
    assert bool(list(equations(line))) == (line in TRUE)


def test_the_first_of_several():
    lines = ["3 + 4 = 7", "7 * 2 = 14", "14 - 1 = 12, and 1 + 1 = 3", "1 + 1 = 3"]
    found, true = first_false(lines)
    assert (found.line, found.text, found.value, true) == (2, "14 - 1", "13", 2)


def test_true_sums_as_many_would_write_them():
    """Exact arithmetic on a thousand expressions, spelt in ways. Mutation: a / b * c read as a / (b * c) alone."""
    rng = random.Random(0)
    for _ in range(1000):
        text = str(rng.randint(1, 99))
        for _ in range(rng.randint(1, 4)):
            text += f" {rng.choice('+-*/')} {rng.randint(1, 99)}"
        exact = eval(_fractions(text))
        wrong = exact + rng.choice((1, 2, -1, 10))
        for line in (
            f"{text} = {_say(exact)}",
            f"So {text.replace('*', chr(215))} = {_say(exact)}.",
            f"({text}) = {exact}",
        ):
            assert first_false([line])[0] is None, line
        if exact.denominator == 1 and "/" not in text:
            assert first_false([f"{text} = {wrong}"])[0].value == str(exact), text


def _fractions(text):
    return " ".join(f"Fraction({word})" if word.isdigit() else word for word in text.split())


def _say(x: Fraction):
    return str(x) if x.denominator == 1 else f"{float(x):.4f}"


PIECES = [
    "3",
    "12",
    "0.5",
    " ",
    " ",
    "+",
    "-",
    "*",
    "/",
    "=",
    "=",
    "(",
    ")",
    "$",
    "%",
    ",",
    ".",
    "x",
    "apples",
    "hours",
]
PIECES += ["\\frac{1}{2}", "\\boxed{", "}", "**", "\n", "\u2212", "1,000", "^", "<<", ">>", "9" * 40, "é", "\u0663"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_it_is_total(text):
    for value in equations(text):
        assert len(value) == 3
    first_false(text.splitlines())


def test_hostile_text_takes_no_time():
    began = time.process_time()
    first_false(["(" * 900 + "=" * 90, "9*" * 480 + "9 = 1", "1" * 990 + "+1=2", "$=" * 490, "-" * 900 + "1 = 1"] * 20)
    first_false(["3 + 4 = 8" + " " * 10**6, "=" * 10**6])
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "line", ["3 + 4 = 7", "So 3 * 4 = 12 apples.", "3 + 4 = 7 = 5 + 2 and so", "= 5", "x", "3 + 4 = 8", "1/3 = 0.3"]
)
def test_a_slip_is_planted_where_it_is_found(line):
    new = plant(line, 3)
    assert (new is not None) == (line in ("3 + 4 = 7", "So 3 * 4 = 12 apples."))
    assert new is None or first_false([new])[0] is not None
