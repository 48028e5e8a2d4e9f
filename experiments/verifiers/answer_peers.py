"""math-verify as its users call it: what experiments/check_verifiers.py compares with, in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def math_verify() -> Callable[[Sequence[str]], bool]:
    """Imports it, and gives (gold, answer) -> equal, both in a box and with its defaults."""
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)

    def check(pair: Sequence[str]) -> bool:
        gold, answer = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in pair)
        return bool(verify(gold, answer, timeout_seconds=None))

    check(("\\sqrt{2}", "2^{1/2}"))  # what sympy imports late
    return check
