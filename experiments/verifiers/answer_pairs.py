r"""Answers whose equality is known by construction, near misses, and junk: what experiments/check_verifiers.py asks.

A kind draws (gold, answer, truth) from a `random.Random`. Truth is True, False, or None where it is a convention.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from functools import partial

Pair = tuple[str, str, bool | None]

# (gold, answer): none is equal, whatever an extraction or a parser makes of it
NEAR = [
    *[("1,000", "1.000"), ("3", "13"), ("13", "3"), ("-5", "5"), ("5", "-5"), ("1/2", "2/1"), ("1/2", "-1/2")],
    *[("(1,2)", "(2,1)"), ("42", r"\boxed{4}2"), ("102", "10^2"), ("3", "٣"), ("3", "３"), ("3", "三"), ("2", "²")],
    *[("16", "0x10"), ("2", "0b10"), ("8", "0o10"), ("1000", "1_000"), ("12", "12 or 13"), ("13", "12 or 13")],
    *[("12", "12 and 13"), ("12", "not 12"), ("12", "12?13"), ("12", "12!"), ("12", "1 2"), ("12", "1,2")],
    *[("12", "12,13"), ("12", "{12,13}"), ("12", "(12,13)"), ("12", "12;13"), ("12", "12/13"), ("12", "12^1x")],
    *[("1/3", "0.333"), ("1/3", "0.3333333333"), ("2/3", "0.67"), ("0.1", "0.10000001"), ("3.14", "22/7")],
    *[("3.14159", r"\pi"), (r"\pi", "3.14159"), (r"\sqrt{2}", "1.41421"), ("1.41421356", r"\sqrt{2}")],
    *[("1", "0.999999999"), ("100", "1e3"), ("1000", "1e2"), ("10", "1e-1"), ("3000", r"3 \times 10^{2}")],
    *[("300", r"3 \times 103"), ("1.5", "1 5"), ("1.5", "1,5"), ("11/2", "1 1/2"), ("3/2", "11/2"), ("3/2", "1 2/1")],
    *[(r"\frac{1}{2}", r"\frac{2}{1}"), (r"\frac12", r"\frac{12}{}"), (r"\frac{1}{23}", r"\frac123")],
    ("12", r"\frac12"),
    *[(r"\frac{12}{3}", r"\frac123"), (r"\frac{1}{2}", r"\frac{1}{2}x"), (r"\frac{1}{2}", r"\frac{1}{-2}")],
    *[("0", "1/0"), ("0", "0/0"), ("1", "0/0"), (r"\infty", "1/0"), ("0", r"\frac{1}{0}"), (r"\infty", r"-\infty")],
    *[("0", "-"), ("0", "+"), ("0", "."), ("0", ","), ("0", "()"), ("0", "{}"), ("0", r"\{\}"), ("0", "e"), ("0", "O")],
    *[("0.5", r"50\%0"), ("50", "0.5%"), ("1", "1%"), ("50", "5%0"), ("5", r"\$50"), ("5", "$50"), ("5", "5$0$")],
    *[("5", "5 cm^22"), ("5", "5x"), ("5", "5m"), ("5", "5i"), ("5", "x5"), ("5", "5 million"), ("5", "5 dozen")],
    *[("5", r"5 \text{ million}"), ("5", r"5 \text{ or } 6"), ("5", r"\text{not } 5")],
    *[(r"5 \text{ cm}", r"5 \text{ m}"), ("5", "5!"), ("-5", "|5|"), ("0.5", "0.5%"), ("1", r"1\%")],
    *[("5", "--5"), ("5", "+-5"), ("-5", "-+5"), ("5", "5-"), ("5", "5%%")],
    *[("(1, 2)", "[1, 2]"), ("(1, 2]", "[1, 2)"), ("[1, 2]", "{1, 2}"), ("(1, 2)", "(1, 2, 3)"), ("(1, 2)", "(1.2)")],
    *[("(1, 2)", "(12)"), ("(1,2)", "((1,2)"), ("(1,2)", "1,2"), ("(1, 2)", r"\{1, 2\}"), ("(1,2)", "(-1,2)")],
    *[("{1,2}", "{1,3}"), ("{1,2}", "{12}"), ("{1,2}", "{1}"), ("{1,1,2}", "1,1,2,3"), ("1, 1, 2", "1, 2, 2")],
    *[("1, 2", "1, 2, 3"), ("1, 2", "12"), ("1,200", "1, 2, 0, 0"), ("(1,000)", "(1,0)"), ("(0, 1)", "(0, 10)")],
    *[(r"(-\infty, 3]", r"(\infty, 3]"), (r"(-\infty, 3]", r"(-\infty, 3)"), (r"[0,1)\cup(2,3]", "[0,1)")],
    *[("x=5", "y=5"), ("x=5", "x=-5"), ("x=5", "x=5, y=6"), ("5", "x=5 or 6"), ("x=1,y=2", "x=2,y=1")],
    *[("yes", "no"), ("yes", "true"), ("true", "false"), ("yes", "yes and no"), ("yes", "yesno"), ("A", "B")],
    *[("B", "(C)"), ("A", "A or B"), ("A", "AB"), ("A", "a cat"), ("E", "2.71828"), ("I", "1"), ("B", "8"), ("O", "0")],
    *[("12", "21"), ("12", "012345"), ("12", "12\x000"), ("12", "1\x002"), ("12", "1\u200b2"), ("12", "1\u00a02")],
    *[("1234", "1,23,4"), ("1234", "12,34"), ("1234", "1,2345"), ("1234", ",1234,"), ("1234", "1.234")],
    *[("1000000", "1,000,00"), ("1000000", "1.000.000"), ("0.05", ".5"), ("0.5", ".05"), ("0.5", "5"), ("2", "2.5")],
    *[("2^{10}", "210"), ("x^2", "x2"), ("x^2", "2x"), ("x+1", "x-1"), ("xy", "x y z"), ("ab", "AB"), ("x", "X")],
    *[("Monday", "Sunday"), ("", "0"), ("0", ""), (" ", "0"), ("1", "True"), ("0", "None"), ("nan", "NaN")],
    *[("90^\\circ", "9^\\circ"), ("45", r"45^{\circ}C"), ("3", r"\sqrt{3}"), ("3", "3\\pi"), ("27", "3^3^3")],
]


def integer(rng: random.Random) -> tuple[int, str]:
    """A number and a way to write it."""
    n = rng.choice([rng.randint(-20, 20), rng.randint(-9999, 99999), rng.randint(-(10**9), 10**9)])
    ways = [f"{n}", f"{n:,}", f"{n}.0", f"${n}$", f"{n}.", f" {n} ", f"{n:+d}", f"{n:,}".replace(",", "{,}")]
    return n, rng.choice([*ways, f"\\text{{{n}}}", f"\\boxed{{{n}}}", f"{n:,}".replace(",", ",\\!"), f"**{n}**"])


def _integer_same(rng: random.Random) -> Pair:
    n, text = integer(rng)
    return str(n), text, True


def _integer_other(rng: random.Random) -> Pair:
    n, text = integer(rng)
    gold = rng.choice([n + 1, n - 1, -n or 7, n * 10 or 7, int(f"{n}1")])
    return str(gold), text, False


def _decimal(rng: random.Random, change: int) -> Pair:
    digits, n = rng.randint(1, 6), rng.randint(-(10**7), 10**7)
    gold, x = Fraction(n, 10**digits), Fraction(n + change, 10**digits)
    text = f"{float(x):.{digits}f}"
    ways = [text, text + "0", f"${text}$", f"\\frac{{{x.numerator}}}{{{x.denominator}}}", text.replace("-", "\u2212")]
    return f"{float(gold):.{digits}f}", rng.choice(ways), change == 0


def _rounded(rng: random.Random) -> Pair:
    q = rng.choice([3, 6, 7, 9, 11, 12, 13])
    x = Fraction(rng.randint(1, 50) * q + 1, q)
    return f"{x}", f"{float(x):.{rng.choice([2, 3, 4, 8])}f}", False


def ways_of_fraction(rng: random.Random, x: Fraction) -> str:
    """A fraction, reduced or not, in one of its ways."""
    k = rng.randint(1, 5)
    p, q, sign = abs(x.numerator) * k, x.denominator * k, "-" if x < 0 else ""
    ways = [f"{sign}{p}/{q}", f"{sign}\\frac{{{p}}}{{{q}}}"]
    ways += [f"\\dfrac{{{sign}{p}}}{{{q}}}", f"${sign}\\tfrac{{{p}}}{{{q}}}$"]
    if p < 10 and q < 10:
        ways.append(f"{sign}\\frac{p}{q}")
    return rng.choice(ways)


def _fraction(rng: random.Random, change: int) -> Pair:
    p, q = rng.randint(-60, 60) or 1, rng.randint(2, 40)
    x = Fraction(p, q)
    other = x if not change else rng.choice([1 / x, x + Fraction(1, q), Fraction(p, q + 1), -x])
    return ways_of_fraction(rng, x), ways_of_fraction(rng, other), other == x


def _mixed(rng: random.Random) -> Pair:
    whole, q = rng.randint(1, 30), rng.randint(2, 12)
    p = rng.randint(1, q - 1)
    text = rng.choice([f"{whole} {p}/{q}", f"{whole}\\frac{{{p}}}{{{q}}}", f"{whole} \\frac{{{p}}}{{{q}}}"])
    return f"\\frac{{{whole * q + p}}}{{{q}}}", text, True


def _scientific(rng: random.Random) -> Pair:
    m, e = rng.randint(1, 99), rng.randint(2, 9)
    wrong = rng.random() < 0.5
    gold = Fraction(m, 10) * 10 ** (e + wrong)
    text = f"{m / 10:g}"
    return f"{gold}", rng.choice([f"{text} \\times 10^{{{e}}}", f"{text} \\times 10^{e}", f"{text}e{e}"]), not wrong


def _percent_sign(rng: random.Random) -> Pair:
    n = rng.randint(0, 300)
    return str(n), rng.choice([f"{n}\\%", f"{n}%", f"${n}\\%$"]), None


def _percent_value(rng: random.Random) -> Pair:
    n = rng.randint(1, 99)
    return str(Fraction(n, 100)), f"{n}\\%", None


def _unit(rng: random.Random, how: str) -> Pair:
    n, unit = rng.randint(1, 500), rng.choice(["cm", "km", "meters", "hours", "dollars", "degrees", "square feet"])
    if how == "wrong number":
        return str(n + 1), f"{n} \\text{{ {unit}}}", False
    if how == "another":
        other = rng.choice([u for u in ["cm", "km", "hours", "dollars"] if u != unit])
        return f"{n} \\text{{ {other}}}", f"{n} \\text{{ {unit}}}", False
    ways = [f"{n} \\text{{ {unit}}}", f"{n}\\text{{ {unit}}}", f"{n} \\mathrm{{{unit}}}", f"{n} {unit}"]
    return str(n), rng.choice(ways), True


def _money(rng: random.Random) -> Pair:
    cents = rng.randint(1, 10**6)
    text = f"{cents / 100:,.2f}"
    return f"{cents / 100:.2f}", rng.choice([f"\\${text}", f"${text}", f"{text} dollars"]), True


def _degrees(rng: random.Random) -> Pair:
    n = rng.randint(1, 359)
    return str(n), rng.choice([f"{n}^\\circ", f"{n}^{{\\circ}}", f"{n}°"]), True


def _items(rng: random.Random) -> list[str]:
    items = rng.sample(range(-30, 60), rng.randint(2, 4))
    return [f"{i}" if rng.random() < 0.7 else ways_of_fraction(rng, Fraction(7 * i + 1, 7)).strip("$") for i in items]


def _tuple(rng: random.Random, how: str) -> Pair:
    items = _items(rng)
    gold, space = f"({', '.join(items)})", rng.choice(["", " "])
    if how == "same":
        left, right = rng.choice([("(", ")"), ("\\left(", "\\right)"), ("$(", ")$"), ("( ", " )")])
        return gold, left + f",{space}".join(items) + right, True
    if how == "swapped":
        return gold, f"({', '.join(items[1:] + items[:1])})", False
    return gold, f"({', '.join(items[:-1] + [str(rng.randint(61, 99))])})", False


def _interval(rng: random.Random, how: str) -> Pair:
    a, b = sorted(rng.sample(range(-30, 30), 2))
    ends = [(f"{a}", f"{b}"), ("-\\infty", f"{b}"), (f"{a}", "\\infty"), (f"\\frac{{{a}}}{{7}}", f"{b}")]
    low, high = rng.choice(ends)
    left, right = rng.choice("(["), rng.choice(")]")
    left, right = ("(" if "infty" in low else left), (")" if "infty" in high else right)
    gold = f"{left}{low}, {high}{right}"
    if how == "same":
        ways = [f"\\left{left}{low},{high}\\right{right}", f"${left}{low}, {high}{right}$", f"x \\in {gold}"]
        return gold, rng.choice(ways), True
    if how == "bracket":
        if "infty" in low:
            right = "])"[right == "]"]
        else:
            left = "[("[left == "["]
        return gold, f"{left}{low}, {high}{right}", False
    return gold, f"{left}{b - 100}, {high}{right}", False


def _set(rng: random.Random, how: str) -> Pair:
    items = _items(rng)
    gold = "\\{" + ", ".join(items) + "\\}"
    other = rng.sample(items, len(items))
    if how == "other":
        other[0] = str(rng.randint(61, 99))
    if how == "fewer":
        other = other[1:]
    if how == "repeated":
        other.append(other[0])
    if how == "as list":
        return gold, ", ".join(other), True
    text = ", ".join(other)
    ways = [f"\\{{{text}\\}}", f"\\left\\{{{text}\\right\\}}", f"$\\{{{text}\\}}$"]
    return gold, rng.choice(ways), how in ("same", "repeated")


def _list(rng: random.Random, how: str) -> Pair:
    items = _items(rng)
    other = rng.sample(items, len(items)) if how == "permuted" else items[1:] + [str(rng.randint(61, 99))]
    return ", ".join(items), ", ".join(other), how == "permuted"


def _named(rng: random.Random, how: str) -> Pair:
    n, _ = integer(rng)
    if how == "other name":
        return f"x = {n}", f"y = {n}", False
    return f"{n if how == 'same' else n + 1}", f"{rng.choice('xynk')} = {n}", how == "same"


def _choice(rng: random.Random, how: str) -> Pair:
    a, b = rng.sample("ABCDE", 2)
    letter = a if how == "same" else b
    ways = [letter, f"({letter})", f"\\text{{{letter}}}", f"\\text{{({letter})}}", f"{letter}."]
    return a, rng.choice(ways), how == "same"


def _yes(rng: random.Random) -> Pair:
    a, b = rng.choice(["yes", "no", "true", "false"]), rng.choice(["yes", "no", "true", "false"])
    return a, rng.choice([b, b.title(), f"\\text{{{b}}}", f"{b}."]), a == b


def _root(rng: random.Random, how: str) -> Pair:
    a, b = rng.randint(2, 9), rng.choice([2, 3, 5, 7])
    gold = f"{a}\\sqrt{{{b}}}"
    if how == "same":
        return gold, rng.choice([f"\\sqrt{{{a * a * b}}}", f"{a} \\sqrt{b}", f"\\sqrt{{{b}}} \\cdot {a}"]), True
    return gold, f"{a + 1}\\sqrt{{{b}}}", False


def _polynomial(rng: random.Random, how: str) -> Pair:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return f"(x+{a})(x+{b})", f"x^2+{a + b}x+{a * b + (how != 'same')}", how == "same"


def _hedged(rng: random.Random) -> Pair:
    a, b = rng.sample(range(2, 99), 2)
    ways = [f"{a} or {b}", f"{a} and {b}", f"either {a} or {b}", f"{a}/{b}", f"{a}, {b}"]
    return str(rng.choice([a, b])), rng.choice(ways), False


def _ways(name: str, draw: Callable[..., Pair], *hows: str) -> dict[str, Callable[[random.Random], Pair]]:
    return {f"{name}, {how}": partial(draw, how=how) for how in hows}


KINDS: dict[str, Callable[[random.Random], Pair]] = {
    "integer, same": _integer_same,
    "integer, other": _integer_other,
    "decimal, same": lambda rng: _decimal(rng, 0),
    "decimal, last digit": lambda rng: _decimal(rng, rng.choice([-1, 1])),
    "decimal, rounded": _rounded,
    "fraction, same": lambda rng: _fraction(rng, 0),
    "fraction, other": lambda rng: _fraction(rng, 1),
    "mixed number": _mixed,
    "scientific": _scientific,
    "percent, sign": _percent_sign,
    "percent, value": _percent_value,
    **_ways("unit", _unit, "left out", "wrong number", "another"),
    "money": _money,
    "degrees": _degrees,
    **_ways("tuple", _tuple, "same", "swapped", "other"),
    **_ways("interval", _interval, "same", "bracket", "other"),
    **_ways("set", _set, "same", "repeated", "other", "fewer", "as list"),
    **_ways("list", _list, "permuted", "other"),
    **_ways("x = 5", _named, "same", "other", "other name"),
    **_ways("choice", _choice, "same", "other"),
    "yes or no": _yes,
    "hedged": _hedged,
    **_ways("root", _root, "same", "other"),
    **_ways("polynomial", _polynomial, "same", "other"),
}
