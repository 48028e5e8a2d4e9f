"""Expressions by hand, laws of algebra on random ones, and against numbers."""

import math
import random
import time

import pytest

from entropy_rl.answers import algebra, expressions
from entropy_rl.answers.algebra import budget, same_equation
from entropy_rl.answers.exact import equal
from entropy_rl.answers.grade import Grader


def expression(text):
    """An answer of its own."""
    budget()
    return expressions.expression(text)


EQUAL = [
    *[("\\sqrt{117}", "3\\sqrt{13}"), ("\\frac{1}{1+\\sqrt2}", "\\sqrt{2}-1"), ("(x-2)(x+3)", "x^2+x-6")],
    *[("e^{16}-1", "-1+e^{16}"), ("\\sqrt{1/n}", "\\frac{1}{\\sqrt{n}}"), ("14 - i", "14.0-1.0i"), ("2^{10}", "1024")],
    *[("\\sqrt[3]{16}", "2\\sqrt[3]{2}"), ("\\frac{x^2-1}{x-1}", "x+1"), ("\\frac{\\pi}{2}", "\\pi/2"), ("5!", "120")],
    *[
        ("\\binom{5}{2}", "10"),
        ("i^2", "-1"),
        ("\\sqrt{-4}", "2i"),
        ("8^{2/3}", "4"),
        ("2xy", "2yx"),
        ("3^{-2}", "1/9"),
    ],
    *[("\\sqrt{2}\\sqrt{3}", "\\sqrt6"), ("(1+i)^2", "2i"), ("(\\sqrt2+1)(\\sqrt2-1)", "1"), ("\\frac12x", "0.5x")],
]
OTHER = [
    *[("\\frac{1}{2004!}", "\\frac{1}{2006!}"), ("2^{-99}", "2^{-98}"), ("\\sqrt2", "1.41421356"), ("\\pi", "22/7")],
    *[("4\\sqrt{2}", "4"), ("x+1", "x-1"), ("e^{16}-1", "e^{16}"), ("\\sqrt{3}", "\\sqrt[3]{3}"), ("2i", "2")],
]
UNREAD = (
    "even Evelyn ACB ab x2 1/2x f(2) \\sin(x) |x| 2^x \\sqrt{x^2} 1|2 2516_8 3^3^3 0^{-1} 1/0 99999! (x+1)^{99}".split()
)


@pytest.mark.parametrize("a, b", EQUAL)
def test_equal(a, b):
    """Mutation: i^2 = 1; primes of the denominator forgotten under a root; x^2 for x2."""
    assert equal(a, b) is True and equal(b, a) is True


@pytest.mark.parametrize("a, b", OTHER)
def test_other(a, b):
    """Mutation: floats for rational coefficients."""
    assert equal(a, b) is False and equal(b, a) is False


@pytest.mark.parametrize("text", UNREAD)
def test_unread(text):
    assert expression(text) is None


def test_beyond_expressions():
    """Mutation: equations that differ by a factor; a set for a union; rows of a matrix in any order."""
    assert equal("2x+4y-3=0", "y = -\\frac{1}{2}x+\\frac34") and equal("x = 5", "x - 5 = 0")
    assert equal("2x+4y-3=0", "2x+4y+3=0") is None and not same_equation(expression("x"), expression("x^2"))
    assert equal("(-\\infty,2)\\cup(2,\\infty)", "(2, +\\infty)\\cup(-\\infty, 2)")
    assert not equal("(-\\infty,2)\\cup(2,\\infty)", "(-\\infty,2]\\cup(2,\\infty)")
    one, other = (
        "\\begin{pmatrix}1&\\sqrt8\\\\2&3\\end{pmatrix}",
        "\\begin{pmatrix} 2 & 3 \\\\ 1 & 2\\sqrt2 \\end{pmatrix}",
    )
    assert equal(one, one.replace("\\sqrt8", "2 \\sqrt{2}")) and not equal(one, other)
    assert equal("3 \\pm \\sqrt{2}", "3+\\sqrt2, 3-\\sqrt2") and not equal("\\pm 2", "2") and equal("2, 3", "3 and 2")
    assert equal("(3, \\frac{\\pi}{2})", "(3, \\pi/2)") and equal("6\\sqrt{3} \\text{ cm}", "\\sqrt{108}")
    assert equal("y=2x+3", "2x+3") and equal("y = 2x+3", "3+2x = y") and equal("10 000", "10000")


def make(rng, depth):
    """(text, function of x)"""
    if depth == 0:
        n = rng.randint(1, 9)
        text, f = rng.choice([(str(n), lambda x: n), ("x", lambda x: x), (f"\\sqrt{{{n}}}", lambda x: math.sqrt(n))])
        return text, f
    (a, f), (b, g) = make(rng, depth - 1), make(rng, depth - 1)
    return rng.choice(
        [
            (f"({a}+{b})", lambda x: f(x) + g(x)),
            (f"({a}-{b})", lambda x: f(x) - g(x)),
            (f"({a})({b})", lambda x: f(x) * g(x)),
            (f"\\frac{{{a}}}{{{b}^2+1}}" if depth == 1 else f"({a})^2", lambda x: f(x) / (g(x) ** 2 + 1)),
        ]
        if depth == 1
        else [
            (f"({a}+{b})", lambda x: f(x) + g(x)),
            (f"({a}-{b})", lambda x: f(x) - g(x)),
            (f"({a})^2", lambda x: f(x) ** 2),
        ]
    )


def test_against_numbers():
    """Expressions are equal where their values at three points are, and are read back. Mutation: a sign."""
    rng = random.Random(0)
    made = [make(rng, rng.randint(0, 2)) for _ in range(400)]
    read = [(found, f) for text, f in made if (found := expression(text)) is not None]
    assert len(read) > 300
    equals = 0
    for (a, f), (b, g) in zip(read, rng.sample(read, len(read))):
        close = all(math.isclose(f(x), g(x), rel_tol=1e-9, abs_tol=1e-9) for x in (0.3, 1.7, 2.9))
        assert (a == b) == close
        equals += close
        assert expression(str(a)) == a or len(str(a)) > 300
    assert equals > 3


def test_bounded():
    """Mutation: no MAX_WORK."""
    texts = [
        "(a+b+c)" * 40,
        "(a+b+c+d)^{24}" * 5,
        "2^{29999}+" * 20 + "1",
        "2000!" * 50,
        "\\sqrt{999999999989}",
        "-" * 300,
    ]
    start = time.process_time()
    for text in texts:
        expression(text)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "item", ["(x+{})^{{24}}", "25{}!", "\\frac{{(a+{})^{{9}}}}{{(b+{})^{{9}}}}", "(1+\\sqrt{{{}}}+\\pi)^{{9}}"]
)
def test_a_list_has_the_work_of_one_answer(item, monkeypatch):
    """Milliseconds, not seconds: what is multiplied is counted over all of it. Mutation: budget() in expression."""
    answer = ", ".join(item.format(10 + i, 10 + i) for i in range(85))[:990].rpartition(",")[0]
    products, reduced = [], algebra._reduced
    monkeypatch.setattr(algebra, "_reduced", lambda m, n: products.append(1) or reduced(m, n))
    assert Grader().grade("5", f"\\boxed{{{answer}}}") == 0.0
    assert len(products) < 3 * algebra.MAX_WORK
