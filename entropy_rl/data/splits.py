"""Train, validation and test where the data has none of its own: by a hash of the question."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from entropy_rl.errors import InputError

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def digest(text: str) -> int:
    """256 bits of a text, the same in every process; a lone surrogate is as good a character as any."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest(), "big")


def split_of(prompt: str, shares: Sequence[float] = SHARES) -> str:
    """The split of a question. Questions that differ in white space only are the same, so they share it."""
    point = digest("split/" + " ".join(prompt.split())) % 2**53 / 2**53
    train, validation, _ = shares
    return "train" if point < train else "validation" if point < train + validation else "test"


def check_shares(shares: Sequence[float], name: str) -> tuple[float, float, float]:
    """`shares` as a tuple; InputError unless they are three numbers of 0 or more that add up to 1."""
    try:
        parts = tuple(float(x) for x in shares)
    except (TypeError, ValueError):
        parts = ()
    if len(parts) != 3 or not all(x >= 0 for x in parts) or abs(sum(parts) - 1) > 1e-9:
        raise InputError(f"{name}: shares={shares!r}: give those of train, validation and test, such as {SHARES}")
    return parts
