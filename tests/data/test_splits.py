"""data/splits.py: shares of a hash of the question."""

import subprocess
import sys

import pytest

from entropy_rl.data import splits
from entropy_rl.errors import InputError


def test_shares_are_what_they_say():
    """Mutation: two shares changed for each other."""
    questions = [f"What is {i} + 1?" for i in range(20_000)]
    for shares in (splits.SHARES, (0.5, 0.25, 0.25), (0.0, 0.0, 1.0)):
        found = [splits.split_of(q, shares) for q in questions]
        for name, share in zip(splits.SPLITS, shares):
            assert abs(found.count(name) / len(found) - share) < 0.01


def test_white_space_makes_no_other_question():
    texts = ["What is 1 + 1?", " What  is 1\n+ 1?\n", "What\tis 1 + 1?"]
    for i in range(50):
        assert len({splits.split_of(f"{i} {t}") for t in texts}) == 1


def test_the_same_in_every_process():
    """Mutation: Python's own hash, which has another seed in each."""
    code = "from entropy_rl.data.splits import digest; print(digest('a question'), digest('\\ud800'))"
    said = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert said == {f"{splits.digest('a question')} {splits.digest(chr(0xD800))}\n"}


@pytest.mark.parametrize(
    "shares", [(0.5, 0.5), (0.5, 0.6, 0.1), (-0.1, 0.6, 0.5), "abc", None, (0.8, 0.1, float("nan"))]
)
def test_bad_shares_are_named(shares):
    with pytest.raises(InputError, match="mine: shares=.*: give those of train, validation and test"):
        splits.check_shares(shares, "mine")
    assert splits.check_shares([0.8, 0.1, 0.1], "mine") == (0.8, 0.1, 0.1)
