"""Junk for answer verifiers: random characters, LaTeX's grammar gone wrong, nesting, huge numbers and lines."""

from __future__ import annotations

import random

PIECES = (
    *"0 1 2 9 -1 + - * / ^ _ ( ) [ ] { } , . ; : = < > | ! ? $ % & # ~ x y e E i".split(" "),
    *(" ", "  ", "\n", "\t", "\r", "\x00", "\x01", "\x02", "\x03", "\ufeff", "\u200b", "\u2028", "\u00a0", "\ud800"),
    *("\u2212", "\u2013", "\u221e", "\u00b0", "\u00d7", "\u00b2", "\u00bd", "\u0663", "\uff13", "\u4e09", "\U0001d7d8"),
    *("\\", "\\\\", "\\{", "\\}", "\\$", "\\%", "\\,", "\\!", "\\;", "\\frac", "\\dfrac", "\\frac{1}{2}", "\\frac12"),
    *("\\sqrt", "\\sqrt{2}", "\\left(", "\\right)", "\\left", "\\text{", "\\text{cm}", "\\boxed{", "\\boxed"),
    *("\\fbox{", "\\pi", "\\infty", "\\times 10^{", "\\cdot", "\\circ", "^\\circ", "\\cup", "\\in"),
    *("\\begin{pmatrix}", "\\mathrm{m}", "####", "<answer>", "</answer>", "<think>", "</think>", "answer is"),
    *("Answer:", "The final answer is", "**", "```", "1,000", "1e999", "1e-999", "1e9999", "0x10", "1_000"),
    *("10^{10^{10}}", "1/0", "nan", "inf", "None", "yes", "B", "(B)"),
)
WRAPS = ("{}", "\\boxed{{{}}}", "#### {}", "<answer>{}</answer>", "The answer is {}.", "${}$", "</think>{}", "x = {}")
PAIRS = (
    *(("(", ")"), ("[", "]"), ("{", "}"), ("\\{", "\\}"), ("\\frac{", "}{2}")),
    *(("\\boxed{", "}"), ("\\text{", "}"), ("$", "$")),
)


def characters(rng: random.Random) -> str:
    """Any characters, surrogates too."""
    top = rng.choice([128, 0x3000, 0x110000])
    return "".join(chr(rng.randrange(top)) for _ in range(rng.randint(0, 60)))


def grammar(rng: random.Random) -> str:
    """Pieces of answers in any order."""
    return "".join(rng.choices(PIECES, k=rng.randint(1, 25)))


def near(rng: random.Random) -> str:
    """An answer with one character taken, doubled or replaced."""
    answers = ["1,000", "\\frac{1}{2}", "(1, 2)", "\\{1, 2\\}", "3 \\times 10^{5}", "5 \\text{ cm}", "[-\\infty, 3)"]
    text = rng.choice(answers)
    i = rng.randrange(len(text))
    return text[:i] + rng.choice(["", text[i] * 2, rng.choice(PIECES)]) + text[i + 1 :]


def nested(rng: random.Random) -> str:
    """Brackets in brackets, closed or not."""
    left, right = rng.choice(PAIRS)
    n = rng.choice([3, 8, 40, 160, 3000])
    return left * n + rng.choice(["1", "", "1,2"]) + right * rng.choice([n, n, n - 1, 0])


def huge(rng: random.Random) -> str:
    """Numbers with too many digits or too large exponents."""
    n = rng.choice([10, 400, 999, 1000, 5000])
    digits = "".join(rng.choices("0123456789", k=n))
    ways = ["{}", "-{}", "0.{}", "1e{}", "1/{}", "{}/3", "\\frac{{{}}}{{7}}", "10^{{{}}}", "1 \\times 10^{{{}}}", "{}!"]
    text = rng.choice(ways).format(digits if rng.random() < 0.5 else rng.choice(["999", "1000", "9999", "1001"]))
    return text if rng.random() < 0.7 else f"\\frac{{{text}}}{{{text}}}"


def line(rng: random.Random) -> str:
    """A line of a piece again and again: what makes a careless pattern quadratic."""
    piece = rng.choice(
        [*PIECES, "9", "1,", ",000", "\\boxed{", "answer ", "answer is", "#### ", "<answer>", "{", "\\ "]
    )
    return (piece * (10**6 // max(len(piece), 1)))[: rng.choice([2000, 10**5, 10**6])]


# how often each is drawn, of 10,000: the long ones are dear
JUNK = {characters: 3000, grammar: 4000, near: 2000, nested: 480, huge: 500, line: 20}


def draw(rng: random.Random) -> str:
    """One string of junk, half of them where an answer stands."""
    text = rng.choices(list(JUNK), weights=list(JUNK.values()))[0](rng)
    return rng.choice(WRAPS).format(text) if rng.random() < 0.5 else text
