r"""Equality of answers that exactness leaves open, by math-verify (sympy), in processes with hard limits.

math-verify 0.9 is asked about LaTeX only, the whole answer as one formula: from text it would pick the last number,
and "12 or 13" would be 13. Its own time limits (signals, which a loop in C does not see) are off; Workers has them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Sequence

from entropy_rl.answers import exact
from entropy_rl.answers.latex import clean
from entropy_rl.answers.values import value
from entropy_rl.answers.workers import Failure, Workers
from entropy_rl.errors import InputError

DIGITS = 1e-6  # relative, of two numbers that are called equal
EXACT = 1e-30  # the same where neither has a decimal: sin(10^-10) is not 10^-10
MAX_CHARACTERS = 1000  # of an answer; sympy's time grows fast, and nobody's answer is longer
# What sympy reads as something else: digits of a base, primes, dots, relations, ratios, signs in a row, nested boxes.
_OTHER = re.compile(
    r"[0-9)}]'|\\[lc]?dots|\.\.|\\(?:equiv|neq?|not|boxed|approx|sim|propto|to|overset|stackrel)(?![A-Za-z])|[:\"]|==|--|"
    r"(?<![\\A-Za-z_0-9])(?:[0-9]+|[0-9A-F]{2,}) ?_|^\[[^,]*\]$|=.*="
)
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}|[0-9)}] [A-Za-z]{2,}|\\text")


def asked(gold: str, answer: str) -> bool:
    """Whether sympy can tell: formulas alone. Words, units, bases and lists of another kind are none of its business.

    math-verify 0.9 calls 5 hours and 5 minutes, 101_2 and 101, (1, 2) and {1, 2}, "5 maybe" and 5 equal.
    """
    if max(len(gold), len(answer)) > MAX_CHARACTERS:
        return False
    a, b = value(gold), value(answer)
    if a and b and (a.kind != b.kind and {a.kind, b.kind} & {"set", "list", "sequence", "word"} or a.unit != b.unit):
        return False
    plain = [clean(gold), clean(answer)]
    letters = [set(re.findall("[A-Za-z]", text or "")) for text in plain]
    if letters[0] != letters[1] and {x.lower() for x in letters[0]} == {x.lower() for x in letters[1]}:
        return False  # x and X
    for text in plain:
        if not text or text.count("{") != text.count("}") or _OTHER.search(text) or _PROSE.search(text):
            return False
        if "=" in text and not re.search("[A-Za-z]", text):  # 2 + 4 = 5
            return False
    return True


def require() -> None:
    """Says what is missing.

    Raises:
      InputError: math-verify is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise InputError("symbolic answers need the package math-verify: pip install 'entropy_rl[tasks]'")


def load() -> Callable[[Sequence[str]], bool]:
    """Imports math-verify (1.3 s) and gives the function that a worker runs: (gold, answer) -> are they equal."""
    import logging

    import sympy
    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)

    def read(text: str) -> list:
        # no fallback to strings: equal strings are exact.equal's business
        config = [LatexExtractionConfig(boxed_match_priority=0)]
        return parse(f"\\boxed{{{text}}}", config, fallback_mode="no_fallback", parsing_timeout=None)

    def check(pair: Sequence[str]) -> bool:
        gold, answer = map(read, pair)
        return bool(gold and answer) and bool(verify(gold, answer, timeout_seconds=None)) and near(gold[0], answer[0])

    def near(gold, answer) -> bool:
        # 1/3000! and 1/3001! are the same to 6 decimals
        if not all(isinstance(x, sympy.Expr) and x.is_number for x in (gold, answer)):
            return True
        digits = DIGITS if gold.has(sympy.Float) or answer.has(sympy.Float) else EXACT
        a, b = (sympy.N(x, 40) for x in (gold, answer))
        return bool(abs(a - b) <= digits * max(abs(a), abs(b)))

    check(("\\sqrt{2}", "2^{1/2}"))  # what sympy imports late
    return check


class Symbolic(Workers):
    """math-verify in worker processes. Close it, or use it in a `with`.

    Args:
      seconds: for one pair; then it is a Failure("timeout").
      count: processes.

    Raises:
      InputError: math-verify is not installed, a value out of range.
    """

    def __init__(self, *, seconds: float = 5.0, count: int = 1):
        require()
        super().__init__(f"{__name__}:load", count=count, seconds=seconds, setup={})

    def equal_all(self, pairs: Iterable[tuple[str, str]]) -> list[bool | Failure]:
        """For each (gold, answer): what `exact.equal` says, and where that is None what math-verify says.

        Its rules are math-verify's: x = 1 is 1, and numbers agree to 6 decimals; here to 6 digits, too, so that small
        numbers are told apart, and to 30 where neither has a decimal. Equal pairs are asked about once.
        A Failure, false in a condition, is a pair that took too long, too much memory or ended the process.
        """
        pairs = list(pairs)
        found: dict[tuple[str, str], bool | Failure | None] = {}
        for gold, answer in pairs:
            decided = exact.equal(gold, answer)
            found[gold, answer] = False if decided is None and not asked(gold, answer) else decided
        open_pairs = [pair for pair, decided in found.items() if decided is None]
        found |= zip(open_pairs, self.map(open_pairs))
        return [found[gold, answer] for gold, answer in pairs]
